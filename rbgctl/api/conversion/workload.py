"""Workload type of a role: a field in v1alpha1, the role annotation role-workload-type in v1alpha2 (CV-10, CV-32)."""

from typing import Any

from rbgctl.api.annotations import ROLE_WORKLOAD_TYPE
from rbgctl.api.v1alpha2.workload_type import ROLE_INSTANCE_SET
from rbgctl.machinery.gvk import RawObject


def annotations_up(role: RawObject) -> Any:
    """Annotations of the v1alpha2 role: those of the v1alpha1 one and the type, if both its halves are given. CV-10"""
    annotations, workload = role.get("annotations"), role.get("workload")
    if not isinstance(workload, dict):
        return annotations
    api_version, kind = workload.get("apiVersion"), workload.get("kind")
    if not (isinstance(api_version, str) and isinstance(kind, str) and api_version and kind):
        return annotations
    text = f"{api_version}/{kind}"
    if not isinstance(annotations, dict):
        return {ROLE_WORKLOAD_TYPE: text}
    return annotations if annotations.get(ROLE_WORKLOAD_TYPE) == text else {**annotations, ROLE_WORKLOAD_TYPE: text}


def workload_down(role: RawObject) -> RawObject:
    """The v1alpha1 field: the annotation cut at its last slash; RoleInstanceSet when that makes no sense. CV-32"""
    annotations = role.get("annotations")
    text = annotations.get(ROLE_WORKLOAD_TYPE) if isinstance(annotations, dict) else None
    if not isinstance(text, str) or text.rfind("/") <= 0:
        text = ROLE_INSTANCE_SET
    api_version, _, kind = text.rpartition("/")
    return {"apiVersion": api_version, "kind": kind}
