"""Validators as the webhook server runs them: what they read, and what becomes of failures to read."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from rbgctl.api import kinds
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.machinery.selectors import LabelSelector
from rbgctl.runtime.admission import RAW, AdmissionEndpoint, AdmissionRequest, AdmissionResponse, Validating, Validator
from rbgctl.runtime.cache import CacheNotStarted
from rbgctl.runtime.client_protocols import ObjectList
from rbgctl.runtime.errors import ApiError, Forbidden, NotFound, TooManyRequests, TransportError
from rbgctl.runtime.webhook_call import Call
from rbgctl.webhooks.admission import validators

TEMPLATE = {"spec": {"containers": [{"name": "c", "image": "i"}]}}
ADAPTER = NN("n", "shop-a")


@dataclass
class Objects:
    """A reader of what a test put there; an error is raised."""

    found: dict[tuple[GVK, NN], RawObject | Exception] = field(default_factory=dict)
    asked: list[NN] = field(default_factory=list)

    async def get(self, gvk: GVK, key: NN) -> RawObject:
        self.asked.append(key)
        found = self.found.get((gvk, key))
        if found is None:
            raise NotFound({"code": 404, "reason": "NotFound", "message": "not found"})
        if isinstance(found, Exception):
            raise found
        return found

    async def list(self, gvk: GVK, namespace: str = "", *, labels: LabelSelector | None = None) -> ObjectList:
        raise NotImplementedError


def adapter(replicas: int | None) -> RawObject:
    return {
        "spec": {"scaleTargetRef": {"name": "shop", "role": "a"}} | ({} if replicas is None else {"replicas": replicas})
    }


def group(replicas: int | None = 1, *, scaled: bool = True, kind: str = "", **role: Any) -> RawObject:
    made: dict[str, Any] = {"name": "a", "standalonePattern": {"template": TEMPLATE}, **role}
    if replicas is not None:
        made["replicas"] = replicas
    if scaled:
        made["scalingAdapter"] = {"enable": True}
    if kind:
        made["annotations"] = {"rbg.workloads.x-k8s.io/role-workload-type": kind}
    return {"kind": "RoleBasedGroup", "metadata": {"name": "shop", "namespace": "n"}, "spec": {"roles": [made]}}


async def asked(
    validator: Validator[RawObject], operation: str, new: RawObject | None, old: RawObject | None = None
) -> AdmissionResponse:
    """What the API server gets to hear."""
    gvk = GVK("", "v1", "X")
    return await Validating(validator, RAW)(
        AdmissionRequest(
            uid="u",
            operation=operation,
            kind=gvk,
            request_kind=gvk,
            sub_resource="",
            namespace="n",
            name="",
            user="",
            dry_run=False,
            raw={},
            raw_object=orjson.dumps(new) if new is not None else b"",
            raw_old_object=orjson.dumps(old) if old is not None else b"",
        )
    )


async def scaled(
    live: RawObject | Exception | None, old: RawObject, new: RawObject
) -> tuple[AdmissionResponse, Objects]:
    key = (kinds.SCALING_ADAPTER, ADAPTER)
    server = Objects({key: live} if live is not None else {})
    validator = validators(server)[kinds.ROLE_BASED_GROUP]
    return await asked(validator, "UPDATE", new, old), server


async def test_replicas_of_an_adapter_are_not_changed_by_hand() -> None:
    """VAL-3, VLD-4: the message names role, wanted replicas, adapter and its replicas."""
    answer, server = await scaled(adapter(4), group(1), group(2))
    assert (answer.allowed, answer.status["code"], answer.status["reason"]) == (False, 403, "Forbidden")
    assert answer.status["message"].startswith(
        'spec.roles[0].replicas (role "a"): 2 is not what scaling adapter n/shop-a'
    )
    assert "(4)" in answer.status["message"]
    assert server.asked == [ADAPTER]  # live, and once


@pytest.mark.parametrize(
    ("live", "old", "new"),
    [
        (adapter(2), group(1), group(2)),
        (adapter(None), group(1), group(2)),
        (None, group(1), group(2)),
        (adapter(4), group(2), group(2, minReadySeconds=3)),
        (adapter(4), group(1), group(2, scaled=False)),
        (adapter(4), group(1), group(None)),
        (adapter(4), {"spec": {"roles": []}}, group(2)),
    ],
    ids=["the adapter's own", "adapter without replicas", "no adapter", "unchanged", "off", "none wanted", "new role"],
)
async def test_what_the_adapter_does_not_say_is_free(
    live: RawObject | None, old: RawObject, new: RawObject
) -> None:  # VAL-3 VLD-4
    answer, _ = await scaled(live, old, new)
    assert answer.allowed


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Forbidden({"code": 403, "reason": "Forbidden", "message": "no rights"}), 500),
        (TooManyRequests({"code": 429, "reason": "TooManyRequests", "message": "later"}), 503),
        (ApiError({"code": 500, "message": "etcd"}), 500),
        (TransportError("refused", "connection refused"), 503),
    ],
)
async def test_an_adapter_that_cannot_be_read_is_our_failure(error: Exception, code: int) -> None:
    """VAL-3, VAL-10: 500 or 503, not Forbidden; what is wrong with the object itself is still said first."""
    answer, _ = await scaled(error, group(1), group(2))
    assert (answer.allowed, answer.status["code"]) == (False, code)
    assert "failed to get ScalingAdapter n/shop-a: " in answer.status["message"]
    broken = group(2, rolloutStrategy={"rollingUpdate": {"maxSurge": "x"}})
    refused, _ = await scaled(error, group(1), broken)
    assert (refused.allowed, refused.status["code"]) == (False, 403)


async def test_only_a_real_group_set_speaks_for_its_groups() -> None:
    """Anybody can write an owner reference; a set excuses no more than what its own template says."""
    new = group(scaled=False, dependencies=["z"])
    row = {"metadata": {"name": "row", "namespace": "n", "uid": "u"}, "spec": {"groupTemplate": {"spec": new["spec"]}}}
    sets = Objects({(kinds.ROLE_BASED_GROUP_SET, NN("n", "row")): row})
    owner = {"apiVersion": "workloads.x-k8s.io/v1alpha1", "kind": "RoleBasedGroupSet", "name": "row", "uid": "u"}

    async def allowed(obj: RawObject, reader: Objects, **fields: Any) -> bool:
        owned = copy.deepcopy(obj)
        owned["metadata"]["ownerReferences"] = [{**owner, "controller": True, **fields}]
        return (await asked(validators(reader)[kinds.ROLE_BASED_GROUP], "CREATE", owned)).allowed

    assert await allowed(new, sets)
    assert not await allowed(new, sets, apiVersion="example.com/v1")
    assert not await allowed(new, sets, uid="other")
    assert not await allowed(new, sets, name="gone")
    assert not await allowed(new, sets, controller=False)
    assert not await allowed(group(scaled=False, dependencies=["y"]), sets)


async def test_refusals_come_in_the_order_of_the_rules() -> None:
    """VAL-9: budgets, adapters, deprecated types, and then what is ours alone."""
    key = (kinds.SCALING_ADAPTER, ADAPTER)
    both = Objects({key: adapter(4)})
    validator = validators(both, deprecated_types_enabled=False)[kinds.ROLE_BASED_GROUP]
    new = group(
        2,
        kind="apps/v1/Deployment",
        rolloutStrategy={"rollingUpdate": {"maxSurge": "x"}},
        dependencies=["z"],
    )
    answer = await asked(validator, "UPDATE", new, group(1))
    message = answer.status["message"]
    order = ["maxSurge: invalid", "scaling adapter", "is deprecated and not enabled", "[z] not found in rbg"]
    assert message.startswith("[")
    assert sorted(order, key=message.index) == order


def made(**options: Any) -> Sequence[Validator[RawObject]]:
    return list(validators(Objects(), **options).values())


async def test_deletions_are_always_allowed() -> None:  # VAL-5 VLD-6 AR-8
    for validator in made(deprecated_types_enabled=False):
        answer = await asked(validator, "DELETE", None, group(kind="apps/v1/Deployment", dependencies=["z"]))
        assert (answer.allowed, list(answer.warnings)) == (True, [])


async def test_the_toggle_reaches_both_validators() -> None:  # VAL-4 VAL-4s DW-7
    old_type = group(kind="apps/v1/Deployment", scaled=False)
    row = {"metadata": {"name": "row"}, "spec": {"replicas": 1, "groupTemplate": {"spec": old_type["spec"]}}}
    for on in (True, False):
        table = validators(Objects(), deprecated_types_enabled=on)
        for kind, new in ((kinds.ROLE_BASED_GROUP, old_type), (kinds.ROLE_BASED_GROUP_SET, row)):
            for old in (None, new):
                answer = await asked(table[kind], "UPDATE" if old else "CREATE", new, old)
                assert answer.allowed is on
                assert on or answer.status["code"] == 403


async def test_a_denial_on_the_wire() -> None:  # TV-8 AR-3 AR-4
    roles = [
        {"name": "a", "replicas": 3, "rolloutStrategy": {"rollingUpdate": {"partition": 3}}},
        {"name": "b", "replicas": 3, "rolloutStrategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}},
    ]
    for role in roles:
        role["standalonePattern"] = {"template": TEMPLATE}
    new = {"metadata": {"name": "shop", "namespace": "n"}, "spec": {"roles": roles}}
    review = {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {"uid": "u-1", "operation": "CREATE", "object": new, "kind": {}, "namespace": "n"},
    }
    validator = validators(Objects())[kinds.ROLE_BASED_GROUP]
    answer = await AdmissionEndpoint(Validating(validator, RAW))(Call(orjson.dumps(review), "application/json"))
    path = "rolloutStrategy.rollingUpdate"
    assert answer.status == 200
    assert orjson.loads(answer.body) == {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {
            "uid": "u-1",
            "allowed": False,
            "status": {
                "code": 403,
                "reason": "Forbidden",
                "message": f"[spec.roles[0].{path}.partition: 3 must be less than replicas 3,"
                f" spec.roles[1].{path}: maxSurge and maxUnavailable cannot both be 0]",
            },
        },
    }


async def test_the_name_of_the_object_counts() -> None:
    """AR-10: generateName leaves the name of the request empty."""
    validator = validators(Objects())[kinds.ROLE_BASED_GROUP]
    new = group(scaled=False)
    new["metadata"] |= {"generateName": "Shop-", "name": "Shop-x7"}
    answer = await asked(validator, "CREATE", new)
    assert 'metadata.name: "Shop-x7" is not a valid DNS label' in answer.status["message"]


async def test_a_verdict_has_no_patch() -> None:  # AR-6
    for validator in made():
        for new in (group(scaled=False), group(scaled=False, dependencies=["z"])):
            assert not (await asked(validator, "CREATE", new)).patch


async def test_companions_are_warned_about_and_never_refused() -> None:
    """CP-1, POL-20: a policy whose name matches no group; without a readable group nothing is said."""
    there = {(kinds.ROLE_BASED_GROUP, NN("n", "shop")): group(scaled=False)}
    rule = {"name": "r", "roles": ["a"], "strategy": {"scaling": {"maxSkew": "10%"}}}
    policy: RawObject = {"kind": "CoordinatedPolicy", "metadata": {"name": "shop"}, "spec": {"policies": [rule]}}

    async def warned(obj: RawObject, reader: Objects, old: RawObject | None = None) -> list[str]:
        table = validators(reader)
        answer = await asked(table[kinds.COORDINATED_POLICY], "UPDATE" if old else "CREATE", obj, old)
        assert answer.allowed
        return list(answer.warnings)

    assert await warned(policy, Objects(dict(there))) == []
    other = copy.deepcopy(policy)
    other["metadata"]["name"] = "shop-policy"
    assert await warned(other, Objects(dict(there))) == [
        'metadata.name: no RoleBasedGroup "shop-policy" exists here; a policy needs the name of its group'
    ]
    assert await warned(other, Objects(dict(there)), old=policy) == []  # the spec is the same
    for error in (CacheNotStarted("not yet"), TransportError("refused", "x"), ApiError({"code": 500})):
        assert await warned(other, Objects({(kinds.ROLE_BASED_GROUP, NN("n", "shop-policy")): error})) == []
