"""What a new pod of an instance looks like (RIN-13 to RIN-17).

pod = template of its component
    + name, owner, labels that say which pod of which instance and revision it is
    + host name under the component's Service
    + two readiness gates, so that it serves only when the whole instance may
"""

import copy
from collections.abc import Mapping
from typing import Any, Final

from rbgctl.api import conditions, labels
from rbgctl.controllers.instance.pods import POD, Slot
from rbgctl.machinery.gvk import RawObject
from rbgctl.machinery.owner_references import controller_reference

GATES: Final = (conditions.POD_IN_PLACE_UPDATE_READY, conditions.POD_INSTANCE_READY)


def new_pod(instance: RawObject, slot: Slot, revision_hash: str) -> RawObject:
    """The pod to create for `slot`.

    instance: apiVersion, kind and metadata are used. revision_hash: short hash of the instance's update revision.
    """
    meta = instance["metadata"]
    template: Mapping[str, Any] = slot.component.template or {}
    given = template.get("metadata") or {}
    role_type = (meta.get("labels") or {}).get(labels.ROLE_TYPE)
    metadata: dict[str, Any] = {
        "name": slot.name,
        "generateName": f"{meta['name']}-",
        "namespace": meta.get("namespace") or "",
        "labels": {**(given.get("labels") or {}), **_labels(meta["name"], role_type, slot, revision_hash)},
        "ownerReferences": [controller_reference(instance)],
    }
    for field in ("annotations", "finalizers"):
        if given.get(field):
            metadata[field] = copy.deepcopy(given[field])
    return {
        "apiVersion": POD.api_version,
        "kind": POD.kind,
        "metadata": metadata,
        "spec": _spec(template.get("spec") or {}, slot),
    }


def _labels(instance: str, role_type: str | None, slot: Slot, revision_hash: str) -> dict[str, str]:
    found = {
        labels.CONTROLLER_REVISION_HASH: revision_hash,
        labels.ROLE_INSTANCE_NAME: instance,
        labels.COMPONENT_NAME: slot.component.name,
        labels.COMPONENT_ID: str(slot.id),
    }
    if role_type == labels.ROLE_TYPE_LEADER_WORKER_SET:
        found[labels.COMPONENT_INDEX] = str(_rank(slot))
    return found


def _rank(slot: Slot) -> int:
    """Rank in a leader-worker instance: the leader is 0, workers come after it (RIN-14)."""
    return slot.id + 1 if slot.component.name == labels.COMPONENT_WORKER else slot.id


def _spec(template: Mapping[str, Any], slot: Slot) -> dict[str, Any]:
    spec: dict[str, Any] = copy.deepcopy(dict(template))
    if slot.component.service_name:
        spec["hostname"] = slot.name
        spec["subdomain"] = slot.component.service_name
    gates = list(spec.get("readinessGates") or ())
    present = {gate.get("conditionType") for gate in gates}
    spec["readinessGates"] = [*gates, *({"conditionType": gate} for gate in GATES if gate not in present)]
    return spec
