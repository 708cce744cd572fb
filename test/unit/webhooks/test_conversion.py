"""The conversion endpoint with our converter, as the API server calls it."""

from typing import Any

import msgspec
import orjson
import pytest
from structlog.testing import capture_logs
from unit.api.conversion.objects import POLICY, TEMPLATE, V1, V2, V2_DATA, group, group_set

from rbgctl.machinery.gvk import RawObject
from rbgctl.runtime.conversion_review import ConversionEndpoint, ConversionError
from rbgctl.runtime.metrics import Registry
from rbgctl.runtime.webhook import WebhookServer
from rbgctl.runtime.webhook_call import CONVERT_PATH, Call
from rbgctl.webhooks import conversion
from rbgctl.webhooks.conversion import Conversion, serve_conversion

REVIEW = "apiextensions.k8s.io/v1"
MALFORMED = group(V2, annotations={POLICY: "{"})


async def answered(desired: str, *objects: RawObject) -> RawObject:
    """The review that comes back."""
    request = {"uid": "u-1", "desiredAPIVersion": desired, "objects": objects}
    body = msgspec.json.encode({"apiVersion": REVIEW, "kind": "ConversionReview", "request": request})
    answer = await ConversionEndpoint(Conversion(Registry()))(Call(body))
    assert answer.status == 200
    found: RawObject = orjson.loads(answer.body)
    return found


def counted(registry: Registry, annotation: str) -> float:
    labels = {"annotation": annotation}
    return registry.collectors.get_sample_value("rbg_conversion_problems_total", labels) or 0.0


async def test_mixed_versions_come_back_in_order_and_in_the_wanted_one() -> None:
    """CR-1, CR-2, CR-6, CR-8"""
    native = group(V2, {"name": "b", "standalonePattern": {"template": TEMPLATE}})
    found = await answered(V2, group(V1, {"name": "a"}), native, group(V1, {"name": "c"}))
    assert found.keys() == {"apiVersion", "kind", "response"}
    assert (found["apiVersion"], found["kind"]) == (REVIEW, "ConversionReview")
    assert (found["response"]["uid"], found["response"]["result"]) == ("u-1", {"status": "Success"})
    objects = found["response"]["convertedObjects"]
    assert [o["spec"]["roles"][0]["name"] for o in objects] == ["a", "b", "c"]
    assert [(o["apiVersion"], o["kind"]) for o in objects] == [(V2, "RoleBasedGroup")] * 3
    assert objects[1] == native
    # Nothing is filled in that the API server would default.
    assert objects[0]["spec"]["roles"][0] == {"name": "a", "standalonePattern": {}}


@pytest.mark.parametrize(
    "strange",
    [
        {"apiVersion": V1, "kind": "InstanceSet", "metadata": {"name": "i"}},
        {"apiVersion": "workloads.x-k8s.io/v1beta9", "kind": "RoleBasedGroup", "metadata": {"name": "i"}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "i"}},
    ],
)
async def test_one_unknown_kind_or_version_fails_the_review(strange: RawObject) -> None:
    """TV-9, CR-3, CR-7"""
    found = await answered(V2, group(V1), strange)
    assert found["response"]["result"]["status"] == "Failure"
    text = f"there is no conversion of {strange['apiVersion']}, Kind={strange['kind']} to {V2}"
    assert found["response"]["result"]["message"] == text
    assert not found["response"]["convertedObjects"]
    assert found["response"]["uid"] == "u-1"


async def test_a_malformed_annotation_does_not_fail_the_review() -> None:
    """CV-7, A1-14: one such object would otherwise break every list of the kind."""
    found = await answered(V1, group(V2), MALFORMED, group_set(V2))
    assert found["response"]["result"] == {"status": "Success"}
    assert found["response"]["convertedObjects"][1]["metadata"]["annotations"] == {POLICY: "{"}


@pytest.mark.parametrize("levels", [300, 800])
async def test_a_deeply_nested_object_does_not_fail_the_review(levels: int) -> None:
    """CV-7: patches and templates have no schema, so that they may have been stored with any number of levels."""
    deep: RawObject = {"y": "z"}
    for _ in range(levels):
        deep = {"x": deep}
    patch, size = {"leaderTemplatePatch": deep}, {"size": 2}
    hub = group(V2, {"name": "w", "leaderWorkerPattern": {**size, **patch, "restartPolicyConfig": {}}})
    spoke = group(V1, {"name": "w", "leaderWorkerSet": {**size, "patchLeaderTemplate": deep}})
    read = await answered(V1, group(V2), hub)
    assert read["response"]["result"] == {"status": "Success"}
    assert len(read["response"]["convertedObjects"]) == 2
    role = read["response"]["convertedObjects"][1]["spec"]["roles"][0]
    assert role["leaderWorkerSet"] == {**size, "patchLeaderTemplate": deep}
    written = await answered(V2, spoke, group(V1))
    assert written["response"]["result"] == {"status": "Success"}
    role = written["response"]["convertedObjects"][0]["spec"]["roles"][0]
    assert role["leaderWorkerPattern"] == {**size, **patch, "restartPolicyConfig": {}}


def test_problems_are_counted_each_time_and_logged_once_per_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """CV-7"""
    registry = Registry()
    convert = Conversion(registry)
    with capture_logs() as logs:
        for _ in range(3):
            convert(MALFORMED, V1)
        convert(group_set(V1, {V2_DATA: "["}), V2)
        convert(group(V2), V1)
    assert counted(registry, POLICY) == 3
    assert counted(registry, V2_DATA) == 1
    assert [(e["log_level"], e["kind"], e["object"]) for e in logs] == [
        ("warning", "RoleBasedGroup", "n/g"),
        ("warning", "RoleBasedGroupSet", "n/s"),
    ]
    assert POLICY in logs[0]["problem"]
    assert "is not JSON" in logs[0]["problem"]

    monkeypatch.setattr(conversion, "REMEMBERED", 2)
    with capture_logs() as logs:
        for name in ("x", "y", "z", "z", "x"):
            convert({**MALFORMED, "metadata": {**MALFORMED["metadata"], "name": name}}, V1)
    assert [e["object"] for e in logs] == ["n/x", "n/y", "n/z", "n/x"]


def test_all_kinds_of_two_versions_are_served() -> None:
    """WH-1, A1-2"""
    server = WebhookServer(registry=Registry())
    serve_conversion(server)
    assert CONVERT_PATH in server.paths

    def other(obj: RawObject, desired: str) -> Any:
        raise ConversionError("never")

    for gvk in conversion.CONVERTED:
        with pytest.raises(ValueError, match="has a converter already"):
            server.convert(gvk, other)
    assert {g.kind for g in conversion.CONVERTED} == {
        "RoleBasedGroup",
        "RoleBasedGroupSet",
        "RoleBasedGroupScalingAdapter",
        "ClusterEngineRuntimeProfile",
    }
