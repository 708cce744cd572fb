"""When all pods of an instance are made anew because one of them failed or restarted (RST-1 to RST-11).

    trigger   a pod that failed, or a container that restarted and was not expected to
    when      the instance is Ready or was recreated lately, and nothing else is under way: no unseen spec, no rollout
    delay     base * 2^(count-1) seconds after the last recreation, at most max; none after the first crash
    count     recreations so far; it starts again at 1 when the last one is longer ago than max(2 * max, 10 minutes)

During the delay the pods stay as they are, for whoever wants to look at them.

A restart is expected when an in-place update explains it. Before such an update the state of each changed container
is stored as its baseline: (restartCount, imageID). One more restart than that is expected under another imageID, none
under the same. Restarts from before the instance first served are stored as baselines too: they are not crashes of
something that worked.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from rbgctl.api import annotations, conditions
from rbgctl.api.v1alpha2.restart_policy import RestartPolicy
from rbgctl.api.v1alpha2.roleinstance import RoleInstanceStatus
from rbgctl.controllers.instance.pods import Pod
from rbgctl.machinery.timestamps import parse_time

Baselines = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""status.inPlaceUpdateContainerBaselines: by pod and container, `restartCount` and `imageID`."""

UNCAPPED: Final = 2**31 - 1
"""Longest delay in seconds when the policy names no maximum."""
FORGOTTEN_AFTER: Final = 300
"""Seconds after which a recreation that could not be finished is no longer insisted on."""
LEAST_STABLE: Final = 600
"""Seconds after which a recreation counts as long ago, however short the delays are."""


@dataclass(frozen=True, slots=True)
class Tracking:
    """What is known of earlier recreations. `last`: when the latest began. `restarting`: it is not over yet."""

    count: int = 0
    last: datetime | None = None
    restarting: bool = False

    @classmethod
    def of(cls, status: RoleInstanceStatus) -> "Tracking":
        """As stored. A time that cannot be read counts as none."""
        condition = status.condition(conditions.INSTANCE_RESTARTING)
        return cls(
            count=status.restart_count or 0,
            last=_time(status.last_restart_time),
            restarting=condition is not None and condition.status == conditions.TRUE,
        )

    def synced(self, live: "Tracking | None") -> "Tracking":
        """With what a live read knows better: a later recreation, or a higher count (RST-6)."""
        if live is None:
            return self
        if live.last is not None and (self.last is None or live.last > self.last):
            return live
        return Tracking(max(self.count, live.count), self.last, live.restarting)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recreation:
    """A recreation that this process began, remembered until the status tells of it and its pods are gone (RST-9).

    instance: uid of the instance. cause: what crashed. tracking: what the status has to say. pods: uids of the pods
    that have to go.
    """

    instance: str
    cause: str
    tracking: Tracking
    pods: frozenset[str]

    def over(self, instance: str, stored: Tracking, pods: Iterable[Pod], now: datetime) -> bool:
        """Whether it can be forgotten: done and stored, of a predecessor of that name, or too old to mean anything."""
        begun = self.tracking.last
        if self.instance != instance or begun is None or now - begun > timedelta(seconds=FORGOTTEN_AFTER):
            return True
        written = stored.last is not None and stored.last >= begun
        return written and not any(p.uid in self.pods and not p.terminating for p in pods)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the decision depends on.

    tracking: of the recreation that this process has begun, if it is not over; else as stored, synced with a live read
    where one was made.
    served: the stored status says Ready.
    settled: the stored status describes the current spec, and no revision is being rolled out.
    pods: all that the instance controls.
    """

    policy: RestartPolicy
    tracking: Tracking
    served: bool
    settled: bool
    pods: Sequence[Pod]
    baselines: Baselines


@dataclass(frozen=True, slots=True)
class Decision:
    """At most one of: `recreate`, with why; `wait`, seconds in which nothing is scaled or updated."""

    recreate: str = ""
    wait: float = 0.0


def decide(facts: Facts, now: datetime) -> Decision:
    """What the policy asks for in this pass (RIN-6.2, RIN-6.3)."""
    if not facts.policy.recreates or not facts.settled:
        return Decision()
    cause = crash(facts.pods, facts.baselines)
    due = bool(cause) and (facts.served or recent(facts.policy, facts.tracking, now))
    if due or any(p.failed for p in facts.pods):
        left = backoff(facts.policy, facts.tracking, now)
        if left > 0:
            return Decision(wait=left)
    if due and not facts.tracking.restarting:
        return Decision(recreate=cause)
    return Decision()


def needs_live_read(policy: RestartPolicy, pods: Iterable[Pod], baselines: Baselines) -> bool:
    """Whether stale tracking could do harm: only when some pod failed or restarted (RST-6, RST-9)."""
    return policy.recreates and bool(crash(pods, baselines))


def crash(pods: Iterable[Pod], baselines: Baselines) -> str:
    """Which pod calls for a recreation, and what is known about its end; empty when none does (RST-1.4).

    Pods on their way out do not, nor those whose annotation says Ignore, nor those in an in-place update.
    """
    for pod in pods:
        if pod.terminating or pod.annotation(annotations.RESTART_TRIGGER_POLICY) == annotations.RESTART_TRIGGER_IGNORE:
            continue
        updated = pod.condition(conditions.POD_IN_PLACE_UPDATE_READY)
        if updated is not None and updated.get("status") == conditions.FALSE:
            continue
        if pod.failed:
            return f"pod {pod.name} failed ({pod.reason}){_evidence(pod)}"
        if container := unexpected_restart(pod, baselines.get(pod.name) or {}):
            return f"container {container} of pod {pod.name} restarted{_evidence(pod, container)}"
    return ""


def unexpected_restart(pod: Pod, baselines: Mapping[str, Mapping[str, Any]]) -> str:
    """Name of a container with restarts that no baseline explains; empty when there is none (RST-3)."""
    for name, status in pod.container_statuses.items():
        count = int(status.get("restartCount") or 0)
        if count == 0:
            continue
        before = baselines.get(name)
        if before is None:
            return name
        since = count - int(before.get("restartCount") or 0)
        if not 0 <= since <= int(status.get("imageID") != before.get("imageID")):
            return name
    return ""


def backoff(policy: RestartPolicy, tracking: Tracking, now: datetime) -> float:
    """Seconds until the next recreation may begin, 0 for at once (RST-5)."""
    if tracking.restarting or tracking.last is None or policy.base_delay_seconds == policy.max_delay_seconds == 0:
        return 0.0
    due = tracking.last + timedelta(seconds=delay(policy, tracking.count))
    return max(0.0, (due - now).total_seconds())


def delay(policy: RestartPolicy, count: int) -> int:
    """Seconds between recreation number `count` and the next one (RST-8)."""
    base, limit = policy.base_delay_seconds, policy.max_delay_seconds or UNCAPPED
    if base <= 0 or count <= 0:
        return 0
    # More doublings than that only cost time.
    return int(min(base * 2 ** min(count - 1, 31), limit))


def stable_after(policy: RestartPolicy) -> int:
    """Seconds after which a recreation is long ago (RST-7)."""
    return max(2 * policy.max_delay_seconds, LEAST_STABLE)


def recent(policy: RestartPolicy, tracking: Tracking, now: datetime) -> bool:
    """Whether the last recreation is not long ago yet (RST-7)."""
    return tracking.last is not None and now - tracking.last <= timedelta(seconds=stable_after(policy))


def recreated(policy: RestartPolicy, tracking: Tracking, now: datetime) -> Tracking:
    """The tracking after a recreation begun now (RST-10)."""
    return Tracking((tracking.count if recent(policy, tracking, now) else 0) + 1, now, restarting=True)


def restarts_so_far(pods: Iterable[Pod]) -> dict[str, dict[str, dict[str, Any]]]:
    """Baselines of all containers that have restarted: what an instance brings along when it first serves."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for pod in pods:
        for name, status in pod.container_statuses.items():
            if count := int(status.get("restartCount") or 0):
                found.setdefault(pod.name, {})[name] = {"restartCount": count, "imageID": status.get("imageID") or ""}
    return found


def in_force(baselines: Baselines, pods: Iterable[Pod]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """`baselines` without entries of containers that are not the ones they were recorded from (RST-3).

    A pod made anew under the same name has no state annotation, and shows fewer restarts or another image. Its first
    crash must count. Pods that do not exist at the moment keep theirs: see STA-2.
    """
    existing = {pod.name: pod for pod in pods}
    kept: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, containers in baselines.items():
        pod = existing.get(name)
        left = {c: b for c, b in containers.items() if pod is None or not _of_another(pod, c, b)}
        if left:
            kept[name] = left
    return kept


def _of_another(pod: Pod, container: str, baseline: Mapping[str, Any]) -> bool:
    status = pod.container_statuses.get(container)
    if status is None or pod.annotation(annotations.INPLACE_UPDATE_STATE):
        return False
    fewer = int(status.get("restartCount") or 0) < int(baseline.get("restartCount") or 0)
    return fewer or status.get("imageID") != baseline.get("imageID")


def _evidence(pod: Pod, container: str = "") -> str:
    """What the kubelet says about the end of a container: the named one, else the first that ended with an error."""
    for name, status in pod.container_statuses.items():
        if container not in ("", name):
            continue
        ended = (status.get("lastState") or {}).get("terminated") or (status.get("state") or {}).get("terminated")
        if ended and (container or ended.get("exitCode")):
            reason = f" ({ended['reason']})" if ended.get("reason") else ""
            return f": container {name} ended with exit code {ended.get('exitCode', 0)}{reason}"
    return ""


def _time(text: str | None) -> datetime | None:
    try:
        return parse_time(text) if text else None
    except ValueError:
        return None
