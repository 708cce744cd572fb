"""How the flags --controllers, --namespaces and --shards divide the work, and which Leases that needs. Pure.

Managers that do the same work exclude each other by a Lease; managers that do different work must not, so each
selection has a Lease of its own:

    all controllers, all namespaces     rbg-controller, the Go operator's too
    anything less                       rbg-controller-part-<hash of the selection>

with `-<i>` added for shard i of several, except the first.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from rbgctl.api import identity

ALL: Final = "*"

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def select_controllers(flag: str, known: Sequence[str]) -> tuple[str, ...]:
    """The controllers that a --controllers flag names, in the order of `known`.

    `*` means all, `name` this one, `-name` all but this one when `*` is there too. Raises ValueError for an unknown
    name (telling the known ones), for a name that is both wanted and not, and when nothing is left.
    """
    items = _items(flag)
    wanted = {i for i in items if i != ALL and not i.startswith("-")}
    unwanted = {i[1:] for i in items if i.startswith("-")}
    unknown = sorted((wanted | unwanted) - set(known))
    if unknown:
        raise ValueError(f"--controllers: there is no controller {', '.join(unknown)}; known are {', '.join(known)}")
    if both := sorted(wanted & unwanted):
        raise ValueError(f"--controllers={flag}: {', '.join(both)} is both wanted and excluded")
    chosen = tuple(n for n in known if n in wanted or (ALL in items and n not in unwanted))
    if not chosen:
        raise ValueError(
            f"--controllers={flag} leaves no controller: name some of {', '.join(known)}, or put * before exclusions"
        )
    return chosen


def select_namespaces(flag: str) -> tuple[str, ...]:
    """The namespaces of a --namespaces flag, sorted; none means all. Raises ValueError for what cannot be a name."""
    names = _items(flag)
    if flag and not names:
        # An unset variable in a template must not turn a manager of some namespaces into one of all.
        raise ValueError(f"--namespaces={flag!r} names no namespace: leave the flag out to mean all")
    for name in names:
        if not _NAMESPACE.fullmatch(name):
            raise ValueError(f"--namespaces: {name!r} is no name of a namespace")
    return tuple(sorted(names))


def lease_name(controllers: Collection[str], known: Collection[str], namespaces: Iterable[str]) -> str:
    """The Lease of a manager that runs these controllers in these namespaces (none: everywhere), see the module."""
    selection = []
    if set(controllers) != set(known):
        selection.append(f"controllers={','.join(sorted(set(controllers)))}")
    if chosen := sorted(set(namespaces)):
        selection.append(f"namespaces={','.join(chosen)}")
    if not selection:
        return identity.LEADER_ELECTION_LEASE
    digest = hashlib.sha256(";".join(selection).encode()).hexdigest()
    return f"{identity.LEADER_ELECTION_LEASE}-part-{digest[:10]}"


def _items(flag: str) -> set[str]:
    return {item.strip() for item in flag.split(",") if item.strip()}
