"""What an instance's status says about its pods (STA-1 to STA-9).

Per component, over its active pods:

    size, ready = available, scheduled, updated (follows the update revision), updated and ready

The instance is Ready unless the set is updating it in place or, under ready policy AllPodReady, one of the pods it
asks for is not ready. currentRevision becomes updateRevision when exactly the wanted pods exist and all follow it.

Under a restart policy it also keeps count of recreations and, when the instance first serves, of what its containers
went through until then (RST-3).

Conditions of other writers stay as they are. A condition that says the same as before keeps its time (STA-6).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rbgctl.api import conditions, labels
from rbgctl.api.v1alpha2.defaults import component_size, instance_restart_policy, ready_policy
from rbgctl.api.v1alpha2.roleinstance import ALL_POD_READY, READY_POLICY_NONE, RoleInstance, RoleInstanceStatus
from rbgctl.controllers.instance.pods import Pod, active, slots
from rbgctl.controllers.instance.readiness import in_place_phase
from rbgctl.controllers.instance.restart_policy import Baselines, Tracking, in_force, restarts_so_far
from rbgctl.machinery.conditions import keep_time
from rbgctl.machinery.gvk import RawObject
from rbgctl.machinery.timestamps import format_time
from rbgctl.planning.revisions import Resolution, name_of, short_hash

Status = dict[str, Any]
Condition = dict[str, Any]

_RESTARTING: Final = (conditions.RESTART_POLICY_TRIGGERED, "Instance is being recreated due to restart policy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """What went wrong in this pass, empty texts for nothing: messages of FailedScale and FailedUpdate."""

    scale: str = ""
    update: str = ""


def new_status(
    instance: RawObject,
    view: RoleInstance,
    pods: Sequence[Pod],
    revisions: Resolution,
    failures: Failures,
    now: str,
    *,
    recreation: Tracking | None = None,
) -> Status:
    """The whole status as it should be.

    instance, view: the same object, raw and typed. pods: those that the instance controls. now: metav1.Time.
    recreation: of one that began and that the stored status does not tell of.
    """
    running = active(pods)
    before: Status = instance.get("status") or {}
    update = short_hash(revisions.update)
    components = [_component(c.name, [p for p in running if p.component == c.name], update) for c in view.components]
    wanted = sum(component_size(c) for c in view.components)
    settled = sum(c["updatedReplicas"] for c in components) == len(running) == wanted
    status = {
        **before,
        "observedGeneration": view.metadata.generation,
        "labelSelector": f"{labels.ROLE_INSTANCE_NAME}={view.metadata.name}",
        "currentRevision": name_of(revisions.update if settled else revisions.current),
        "updateRevision": name_of(revisions.update),
        "collisionCount": revisions.collision_count,
        "componentStatuses": components,
        "conditions": _conditions(before, view, pods, failures, now, restarting=recreation is not None),
    }
    if recreation is not None and recreation.last is not None:
        status |= {"restartCount": recreation.count, "lastRestartTime": format_time(recreation.last)}
    return _with_baselines(status, before, view, pods, settled=settled)


def status_with_failures(before: Status, failures: Failures, now: str) -> Status:
    """The stored status, only that it tells of `failures`: for a pass that must be repeated from the same state."""
    stored: list[Condition] = list(before.get("conditions") or ())
    old = {c["type"]: c for c in stored}
    return {**before, "conditions": _merged(stored, old, _failed(old, failures, now))}


def baselines_of(status: RoleInstanceStatus) -> Baselines:
    """status.inPlaceUpdateContainerBaselines as plain values."""
    stored: Baselines = status.dump().get("inPlaceUpdateContainerBaselines") or {}
    return stored


def _with_baselines(
    status: Status, before: Status, view: RoleInstance, pods: Sequence[Pod], *, settled: bool
) -> Status:
    """Adds what the instance brings along when it first serves, drops what describes other containers (RST-3, RST-4).

    It has served before when restartCount is there, be it 0, or when it is Ready by the stored status.
    """
    kept = dict(in_force(baselines_of(view.status), pods))
    if settled:
        existing = {p.name for p in pods}
        kept = {name: containers for name, containers in kept.items() if name in existing}
    if instance_restart_policy(view.spec).recreates and "restartCount" not in before and _is_ready(status):
        if not _is_ready(before):
            for name, containers in restarts_so_far(active(pods)).items():
                kept[name] = {**containers, **kept.get(name, {})}
        status = {**status, "restartCount": 0}
    if kept:
        return {**status, "inPlaceUpdateContainerBaselines": kept}
    return {key: value for key, value in status.items() if key != "inPlaceUpdateContainerBaselines"}


def _is_ready(status: Mapping[str, Any]) -> bool:
    found = status.get("conditions") or ()
    return any(c["type"] == conditions.INSTANCE_READY and c["status"] == conditions.TRUE for c in found)


def _component(name: str, pods: Sequence[Pod], update: str) -> dict[str, Any]:
    ready = sum(p.ready for p in pods)
    return {
        "name": name,
        "size": len(pods),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "scheduledReplicas": sum(p.scheduled for p in pods),
        "updatedReplicas": sum(p.hash == update for p in pods),
        "updatedReadyReplicas": sum(p.ready and p.hash == update for p in pods),
    }


def all_pods_ready(view: RoleInstance, pods: Iterable[Pod], now: str) -> Condition:
    """Condition RoleInstanceAllPodsReady: every wanted pod exists, is ours, stays and is ready (STA-4)."""
    ready = {p.name for p in pods if p.ready and not p.terminating}
    late = next((slot.name for slot in slots(view) if slot.name not in ready), None)
    if late is None:
        return _condition(conditions.INSTANCE_ALL_PODS_READY, conditions.TRUE, conditions.PODS_READY, "Ready", now)
    return _condition(
        conditions.INSTANCE_ALL_PODS_READY,
        conditions.FALSE,
        conditions.AT_LEAST_ONE_POD_NOT_READY,
        f"pod {late} is not ready",
        now,
    )


def instance_ready(view: RoleInstance, pods_ready: Condition | None, now: str) -> Condition:
    """Condition RoleInstanceReady (STA-3). pods_ready: None when the ready policy does not look at pods."""
    if in_place_phase(view):
        reason = conditions.IN_PLACE_UPDATE_NOT_READY
    elif pods_ready is not None and pods_ready["status"] == conditions.FALSE:
        reason = conditions.PODS_NOT_READY
    else:
        return _condition(conditions.INSTANCE_READY, conditions.TRUE, conditions.REASON_READY, "", now)
    return _condition(conditions.INSTANCE_READY, conditions.FALSE, reason, "NotReady", now)


def _conditions(
    before: Mapping[str, Any],
    view: RoleInstance,
    pods: Sequence[Pod],
    failures: Failures,
    now: str,
    *,
    restarting: bool,
) -> list[Condition]:
    stored: list[Condition] = list(before.get("conditions") or ())
    old = {c["type"]: c for c in stored}
    wanted = _failed(old, failures, now)
    policy = ready_policy(view.spec)
    pods_ready = all_pods_ready(view, pods, now) if policy != READY_POLICY_NONE else None
    ready = instance_ready(view, pods_ready, now)
    if ready["status"] == conditions.TRUE:
        # A recreation is over when the instance serves again.
        old.pop(conditions.INSTANCE_RESTARTING, None)
    elif restarting:
        wanted.append(_condition(conditions.INSTANCE_RESTARTING, conditions.TRUE, *_RESTARTING, now))
    wanted.append(ready)
    if pods_ready is not None and policy == ALL_POD_READY:
        wanted.append(pods_ready)
    return _merged(stored, old, wanted)


def _failed(old: Mapping[str, Condition], failures: Failures, now: str) -> list[Condition]:
    """FailedScale and FailedUpdate: True with the text, else False where they were ever True."""
    found: list[Condition] = []
    for type_, message in ((conditions.FAILED_SCALE, failures.scale), (conditions.FAILED_UPDATE, failures.update)):
        if message:
            found.append(_condition(type_, conditions.TRUE, "", message, now))
        elif type_ in old:
            found.append(_condition(type_, conditions.FALSE, "", "", now))
    return found


def _merged(stored: list[Condition], old: Mapping[str, Condition], wanted: Sequence[Condition]) -> list[Condition]:
    merged = {c["type"]: _keep_time(c, old.get(c["type"])) for c in wanted}
    merged |= {type_: condition for type_, condition in old.items() if type_ not in merged}
    # The order says nothing; rewriting the list for it would be a write for nothing.
    if len(stored) == len(old) and merged == old:
        return stored
    return list(merged.values())


def _condition(type_: str, status: str, reason: str, message: str, now: str) -> Condition:
    """Empty texts are left out, as Go does."""
    condition = {"type": type_, "status": status, "lastTransitionTime": now}
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition


def _keep_time(condition: Condition, old: Condition | None) -> Condition:
    """With the old time while the status is the same (STA-6)."""
    if old is None or old["status"] != condition["status"]:
        return condition
    if all((old.get(key) or "") == condition.get(key, "") for key in ("reason", "message")):
        return old
    return keep_time(condition, old)
