"""What one pass over an instance does, in which order (RIN-3, RIN-4).

    1. its revision
    2. pods: delete all of them when the restart policy says so; else delete what must go, or create what is missing;
       when none of that is due, bring outdated ones up to date. While the policy waits none of it happens
    3. readiness gates of the pods that step 2 left alone
    4. its status, when it changed; old revisions that nobody needs

Every write to a pod comes back as an event and so as another pass. A pass that wrote to a pod therefore leaves the
status to the next one, unless something failed: what it would say is about to be wrong.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from rbgctl.api import conditions, events, identity, labels
from rbgctl.api.kinds import ROLE_INSTANCE
from rbgctl.api.v1alpha2.defaults import instance_restart_policy
from rbgctl.api.v1alpha2.roleinstance import RoleInstance
from rbgctl.controllers.instance.observed import Observed
from rbgctl.controllers.instance.pod_creation import new_pod
from rbgctl.controllers.instance.pods import POD, Pod, Slot, active
from rbgctl.controllers.instance.readiness import ConditionPatch, hold_back, instance_gate, start_update, update_gate
from rbgctl.controllers.instance.restart_policy import (
    Decision,
    Facts,
    Recreation,
    Tracking,
    decide,
    in_force,
    recreated,
)
from rbgctl.controllers.instance.scale import Scale, ScaleError, obstacles, scale, strangers
from rbgctl.controllers.instance.status import Failures, baselines_of, new_status, status_with_failures
from rbgctl.controllers.instance.unsupported import REASON as UNSUPPORTED_FEATURE
from rbgctl.controllers.instance.unsupported import unsupported
from rbgctl.controllers.instance.update import Action, PodUpdate, outdated
from rbgctl.machinery.gvk import RawObject
from rbgctl.machinery.merge_patch import merge_patch
from rbgctl.machinery.owner_references import controlled_by
from rbgctl.machinery.plan import (
    Create,
    Delete,
    InOrder,
    MergePatch,
    Plan,
    PlannedEvent,
    Step,
    StrategicPatch,
    Together,
)
from rbgctl.machinery.timestamps import format_time
from rbgctl.planning.instance_revision import resolve_instance, truncate_instance
from rbgctl.planning.revisions import short_hash
from rbgctl.planning.typed_encoding import TypedEncodingError

MANAGER: Final = identity.MANAGER_INSTANCE
CREATE_SLOW_START: Final = 1
GATES_SLOW_START: Final = 3
STRANGER_CHECK: Final = 30.0


def plan(observed: Observed, now: datetime, remember: Callable[[Recreation], None] = lambda _: None) -> Plan:
    """Decide one pass.

    `remember` is told of a recreation by the restart policy as soon as one of its deletions has succeeded.
    """
    try:
        return _Pass(observed, now, remember).plan()
    except TypedEncodingError as error:
        return _unreadable(observed, error, format_time(now))


def _unreadable(observed: Observed, error: TypedEncodingError, now: str) -> Plan:
    """A template with a value of the wrong type: its pods stay, the status says which value it is."""
    before = observed.raw.get("status") or {}
    changes = merge_patch(before, status_with_failures(before, Failures(update=str(error)), now))
    told = [_status_patch(observed.instance, changes)] if changes else []
    return Plan(finally_=lambda _: told, failure=error)


def _status_patch(instance: RoleInstance, changes: dict[str, Any], told: PlannedEvent | None = None) -> MergePatch:
    return MergePatch(
        gvk=ROLE_INSTANCE,
        key=instance.key,
        subresource="status",
        patch={"metadata": {"resourceVersion": instance.metadata.resource_version}, "status": changes},
        field_manager=MANAGER,
        on_success=told,
    )


@dataclass(frozen=True, slots=True)
class OursAndStaying:
    """Judge of a pod found under the name of one to be created: made by this instance, not on its way out."""

    uid: str

    def __call__(self, live: RawObject) -> bool:
        return controlled_by(live, self.uid) and not live["metadata"].get("deletionTimestamp")


class _Pass:
    def __init__(self, observed: Observed, now: datetime, remember: Callable[[Recreation], None]) -> None:
        self.observed = observed
        self.now = format_time(now)
        self.remember = remember
        self.revisions = resolve_instance(observed.raw, observed.revisions)
        self.active = active(observed.pods)
        self.error: ScaleError | None = None
        self.scale = Scale()
        try:
            taken = {p.name for p in observed.pods} | set(observed.foreign)
            self.scale = scale(observed.instance, observed.pods, taken)
        except ScaleError as error:
            self.error = error
        self.updates: Sequence[PodUpdate] = ()
        if self.error is None:
            self.updates = outdated(self.active, self.revisions.update, self.revisions.history)
        self.restart = self._restart(now)
        self.recreation = self._recreation(now)
        going = self.recreation.pods if self.recreation else frozenset()
        self.doomed = [p for p in observed.pods if p.uid in going and not p.terminating]
        if self.doomed or self.restart.wait:
            self.scale, self.updates = Scale(), ()

    def _tracking(self) -> Tracking:
        if self.observed.recreation is not None:
            return self.observed.recreation.tracking
        return Tracking.of(self.observed.instance.status).synced(self.observed.live)

    def _restart(self, now: datetime) -> Decision:
        """What the restart policy says (RST-1, RST-5)."""
        instance, status = self.observed.instance, self.observed.instance.status
        ready = status.condition(conditions.INSTANCE_READY)
        return decide(
            Facts(
                policy=instance_restart_policy(instance.spec),
                tracking=self._tracking(),
                served=ready is not None and ready.status == conditions.TRUE,
                settled=status.observed_generation == instance.metadata.generation
                and not self.revisions.steps
                and status.current_revision == status.update_revision,
                pods=self.observed.pods,
                baselines=in_force(baselines_of(status), self.observed.pods),
            ),
            now,
        )

    def _recreation(self, now: datetime) -> Recreation | None:
        """The recreation under way, or begun by this pass."""
        if not self.restart.recreate:
            return self.observed.recreation
        instance = self.observed.instance
        return Recreation(
            instance=instance.metadata.uid,
            cause=self.restart.recreate,
            # Whole seconds, as they are stored: otherwise the stored time would never reach the remembered one.
            tracking=recreated(instance_restart_policy(instance.spec), self._tracking(), now.replace(microsecond=0)),
            pods=frozenset(p.uid for p in self.observed.pods if not p.terminating),
        )

    def plan(self) -> Plan:
        pods: list[Step]
        gates: list[Step]
        if self.doomed:
            pods, gates = [Together([self._delete(pod) for pod in self.doomed])], []
        elif self.scale.needed:
            pods, gates = self._scale(), self._gate_writes(refresh=False)
        else:
            pods, gates = self._update(), self._gate_writes(refresh=self.error is None)
        steps: list[Step] = list(self.revisions.steps)
        if pods or gates:
            steps.append(InOrder([*pods, *_slowly(gates, GATES_SLOW_START)], keep_going=True))

        def finish(errors: Sequence[Exception]) -> Sequence[Step]:
            return self._finish(errors, writes_pods=bool(pods or gates))

        return Plan(
            steps=steps,
            finally_=finish,
            failure=self.error,
            requeue_after=self.restart.wait or self._look_again(),
            attributes={
                "recreated": bool(self.restart.recreate),
                "pods": len(self.observed.pods),
                "created": len(self.scale.create),
                "deleted": len(self.scale.delete),
                "outdated": len(self.updates),
            },
        )

    def _look_again(self) -> float | None:
        """Seconds after which to see whether a stranger's pod has gone: its end is no event of this instance."""
        return STRANGER_CHECK if strangers(self.observed.instance, self.observed.foreign) else None

    # -- pods -------------------------------------------------------------------------------------------------

    def _scale(self) -> list[Step]:
        if self.scale.delete:
            return [Together([self._delete(pod) for pod in self.scale.delete])]
        return _slowly([self._create(slot) for slot in self.scale.create], CREATE_SLOW_START)

    def _create(self, slot: Slot) -> Create:
        return Create(
            obj=new_pod(self.observed.raw, slot, short_hash(self.revisions.update)),
            accept_existing=OursAndStaying(self.observed.instance.metadata.uid),
            field_manager=MANAGER,
            on_success=self._event(events.SUCCESSFUL_CREATE, f"created pod {slot.name}"),
            on_failure=self._event(events.FAILED_CREATE, f"could not create pod {slot.name}"),
        )

    def _delete(self, pod: Pod) -> Delete:
        if self.doomed:
            why = f"pod {pod.name} to make the instance anew"
        else:
            why = f"failed pod {pod.name} ({pod.reason})" if pod.failed else f"surplus pod {pod.name}"
        return self._gone(
            pod,
            on_success=self._event(events.SUCCESSFUL_DELETE, f"deleted {why}"),
            on_failure=self._event(events.FAILED_DELETE, f"could not delete {why}"),
        )

    def _update(self) -> list[Step]:
        return [Together([self._update_one(update) for update in self.updates])] if self.updates else []

    def _update_one(self, update: PodUpdate) -> Step:
        pod = update.pod
        if update.action is Action.RELABEL:
            return self._relabel(pod)
        unknown = update.action is Action.RECREATE_UNKNOWN
        return self._gone(
            pod,
            on_success=self._event(
                events.REVISION_NOT_FOUND, f"deleted pod {pod.name}: no revision has its hash {pod.hash!r}"
            )
            if unknown
            else None,
            on_failure=self._event(events.FAILED_UPDATE_POD_RECREATE, f"could not delete outdated pod {pod.name}"),
        )

    def _relabel(self, pod: Pod) -> Step:
        """Only another component changed: the pod gets the new revision's label, and leaves Ready for that long."""
        failed = self._event(events.FAILED_UPDATE_POD_IN_PLACE, f"could not update pod {pod.name} in place")
        label = MergePatch(
            gvk=POD,
            key=pod.key,
            patch={
                "metadata": {
                    "uid": pod.uid,
                    "labels": {labels.CONTROLLER_REVISION_HASH: short_hash(self.revisions.update)},
                }
            },
            field_manager=MANAGER,
            on_success=self._event(events.SUCCESSFUL_UPDATE_POD_IN_PLACE, f"updated pod {pod.name} in place"),
            on_failure=failed,
        )
        closed = start_update(pod, self.now)
        return InOrder([self._gates(pod, closed), label]) if closed else label

    def _gone(self, pod: Pod, on_success: PlannedEvent | None, on_failure: PlannedEvent | None) -> Delete:
        return Delete(
            gvk=POD, key=pod.key, uid=pod.uid, field_manager=MANAGER, on_success=on_success, on_failure=on_failure
        )

    # -- gates, status ----------------------------------------------------------------------------------------

    def _finish(self, errors: Sequence[Exception], *, writes_pods: bool) -> Sequence[Step]:
        """Status and clean-up, given what failed."""
        if errors and self.revisions.steps:
            # The revision may be what failed; without it nothing of this pass is known to be right.
            return []
        if self.doomed:
            return self._report_recreation(errors)
        if not errors:
            if writes_pods:
                return []
            trouble = str(self.error) if self.error else obstacles(self.observed.instance, self.observed.foreign)
            status = self._status(Failures(scale=trouble), recreation=self.observed.recreation)
            return [*status, *self._truncate()]
        text = "; ".join(str(error) for error in errors)
        if self.scale.needed:
            # A pod that cannot be made or deleted must not keep the others from their update (RIN-4).
            late = [*self._update(), *self._gate_writes(refresh=True, instance=False)]
            return [InOrder([*self._status(Failures(scale=text)), *late], keep_going=True)]
        return self._status(Failures(scale=str(self.error or ""), update=text if self.updates else ""))

    def _report_recreation(self, errors: Sequence[Exception]) -> Sequence[Step]:
        """Count, time and condition of a recreation, once a pod of it is gone (RST-9, RST-10)."""
        failures = Failures(scale="; ".join(str(error) for error in errors))
        if self.restart.recreate and self.recreation is not None:
            if len(errors) >= len(self.doomed):
                # To store that the instance is not Ready any more would take away the reason to try again.
                return self._status(failures, only_failures=True)
            self.remember(self.recreation)
        return self._status(failures, pods=(), recreation=self.recreation)

    def _gate_writes(self, *, refresh: bool, instance: bool = True) -> list[Step]:
        """Gate changes of pods that this pass does not touch otherwise; both gates of a pod in one write.

        refresh: look at the gate of in-place updates. instance: at the gate of the whole instance.
        """
        held_back = hold_back(self.observed.instance, self.active)
        busy = {p.uid for p in self.scale.delete}
        if refresh:
            busy |= {u.pod.uid for u in self.updates}
        writes: list[Step] = []
        for pod in self.active:
            changes: list[ConditionPatch] = []
            if refresh and pod.uid not in busy:
                changes += update_gate(pod, self.now)
            if instance and pod.uid not in busy:
                changes += instance_gate(pod, held_back, self.now)
            if changes:
                writes.append(self._gates(pod, changes))
        return writes

    def _gates(self, pod: Pod, changes: list[ConditionPatch]) -> StrategicPatch:
        return StrategicPatch(
            gvk=POD,
            key=pod.key,
            subresource="status",
            patch={"metadata": {"uid": pod.uid}, "status": {"conditions": changes}},
            field_manager=MANAGER,
            missing_ok=True,
        )

    def _truncate(self) -> list[Delete]:
        return truncate_instance(self.revisions, [p.hash for p in self.observed.pods])

    def _status(
        self,
        failures: Failures,
        *,
        pods: Sequence[Pod] | None = None,
        recreation: Recreation | None = None,
        only_failures: bool = False,
    ) -> list[Step]:
        raw, instance = self.observed.raw, self.observed.instance
        before = raw.get("status") or {}
        pods = self.observed.pods if pods is None else pods
        news = recreation if recreation is not None and _untold(instance, recreation) else None
        tracking = news.tracking if news is not None else None
        after = new_status(raw, instance, pods, self.revisions, failures, self.now, recreation=tracking)
        if only_failures:
            after = status_with_failures(before, failures, self.now)
        changes = merge_patch(before, after)
        if not changes:
            return []
        first_look = (instance.status.observed_generation or 0) < instance.metadata.generation
        missing = unsupported(instance) if first_look else ""
        told: PlannedEvent | None = None
        if news is not None:
            told = self._event(events.RECREATE_INSTANCE, f"recreating all pods of the instance: {news.cause}")
        elif missing:
            told = self._event(UNSUPPORTED_FEATURE, missing)
        return [_status_patch(instance, changes, told)]

    def _event(self, reason: str, message: str) -> PlannedEvent:
        kind: Any = events.NORMAL if reason in _NORMAL else events.WARNING
        return PlannedEvent(self.observed.raw, kind, reason, message)


def _untold(instance: RoleInstance, recreation: Recreation) -> bool:
    """Whether the stored status does not tell of `recreation` yet."""
    stored, begun = Tracking.of(instance.status).last, recreation.tracking.last
    return begun is not None and (stored is None or stored < begun)


def _slowly(writes: Sequence[Step], start: int) -> list[Step]:
    return [Together(writes, slow_start=start)] if writes else []


_NORMAL: Final = frozenset(
    {
        events.SUCCESSFUL_CREATE,
        events.SUCCESSFUL_DELETE,
        events.SUCCESSFUL_UPDATE_POD_IN_PLACE,
        events.RECREATE_INSTANCE,
    }
)
