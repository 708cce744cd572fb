"""Updating an instance by giving it the new template instead of deleting it (IPI-1 … IPI-8).

The RoleInstance stays: name, uid, annotations, what was allocated to it. Its controller then decides for each pod
whether that can stay too. Possible when old and new revision are known and have the same components of the same sizes,
and unless updateStrategy.type is RecreatePod.

While it goes on, condition RoleInstanceInPlaceUpdateReady, a readiness gate of the instance, is not True, which takes
all pods of the instance out of service:

    1. gate False, and with it RoleInstanceReady   (status; only an instance that has the gate)
    2. revision label, state annotation, spec, gate (one patch)
    3. once the instance is complete: gate True    (status)

The gate is not there on a new instance: it would cost every instance one more write and one more round between two
controllers before it becomes Ready, and a missing condition counts as False anyway from the patch that brings the
gate. A template change that its pods would not notice (restart delays, ready policy) goes without gate altogether.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson

from rbgctl.api import annotations, conditions, identity, labels
from rbgctl.api.kinds import ROLE_INSTANCE
from rbgctl.api.v1alpha2.roleinstance import RoleInstance
from rbgctl.api.v1alpha2.rollout import recreates_pods
from rbgctl.controllers.instanceset.identity import Blueprint, with_identity
from rbgctl.controllers.instanceset.members import Member
from rbgctl.machinery.conditions import with_condition
from rbgctl.machinery.gvk import RawObject
from rbgctl.machinery.merge_patch import merge_patch
from rbgctl.machinery.plan import InOrder, MergePatch, Step
from rbgctl.machinery.timestamps import format_time
from rbgctl.planning.instance_revision import instance_content

GATE: Final = conditions.INSTANCE_IN_PLACE_UPDATE_READY
_GATE_ENTRY: Final = {"conditionType": GATE}


def possible(strategy_type: str | None, old: Blueprint | None, new: Blueprint) -> bool:
    """Whether an instance of revision `old` can be given `new` (IPI-2). None: its revision is gone or unreadable."""
    if recreates_pods(strategy_type) or old is None:
        return False
    return _sizes(old.spec) == _sizes(new.spec)


def update(member: Member, instance: RoleInstance, new: Blueprint, metadata: Mapping[str, Any], now: datetime) -> Step:
    """The writes that give `instance` the new template (IPI-5). `metadata`: more changes for the same patch."""
    name = instance.metadata.name
    before = instance.spec.dump()
    wanted = with_identity(new.spec, name, member.ordinal)
    noticed = not _pods_alike(before, wanted)
    gates = list(wanted.get("readinessGates") or ())
    if (noticed or _has_gate(instance)) and _GATE_ENTRY not in gates:
        gates.append(_GATE_ENTRY)
    if gates:
        wanted = {**wanted, "readinessGates": gates}
    state = {"revision": new.revision, "updateTimestamp": format_time(now), "lastContainerStatuses": None}
    patch = {
        "metadata": {
            **metadata,
            "labels": {**(metadata.get("labels") or {}), labels.CONTROLLER_REVISION_HASH: new.revision},
            "annotations": {
                **(metadata.get("annotations") or {}),
                annotations.INPLACE_UPDATE_STATE: orjson.dumps(state).decode(),
            },
            "uid": instance.metadata.uid,
        },
        "spec": merge_patch(before, wanted),
    }
    if noticed and _has_gate(instance):
        # The status write changes the resourceVersion; having passed it, the patch needs no other precondition.
        return InOrder([_close_gate(instance, now), _patch(instance, patch)])
    patch["metadata"]["resourceVersion"] = instance.metadata.resource_version
    return _patch(instance, patch)


def refresh(member: Member, now: datetime) -> MergePatch | None:
    """The write that opens the gate of an instance whose update is complete; None when nothing is to do (IPI-4)."""
    instance = member.instance
    if instance is None or not member.complete or not _has_gate(instance):
        return None
    gate = instance.status.condition(GATE)
    if gate is not None and (gate.status, gate.reason or "", gate.message or "") == (conditions.TRUE, "", ""):
        return None
    return _status(instance, _with(_conditions(instance), GATE, conditions.TRUE, "", now))


def _pods_alike(before: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    try:
        return instance_content(wanted).same_as({"data": instance_content(before).payload})
    except ValueError:
        return False  # what stands there now is not even readable as a spec


def _close_gate(instance: RoleInstance, now: datetime) -> MergePatch:
    found = _with(_conditions(instance), GATE, conditions.FALSE, conditions.START_IN_PLACE_UPDATE, now)
    ready = instance.status.condition(conditions.INSTANCE_READY)
    if ready is not None and ready.status != conditions.FALSE:
        # IPI-6: with a gate closed the instance is not Ready, whoever looks first.
        found = _with(found, conditions.INSTANCE_READY, conditions.FALSE, conditions.READINESS_GATES_NOT_READY, now)
    return _status(instance, found)


def _has_gate(instance: RoleInstance) -> bool:
    return any(g.condition_type == GATE for g in instance.spec.readiness_gates or ())


def _sizes(spec: Mapping[str, Any]) -> dict[str, int]:
    found = {}
    for component in spec.get("components") or ():
        size = component.get("size")
        found[component.get("name") or ""] = 1 if size is None else size
    return found


def _conditions(instance: RoleInstance) -> list[RawObject]:
    return [c.dump() for c in instance.status.conditions or ()]


def _with(found: Sequence[RawObject], type_: str, status: str, reason: str, now: datetime) -> list[RawObject]:
    new: RawObject = {"type": type_, "status": status, "lastTransitionTime": format_time(now)}
    return with_condition(found, {**new, "reason": reason} if reason else new)


def _status(instance: RoleInstance, found: Sequence[RawObject]) -> MergePatch:
    meta = instance.metadata
    return MergePatch(
        gvk=ROLE_INSTANCE,
        key=instance.key,
        patch={
            "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
            "status": {"conditions": list(found)},
        },
        subresource="status",
        field_manager=identity.MANAGER_INSTANCE_SET_STATEFUL,
    )


def _patch(instance: RoleInstance, patch: dict[str, Any]) -> MergePatch:
    return MergePatch(
        gvk=ROLE_INSTANCE, key=instance.key, patch=patch, field_manager=identity.MANAGER_INSTANCE_SET_STATEFUL
    )
