"""One pass over a group, as a decision (RBG-26): check, revise, publish addresses, apply roles, clean up, report."""

from collections.abc import Callable, Sequence
from datetime import datetime

from rbgctl.api import events, validation
from rbgctl.controllers.group.cleanup import orphan_deletions
from rbgctl.controllers.group.discovery import config_map_step, mode_step
from rbgctl.controllers.group.observe import AppliedConfig, Observed
from rbgctl.controllers.group.roles import RoleOutcome, decide_roles
from rbgctl.controllers.group.service import effective_name
from rbgctl.controllers.group.status import desired_status, ready_message, status_step
from rbgctl.machinery.plan import Plan, PlannedEvent, Step, Together
from rbgctl.planning.group_revision import GroupResolution, resolve_group, truncate_group


class GroupRefused(ValueError):
    """The group cannot be acted on until its owner changes it; the text says what is wrong."""


def plan(observed: Observed, now: datetime, remember: Callable[[AppliedConfig], None]) -> Plan:
    """What to do for this group now. `remember` is told of the ConfigMap that gets applied."""
    refusal = _refusal(observed)
    if refusal is not None:
        return _refused(observed, now, *refusal)
    try:
        revision = resolve_group(observed.raw, observed.revisions)
    except ValueError as error:
        return _refused(observed, now, events.FAILED_CREATE_REVISION, str(error))
    services = {role.name: effective_name(observed, role) for role in observed.group.roles}
    outcomes = decide_roles(observed, revision.role_hashes, services)
    config = config_map_step(observed, services, remember)
    mode = mode_step(observed)
    steps: list[Step] = [*revision.steps, *([mode] if mode else []), *([config] if config else [])]
    branches = _branches(observed, revision, outcomes)
    if branches:
        steps.append(Together(branches))

    def report(failures: Sequence[Exception]) -> Sequence[Step]:
        step = status_step(observed, desired_status(observed, outcomes, failures, now))
        return [step] if step else []

    problems = [o for o in outcomes if o.state == "refused"]
    text = "; ".join(f"role {o.role.name}: {o.problem}" for o in problems)
    return Plan(
        steps=steps,
        finally_=report,
        events=_events(observed, outcomes, now, changed=bool(steps)),
        failure=GroupRefused(text) if problems else None,
        avoided_writes=sum(o.avoided for o in outcomes) + (config is None),
    )


def _refusal(observed: Observed) -> tuple[str, str] | None:
    """Event reason and text when nothing of the group can be acted on (RBG-30, RBG-27)."""
    failed = validation.pre_check(observed.group)
    if failed is not None:
        return failed.reason, failed.event_message
    wrong = validation.dependencies(observed.group)
    if wrong:
        return events.INVALID_ROLE_DEPENDENCY, validation.aggregate(wrong)
    return None


def _refused(observed: Observed, now: datetime, reason: str, text: str) -> Plan:
    def report(_failures: Sequence[Exception]) -> Sequence[Step]:
        step = status_step(observed, desired_status(observed, (), (), now, refused=text))
        return [step] if step else []

    status = desired_status(observed, (), (), now, refused=text)
    news = _is_news(observed, status)
    return Plan(
        finally_=report,
        events=[PlannedEvent(observed.raw, "Warning", reason, text)] if news else (),
        failure=GroupRefused(text),
    )


def _branches(observed: Observed, revision: GroupResolution, outcomes: Sequence[RoleOutcome]) -> list[Step]:
    return [
        *(o.step for o in outcomes if o.step is not None),
        *orphan_deletions(observed),
        *truncate_group(revision),
    ]


def _events(observed: Observed, outcomes: Sequence[RoleOutcome], now: datetime, *, changed: bool) -> list[PlannedEvent]:
    """One sentence per role that waits or is refused, when that is news; Succeed when a pass changed something."""
    held = [o for o in outcomes if o.state in {"waiting", "refused"}]
    if not held:
        return [PlannedEvent(observed.raw, "Normal", events.SUCCEED, "ReconcileSucceed")] if changed else []
    if not _is_news(observed, desired_status(observed, outcomes, (), now)):
        return []
    return [_held_event(observed, outcome) for outcome in held]


def _held_event(observed: Observed, outcome: RoleOutcome) -> PlannedEvent:
    name = outcome.role.name
    if outcome.state == "refused":
        text = f"Failed to reconcile role {name}: {outcome.problem}"
        return PlannedEvent(observed.raw, "Warning", events.FAILED_RECONCILE_WORKLOAD, text)
    waits = ", ".join(str(w) for w in outcome.waits_for)
    text = f"dependencies not met for role '{name}': waits for {waits}"
    return PlannedEvent(observed.raw, "Warning", events.DEPENDENCY_NOT_MET, text)


def _is_news(observed: Observed, status: dict[str, object]) -> bool:
    return ready_message(observed.raw.get("status") or {}) != ready_message(status)
