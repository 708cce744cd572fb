"""Dependencies between roles: unknown names and cycles. VLD-25, RBG-64"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Final

from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup
from rbgctl.api.validation.problem import FieldError, shown

UNKNOWN: Final = "unknown dependency"
CYCLE: Final = "dependency cycle"
SHOWN_STEPS: Final = 6
"""Roles of a cycle that a message names."""


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
    looping = cycles(known)
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
    """Every node on a cycle with the way along a cycle from itself, back to itself if that is not too long to show.

    Time grows with the number of edges: a group may have thousands of roles in one chain.
    """
    found: dict[str, list[str]] = {}
    for part in _loops(graph):
        inside = {name: sorted(graph[name] & part) for name in part}
        for name in sorted(part):
            if name in found:
                continue
            ring = _way_back(inside, name)
            for at, member in enumerate(ring):
                found.setdefault(member, _along(ring, at))
    return found


def _along(ring: Sequence[str], at: int) -> list[str]:
    steps = min(len(ring), SHOWN_STEPS)
    way = [ring[(at + step) % len(ring)] for step in range(steps)]
    return [*way, ring[at] if steps == len(ring) else "..."]


def _loops(graph: Mapping[str, Set[str]]) -> list[set[str]]:
    """Sets of nodes that all reach each other, without single nodes that do not depend on themselves (Kosaraju)."""
    known = {name: [target for target in wanted if target in graph] for name, wanted in graph.items()}
    wanting: dict[str, list[str]] = {name: [] for name in graph}
    for name, targets in known.items():
        for target in targets:
            wanting[target].append(name)
    seen: set[str] = set()
    finished = [node for name in known for node in _finished(known, name, seen)]
    seen.clear()
    parts = [set(_finished(wanting, name, seen)) for name in reversed(finished)]
    return [part for part in parts if len(part) > 1 or any(name in known[name] for name in part)]


def _finished(graph: Mapping[str, Sequence[str]], start: str, seen: set[str]) -> list[str]:
    """What is reached from `start` and not among `seen`, each node after what is reached through it."""
    if start in seen:
        return []
    seen.add(start)
    done: list[str] = []
    path = [(start, iter(graph[start]))]
    while path:
        name, left = path[-1]
        for target in left:
            if target not in seen:
                seen.add(target)
                path.append((target, iter(graph[target])))
                break
        else:
            done.append(name)
            path.pop()
    return done


def _way_back(graph: Mapping[str, Sequence[str]], start: str) -> list[str]:
    """A shortest cycle through `start`, which lies on one; it begins with `start`."""
    came_from: dict[str, str] = {}
    reached = deque([start])
    while reached:
        name = reached.popleft()
        for target in graph[name]:
            if target == start:
                return [*reversed(list(_back(came_from, name)))]
            if target not in came_from:
                came_from[target] = name
                reached.append(target)
    return []


def _back(came_from: Mapping[str, str], name: str) -> Iterator[str]:
    yield name
    while name in came_from:
        name = came_from[name]
        yield name
