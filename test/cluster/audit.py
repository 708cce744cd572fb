"""Counts requests in the API server's audit log."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
NOT_COUNTED = frozenset({"events", "leases"})


@dataclass(frozen=True)
class Request:
    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int
    user_agent: str

    @property
    def is_write(self) -> bool:
        return self.verb in WRITES and self.resource not in NOT_COUNTED

    def __str__(self) -> str:
        path = "/".join(x for x in (self.resource, self.subresource) if x)
        return f"{self.verb} {path} {self.namespace}/{self.name} -> {self.code} ({self.user_agent.split(' ')[0]})"


class AuditLog:
    """What one user did, from the moment this was made."""

    def __init__(self, path: Path, user: str) -> None:
        self._path = path
        self._user = user
        self._offset = path.stat().st_size

    def requests(self) -> list[Request]:
        return list(self._read())

    def writes(self) -> list[Request]:
        return [r for r in self._read() if r.is_write]

    def lists(self) -> list[Request]:
        return [r for r in self._read() if r.verb == "list"]

    def _read(self) -> Iterator[Request]:
        with self._path.open("rb") as log:
            log.seek(self._offset)
            for line in log:
                if not line.endswith(b"\n"):
                    return
                entry: dict[str, Any] = json.loads(line)
                # A watch counts once, when it ends.
                if entry["user"].get("username") != self._user or entry["stage"] == "ResponseStarted":
                    continue
                ref = entry.get("objectRef") or {}
                yield Request(
                    entry["verb"],
                    ref.get("resource", ""),
                    ref.get("subresource", ""),
                    ref.get("namespace", ""),
                    ref.get("name", ""),
                    (entry.get("responseStatus") or {}).get("code", 0),
                    entry.get("userAgent", ""),
                )


def by_kind(requests: list[Request]) -> Counter[str]:
    """Number of requests per "verb resource[/subresource]"."""
    return Counter(" ".join((r.verb, "/".join(x for x in (r.resource, r.subresource) if x))) for r in requests)
