"""Patches that put a caBundle in its place."""

import base64
from datetime import timedelta

import jsonpatch
import pytest
from unit.webhooks.certificates.made import NOW, authority, bundle, leaf
from unit.webhooks.certificates.objects_server import NAMESPACE, crd, patched

from rbgctl.machinery.gvk import RawObject
from rbgctl.webhooks.certificates.bundles import CONVERTED, Objects, Trust, ca_bundles, patch_for, trusts
from rbgctl.webhooks.configuration import webhook_configuration

A, B = authority().certificate, authority("b").certificate
TRUST = Trust((A,), A)
STANZA = {"service": {"name": "rbgs-webhook-service", "namespace": NAMESPACE, "path": "/convert"}}


def b64(pem: bytes) -> str:
    return base64.b64encode(pem).decode()


def with_bundle(pem: bytes | None) -> RawObject:
    obj = crd(CONVERTED[0])
    obj["metadata"]["resourceVersion"] = "7"
    if pem is not None:
        obj["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"] = b64(pem)
    return obj


def test_the_objects_are_two_crds_and_one_configuration_in_that_order() -> None:
    """CERT-8, CERT-12: exactly these names."""
    assert [(gvk.kind, key.name) for gvk, key in Objects()] == [
        ("CustomResourceDefinition", "rolebasedgroups.workloads.x-k8s.io"),
        ("CustomResourceDefinition", "rolebasedgroupsets.workloads.x-k8s.io"),
        ("ValidatingWebhookConfiguration", "rbgs-validating-webhook-configuration"),
    ]


@pytest.mark.parametrize("before", [None, b"", b"rubbish", B, A + B, A.replace(b"\n", b"\r\n")])
def test_a_crd_gets_the_bundle_that_the_secret_has(before: bytes | None) -> None:
    """CERT-9: one field is written."""
    obj = with_bundle(before)
    operations = patch_for(obj, TRUST, NOW)
    assert [op["path"] for op in operations] == ["/spec/conversion/webhook/clientConfig/caBundle"] * 2
    after = patched(obj, operations)
    assert ca_bundles(after) == [A]
    del after["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"]
    assert after == with_bundle(None)


def test_nothing_is_written_where_nothing_would_change() -> None:
    # CERT-9, CERT-10
    assert patch_for(with_bundle(A), TRUST, NOW) == []
    assert patch_for({**webhook_configuration("x"), "webhooks": []}, TRUST, NOW) == []
    done = webhook_configuration("x")
    for webhook in done["webhooks"]:
        webhook["clientConfig"]["caBundle"] = b64(A)
    assert patch_for(done, TRUST, NOW) == []


def test_every_entry_of_the_configuration_that_differs_is_written_and_nothing_else() -> None:
    """CERT-10: one entry is right already; what others change meanwhile makes the patch fail."""
    obj = webhook_configuration("x")
    obj["webhooks"][1]["clientConfig"]["caBundle"] = b64(A)
    obj["webhooks"][2]["clientConfig"]["caBundle"] = b64(B)
    operations = patch_for(obj, TRUST, NOW)
    assert not any(op["path"].startswith("/webhooks/1/") for op in operations)
    after = patched(obj, operations)
    assert ca_bundles(after) == [A] * len(obj["webhooks"])
    moved = {**obj, "webhooks": list(reversed(obj["webhooks"]))}
    edited = webhook_configuration("x")
    edited["webhooks"][2]["clientConfig"]["caBundle"] = b64(A + B)
    for other in (moved, edited):
        with pytest.raises(jsonpatch.JsonPatchTestFailed):
            patched(other, operations)


def test_a_crd_without_conversion_is_left_alone_by_who_starts_and_completed_by_the_leader() -> None:
    """CERT-9, CERT-14, WH-5."""
    obj = {**crd(CONVERTED[0], conversion=False)}
    obj["metadata"]["resourceVersion"] = "7"
    assert patch_for(obj, TRUST, NOW) == []
    after = patched(obj, patch_for(obj, TRUST, NOW, STANZA))
    assert after["spec"]["conversion"] == {
        "strategy": "Webhook",
        "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": {**STANZA, "caBundle": b64(A)}},
    }
    assert patch_for(after, TRUST, NOW, STANZA) == []
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        patched({**obj, "metadata": {"resourceVersion": "8"}}, patch_for(obj, TRUST, NOW, STANZA))


def test_a_replica_that_starts_takes_nobodys_trust_away() -> None:
    """CERT-13: it may not know yet of an authority that is about to be used."""
    careful = Trust((A,), A, keeps_others=True)
    assert patch_for(with_bundle(A + B), careful, NOW) == []
    assert patch_for(with_bundle(B + A), careful, NOW) == []
    assert ca_bundles(patched(with_bundle(B), patch_for(with_bundle(B), careful, NOW))) == [A + B]
    expired = authority("x", lives=timedelta(seconds=5)).certificate
    for rubbish in (b"rubbish", leaf().certificate, expired):
        obj = with_bundle(rubbish)
        assert ca_bundles(patched(obj, patch_for(obj, careful, NOW + timedelta(days=1)))) == [A]


def test_during_a_change_both_authorities_are_published() -> None:
    # CERT-13
    rotating = bundle(next_authority=authority("b"), previous=(authority("c").certificate,))
    trust = Trust(rotating.trusted, rotating.ca_bundle)
    after = patched(with_bundle(A), patch_for(with_bundle(A), trust, NOW))
    assert ca_bundles(after) == [A + B + authority("c").certificate]
    assert all(trusts(after, one) for one in (A, B))
    assert not trusts(with_bundle(A), B)
    assert trusts(crd(CONVERTED[0], conversion=False), B)  # nobody calls us because of it
