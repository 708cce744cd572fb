"""The headless Service of a role: gives its pods their DNS names (RBG-5, RBG-107..112)."""

from collections.abc import Iterator
from typing import Any

from rbgctl.api import annotations, labels, names
from rbgctl.api.v1alpha2.defaults import role_replicas, shared_service_selection
from rbgctl.api.v1alpha2.patterns import SELECT_LEADER_ONLY
from rbgctl.api.v1alpha2.rolebasedgroup import RoleSpec
from rbgctl.controllers.group.observe import Observed
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.machinery.plan import UidOf


def effective_name(observed: Observed, role: RoleSpec) -> str:
    """Name of the role's Service.

    A live workload keeps the one it uses: another name would replace its pods. Otherwise a headless Service named
    like the workload, as old releases made them, is honoured; else the current naming.
    """
    group = observed.group.metadata.name
    legacy, current = names.legacy_service_name(group, role.name), names.service_name(group, role.name)
    workload = observed.workload(role)
    if workload is not None:
        return next((name for name in _used(workload, role) if name in {legacy, current}), current)
    existing = observed.services.get(legacy)
    if existing is not None and (existing.get("spec") or {}).get("clusterIP") == "None":
        return legacy
    return current


def _used(workload: RawObject, role: RoleSpec) -> Iterator[str]:
    """Service names of the live components that take the role's; those that name their own do not tell."""
    pattern = role.custom_components_pattern
    own = {c.name for c in (pattern.components if pattern else None) or () if c.service_name}
    template = (workload.get("spec") or {}).get("roleInstanceTemplate") or {}
    for component in template.get("components") or ():
        if component.get("name") not in own:
            yield component.get("serviceName") or ""


def headless_service(observed: Observed, role: RoleSpec, name: str, workload: RawObject) -> RawObject:
    """The Service to apply. Its owner is `workload`, whose uid may only come with the answer to its apply."""
    group = observed.group.metadata
    selector = {labels.GROUP_NAME: group.name, labels.ROLE_NAME: role.name}
    if shared_service_selection(role) == SELECT_LEADER_ONLY:
        selector[labels.COMPONENT_NAME] = labels.COMPONENT_LEADER
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": group.namespace,
            "labels": labels.common(group.namespace, group.name, role.name),
            "annotations": annotations.common(role_replicas(role), role.annotations),
            "ownerReferences": [_owner(workload, observed.workload(role))],
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector,
        },
    }


def _owner(workload: RawObject, live: RawObject | None) -> dict[str, Any]:
    gvk, key = GVK.of(workload), NN.of(workload)
    return {
        "apiVersion": workload["apiVersion"],
        "kind": workload["kind"],
        "name": key.name,
        "uid": live["metadata"]["uid"] if live is not None else UidOf(gvk, key),
        "blockOwnerDeletion": True,
    }
