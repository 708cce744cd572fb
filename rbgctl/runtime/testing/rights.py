"""Which of its rights a process uses: the rules it was given against the API server's audit log.

    used = rights_used(env.audit_log, "system:serviceaccount:ns:name")
    never = unused_rights(rules, used)

What the audit log cannot show is counted where it shows in another way: an apply that creates is authorised as `create`
too. `update` on `x/finalizers` leaves no trace at all: it is asked for when an owner reference blocks deletion.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rbgctl.runtime.rbac import PolicyRule, merged


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One verb of a rule. names: the objects it is limited to, none for all."""

    group: str
    resource: str
    verb: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        limited = f" ({', '.join(self.names)})" if self.names else ""
        return f"{self.verb} {self.resource}{'.' if self.group else ''}{self.group}{limited}"


@dataclass(frozen=True, slots=True, order=True)
class Use:
    """A request that was allowed. resource: with its subresource. name: empty when it is about many objects."""

    group: str
    resource: str
    verb: str
    name: str = ""


def rights_used(audit_log: Path, user: str, offset: int = 0) -> set[Use]:
    """What `user` was allowed to do, from `offset` in the log on."""
    found: set[Use] = set()
    with audit_log.open("rb") as log:
        log.seek(offset)
        for line in log:
            if not line.endswith(b"\n"):
                break  # it is being written
            entry: dict[str, Any] = json.loads(line)
            if entry["user"].get("username") == user:
                found.update(_uses(entry))
    return found


def _uses(entry: Mapping[str, Any]) -> Iterator[Use]:
    ref = entry.get("objectRef")
    code = (entry.get("responseStatus") or {}).get("code", 0)
    if ref is None or code in {401, 403}:
        return
    resource = "/".join(part for part in (ref.get("resource", ""), ref.get("subresource", "")) if part)
    use = Use(ref.get("apiGroup", ""), resource, entry["verb"], ref.get("name", ""))
    yield use
    if use.verb == "patch" and code == 201:
        yield Use(use.group, use.resource, "create", use.name)


def unused_rights(rules: Iterable[PolicyRule], used: Iterable[Use]) -> list[Right]:
    """Rights of the rules that no use needed, sorted."""
    names: dict[tuple[str, str, str], set[str]] = {}
    for use in used:
        names.setdefault((use.group, use.resource, use.verb), set()).add(use.name)
    granted = (Right(r.group, r.resource, verb, r.names) for r in merged(rules) for verb in r.verbs)
    return sorted(right for right in granted if not _is_needed(right, names))


def _is_needed(right: Right, names: Mapping[tuple[str, str, str], set[str]]) -> bool:
    found = names.get((right.group, right.resource, right.verb), set())
    return bool(found.intersection(right.names) if right.names else found)
