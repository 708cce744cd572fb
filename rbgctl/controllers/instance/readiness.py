"""The two readiness gates of a pod (RDY-1 to RDY-5). Condition Ready itself is the kubelet's, we never write it.

    InPlaceUpdateReady   opens when no in-place update of the pod is going on
    InstancePodReady     opens when nobody objects. Objections are keys in its message; ours is there while
                         the instance is being updated in place, or, under ready policy AllPodReady, while some
                         active pod of the instance is not runtime-ready: all pods join and leave the Service together

A gate changes only when it is not as it should be.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rbgctl.api import conditions
from rbgctl.api.v1alpha2.defaults import ready_policy
from rbgctl.api.v1alpha2.roleinstance import ALL_POD_READY, RoleInstance
from rbgctl.controllers.instance.in_place import update_complete
from rbgctl.controllers.instance.pods import Pod

ConditionPatch = dict[str, Any]
"""One element of status.conditions in a strategic merge patch; null removes a field."""

_Key = tuple[str, str]
"""userAgent and key of an objection (RDY-2)."""

OUR_KEY: Final[_Key] = (conditions.GATE_USER_AGENT, conditions.GATE_KEY_INSTANCE_READY)


def in_place_phase(instance: RoleInstance) -> bool:
    """Whether the set is updating the instance in place: it has that gate and the gate is not open (RDY-4, STA-3)."""
    gates = {gate.condition_type for gate in instance.spec.readiness_gates or ()}
    if conditions.INSTANCE_IN_PLACE_UPDATE_READY not in gates:
        return False
    found = instance.status.condition(conditions.INSTANCE_IN_PLACE_UPDATE_READY)
    return found is None or found.status == conditions.FALSE


def hold_back(instance: RoleInstance, active: Sequence[Pod]) -> bool:
    """Whether the instance's pods must not serve now (RDY-4)."""
    if in_place_phase(instance):
        return True
    return ready_policy(instance.spec) == ALL_POD_READY and not all(p.runtime_ready for p in active)


def update_gate(pod: Pod, now: str) -> list[ConditionPatch]:
    """Opens InPlaceUpdateReady when the pod has the gate, it is closed and no update is going on (IPP-5)."""
    gate = conditions.POD_IN_PLACE_UPDATE_READY
    if not pod.has_gate(gate) or pod.is_true(gate) or not update_complete(pod):
        return []
    return [_changed(pod, gate, conditions.TRUE, "", now)]


def instance_gate(pod: Pod, held_back: bool, now: str) -> list[ConditionPatch]:
    """Puts our objection into InstancePodReady or takes it out (RDY-2, RDY-4).

    A pod without the condition always gets it closed first. One that is closed although nobody objects, as a change
    of revision leaves it (IPP-8), is opened.
    """
    gate = conditions.POD_INSTANCE_READY
    if not pod.has_gate(gate):
        return []
    found = pod.condition(gate)
    keys = _keys(found)
    if found is None or (held_back and OUR_KEY not in keys):
        return [_changed(pod, gate, conditions.FALSE, _message({*keys, OUR_KEY}), now)]
    if held_back:
        return []
    left = keys - {OUR_KEY}
    if left == keys and (keys or found.get("status") == conditions.TRUE):
        return []
    return [_changed(pod, gate, conditions.FALSE if left else conditions.TRUE, _message(left), now)]


def start_update(pod: Pod, now: str) -> list[ConditionPatch]:
    """Closes InstancePodReady while the pod moves to another revision without being touched otherwise (IPP-8)."""
    gate = conditions.POD_INSTANCE_READY
    if not pod.has_gate(gate):
        return []
    return [_changed(pod, gate, conditions.FALSE, "", now) | {"reason": conditions.START_INSTANCE_UPDATE}]


def _changed(pod: Pod, gate: str, status: str, message: str, now: str) -> ConditionPatch:
    """The condition as it should be; fields that should be empty are removed only where they are."""
    before = pod.condition(gate) or {}
    patch: ConditionPatch = {"type": gate, "status": status, "lastTransitionTime": now}
    if message:
        patch["message"] = message
    elif before.get("message"):
        patch["message"] = None
    if before.get("reason"):
        patch["reason"] = None
    return patch


def _keys(condition: Mapping[str, Any] | None) -> set[_Key]:
    """The objections in a condition's message; a message that is no such list holds none."""
    try:
        entries = json.loads((condition or {}).get("message") or "[]")
        return {(str(e["userAgent"]), str(e["key"])) for e in entries}
    except (ValueError, TypeError, KeyError):
        return set()


def _message(keys: Iterable[_Key]) -> str:
    entries = [{"userAgent": agent, "key": key} for agent, key in sorted(keys)]
    return json.dumps(entries, separators=(",", ":"), ensure_ascii=False)
