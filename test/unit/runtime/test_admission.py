"""AdmissionReview as bytes in and bytes out."""

import asyncio
import base64
import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jsonpatch
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter

from rbgctl.machinery.gvk import GVK, RawObject
from rbgctl.runtime.admission import (
    MAX_BODY,
    RAW,
    AdmissionEndpoint,
    AdmissionHandler,
    AdmissionRequest,
    AdmissionResponse,
    Defaulting,
    Denied,
    Raw,
    Validating,
    Verdict,
    allowed,
    denied,
    patch_without_losses,
)
from rbgctl.runtime.errors import ApiError, Conflict, Invalid, TransportError
from rbgctl.runtime.webhook_call import Call, admission_path

V1 = "admission.k8s.io/v1"
POD: RawObject = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"a": 1}}


def review(operation: str = "CREATE", api_version: str = V1, **more: Any) -> RawObject:
    request = {
        "uid": "u-1",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "requestKind": {"group": "", "version": "v1alpha1", "kind": "Pod"},
        "namespace": "ns",
        "name": "p",
        "operation": operation,
        "userInfo": {"username": "jane"},
        "object": POD,
        "oldObject": None,
        "dryRun": True,
        "options": {"kind": "CreateOptions"},
        **more,
    }
    return {"apiVersion": api_version, "kind": "AdmissionReview", "request": request}


async def answered(
    handler: AdmissionHandler,
    body: Any = None,
    *,
    content_type: str = "application/json",
    panics: Counter | None = None,
    seconds: float = 9.0,
) -> RawObject:
    """The whole answer. The HTTP status is always 200 (RT-WH-06)."""
    data = body if isinstance(body, bytes) else orjson.dumps(body if body is not None else review())
    answer = await AdmissionEndpoint(handler, panics)(Call(data, content_type, seconds))
    assert answer.status == 200
    found: RawObject = orjson.loads(answer.body)
    return found


async def response(handler: AdmissionHandler, body: Any = None, **options: Any) -> RawObject:
    found: RawObject = (await answered(handler, body, **options))["response"]
    return found


def giving(answer: AdmissionResponse) -> AdmissionHandler:
    async def handle(_: AdmissionRequest) -> AdmissionResponse:
        return answer

    return handle


def raising(error: Exception) -> AdmissionHandler:
    async def handle(_: AdmissionRequest) -> AdmissionResponse:
        raise error

    return handle


ALLOW = giving(allowed())


# -- the envelope ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [V1, "admission.k8s.io/v1beta1"])
async def test_the_answer_has_the_version_of_the_request(version: str) -> None:  # RT-WH-05, AR-2, AR-3
    answer = await answered(ALLOW, review(api_version=version))
    assert answer == {
        "apiVersion": version,
        "kind": "AdmissionReview",
        "response": {"uid": "u-1", "allowed": True, "status": {"code": 200}},
    }


async def test_a_request_without_a_version_is_answered_as_v1() -> None:  # RT-WH-05
    answer = await answered(ALLOW, {"request": review()["request"]})
    assert (answer["apiVersion"], answer["kind"]) == (V1, "AdmissionReview")
    assert answer["response"]["allowed"] is True


TOO_LARGE = b" " * (7 * 1024 * 1024)

REFUSED_BODIES: list[tuple[bytes, str, int, str]] = [
    (b"", "application/json", 400, "request body is empty"),
    (b"", "text/plain", 400, "request body is empty"),
    (TOO_LARGE, "application/json", 413, "request entity is too large; limit is 7340032 bytes"),
    (TOO_LARGE, "text/plain", 413, "request entity is too large; limit is 7340032 bytes"),
    (TOO_LARGE[1:], "text/plain", 400, "contentType=text/plain, expected application/json"),
    (b"{", "", 400, "contentType=, expected application/json"),
    (
        b"{",
        "application/json; charset=utf-8",
        400,
        "contentType=application/json; charset=utf-8, expected application/json",
    ),
    (b"{", "application/json", 400, "the review cannot be decoded: Input data was truncated"),
    (b'{"request":{"uid":1}}', "application/json", 400, "the review cannot be decoded: Expected `str`, got `int`"),
    (b'{"apiVersion":"x/v9","kind":"A"}', "application/json", 400, 'no kind "A" is known in version "x/v9"'),
    (orjson.dumps(review(api_version="admission.k8s.io/v2")), "application/json", 400, "no kind "),
    (b"{}", "application/json", 400, "got an empty request"),
    (b'{"request":null}', "application/json", 400, "got an empty request"),
]


@pytest.mark.parametrize(("body", "content_type", "code", "text"), REFUSED_BODIES, ids=range(len(REFUSED_BODIES)))
async def test_what_is_no_review_is_refused_inside_a_v1_review(  # RT-WH-05, RT-WH-06, AR-7
    body: bytes, content_type: str, code: int, text: str
) -> None:
    answer = await answered(ALLOW, body, content_type=content_type)
    assert (answer["apiVersion"], answer["kind"]) == (V1, "AdmissionReview")
    status = answer["response"].pop("status")
    assert answer["response"] == {"uid": "", "allowed": False}
    assert status["code"] == code
    assert status["message"].startswith(text)
    assert "reason" not in status


async def test_a_body_just_below_the_limit_is_read() -> None:  # RT-WH-05
    small = orjson.dumps(review())
    body = small[:-1] + b" " * (MAX_BODY - 1 - len(small)) + b"}"
    assert (await response(ALLOW, body))["allowed"] is True
    assert (await response(ALLOW, body + b" "))["status"]["code"] == 413


async def test_handlers_see_the_request() -> None:
    seen: list[AdmissionRequest] = []

    async def handle(request: AdmissionRequest) -> AdmissionResponse:
        seen.append(request)
        return allowed()

    await response(handle, review("UPDATE", subResource="status", oldObject={"kind": "Old"}))
    (request,) = seen
    assert (request.operation, request.sub_resource, request.namespace, request.name) == ("UPDATE", "status", "ns", "p")
    assert (request.kind, request.request_kind) == (GVK("", "v1", "Pod"), GVK("", "v1alpha1", "Pod"))
    assert (request.user, request.dry_run) == ("jane", True)
    assert (request.object(), request.old_object()) == (POD, {"kind": "Old"})
    assert request.raw["options"] == {"kind": "CreateOptions"}
    assert "object" not in request.raw


# -- the verdict -------------------------------------------------------------------------------------------------


async def test_a_verdict_has_code_reason_and_message() -> None:  # RT-WH-06, AR-4
    assert await response(ALLOW) == {"uid": "u-1", "allowed": True, "status": {"code": 200}}
    assert await response(giving(denied("no"))) == {
        "uid": "u-1",
        "allowed": False,
        "status": {"code": 403, "reason": "Forbidden", "message": "no"},
    }


async def test_a_status_is_never_without_a_code() -> None:  # RT-WH-06
    for verdict, status in (
        (AdmissionResponse(allowed=True, status={"message": "fine"}), {"code": 200, "message": "fine"}),
        (AdmissionResponse(allowed=True, status={"code": 0}), {"code": 200}),
        (AdmissionResponse(allowed=False, status={"code": 0}), {"code": 403, "reason": "Forbidden"}),
        (AdmissionResponse(allowed=False), {"code": 403, "reason": "Forbidden"}),
    ):
        assert (await response(giving(verdict)))["status"] == status


async def test_warnings_and_audit_annotations_are_passed_on() -> None:  # RT-WH-06
    verdict = AdmissionResponse(allowed=True, warnings=["old field"], audit_annotations={"k": "v"})
    found = await response(giving(verdict))
    assert (found["warnings"], found["auditAnnotations"]) == (["old field"], {"k": "v"})


async def test_a_patch_is_base64_and_typed_and_absent_when_empty() -> None:  # RT-WH-06, AR-6
    operations = [{"op": "add", "path": "/x", "value": "ä"}]
    found = await response(giving(AdmissionResponse(allowed=True, patch=operations)))
    assert found["patchType"] == "JSONPatch"
    assert orjson.loads(base64.b64decode(found["patch"])) == operations
    assert not {"patch", "patchType"} & (await response(ALLOW)).keys()


CONFLICT = {"kind": "Status", "code": 409, "reason": "Conflict", "message": "changed", "details": {"name": "p"}}


async def test_errors_of_a_handler() -> None:  # RT-WH-06, VAL-10
    assert (await response(raising(Denied("not that name"))))["status"] == {
        "code": 403,
        "reason": "Forbidden",
        "message": "not that name",
    }
    found = await response(raising(Conflict(CONFLICT)))
    assert (found["allowed"], found["status"]) == (False, CONFLICT)
    found = await response(raising(TransportError("refused", "no API server")))
    assert found["status"] == {"code": 403, "reason": "Forbidden", "message": "no API server (refused)"}


async def test_a_bug_is_answered_counted_and_has_the_uid() -> None:  # RT-WH-07, AR-7
    panics = Counter("panics", "", registry=CollectorRegistry())
    found = await response(raising(KeyError("spec")), panics=panics)
    assert found == {
        "uid": "u-1",
        "allowed": False,
        "status": {"code": 500, "message": "panic: 'spec' [recovered]"},
    }
    await response(raising(Denied("x")), panics=panics)
    assert panics._value.get() == 1


@pytest.mark.looptime
async def test_a_late_handler_is_given_up_and_answered() -> None:  # RT-WH-11
    async def slow(_: AdmissionRequest) -> AdmissionResponse:
        await asyncio.sleep(100)
        return allowed()

    began = asyncio.get_running_loop().time()
    found = await response(slow, seconds=9.0)
    assert asyncio.get_running_loop().time() - began == 9.0
    assert (found["uid"], found["allowed"]) == ("u-1", False)
    assert found["status"] == {"code": 504, "message": "the webhook did not answer within 9 s"}


async def test_a_timeout_of_the_handler_itself_is_a_bug() -> None:
    assert (await response(raising(TimeoutError("db"))))["status"]["message"] == "panic: db [recovered]"


# -- validators --------------------------------------------------------------------------------------------------


@dataclass
class Journal:
    """A validator that notes what it was asked and gives one verdict."""

    verdict: Verdict = field(default_factory=Verdict)
    calls: list[tuple[Any, ...]] = field(default_factory=list)

    async def validate_create(self, request: AdmissionRequest, new: RawObject) -> Verdict:
        self.calls.append(("create", new))
        return self.verdict

    async def validate_update(self, request: AdmissionRequest, old: RawObject, new: RawObject) -> Verdict:
        self.calls.append(("update", old, new))
        return self.verdict

    async def validate_delete(self, request: AdmissionRequest, old: RawObject) -> Verdict:
        self.calls.append(("delete", old))
        return self.verdict


OLD: RawObject = {"kind": "Pod", "old": True}


async def test_validators_are_asked_by_operation() -> None:  # RT-WH-09, AR-8
    journal = Journal()
    handler = Validating(journal, RAW)
    for operation in ("CREATE", "UPDATE", "DELETE", "CONNECT"):
        new = None if operation == "DELETE" else POD
        old = OLD if operation in {"UPDATE", "DELETE"} else None
        assert (await response(handler, review(operation, object=new, oldObject=old)))["allowed"] is True
    assert journal.calls == [("create", POD), ("update", OLD, POD), ("delete", OLD)]


async def test_an_unknown_operation_is_a_bad_request() -> None:  # RT-WH-09
    found = await response(Validating(Journal(), RAW), review("PROXY"))
    assert (found["uid"], found["allowed"]) == ("u-1", False)
    assert found["status"] == {"code": 400, "message": 'unknown operation "PROXY"'}


@pytest.mark.parametrize(
    ("operation", "objects"),
    [
        ("CREATE", {"object": None}),
        ("CREATE", {"object": []}),
        ("CREATE", {"object": "text"}),
        ("UPDATE", {"oldObject": 1}),
        ("UPDATE", {"object": 1, "oldObject": OLD}),
        ("DELETE", {"oldObject": None}),
    ],
)
async def test_an_object_that_cannot_be_decoded_is_a_bad_request(  # RT-WH-09, AR-7
    operation: str, objects: RawObject
) -> None:
    journal = Journal()
    found = await response(Validating(journal, RAW), review(operation, **objects))
    assert (found["uid"], found["allowed"], found["status"]["code"], journal.calls) == ("u-1", False, 400, [])


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, {"code": 200}),
        (Denied("no"), {"code": 403, "reason": "Forbidden", "message": "no"}),
        (ValueError("spec.x: bad"), {"code": 403, "reason": "Forbidden", "message": "spec.x: bad"}),
        (Invalid({"code": 422, "message": "m"}), {"code": 422, "message": "m"}),
    ],
)
async def test_warnings_come_with_refusals_too(error: Exception | None, status: RawObject) -> None:
    # RT-WH-06, RT-WH-09
    found = await response(Validating(Journal(Verdict(error, ["deprecated"])), RAW))
    assert found == {"uid": "u-1", "allowed": error is None, "status": status, "warnings": ["deprecated"]}


# -- defaulters --------------------------------------------------------------------------------------------------


@dataclass
class Sets:
    """A defaulter that applies a function."""

    change: Callable[[Any], None]

    async def default(self, request: AdmissionRequest, new: Any) -> None:
        self.change(new)


class Lossy:
    """Knows name and spec.a, spec.b, spec.list[].x; drops the rest, and what is empty, as a typed codec does."""

    def decode(self, obj: RawObject) -> RawObject:
        if not isinstance(obj.get("spec", {}), dict):
            raise ValueError("spec: an object is wanted")
        spec = {k: v for k, v in obj.get("spec", {}).items() if k in {"a", "b", "list"} and v}
        if "list" in spec:
            spec["list"] = [{k: v for k, v in item.items() if k == "x"} for item in spec["list"]]
        return {**{k: v for k, v in obj.items() if k in {"apiVersion", "kind", "metadata"}}, "spec": spec}

    def encode(self, value: RawObject) -> RawObject:
        return value


async def patched(change: Callable[[Any], None], obj: RawObject, codec: Any = RAW) -> tuple[RawObject, list[Any]]:
    """`obj` with the patch of a defaulter applied, and the patch."""
    found = await response(Defaulting(Sets(change), codec), review(object=obj))
    assert found["allowed"] is True
    operations = orjson.loads(base64.b64decode(found.get("patch", base64.b64encode(b"[]"))))
    return jsonpatch.apply_patch(copy.deepcopy(obj), operations), operations


async def test_defaults_become_a_patch() -> None:  # RT-WH-08
    obj = {"kind": "Pod", "spec": {"a": 1, "gone": True, "list": [1, 2, 3]}}

    def change(new: RawObject) -> None:
        new["spec"] |= {"a": 2, "b/c": {"d": []}}
        del new["spec"]["gone"]
        new["spec"]["list"].insert(0, 0)

    after, operations = await patched(change, obj)
    assert after == {"kind": "Pod", "spec": {"a": 2, "b/c": {"d": []}, "list": [0, 1, 2, 3]}}
    assert {op["op"] for op in operations} <= {"add", "replace", "remove"}


async def test_nothing_to_default_is_no_patch() -> None:  # RT-WH-06, RT-WH-08
    found = await response(Defaulting(Sets(lambda _: None), Lossy()), review(object={**POD, "unknown": 1}))
    assert found == {"uid": "u-1", "allowed": True, "status": {"code": 200}}


async def test_unknown_and_empty_fields_survive_defaulting() -> None:  # RT-WH-08
    spec = {"a": 1, "b": "", "unknown": {"deep": 1}, "list": [{"x": 1, "y": 2}, {"x": 3}]}
    obj = {"kind": "Pod", "metadata": {}, "spec": spec, "extra": None}

    def change(new: RawObject) -> None:
        new["spec"]["list"][1]["x"] = 4
        del new["spec"]["a"]

    after, _ = await patched(change, obj, Lossy())
    del spec["a"]
    assert after == {**obj, "spec": {**spec, "list": [{"x": 1, "y": 2}, {"x": 4}]}}


async def test_a_lost_value_that_appears_elsewhere_is_not_moved_there() -> None:  # RT-WH-08
    obj = {"kind": "Pod", "spec": {"unknown": "v"}}
    after, _ = await patched(lambda new: new["spec"].update(b="v"), obj, Lossy())
    assert after == {"kind": "Pod", "spec": {"unknown": "v", "b": "v"}}


async def test_deletion_is_not_defaulted() -> None:  # RT-WH-08
    def never(_: Any) -> None:
        raise AssertionError

    found = await response(Defaulting(Sets(never), RAW), review("DELETE", object=None, oldObject=OLD))
    assert found == {"uid": "u-1", "allowed": True, "status": {"code": 200}}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ApiError({"code": 418, "message": "teapot", "reason": "Tea"}), {"code": 418, "message": "teapot"}),
        (Denied("no"), {"code": 403, "message": "no", "reason": "Forbidden"}),
    ],
)
async def test_errors_of_a_defaulter(error: Exception, status: RawObject) -> None:  # RT-WH-08
    def fail(_: Any) -> None:
        raise error

    found = await response(Defaulting(Sets(fail), RAW))
    assert found["allowed"] is False
    assert found["status"].items() >= status.items()


async def test_an_object_that_a_codec_refuses_is_a_bad_request() -> None:  # RT-WH-08, RT-WH-09
    for handler in (Defaulting(Sets(lambda _: None), Lossy()), Validating(Journal(), Lossy())):
        found = await response(handler, review(object={"spec": 1}))
        assert found["status"] == {"code": 400, "message": "spec: an object is wanted"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "~/"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc~/"), inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from("abc~/"), VALUES, max_size=4)


@given(OBJECTS, OBJECTS)
def test_a_patch_leads_from_one_object_to_the_other(before: RawObject, after: RawObject) -> None:  # RT-WH-08
    patch = patch_without_losses(before, after, before)
    assert jsonpatch.apply_patch(copy.deepcopy(before), patch) == after
    assert orjson.loads(orjson.dumps(patch)) == patch


@given(OBJECTS, st.sets(st.sampled_from("abc~/")), st.dictionaries(st.sampled_from("xyz"), VALUES))
def test_lost_fields_survive_whatever_is_added(before: RawObject, known: set[str], added: RawObject) -> None:
    # RT-WH-08
    untouched = {k: v for k, v in before.items() if k in known}
    patch = patch_without_losses(before, {**untouched, **added}, untouched)
    assert jsonpatch.apply_patch(copy.deepcopy(before), patch) == {**before, **added}


def test_the_raw_codec_hands_objects_through() -> None:
    assert Raw().decode(POD) is POD


# -- paths -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "gvk", "path"),
    [
        ("mutate", GVK("", "v1", "Pod"), "/mutate--v1-pod"),
        (
            "validate",
            GVK("workloads.x-k8s.io", "v1alpha2", "RoleBasedGroup"),
            "/validate-workloads-x-k8s-io-v1alpha2-rolebasedgroup",
        ),
    ],
)
def test_paths_say_what_is_served(kind: str, gvk: GVK, path: str) -> None:  # RT-WH-02, WH-1
    assert admission_path(kind, gvk) == path


async def test_a_body_nested_deeper_than_can_be_read_is_a_bad_review() -> None:  # RT-WH-05
    deep = b'{"request":{"uid":"u","operation":"CREATE","object":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}}"
    found = await response(giving(allowed()), deep)
    assert found["status"]["code"] == 400


async def test_an_answer_that_is_no_json_is_a_panic() -> None:  # RT-WH-07
    panics = Counter("panics", "", registry=CollectorRegistry())
    broken = AdmissionResponse(allowed=True, status={"code": 200, "message": object()})
    found = await response(giving(broken), panics=panics)
    assert found["status"]["code"] == 500
    assert not found["allowed"]
    assert found["uid"] == "u-1"
    assert panics._value.get() == 1
