"""The authority and the serving certificate, and how they are judged."""

import gc
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from unit.webhooks.certificates.made import NAME, NOW, TEN_YEARS, authority, leaf

from rbgctl.runtime.testing.certificates import Authority
from rbgctl.webhooks.certificates.authority import (
    KeyPair,
    _public_halves,
    ends,
    fault_of_authority,
    fault_of_leaf,
    new_leaf,
    split,
    unexpired,
)

LATER = NOW + timedelta(days=30)


def parsed(pair: KeyPair) -> x509.Certificate:
    (certificate,) = x509.load_pem_x509_certificates(pair.certificate)
    return certificate


def usages(certificate: x509.Certificate) -> set[str]:
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    names = ("digital_signature", "key_encipherment", "key_cert_sign", "crl_sign", "key_agreement", "data_encipherment")
    return {name for name in names if getattr(usage, name)}


def common_names(name: x509.Name) -> list[object]:
    return [a.value for a in name.get_attributes_for_oid(NameOID.COMMON_NAME)]


def test_a_new_authority_and_leaf_have_the_fields_that_the_go_operator_gives_them() -> None:
    """CERT-5: names, usages, lifetimes, keys and their encoding."""
    ca, serving = parsed(authority()), parsed(leaf())
    for certificate in (ca, serving):
        key = certificate.public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        assert key.key_size == 2048
        assert certificate.not_valid_after_utc == NOW + TEN_YEARS
        assert 0 < certificate.serial_number < 1 << 63
    assert common_names(ca.subject) == common_names(ca.issuer) == ["webhook-cert-ca"]
    names = ca.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["webhook-cert-ca"]
    assert ca.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert usages(ca) == {"digital_signature", "key_encipherment", "key_cert_sign"}

    assert common_names(serving.subject) == [NAME]
    names = serving.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", NAME]
    assert list(serving.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.SERVER_AUTH
    ]
    assert usages(serving) == {"digital_signature", "key_encipherment"}
    assert serving.not_valid_before_utc == ca.not_valid_before_utc
    assert serving.serial_number != parsed(new_leaf(authority(), NAME, NOW, TEN_YEARS)).serial_number
    for pair in (authority(), leaf()):
        assert pair.key.startswith(b"-----BEGIN RSA PRIVATE KEY-----\n")
        assert pair.certificate.startswith(b"-----BEGIN CERTIFICATE-----\n")


def test_an_ipv4_address_stands_where_the_dns_name_would() -> None:
    """CERT-5."""
    serving = new_leaf(authority(), "10.0.0.7", NOW, TEN_YEARS)
    names = parsed(serving).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.7"]
    assert not fault_of_leaf(serving, authority().certificate, "10.0.0.7", LATER)


@pytest.mark.parametrize(("namespace", "named"), [("n" * 39, True), ("n" * 40, False), ("n" * 63, False)])
def test_a_long_namespace_costs_the_common_name_only(namespace: str, named: bool) -> None:
    """CERT-5: 64 characters are the most that a common name may have."""
    name = f"rbgs-webhook-service.{namespace}.svc"
    serving = new_leaf(authority(), name, NOW, TEN_YEARS)
    assert common_names(parsed(serving).subject) == ([name] if named else [])
    assert not fault_of_leaf(serving, authority().certificate, name, LATER)


def test_openssl_accepts_the_chain(tmp_path: Path) -> None:
    """CERT-5: an implementation that is not ours, with both authorities of a rotation trusted under one name."""
    (tmp_path / "ca.pem").write_bytes(authority("b").certificate + authority().certificate)
    (tmp_path / "leaf.pem").write_bytes(leaf().certificate)
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", NAME]
    at = str(int(LATER.timestamp()))
    subprocess.run(
        [*command, "-attime", at, "-CAfile", tmp_path / "ca.pem", tmp_path / "leaf.pem"],
        check=True,
        capture_output=True,
        timeout=30,
    )


# -- judging -----------------------------------------------------------------------------------------------------

OTHER = Authority("other")


def test_a_good_pair_has_no_fault() -> None:
    # CERT-4
    assert not fault_of_leaf(leaf(), authority().certificate, NAME, LATER)
    assert not fault_of_authority(authority(), LATER)


@pytest.mark.parametrize(
    ("serving", "trusted", "name", "at", "said"),
    [
        (KeyPair(leaf().certificate, leaf("b").key), authority(), NAME, LATER, "the key does not belong to"),
        (
            KeyPair(leaf().certificate, b"rubbish"),
            authority(),
            NAME,
            LATER,
            "the key of the serving certificate cannot",
        ),
        (KeyPair(leaf().certificate, b""), authority(), NAME, LATER, "the key of the serving certificate cannot"),
        (KeyPair(b"", leaf().key), authority(), NAME, LATER, "cannot be read"),
        (KeyPair(b"rubbish", leaf().key), authority(), NAME, LATER, "cannot be read"),
        (leaf(), KeyPair(b"", b""), NAME, LATER, "cannot be read"),
        (leaf(), authority("b"), NAME, LATER, "is not signed by the authority"),
        (leaf(), leaf(), NAME, LATER, "is not signed by the authority"),
        (leaf(), authority(), "rbgs-webhook-service.elsewhere.svc", LATER, "is not for rbgs-webhook-service.elsewhere"),
        (leaf(), authority(), NAME, NOW - timedelta(days=1), "is not good before"),
        (leaf(), authority(), NAME, NOW + TEN_YEARS + timedelta(seconds=1), "is good until 2035-12-30"),
        (KeyPair(*OTHER.client("x")), KeyPair(OTHER.pem, b""), "x", None, "is not for x"),
    ],
)
def test_what_is_wrong_with_a_leaf_is_found_and_said(
    serving: KeyPair, trusted: KeyPair, name: str, at: object, said: str
) -> None:
    """CERT-4: pair, chain, name, lifetime."""
    when = at or x509.load_pem_x509_certificate(serving.certificate).not_valid_before_utc + timedelta(hours=1)
    assert said in fault_of_leaf(serving, trusted.certificate, name, when)  # type: ignore[arg-type]


def test_a_new_leaf_does_not_outlive_its_authority() -> None:
    """CERT-5."""
    short = authority("short", lives=timedelta(days=40))
    assert ends(leaf("short", by=short).certificate) == ends(short.certificate)
    lives = timedelta(days=39)
    assert ends(leaf("short", by=short, lives=lives).certificate) == NOW + lives


def test_a_leaf_is_no_good_once_its_authority_has_expired() -> None:
    """CERT-4: both have to be good, also where another program made a leaf that lives longer."""
    long = leaf()
    key = serialization.load_pem_private_key(authority().key, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    found = parsed(authority())
    made = x509.CertificateBuilder(
        found.issuer, found.subject, found.public_key(), 1, found.not_valid_before_utc, NOW + timedelta(days=40)
    )
    for extension in found.extensions:
        made = made.add_extension(extension.value, extension.critical)
    short = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    assert not fault_of_leaf(long, short, NAME, LATER)
    assert fault_of_leaf(long, short, NAME, NOW + timedelta(days=41)).startswith("the authority is good")


def test_no_private_key_is_kept_by_what_is_remembered_of_it() -> None:
    key = authority("retired").key
    assert not fault_of_authority(authority("retired"), LATER)
    assert [found for found in gc.get_referrers(key) if isinstance(found, dict | list | tuple)] == []
    # Remembered all the same, and not for more keys than there are at once.
    before = dict(_public_halves._known)
    assert not fault_of_authority(authority("retired"), LATER)
    assert _public_halves._known == before
    for number in range(20):
        assert not fault_of_leaf(leaf(), authority().certificate, NAME, LATER)
        _public_halves.of(authority().key + b"\n" * number)
    assert len(_public_halves._known) <= 16


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (KeyPair(b"", b""), "cannot be read"),
        (KeyPair(authority().certificate + authority("b").certificate, authority().key), "there are 2 certificates"),
        (KeyPair(authority().certificate, authority("b").key), "the key does not belong to the authority"),
        (KeyPair(authority().certificate, b""), "the key of the authority cannot be read"),
        (leaf(), "the authority may not sign certificates"),
        (KeyPair(OTHER.pem, authority().key), "the authority has no RSA key"),
    ],
)
def test_an_authority_that_cannot_sign_is_not_used_again(pair: KeyPair, said: str) -> None:
    """CERT-5: key, number of certificates, kind of key, self-signed."""
    assert said in fault_of_authority(pair, LATER)


def test_an_authority_is_used_again_while_it_is_good() -> None:
    # CERT-5
    end = ends(authority().certificate)
    assert not fault_of_authority(authority(), end)
    assert "is good until" in fault_of_authority(authority(), end + timedelta(seconds=1))


def test_a_bundle_is_split_into_each_certificate_once_and_rubbish_is_left_out() -> None:
    a, b = authority().certificate, authority("b").certificate
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert split(b"# one\r\n" + a.replace(b"\n", b"\r\n") + broken + b + a) == (a, b)
    assert split(b"") == split(b"\xff") == ()


def test_only_authorities_that_are_still_good_are_kept() -> None:
    old = authority("old", lives=timedelta(days=1)).certificate
    assert unexpired((old, authority().certificate, leaf().certificate), LATER) == (authority().certificate,)
