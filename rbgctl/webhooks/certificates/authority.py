"""A private authority, the serving certificate it signs, and what is wrong with such a pair (CERT-4, CERT-5).

Pure: the time is an argument. Keys come from the system's random source.

    CA     RSA 2048, CN and DNS name webhook-cert-ca, may sign certificates
    leaf   RSA 2048, for the DNS name of the Service and for localhost, proves a server

Both are PEM, keys as PKCS#1, as the Go operator writes and reads them.
"""

import hashlib
import ipaddress
import re
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_NAME: Final = "webhook-cert-ca"
KEY_BITS: Final = 2048
MAX_COMMON_NAME: Final = 64
SERIAL_BITS: Final = 63
CLOCK_SKEW: Final = timedelta(minutes=5)
"""A new authority is valid since then, for API servers whose clock is behind ours."""

_BLOCK: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_PUBLIC: Final = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
_UNREADABLE: Final = (ValueError, TypeError, UnsupportedAlgorithm)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


# -- making ------------------------------------------------------------------------------------------------------


def new_authority(now: datetime, lifetime: timedelta) -> KeyPair:
    """Good until `now` + `lifetime`."""
    key = rsa.generate_private_key(65537, KEY_BITS)
    name = _name(AUTHORITY_NAME)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(_serial())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(AUTHORITY_NAME)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pair(certificate, key)


def new_leaf(authority: KeyPair, dns_name: str, now: datetime, lifetime: timedelta) -> KeyPair:
    """A serving certificate, good as long as `lifetime` and its authority allow. Raises ValueError for a broken one."""
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    signing = serialization.load_pem_private_key(authority.key, None)
    if not isinstance(signing, rsa.RSAPrivateKey):
        raise ValueError("the key of the authority is not an RSA key")
    key = rsa.generate_private_key(65537, KEY_BITS)
    # A longer common name is not allowed; only the alternative names count anyway.
    subject = _name(dns_name) if len(dns_name) <= MAX_COMMON_NAME else x509.Name([])
    names = [x509.DNSName("localhost"), _alternative(dns_name)]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(_serial())
        .not_valid_before(issuer.not_valid_before_utc)
        .not_valid_after(min(now + lifetime, issuer.not_valid_after_utc))
        .add_extension(x509.SubjectAlternativeName(names), critical=not subject.rdns)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(_identifier_of(issuer, signing), critical=False)
        .sign(signing, hashes.SHA256())
    )
    return _pair(certificate, key)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.IPv4Address(name))
    except ValueError:
        return x509.DNSName(name)


def _serial() -> int:
    return secrets.randbits(SERIAL_BITS) or 1


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=True,
        key_cert_sign=signs_certificates,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _identifier_of(issuer: x509.Certificate, key: rsa.RSAPrivateKey) -> x509.AuthorityKeyIdentifier:
    """Tells apart authorities that share a name, as they do while one replaces the other."""
    try:
        found = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found)


def _pair(certificate: x509.Certificate, key: rsa.RSAPrivateKey) -> KeyPair:
    return KeyPair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        ),
    )


# -- judging -----------------------------------------------------------------------------------------------------


def fault_of_authority(authority: KeyPair, at: datetime) -> str:
    """Why this authority cannot sign at `at`; empty when it can. One RSA certificate with its key, signed by itself."""
    try:
        found = x509.load_pem_x509_certificates(authority.certificate)
    except _UNREADABLE as error:
        return f"the authority cannot be read: {_one_line(error)}"
    if len(found) != 1:
        return f"there are {len(found)} certificates where one authority is wanted"
    certificate = found[0]
    if not isinstance(certificate.public_key(), rsa.RSAPublicKey):
        return "the authority has no RSA key"
    return (
        _fault_of_key(certificate, authority.key, "the authority")
        or _fault_of_time(certificate, at, "the authority")
        or ("" if _may_sign(certificate) else "the authority may not sign certificates")
        or ("" if _is_issued_by(certificate, certificate) else "the authority is not signed by itself")
    )


def fault_of_leaf(leaf: KeyPair, authority: bytes, dns_name: str, at: datetime) -> str:
    """Why a server cannot use this certificate at `at` towards those who trust `authority`; empty when it can."""
    try:
        certificate = x509.load_pem_x509_certificates(leaf.certificate)[0]
        trusted = x509.load_pem_x509_certificates(authority)
    except _UNREADABLE as error:
        return f"the certificates cannot be read: {_one_line(error)}"
    fault = _fault_of_key(certificate, leaf.key, "the serving certificate") or _fault_of_time(
        certificate, at, "the serving certificate"
    )
    if fault:
        return fault
    issuer = next((c for c in trusted if _may_sign(c) and _is_issued_by(certificate, c)), None)
    if issuer is None:
        return "the serving certificate is not signed by the authority"
    if not _names(certificate, dns_name):
        return f"the serving certificate is not for {dns_name}"
    if not _proves_servers(certificate):
        return "the serving certificate is not for servers"
    return _fault_of_time(issuer, at, "the authority")


def ends(certificate: bytes) -> datetime:
    """When the first certificate expires. Raises ValueError for what is none."""
    return x509.load_pem_x509_certificates(certificate)[0].not_valid_after_utc


def split(bundle: bytes) -> tuple[bytes, ...]:
    """The certificates of a PEM bundle that can be read, each once and in the same spelling."""
    found: dict[bytes, None] = {}
    for block in _BLOCK.findall(bundle):
        try:
            certificate = x509.load_pem_x509_certificate(block)
        except _UNREADABLE:
            continue
        found[certificate.public_bytes(serialization.Encoding.PEM)] = None
    return tuple(found)


def unexpired(certificates: tuple[bytes, ...], at: datetime) -> tuple[bytes, ...]:
    """Those of `split` that are authorities and still good."""
    return tuple(c for c in certificates if ends(c) > at and _may_sign(x509.load_pem_x509_certificate(c)))


def is_named_as_ours(certificate: bytes) -> bool:
    """Whether it has the name that we, and the Go operator, give to authorities. Raises ValueError for what is none."""
    return x509.load_pem_x509_certificate(certificate).subject == _name(AUTHORITY_NAME)


def _fault_of_key(certificate: x509.Certificate, key: bytes, what: str) -> str:
    try:
        public = _public_halves.of(key)
    except _UNREADABLE as error:
        return f"the key of {what} cannot be read: {_one_line(error)}"
    if public != certificate.public_key().public_bytes(*_PUBLIC):
        return f"the key does not belong to {what}"
    return ""


class _PublicHalves:
    """Of private keys, DER. Remembered, because reading a key checks it thoroughly: that takes 50 ms.

    By the digest of the key, so that a key that was retired is not kept in memory by this. Used by several threads.
    """

    MOST: Final = 16

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = Lock()

    def of(self, key: bytes) -> bytes:
        """Raises what reading an unreadable key raises."""
        digest = hashlib.sha256(key).digest()
        with self._lock:
            found = self._known.get(digest)
            if found is not None:
                self._known.move_to_end(digest)
                return found
        found = serialization.load_pem_private_key(key, None).public_key().public_bytes(*_PUBLIC)
        with self._lock:
            self._known[digest] = found
            while len(self._known) > self.MOST:
                self._known.popitem(last=False)
        return found


_public_halves: Final = _PublicHalves()


def _fault_of_time(certificate: x509.Certificate, at: datetime, what: str) -> str:
    if at < certificate.not_valid_before_utc:
        return f"{what} is not good before {certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}"
    if at > certificate.not_valid_after_utc:
        return f"{what} is good until {certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ} only"
    return ""


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (*_UNREADABLE, InvalidSignature):
        return False
    return True


def _names(certificate: x509.Certificate, name: str) -> bool:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    wanted = _alternative(name.lower())
    return any((x509.DNSName(n.value.lower()) if isinstance(n, x509.DNSName) else n) == wanted for n in found)


def _proves_servers(certificate: x509.Certificate) -> bool:
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.SERVER_AUTH in usages or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usages


def _one_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
