"""One pass over a group, as a decision (RBG-26): check, revise, publish addresses, apply roles, clean up, report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from rbgctl.api import events, validation
from rbgctl.controllers.group.cleanup import orphan_deletions
from rbgctl.controllers.group.discovery import config_map_step, mode_step
from rbgctl.controllers.group.observe import AppliedConfig, Observed, ready_message
from rbgctl.controllers.group.roles import RoleOutcome, decide_roles
from rbgctl.controllers.group.service import effective_name
from rbgctl.controllers.group.status import desired_status, refusal_phrase, status_step, waited_for, without_past
from rbgctl.machinery.plan import InOrder, Plan, PlannedEvent, Step, Together
from rbgctl.planning.group_revision import GroupResolution, resolve_group, truncate_group


def plan(observed: Observed, now: datetime, remember: Callable[[AppliedConfig], None]) -> Plan:
    """What to do for this group now. `remember` is told of the ConfigMap that gets applied."""
    refusal = _refusal(observed)
    if refusal is not None:
        return _refused(observed, now, refusal)
    try:
        revision = resolve_group(observed.raw, observed.revisions)
    except ValueError as error:
        return _refused(observed, now, _Refusal(str(error), events.FAILED_CREATE_REVISION))
    services = {role.name: effective_name(observed, role) for role in observed.group.roles}
    outcomes = decide_roles(observed, revision.role_hashes, services)
    config = config_map_step(observed, services, remember)
    mode = mode_step(observed)
    steps: list[Step] = [*revision.steps, *([mode] if mode else []), *([config] if config else [])]
    steps += _role_steps(observed, revision, outcomes)

    hoped = desired_status(observed, outcomes, (), now)

    def report(failures: Sequence[Exception]) -> Sequence[Step]:
        status = desired_status(observed, outcomes, failures, now) if failures else hoped
        if failures and mode is not None:
            status = without_past(status)
        step = status_step(observed, status, moved=mode is not None)
        return [step] if step else []

    problems = [o for o in outcomes if o.state == "refused"]
    return Plan(
        steps=steps,
        finally_=report,
        events=_events(observed, outcomes, ready_message(hoped), changed=bool(steps)),
        refused="; ".join(f"role {o.role.name}: {o.problem}" for o in problems),
        avoided_writes=sum(o.avoided for o in outcomes) + (config is None and observed.applied_config is not None),
    )


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why nothing of a group can be acted on: for its Ready condition, and the events that say so."""

    text: str
    reason: str
    messages: Sequence[str] = ()
    """Texts of the events; one event with `text` when empty."""


def _refusal(observed: Observed) -> _Refusal | None:
    """RBG-30, RBG-9 and RBG-27: all that makes no object possible is found before anything is written."""
    if observed.malformed:
        return _Refusal(observed.malformed, events.FAILED_RECONCILE_WORKLOAD)
    failed = validation.pre_check(observed.group)
    if failed is not None:
        single = failed.reason == events.FAILED_RECONCILE_WORKLOAD
        messages = [f"Failed to validate role {e.role}, err: {e.message}" for e in failed.errors] if single else ()
        return _Refusal(failed.event_message, failed.reason, messages)
    too_long = validation.group_name(observed.group)
    if too_long is not None:
        return _Refusal(str(too_long), events.FAILED_RECONCILE_WORKLOAD)
    wrong = validation.dependencies(observed.group)
    if wrong:
        return _Refusal(validation.aggregate(wrong), events.INVALID_ROLE_DEPENDENCY)
    return None


def _refused(observed: Observed, now: datetime, refusal: _Refusal) -> Plan:
    status = desired_status(observed, (), (), now, refused=refusal.text)
    if mode_step(observed) is not None:
        status = without_past(status)

    def report(_failures: Sequence[Exception]) -> Sequence[Step]:
        step = status_step(observed, status)
        return [step] if step else []

    news = observed.told != ready_message(status)
    return Plan(
        finally_=report,
        events=[
            PlannedEvent(observed.raw, "Warning", refusal.reason, message)
            for message in refusal.messages or [refusal.text]
        ]
        if news
        else (),
        refused=refusal.text,
    )


def _role_steps(observed: Observed, revision: GroupResolution, outcomes: Sequence[RoleOutcome]) -> list[Step]:
    """Roles first, then what they leave behind (RBG-117); a role that fails does not keep the rest waiting (RBG-27)."""
    roles = [o.step for o in outcomes if o.step is not None]
    leftovers = [*orphan_deletions(observed, outcomes), *truncate_group(revision)]
    steps: list[Step] = [Together(branches) for branches in (roles, leftovers) if branches]
    return [InOrder(steps, keep_going=True)] if steps else []


def _events(observed: Observed, outcomes: Sequence[RoleOutcome], message: str, *, changed: bool) -> list[PlannedEvent]:
    """What is new about roles that wait or are refused; Succeed when a pass changed something and none is.

    The Ready condition keeps what has been told (RBG-131): a dependency that gets further is no news. `message`: what
    the condition will say now; it may be cut, and says everything there is to say when it does not change.
    """
    held = [o for o in outcomes if o.state in {"waiting", "refused"}]
    if not held:
        return [PlannedEvent(observed.raw, "Normal", events.SUCCEED, "ReconcileSucceed")] if changed else []
    told = observed.told
    if told == message:
        return []
    found = (_held_event(observed, outcome, told) for outcome in held)
    return [event for event in found if event is not None]


def _held_event(observed: Observed, outcome: RoleOutcome, told: str) -> PlannedEvent | None:
    name = outcome.role.name
    if outcome.state == "refused":
        if refusal_phrase(outcome) in told:
            return None
        text = f"Failed to reconcile role {name}: {outcome.problem}"
        return PlannedEvent(observed.raw, "Warning", events.FAILED_RECONCILE_WORKLOAD, text)
    waits = [w.role for w in outcome.waits_for]
    if waited_for(told, name) >= set(waits):
        return None
    text = f"dependencies not met for role '{name}': waits for {', '.join(waits)}"
    return PlannedEvent(observed.raw, "Warning", events.DEPENDENCY_NOT_MET, text)
