"""What a group says about itself (03 §8): replicas per role, and whether it is Ready and what stands in the way."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rbgctl.api import conditions, events, identity
from rbgctl.api.kinds import API_VERSION, KIND_GROUP
from rbgctl.api.v1alpha2.defaults import role_replicas
from rbgctl.api.v1alpha2.rolebasedgroup import RoleSpec
from rbgctl.controllers.group.observe import Observed
from rbgctl.controllers.group.roles import RoleOutcome
from rbgctl.machinery.conditions import with_condition
from rbgctl.machinery.gvk import RawObject
from rbgctl.machinery.plan import Apply, PlannedEvent
from rbgctl.machinery.timestamps import format_time

_COUNTS = ("readyReplicas", "replicas", "updatedReplicas")
_MESSAGE_LIMIT = 1024


def role_status(observed: Observed, role: RoleSpec) -> dict[str, Any]:
    """Counts from the role's workload; the previous ones while its status is older than its spec (RBG-47)."""
    workload = observed.workload(role)
    if workload is None:
        return {"name": role.name, **dict.fromkeys(_COUNTS, 0)}
    status = workload.get("status") or {}
    if not _is_current(workload):
        previous = observed.group.status.role(role.name)
        if previous is not None:
            return {
                "name": role.name,
                "readyReplicas": previous.ready_replicas,
                "replicas": previous.replicas,
                "updatedReplicas": previous.updated_replicas,
            }
        return {"name": role.name, **dict.fromkeys(_COUNTS, 0)}
    return {"name": role.name, **{key: status.get(key) or 0 for key in _COUNTS}}


def role_statuses(observed: Observed) -> list[dict[str, Any]]:
    """All roles of the spec: known ones in the order they already have, new ones behind (RBG-49).

    Nothing is known about the roles of a spec that cannot be read: what was said of them stays.
    """
    if observed.malformed:
        return [s.dump() for s in observed.group.status.role_statuses or ()]
    computed = {role.name: role_status(observed, role) for role in observed.group.roles}
    known = [s.name for s in observed.group.status.role_statuses or () if s.name in computed]
    order = dict.fromkeys([*known, *computed])
    return [computed[name] for name in order]


def desired_status(
    observed: Observed,
    outcomes: Sequence[RoleOutcome],
    failures: Sequence[Exception],
    now: datetime,
    *,
    refused: str = "",
) -> dict[str, Any]:
    """The whole status. `refused`: why no role is dealt with at all.

    observedGeneration advances once every role that may act carries the current spec.
    """
    generation = observed.group.metadata.generation
    previous = observed.group.status.observed_generation
    acted = not refused and not failures and all(o.state in {"current", "waiting"} for o in outcomes)
    seen = generation if acted else previous
    problems = [refused] if refused else _problems(observed, outcomes, failures)
    ready = {
        "type": conditions.GROUP_READY,
        "status": conditions.FALSE if problems else conditions.TRUE,
        "reason": conditions.ROLE_NOT_READY if problems else conditions.ALL_ROLES_READY,
        "message": "; ".join(problems)[:_MESSAGE_LIMIT] if problems else "All roles are ready",
        "observedGeneration": generation,
        "lastTransitionTime": format_time(now),
    }
    return {
        **({"observedGeneration": seen} if seen else {}),
        "roleStatuses": role_statuses(observed),
        "conditions": with_condition((observed.raw.get("status") or {}).get("conditions") or (), ready),
    }


def without_past(status: Mapping[str, Any]) -> dict[str, Any]:
    """`status` of a group whose discovery mode is not recorded yet: conditions, and nothing about roles.

    Counts of roles would make it look like a group of an old release, which gets another mode (RBG-44).
    """
    return {"roleStatuses": [], "conditions": status["conditions"]}


def status_step(observed: Observed, status: Mapping[str, Any], *, moved: bool = False) -> Apply | None:
    """Write the status unless it says so already (RBG-50).

    It is bound to the version that was observed, so that it never lands on a successor of the same name; not when the
    same pass `moved` the object to another version before.
    """
    live = observed.raw.get("status") or {}
    if _comparable(live) == _comparable(status):
        return None
    meta = observed.group.metadata
    body: RawObject = {
        "apiVersion": API_VERSION,
        "kind": KIND_GROUP,
        "metadata": {
            "name": meta.name,
            "namespace": meta.namespace,
            **({} if moved else {"resourceVersion": meta.resource_version}),
        },
        "status": dict(status),
    }
    return Apply(
        obj=body,
        subresource="status",
        field_manager=identity.FIELD_MANAGER,
        on_failure=PlannedEvent(
            observed.raw, "Warning", events.FAILED_UPDATE_STATUS, f"Failed to update status for {meta.name}"
        ),
    )


def refusal_phrase(outcome: RoleOutcome) -> str:
    """What the Ready message says of a role that is refused."""
    return f"role {outcome.role.name}: {outcome.problem}"


def waited_for(message: str, role: str) -> set[str]:
    """The roles for which `role` waits, according to a Ready message."""
    found = re.search(rf"(?:^|; )role {re.escape(role)} waits for ([^;]*)", message)
    return {part.split(" ", 1)[0] for part in found[1].split(", ")} if found else set()


def _problems(observed: Observed, outcomes: Sequence[RoleOutcome], failures: Sequence[Exception]) -> list[str]:
    """Why the group is not Ready, a phrase per role in the way, in spec order."""
    by_name = {o.role.name: o for o in outcomes}
    found = [p for role in observed.group.roles if (p := _problem(observed, by_name[role.name]))]
    return found + [f"last error: {' '.join(str(f).split())}" for f in failures[:1]]


def _problem(observed: Observed, outcome: RoleOutcome) -> str:
    role = outcome.role
    wanted = role_replicas(role)
    status = role_status(observed, role)
    counts = f"role {role.name}: {status['readyReplicas']}/{wanted} ready"
    match outcome.state:
        case "refused":
            return refusal_phrase(outcome)
        case "waiting":
            return f"role {role.name} waits for {', '.join(str(w) for w in outcome.waits_for)}"
        case "applied":
            return f"{counts}, its spec is being applied"
    workload = observed.workload(role)
    if workload is not None and "deletionTimestamp" in workload["metadata"]:
        return f"{counts}, its workload is being deleted"
    if workload is None or not _is_current(workload):
        return f"{counts}, its workload has not acted on the current spec yet"
    if status["replicas"] != wanted:
        return f"{counts}, {status['replicas']} exist"
    return counts if status["readyReplicas"] != wanted else ""


def _is_current(workload: Mapping[str, Any]) -> bool:
    observed: int = (workload.get("status") or {}).get("observedGeneration") or 0
    generation: int = workload["metadata"].get("generation", 0)
    return observed >= generation


def _comparable(status: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "observedGeneration": status.get("observedGeneration") or 0,
        "roleStatuses": [
            {"name": s.get("name"), **{key: s.get(key) or 0 for key in _COUNTS}}
            for s in status.get("roleStatuses") or ()
        ],
        "conditions": {c["type"]: {k: v for k, v in c.items() if v} for c in status.get("conditions") or ()},
    }
