"""The Secret and the files, byte for byte."""

import base64
import os
import stat
from pathlib import Path

import pytest
from unit.webhooks.certificates.made import authority, bundle, leaf
from unit.webhooks.certificates.objects_server import SECRET, SECRET_KEY, running

from rbgctl.runtime.errors import AlreadyExists, Conflict
from rbgctl.webhooks.certificates.files import write_files
from rbgctl.webhooks.certificates.secret import SecretStore, read, written


def test_six_keys_and_nothing_else_while_no_authority_is_replaced() -> None:
    """CERT-6."""
    obj = written(bundle(), SECRET_KEY)
    assert obj["metadata"] == {"namespace": "rbgs-system", "name": "rbgs-webhook-cert"}
    assert obj["type"] == "Opaque"
    assert {k: base64.b64decode(v) for k, v in obj["data"].items()} == {
        "ca-key.pem": authority().key,
        "ca-cert.pem": authority().certificate,
        "key.pem": leaf().key,
        "tls.key": leaf().key,
        "cert.pem": leaf().certificate,
        "tls.crt": leaf().certificate,
    }


def test_the_whole_object_is_replaced_at_the_version_that_was_read() -> None:
    """CERT-4, CERT-6: labels and further keys of others go; a type cannot be changed."""
    found = written(bundle("b"), SECRET_KEY)
    found["metadata"] |= {"resourceVersion": "5", "labels": {"a": "b"}}
    found["type"] = "kubernetes.io/tls"
    found["data"]["more"] = ""
    obj = written(bundle(), SECRET_KEY, found)
    assert obj["metadata"] == {"namespace": "rbgs-system", "name": "rbgs-webhook-cert", "resourceVersion": "5"}
    assert obj["type"] == "kubernetes.io/tls"
    assert "more" not in obj["data"]


def test_next_and_previous_authorities_are_under_keys_that_a_go_operator_does_not_read() -> None:
    # CERT-6, CERT-13
    rotating = bundle(next_authority=authority("b"), previous=(authority("c").certificate,))
    obj = written(rotating, SECRET_KEY)
    assert {k: obj["data"][k] for k in written(bundle(), SECRET_KEY)["data"]} == written(bundle(), SECRET_KEY)["data"]
    assert read(obj).bundle == rotating


@pytest.mark.parametrize("data", [None, {}, {"ca-cert.pem": "%%%", "cert.pem": 5}])
def test_whatever_a_secret_holds_can_be_read(data: object) -> None:
    stored = read({"data": data})
    assert stored.bundle.leaf.certificate == b""
    assert stored.bundle.next_authority is None


def test_a_leaf_that_is_not_the_same_under_both_names_is_noticed() -> None:
    # CERT-6
    obj = written(bundle(), SECRET_KEY)
    assert read(obj).tidy
    obj["data"]["tls.crt"] = "YQ=="
    assert not read(obj).tidy


async def test_who_is_second_is_told() -> None:
    # CERT-3, CERT-4
    async with running() as (server, client):
        store = SecretStore(client, client, SECRET_KEY)
        assert await store.load() is None
        first = await store.save(bundle(), None)
        with pytest.raises(AlreadyExists):
            await store.save(bundle("b"), None)
        second = await store.save(bundle("b"), first)
        with pytest.raises(Conflict):
            await store.save(bundle(), first)
        assert (await store.load()) == second
        assert server.objects[SECRET]["metadata"]["resourceVersion"] == second.secret["metadata"]["resourceVersion"]


def test_files_are_private_replaced_as_a_whole_and_without_the_key_of_the_authority(tmp_path: Path) -> None:
    """CERT-7."""
    folder = tmp_path / "k8s-webhook-server" / "certs"
    before = os.umask(0)
    try:
        write_files(folder, bundle("b"))
        old = {p.name: p.stat().st_ino for p in folder.iterdir()}
        write_files(folder, bundle())
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {
        "ca-cert.pem": authority().certificate,
        "key.pem": leaf().key,
        "tls.key": leaf().key,
        "cert.pem": leaf().certificate,
        "tls.crt": leaf().certificate,
    }
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()} == {0o600}
    assert all(p.stat().st_ino != old[p.name] for p in folder.iterdir())  # never written in place
    assert not any(authority().key in p.read_bytes() for p in folder.iterdir())
