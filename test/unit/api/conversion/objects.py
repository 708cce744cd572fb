"""Objects of both versions for tests of conversion, and the two directions by name."""

from typing import Any

import orjson

from rbgctl.api.conversion import convert_and_report
from rbgctl.machinery.gvk import RawObject

V1 = "workloads.x-k8s.io/v1alpha1"
V2 = "workloads.x-k8s.io/v1alpha2"
WT = "rbg.workloads.x-k8s.io/role-workload-type"
GANG = "rbg.workloads.x-k8s.io/group-gang-scheduling"
TOPOLOGY = "rbg.workloads.x-k8s.io/group-exclusive-topology"
OLD_TOPOLOGY = "rolebasedgroup.workloads.x-k8s.io/exclusive-topology"
POLICY = "conversion.workloads.x-k8s.io/v1alpha1-pod-group-policy"
COORDINATION = "conversion.workloads.x-k8s.io/v1alpha1-coordination"
V1_DATA = "conversion.workloads.x-k8s.io/v1alpha1-data"
V2_DATA = "conversion.workloads.x-k8s.io/v1alpha2-data"

ROLE_INSTANCE_SET = {"apiVersion": V2, "kind": "RoleInstanceSet"}
STATEFUL_SET = {"apiVersion": "apps/v1", "kind": "StatefulSet"}
TEMPLATE = {"metadata": {}, "spec": {"containers": [{"name": "c", "image": "i", "futureField": {"x": [1, None]}}]}}


def group(version: str, *roles: Any, annotations: dict[str, Any] | None = None, **spec: Any) -> RawObject:
    """A RoleBasedGroup with these roles and further spec fields."""
    metadata: RawObject = {"name": "g", "namespace": "n", "uid": "u"}
    if annotations is not None:
        metadata["annotations"] = annotations
    return {"apiVersion": version, "kind": "RoleBasedGroup", "metadata": metadata, "spec": {"roles": [*roles], **spec}}


def group_set(version: str, annotations: dict[str, Any] | None = None, **spec: Any) -> RawObject:
    """A RoleBasedGroupSet."""
    metadata: RawObject = {"name": "s", "namespace": "n"}
    if annotations is not None:
        metadata["annotations"] = annotations
    return {"apiVersion": version, "kind": "RoleBasedGroupSet", "metadata": metadata, "spec": spec}


def up(obj: RawObject) -> RawObject:
    """To v1alpha2; the object must not raise problems."""
    return _quiet(obj, V2)


def down(obj: RawObject) -> RawObject:
    """To v1alpha1; the object must not raise problems."""
    return _quiet(obj, V1)


def _quiet(obj: RawObject, version: str) -> RawObject:
    converted, problems = convert_and_report(obj, version)
    assert not problems
    return copied(converted)


def role_up(**role: Any) -> RawObject:
    """A v1alpha1 role in v1alpha2."""
    converted: RawObject = up(group(V1, {"name": "w", **role}))["spec"]["roles"][0]
    return converted


def role_down(**role: Any) -> RawObject:
    """A v1alpha2 role in v1alpha1, without the workload that every role has there."""
    converted: RawObject = down(group(V2, {"name": "w", **role}))["spec"]["roles"][0]
    assert converted.pop("workload") == ROLE_INSTANCE_SET
    return converted


def annotations_of(obj: RawObject) -> dict[str, str]:
    found: dict[str, str] = obj["metadata"].get("annotations", {})
    return found


def copied(obj: Any) -> Any:
    """As the API server would send it back: nothing shared, keys in another order."""
    return orjson.loads(orjson.dumps(obj, option=orjson.OPT_SORT_KEYS))
