"""One pass over a stateful set: every rule of this package, in the order in which it counts (SFM-1 … SFM-22).

    claim → revisions → topology → scale → rollout → status → history

A pass that adopts or releases does only that; the change brings the next one. While the set is terminating nothing of
it is made, changed or deleted; garbage collection does that.

Writes, in order: the revision; gates to open and metadata to carry over; instances to create, to delete, to move to
the update revision. Then, whatever became of these, the status and the deletion of old revisions. The status counts
what the pass has done when all of it worked, and what it found when something failed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from rbgctl.api import events, identity, names
from rbgctl.api.kinds import ROLE_INSTANCE
from rbgctl.api.v1alpha2.defaults import set_is_parallel
from rbgctl.controllers.instanceset import in_place
from rbgctl.controllers.instanceset.claim import claims
from rbgctl.controllers.instanceset.identity import Blueprint, blueprint, metadata_changes, new_instance
from rbgctl.controllers.instanceset.members import Member, member_of
from rbgctl.controllers.instanceset.observed import Observed
from rbgctl.controllers.instanceset.rollout import Rollout, ordered_escape, rollout
from rbgctl.controllers.instanceset.scale import Layout, Scaling, layout, scale
from rbgctl.controllers.instanceset.status import Revisions, current_revision, set_status, status_write
from rbgctl.controllers.instanceset.topology import Topology, budgets, topology
from rbgctl.machinery.gvk import NN, RawObject
from rbgctl.machinery.owner_references import controlled_by
from rbgctl.machinery.plan import Create, Delete, InOrder, MergePatch, Plan, PlannedEvent, Step, Together
from rbgctl.planning.revisions import Resolution, name_of
from rbgctl.planning.set_revision import resolve_set, truncate_set

MANAGER: Final = identity.MANAGER_INSTANCE_SET_STATEFUL


@dataclass(frozen=True, slots=True)
class ControlledBy:
    """Judge of an instance found under the name of one to create: ours is as good as created."""

    uid: str

    def __call__(self, live: RawObject) -> bool:
        return controlled_by(live, self.uid)


def plan_stateful(observed: Observed, now: datetime) -> Plan:
    """The plan for a set of pattern Stateful. Raises ValueError naming the field for a spec that cannot be acted on."""
    owner = observed.owner
    found = claims(owner, observed.raw, observed.instances, confirmed=observed.confirmed)
    if found.steps:
        return Plan(steps=[Together(found.steps)], attributes={"claims": len(found.steps)})
    terminating = owner.metadata.deletion_timestamp is not None
    resolution = resolve_set(
        observed.raw, observed.revisions, stateless=False, adopt=observed.confirmed and not terminating
    )
    members = [member_of(i) for i in found.claimed]
    if terminating:
        return Plan(steps=_history(observed, resolution, members), attributes={"terminating": True})
    return _Pass(observed, resolution, members, now).plan()


class _Pass:
    """The decisions of one pass, each made once, and the writes that follow from them."""

    def __init__(self, observed: Observed, resolution: Resolution, members: Sequence[Member], now: datetime) -> None:
        self.observed = observed
        self.owner = observed.owner
        self.resolution = resolution
        self.members = members
        self.now = now
        self.current = name_of(resolution.current)
        self.update = name_of(resolution.update)
        self._blueprints: dict[str, Blueprint | None] = {}
        self.shape: Topology = topology(
            budgets(self.owner.spec),
            members,
            current=self.current,
            update=self.update,
            paused=bool(self.owner.spec.update_strategy.paused),
        )
        self.found: Layout = layout(members, self.shape.end)
        self.scaling: Scaling = scale(self.found, parallel=set_is_parallel(self.owner.spec))
        self.moving: Rollout = self._rollout()
        self.kept = [m for m in self.moving.update if self._in_place(m)]
        self.recreated = [m for m in self.moving.update if m not in self.kept]

    def plan(self) -> Plan:
        done = status_write(self.owner, self._status(self._after()))
        failed = status_write(self.owner, self._status(self.members))
        if self.resolution.steps:
            failed = None  # a status must not name a revision that could not be made; the retry writes it
        history = _history(self.observed, self.resolution, self.members)

        def finish(failures: Sequence[Exception]) -> Sequence[Step]:
            status = failed if failures else done
            steps: list[Step] = [*([status] if status is not None else []), *history]
            return [InOrder(steps, keep_going=True)] if steps else []

        return Plan(
            steps=[step for step in self._steps() if not isinstance(step, Together) or step.branches],
            finally_=finish,
            requeue_after=self._look_again_in(),
            avoided_writes=int(done is None),
            attributes={
                "replicas": self.shape.budgets.replicas,
                "surge": self.shape.active_surge,
                "rollout": self.shape.in_rollout,
                "creates": len(self.scaling.create),
                "deletes": len(self.scaling.delete) + len(self.recreated),
                "updates": len(self.kept),
                "blocked": len(self.moving.blocked),
            },
        )

    # -- decisions --------------------------------------------------------------------------------------------

    def _rollout(self) -> Rollout:
        waiting_for = self.scaling.waiting_for
        since = self.observed.unhealthy_since
        if waiting_for is not None:
            return ordered_escape(
                self.shape, self.found, waiting_for, update=self.update, unhealthy_since=since, now=self.now
            )
        return rollout(
            self.shape,
            self.found,
            update=self.update,
            min_ready_seconds=self.owner.spec.min_ready_seconds or 0,
            unhealthy_since=since,
            now=self.now,
        )

    def _in_place(self, member: Member) -> bool:
        return in_place.possible(
            self.owner.spec.update_strategy.type, self._known(member.revision), self._blueprint(self.update)
        )

    def _look_again_in(self) -> float | None:
        minimum = self.owner.spec.min_ready_seconds or 0
        waits = [m.available_in(minimum, self.now) for m in self.members if m.serving]
        wait = min((w for w in [*waits, self.moving.look_again_in] if w > 0.0), default=None)
        return None if wait is None or wait == float("inf") else wait

    def _source(self, ordinal: int) -> str:
        """Revision that a new instance is made from: the partition holds back what lies below it."""
        return self.update if ordinal >= self.shape.budgets.partition else self.current

    def _known(self, revision: str) -> Blueprint | None:
        """What a revision of the history says; None when there is none of that name or it cannot be read."""
        if revision not in self._blueprints:
            found = next((r for r in self.resolution.history if name_of(r) == revision), None)
            try:
                self._blueprints[revision] = blueprint(self.observed.raw, found) if found is not None else None
            except ValueError:
                self._blueprints[revision] = None
        return self._blueprints[revision]

    def _blueprint(self, revision: str) -> Blueprint:
        found = self._known(revision)
        if found is None:
            raise ValueError(f"ControllerRevision {revision} holds no usable spec.roleInstanceTemplate")
        return found

    # -- writes -----------------------------------------------------------------------------------------------

    def _steps(self) -> Sequence[Step]:
        return [
            *self.resolution.steps,
            Together([p for m in self._undisturbed() if (p := in_place.refresh(m, self.now)) is not None]),
            Together([p for m in self._undisturbed() if (p := self._carry_over(m)) is not None]),
            Together([self._create(o) for o in self.scaling.create], slow_start=1),
            Together([self._delete(m) for m in self.scaling.delete]),
            Together([*(self._update(m) for m in self.kept), *(self._delete(m) for m in self.recreated)]),
        ]

    def _undisturbed(self) -> list[Member]:
        moved = {m.ordinal for m in self.moving.update}
        return [m for o, m in self.found.slots.items() if o not in moved and not m.terminating]

    def _create(self, ordinal: int) -> Create:
        obj = new_instance(self.owner, self.observed.raw, ordinal, self._blueprint(self._source(ordinal)))
        return Create(
            obj=obj,
            accept_existing=ControlledBy(self.owner.metadata.uid),
            field_manager=MANAGER,
            on_success=self._event("Normal", events.SUCCESSFUL_CREATE, f"create RoleInstance {NN.of(obj).name}"),
            on_failure=self._event("Warning", events.FAILED_CREATE, f"create RoleInstance {NN.of(obj).name}"),
            component=events.COMPONENT_INSTANCE_SET_STATEFUL,
        )

    def _delete(self, member: Member) -> Delete:
        name = names.stateful_instance_name(self.owner.metadata.name, member.ordinal)
        return Delete(
            gvk=ROLE_INSTANCE,
            key=NN(self.owner.metadata.namespace, name),
            uid=member.uid,
            field_manager=MANAGER,
            on_success=self._event("Normal", events.SUCCESSFUL_DELETE, f"delete RoleInstance {name}"),
            on_failure=self._event("Warning", events.FAILED_DELETE, f"delete RoleInstance {name}"),
            component=events.COMPONENT_INSTANCE_SET_STATEFUL,
        )

    def _update(self, member: Member) -> Step:
        assert member.instance is not None  # noqa: S101 - members of a pass were read from the API server
        carried = metadata_changes(self.owner, replace(member, revision=self.update), self.update)
        return in_place.update(member, member.instance, self._blueprint(self.update), carried, self.now)

    def _carry_over(self, member: Member) -> MergePatch | None:
        changes = metadata_changes(self.owner, member, self.update)
        if not changes or member.instance is None:
            return None
        return MergePatch(
            gvk=ROLE_INSTANCE,
            key=member.instance.key,
            patch={"metadata": {**changes, "uid": member.uid}},
            field_manager=MANAGER,
        )

    def _event(self, type_: Literal["Normal", "Warning"], reason: str, what: str) -> PlannedEvent:
        outcome = "successful" if type_ == "Normal" else "failed"
        regarding = {key: self.observed.raw[key] for key in ("apiVersion", "kind", "metadata")}
        return PlannedEvent(regarding, type_, reason, f"{what} in RoleInstanceSet {self.owner.metadata.name} {outcome}")

    # -- status -----------------------------------------------------------------------------------------------

    def _after(self) -> list[Member]:
        """The members once every write of this pass has worked."""
        gone = {m.ordinal for m in [*self.scaling.delete, *self.recreated]}
        moved = {m.ordinal for m in self.kept}
        made = [
            Member(ordinal=o, revision=self._source(o), uid=f"of {o}", observed=False, complete=False)
            for o in self.scaling.create
        ]
        kept = [
            replace(m, revision=self.update, observed=False, complete=False) if m.ordinal in moved else m
            for m in self.members
            if m.ordinal not in gone
        ]
        return [*kept, *made]

    def _status(self, members: Sequence[Member]) -> dict[str, object]:
        revisions = Revisions(current=self.current, update=self.update, collision_count=self.resolution.collision_count)
        current = current_revision(revisions, self.shape, self.found.slots, self.owner.status)
        return set_status(self.owner, self.shape, members, replace(revisions, current=current), self.now)


def _history(observed: Observed, resolution: Resolution, members: Sequence[Member]) -> list[Step]:
    hashes = [m.revision for m in members]
    return list(truncate_set(observed.raw, resolution, hashes, stateless=False))
