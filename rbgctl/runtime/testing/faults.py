"""What a FaultProxy can do to requests, and to which of them. Data and decisions; the proxy carries them out."""

import asyncio
import random
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

_PATH = re.compile(
    r"/(?:api/[^/]+|apis/[^/]+/[^/]+)(?:/namespaces/(?P<namespace>[^/]+)(?=/(?!(?:status|finalize)$)[^/]+))?"
    r"/(?P<resource>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<subresource>[^/]+))?"
)


@dataclass(slots=True, eq=False)
class Seen:
    """One request that reached the proxy. `status` is what the client was answered, 0 when it was not.

    resource (plural), namespace, name and subresource are empty where the path has none. faults: what was done to it.
    """

    method: str
    path: str
    query: Mapping[str, str]
    user_agent: str = ""
    status: int = 0
    forwarded: bool = False
    faults: list[str] = field(default_factory=list)
    resource: str = field(init=False)
    namespace: str = field(init=False)
    name: str = field(init=False)
    subresource: str = field(init=False)

    def __post_init__(self) -> None:
        found = _PATH.fullmatch(self.path)
        parts = found.groupdict("") if found else dict.fromkeys(("resource", "namespace", "name", "subresource"), "")
        self.resource, self.namespace = parts["resource"], parts["namespace"]
        self.name, self.subresource = parts["name"], parts["subresource"]

    @property
    def is_watch(self) -> bool:
        return self.query.get("watch") in {"1", "true"}

    @property
    def is_list(self) -> bool:
        return self.method == "GET" and bool(self.resource) and not self.name and not self.is_watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which requests; all that is given must hold. path: a regular expression found in the path.

    watch: only watches or only others. streaming: of watches, only those that ask for the initial state or only
    others. user_agent: a part of the header.
    """

    methods: Collection[str] = ()
    resource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    watch: bool | None = None
    streaming: bool | None = None
    user_agent: str = ""

    def __call__(self, seen: Seen) -> bool:
        return (
            (not self.methods or seen.method in self.methods)
            and self.resource in {"", seen.resource}
            and self.namespace in {"", seen.namespace}
            and self.name in {"", seen.name}
            and (not self.path or re.search(self.path, seen.path) is not None)
            and self.watch in {None, seen.is_watch}
            and self.streaming in {None, seen.is_watch and "sendInitialEvents" in seen.query}
            and self.user_agent in seen.user_agent
        )


ANY = Match()
WATCHES = Match(watch=True)
UNARY = Match(watch=False)
WRITES = Match(methods=("POST", "PUT", "PATCH", "DELETE"))


# -- faults ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Delay:
    """Wait before the request is passed on. Seconds."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """No answer: the connection is closed, or reset. forwarded: the request is carried out first."""

    forwarded: bool = False
    reset: bool = False


@dataclass(frozen=True, slots=True)
class Refuse:
    """A Failure Status instead of passing the request on. retry_after: seconds, in header and details."""

    code: int
    reason: str
    retry_after: int | None = None
    cause: str = ""
    message: str = "injected"

    def status(self) -> dict[str, Any]:
        details: dict[str, Any] = {}
        if self.retry_after is not None:
            details["retryAfterSeconds"] = self.retry_after
        if self.cause:
            details["causes"] = [{"reason": self.cause, "message": self.message}]
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": details,
            "code": self.code,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """The answer ends after `after` bytes of its body: the connection is reset, or just closed."""

    after: int = 0
    reset: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchError:
    """After `after` events a watch ends with an ERROR event; without an error it just ends."""

    error: Refuse | None = None
    after: int = 0

    def line(self) -> bytes:
        return error_event(self.error) if self.error is not None else b""


@dataclass(frozen=True, slots=True)
class RepeatBookmarks:
    """Each bookmark of a watch comes `times` more."""

    times: int = 1


Fault = Delay | Drop | Refuse | Break | WatchError | RepeatBookmarks

EXPIRED = Refuse(410, "Expired")
CONFLICT = Refuse(409, "Conflict")
TOO_LARGE = Refuse(504, "Timeout", retry_after=1, cause="ResourceVersionTooLarge")
INTERNAL = Refuse(500, "InternalError")
UNAVAILABLE = Refuse(503, "ServiceUnavailable")
WATCH_EXPIRED = WatchError(error=EXPIRED)


def too_many_requests(retry_after: int | None = 1) -> Refuse:
    """429, as API priority and fairness answers."""
    return Refuse(429, "TooManyRequests", retry_after)


def error_event(error: Refuse) -> bytes:
    """The watch line that reports `error`."""
    return orjson.dumps({"type": "ERROR", "object": error.status()}) + b"\n"


# -- rules -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Rule:
    """A fault for matching requests: after the first `skip` of them, with `probability`, at most `times` times."""

    fault: Fault
    match: Match = ANY
    probability: float = 1.0
    skip: int = 0
    times: int | None = None
    matched: int = 0
    hits: int = 0

    def strikes(self, seen: Seen, rng: random.Random) -> bool:
        """Whether this request is hit; counts it."""
        if not self.match(seen):
            return False
        self.matched += 1
        if self.matched <= self.skip or (self.times is not None and self.hits >= self.times):
            return False
        # Decided by a draw per matching request, so that a seed replays as far as the requests do.
        if self.probability < 1.0 and rng.random() >= self.probability:
            return False
        self.hits += 1
        seen.faults.append(type(self.fault).__name__)
        return True


@dataclass(slots=True, eq=False)
class Barrier:
    """Holds matching requests, those that run already too, until `lift`. events_only: answers begin, and watches
    deliver nothing (a cache that has become stale); otherwise nothing at all passes (a frozen server).
    """

    match: Match
    events_only: bool
    held: int = 0
    _lifted: asyncio.Event = field(default_factory=asyncio.Event)

    def lift(self) -> None:
        self._lifted.set()

    @property
    def lifted(self) -> bool:
        return self._lifted.is_set()

    async def wait(self) -> None:
        self.held += 1
        try:
            await self._lifted.wait()
        finally:
            self.held -= 1
