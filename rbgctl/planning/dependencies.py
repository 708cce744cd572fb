"""Which roles may start: levels of the dependency graph, and what counts as ready (RBG-64..67)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


def levels(dependencies: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Role names by level, sorted inside each: 0 without dependencies, else one above the highest of them.

    The graph must have no unknown names and no cycles (`rbgctl.api.validation.dependencies`); ValueError otherwise.
    """
    found: dict[str, int] = {}
    left = dict(dependencies)
    while left:
        ready = {name: wanted for name, wanted in left.items() if all(w in found for w in wanted)}
        if not ready:
            raise ValueError(f"failed to sort roles by dependency order: cycle detected among {sorted(left)}")
        found.update({name: 1 + max((found[w] for w in wanted), default=-1) for name, wanted in ready.items()})
        left = {name: wanted for name, wanted in left.items() if name not in ready}
    depth = max(found.values(), default=-1) + 1
    return [sorted(name for name, level in found.items() if level == n) for n in range(depth)]


@dataclass(frozen=True, slots=True)
class Unready:
    """A dependency that is not ready: how many instances are, of how many; or what became of its workload."""

    role: str
    ready: int = 0
    wanted: int = 0
    absence: str = ""

    def __str__(self) -> str:
        return f"{self.role} ({self.absence or f'{self.ready}/{self.wanted} ready'})"


def unready(role: str, workload: Mapping[str, Any] | None, *, started: bool) -> Unready | None:
    """Whether `role` holds up its dependants, judged by its workload; None when it is ready.

    A dependency without replicas is ready at once. `started`: the dependant runs already; before that the
    dependency's status must describe its current spec, so that a new role does not start on stale numbers.
    """
    if workload is None:
        return Unready(role, absence="not created")
    if "deletionTimestamp" in workload["metadata"]:
        return Unready(role, absence="being deleted")
    status = workload.get("status") or {}
    wanted = workload["spec"].get("replicas")
    wanted = 1 if wanted is None else wanted
    ready = status.get("readyReplicas") or 0
    current = (status.get("observedGeneration") or 0) >= workload["metadata"].get("generation", 0)
    if ready == wanted and (started or current or wanted == 0):
        return None
    return Unready(role, ready, wanted)
