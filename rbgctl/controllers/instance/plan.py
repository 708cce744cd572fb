"""What one pass over an instance does, in which order (RIN-3, RIN-4).

    1. its revision
    2. pods: delete what must go, or create what is missing; when neither is due, bring outdated ones up to date
    3. readiness gates of the pods that step 2 left alone
    4. its status, when it changed; old revisions that nobody needs

Every write to a pod comes back as an event and so as another pass. A pass that wrote to a pod therefore leaves the
status to the next one, unless something failed: what it would say is about to be wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from rbgctl.api import events, identity, labels
from rbgctl.api.kinds import ROLE_INSTANCE
from rbgctl.controllers.instance.observed import Observed
from rbgctl.controllers.instance.pod_creation import new_pod
from rbgctl.controllers.instance.pods import POD, Pod, Slot, active
from rbgctl.controllers.instance.readiness import ConditionPatch, hold_back, instance_gate, start_update, update_gate
from rbgctl.controllers.instance.scale import Scale, ScaleError, scale
from rbgctl.controllers.instance.status import Failures, new_status
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

MANAGER: Final = identity.MANAGER_INSTANCE
CREATE_SLOW_START: Final = 1
GATES_SLOW_START: Final = 3


def plan(observed: Observed, now: datetime) -> Plan:
    """Decide one pass. Raises TypedEncodingError for a pod template with a value of the wrong type."""
    return _Pass(observed, format_time(now)).plan()


@dataclass(frozen=True, slots=True)
class OursAndStaying:
    """Judge of a pod found under the name of one to be created: made by this instance, not on its way out."""

    uid: str

    def __call__(self, live: RawObject) -> bool:
        return controlled_by(live, self.uid) and not live["metadata"].get("deletionTimestamp")


class _Pass:
    def __init__(self, observed: Observed, now: str) -> None:
        self.observed = observed
        self.now = now
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

    def plan(self) -> Plan:
        if self.scale.needed:
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
            attributes={
                "pods": len(self.observed.pods),
                "created": len(self.scale.create),
                "deleted": len(self.scale.delete),
                "outdated": len(self.updates),
            },
        )

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
        if not errors:
            if writes_pods:
                return []
            return [*self._status(Failures(scale=str(self.error or ""))), *self._truncate()]
        text = "; ".join(str(error) for error in errors)
        if self.scale.needed:
            # A pod that cannot be made or deleted must not keep the others from their update (RIN-4).
            late = [*self._update(), *self._gate_writes(refresh=True, instance=False)]
            return [InOrder([*self._status(Failures(scale=text)), *late], keep_going=True)]
        return self._status(Failures(scale=str(self.error or ""), update=text if self.updates else ""))

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
        )

    def _truncate(self) -> list[Delete]:
        return truncate_instance(self.revisions, [p.hash for p in self.observed.pods])

    def _status(self, failures: Failures) -> list[Step]:
        raw, instance = self.observed.raw, self.observed.instance
        before = raw.get("status") or {}
        after = new_status(raw, instance, self.observed.pods, self.revisions, failures, self.now)
        changes = merge_patch(before, after)
        if not changes:
            return []
        first_look = (instance.status.observed_generation or 0) < instance.metadata.generation
        missing = unsupported(instance) if first_look else ""
        patch: dict[str, Any] = {
            "metadata": {"resourceVersion": instance.metadata.resource_version},
            "status": changes,
        }
        return [
            MergePatch(
                gvk=ROLE_INSTANCE,
                key=instance.key,
                subresource="status",
                patch=patch,
                field_manager=MANAGER,
                on_success=self._event(UNSUPPORTED_FEATURE, missing) if missing else None,
            )
        ]

    def _event(self, reason: str, message: str) -> PlannedEvent:
        kind: Any = events.NORMAL if reason in _NORMAL else events.WARNING
        return PlannedEvent(self.observed.raw, kind, reason, message)


def _slowly(writes: Sequence[Step], start: int) -> list[Step]:
    return [Together(writes, slow_start=start)] if writes else []


_NORMAL: Final = frozenset({events.SUCCESSFUL_CREATE, events.SUCCESSFUL_DELETE, events.SUCCESSFUL_UPDATE_POD_IN_PLACE})
