"""Dependencies between roles: unknown names and cycles. VLD-25, RBG-64"""

from collections.abc import Iterator, Mapping, Set

from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup
from rbgctl.api.validation.problem import FieldError, shown

UNKNOWN = "unknown dependency"
CYCLE = "dependency cycle"


def dependencies(group: RoleBasedGroup) -> list[FieldError]:
    """What stops the controller: all unknown names; when there are none, one role that stands on a cycle. RBG-64"""
    if unknown := unknown_dependencies(group):
        return unknown
    known = {role.name: set(role.dependencies or ()) for role in group.roles}
    looping = cycles(known)
    if not looping:
        return []
    name = min(looping)
    index = [role.name for role in group.roles].index(name)
    return [
        FieldError(
            f"spec.roles[{index}].dependencies",
            f"failed to sort roles by dependency order: cycle detected for role '{name}'",
            name,
            CYCLE,
        )
    ]


def all_dependency_problems(group: RoleBasedGroup) -> list[FieldError]:
    """Every unknown name, and every role that stands on a cycle of known ones."""
    known = {role.name: set(role.dependencies or ()) for role in group.roles}
    looping = cycles({name: wanted & known.keys() for name, wanted in known.items()})
    return unknown_dependencies(group) + [
        FieldError(
            f"spec.roles[{index}].dependencies",
            f"cycle detected for role '{role.name}' ({shown(' -> '.join(looping[role.name]))}):"
            " take one of these dependencies out",
            role.name,
            CYCLE,
        )
        for index, role in enumerate(group.roles)
        if role.name in looping
    ]


def unknown_dependencies(group: RoleBasedGroup) -> list[FieldError]:
    """Dependencies on roles that the group does not have."""
    known = {role.name for role in group.roles}
    return [
        FieldError(
            f"spec.roles[{index}].dependencies",
            f"role [{role.name}] with dependency role [{name}] not found in rbg",
            role.name,
            UNKNOWN,
            name,
        )
        for index, role in enumerate(group.roles)
        for name in role.dependencies or ()
        if name not in known
    ]


def cycles(graph: Mapping[str, Set[str]]) -> dict[str, list[str]]:
    """Every node on a cycle with the nodes of a shortest cycle through it, from itself back to itself."""
    left = dict(graph)
    while free := {name for name, wanted in left.items() if not wanted & left.keys()}:
        left = {name: wanted for name, wanted in left.items() if name not in free}
    while idle := left.keys() - {target for wanted in left.values() for target in wanted}:
        left = {name: wanted for name, wanted in left.items() if name not in idle}
    found: dict[str, list[str]] = {}
    for name in sorted(left):
        if name in found:
            continue
        path = _way_back(left, name)
        for at, member in enumerate(path[:-1]):
            found.setdefault(member, [*path[at:-1], *path[:at], member])
    return found


def _way_back(graph: Mapping[str, Set[str]], start: str) -> list[str]:
    """The shortest way from `start` to itself; empty when there is none: it only lies between two cycles."""
    came_from: dict[str, str] = {}
    reached = [start]
    while reached:
        following: list[str] = []
        for name in reached:
            for target in sorted(graph.get(name, set()) & graph.keys()):
                if target == start:
                    return [*reversed(list(_back(came_from, name))), start]
                if target not in came_from:
                    came_from[target] = name
                    following.append(target)
        reached = following
    return []


def _back(came_from: Mapping[str, str], name: str) -> Iterator[str]:
    yield name
    while name in came_from:
        name = came_from[name]
        yield name
