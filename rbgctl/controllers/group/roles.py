"""What happens to each role in one pass: applied, left alone, waiting for others, or refused (03 §11, §12)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rbgctl.api import events, identity, names
from rbgctl.api.v1alpha2.rolebasedgroup import RoleSpec
from rbgctl.controllers.group.observe import Observed
from rbgctl.controllers.group.role_instance_set import role_instance_set
from rbgctl.controllers.group.service import headless_service
from rbgctl.controllers.group.support import unsupported
from rbgctl.machinery.field_ownership import apply_is_noop
from rbgctl.machinery.plan import Apply, InOrder, PlannedEvent
from rbgctl.planning.dependencies import Unready, levels, unready


@dataclass(frozen=True, slots=True)
class RoleOutcome:
    """The decision about one role.

    state: "current" needs no write to its workload. step: writes to make, None for none. waits_for: dependencies
    that are not ready. problem: why it is refused. avoided: writes that would have changed nothing.
    """

    role: RoleSpec
    state: Literal["current", "applied", "waiting", "refused"]
    step: InOrder | None = None
    waits_for: tuple[Unready, ...] = ()
    problem: str = ""
    avoided: int = 0


def decide_roles(observed: Observed, hashes: Mapping[str, str], services: Mapping[str, str]) -> list[RoleOutcome]:
    """One outcome per role, in the order of dependency levels. The graph has been checked before.

    Every role whose dependencies are ready is dealt with, whatever becomes of the others (RBG-65).
    """
    roles = {role.name: role for role in observed.group.roles}
    order = levels({name: role.dependencies or () for name, role in roles.items()})
    return [
        _decide(observed, roles[name], revision=hashes[name], service=services[name])
        for level in order
        for name in level
    ]


def _decide(observed: Observed, role: RoleSpec, *, revision: str, service: str) -> RoleOutcome:
    problem = unsupported(observed.group, role)
    if problem:
        return RoleOutcome(role, "refused", problem=problem)
    group = observed.group.metadata.name
    live = observed.workloads.get(names.workload_name(group, role.name))
    blocking = tuple(
        found
        for name in role.dependencies or ()
        if (found := unready(name, observed.workloads.get(names.workload_name(group, name)), started=live is not None))
    )
    if blocking:
        return RoleOutcome(role, "waiting", waits_for=blocking)
    try:
        workload = role_instance_set(observed, role, service=service, revision=revision)
    except ValueError as error:
        return RoleOutcome(role, "refused", problem=str(error))
    failure = PlannedEvent(
        observed.raw, "Warning", events.FAILED_RECONCILE_WORKLOAD, f"Failed to reconcile role {role.name}"
    )
    headless = headless_service(observed, role, service, workload)
    wanted = [
        Apply(obj=obj, field_manager=identity.FIELD_MANAGER, on_failure=failure)
        for obj, existing in ((workload, live), (headless, observed.services.get(service)))
        if not apply_is_noop(existing, obj, identity.FIELD_MANAGER)
    ]
    changes_workload = any(apply.obj is workload for apply in wanted)
    return RoleOutcome(
        role,
        "applied" if changes_workload else "current",
        step=InOrder(wanted) if wanted else None,
        avoided=2 - len(wanted),
    )
