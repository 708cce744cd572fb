"""What happens to each role in one pass: applied, left alone, waiting for others, or refused (03 §11, §12)."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rbgctl.api import events, identity, names, validation
from rbgctl.api.v1alpha2.rolebasedgroup import RoleSpec
from rbgctl.api.v1alpha2.workload_type import workload_type
from rbgctl.controllers.group.observe import Observed
from rbgctl.controllers.group.service import headless_service
from rbgctl.controllers.group.support import unsupported
from rbgctl.controllers.group.takeover import controlled_by_another, guarded, refuse_unlabelled
from rbgctl.controllers.group.workload_kinds import KINDS
from rbgctl.machinery.field_ownership import applied_fields, apply_is_noop
from rbgctl.machinery.gvk import RawObject
from rbgctl.machinery.plan import Apply, InOrder, PlannedEvent
from rbgctl.planning.dependencies import Unready, levels, unready


@dataclass(frozen=True, slots=True)
class RoleOutcome:
    """The decision about one role.

    state: "current" when its workload carries the role's spec already. step: writes to make, None for none.
    waits_for: dependencies that are not ready. problem: why it is refused. avoided: writes that would have changed
    nothing.
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
    unusable = _unusable_names(observed)
    return [
        _decide(observed, roles[name], revision=hashes[name], service=services[name], problem=unusable.get(name, ""))
        for level in order
        for name in level
    ]


def _unusable_names(observed: Observed) -> dict[str, str]:
    """Roles whose names make no usable objects, and why (RBG-1, RBG-30).

    Two roles that cut to one workload name would overwrite each other for ever. Everything else only stops a role
    that has no workload yet: what runs is never given up for its name.
    """
    group = observed.group.metadata.name
    shared = Counter(names.workload_name(group, role.name) for role in observed.group.roles)
    running = {role.name for role in observed.group.roles if observed.workload(role) is not None}
    found: dict[str, str] = {}
    for error in validation.role_names(observed.group):
        if shared[names.workload_name(group, error.role)] > 1 or error.role not in running:
            found.setdefault(error.role, error.message)
    return found


def _decide(observed: Observed, role: RoleSpec, *, revision: str, service: str, problem: str) -> RoleOutcome:
    problem = problem or unsupported(observed.group, role)
    if problem:
        return RoleOutcome(role, "refused", problem=problem)
    live = observed.workload(role)
    blocking = _unready_dependencies(observed, role, started=live is not None)
    if blocking:
        return RoleOutcome(role, "waiting", waits_for=blocking)
    kind = KINDS[workload_type(role.annotations).text]
    try:
        workload = kind.make(observed, role, service, revision)
    except ValueError as error:
        return RoleOutcome(role, "refused", problem=str(error))
    failure = PlannedEvent(
        observed.raw, "Warning", events.FAILED_RECONCILE_WORKLOAD, f"Failed to reconcile role {role.name}"
    )
    group, told = observed.group.metadata.name, observed.told
    pairs = [(_apply(workload, failure), live)]
    if workload["metadata"]["name"] in observed.strangers:
        pairs = [(guarded(pairs[0][0], refuse_unlabelled(group, may_have_controller=True), told), live)]
    if kind.has_service:
        existing = observed.services.get(service)
        problem = controlled_by_another(existing) if existing is not None else ""
        if problem:
            return RoleOutcome(role, "refused", problem=problem)
        apply = _apply(headless_service(observed, role, service, workload), failure)
        if existing is None:
            # Services without the label are not cached.
            apply = guarded(apply, refuse_unlabelled(group, may_have_controller=False), told)
        pairs.append((apply, existing))
    wanted = [apply for apply, existing in pairs if not apply_is_noop(existing, apply.obj, identity.FIELD_MANAGER)]
    return RoleOutcome(
        role,
        "current" if live is not None and _keeps_spec(live, workload) else "applied",
        step=InOrder(wanted) if wanted else None,
        avoided=len(pairs) - len(wanted),
    )


def _apply(obj: RawObject, failure: PlannedEvent) -> Apply:
    return Apply(obj=obj, field_manager=identity.FIELD_MANAGER, on_failure=failure)


def _unready_dependencies(observed: Observed, role: RoleSpec, *, started: bool) -> tuple[Unready, ...]:
    wanted = [dependency for name in role.dependencies or () if (dependency := observed.group.role(name)) is not None]
    judged = (unready(d.name, observed.workload(d), started=started) for d in wanted)
    return tuple(found for found in judged if found is not None)


def _keeps_spec(live: RawObject, workload: RawObject) -> bool:
    """Whether applying `workload` leaves the live spec, and so its generation, as it is.

    It may still change metadata, or who owns what: readiness does not depend on that.
    """
    owned = (applied_fields(live, identity.FIELD_MANAGER) or {}).get("f:spec") or {}
    return _carries(live.get("spec"), workload["spec"]) and not _drops(owned, workload["spec"])


def _carries(live: Any, wanted: Any) -> bool:
    """Whether `live` says everything that `wanted` says; it may say more in maps."""
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(k in live and _carries(live[k], v) for k, v in wanted.items())
    return bool(live == wanted)


def _drops(owned: Mapping[str, Any], wanted: Any) -> bool:
    """Whether a field of ours in maps is sent no more, which removes it."""
    if not isinstance(wanted, dict):
        return False
    fields = {key.removeprefix("f:"): below for key, below in owned.items() if key.startswith("f:")}
    return any(name not in wanted or _drops(below, wanted[name]) for name, below in fields.items())
