"""What an elector asks the API server about its Lease, over HTTP: reads and writes, and a watch for hints."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import orjson
import structlog

from rbgctl.machinery.gvk import RawObject
from rbgctl.runtime.backoff import Backoff
from rbgctl.runtime.clock import Clock
from rbgctl.runtime.errors import ApiError, Forbidden
from rbgctl.runtime.lease_record import LEASE, LeaseRecord
from rbgctl.runtime.transport import Pool, Transport

_log = structlog.get_logger("rbgctl.runtime.leaderelection")

WATCH_SECONDS = 300
"""After so long the server ends a watch; another one follows."""
WATCH_SILENCE = 30.0
"""Renewals come every few seconds. A watch that stays silent for longer may be dead, so it is opened anew."""
FORBIDDEN_SECONDS = 300.0
"""Between watches that are refused; rights may be granted meanwhile."""


@dataclass(frozen=True, slots=True)
class LeaseRequests:
    """A `LeaseClient` over HTTP, on the two connections that are for Leases only."""

    transport: Transport
    namespace: str
    name: str
    user_agent: str

    async def get(self, timeout: float) -> RawObject:
        return await self._call("GET", f"{self.collection}/{self.name}", None, timeout)

    async def create(self, lease: RawObject, timeout: float) -> RawObject:
        return await self._call("POST", self.collection, lease, timeout)

    async def update(self, lease: RawObject, timeout: float) -> RawObject:
        return await self._call("PUT", f"{self.collection}/{self.name}", lease, timeout)

    @property
    def collection(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases"

    async def _call(self, method: str, path: str, lease: RawObject | None, timeout: float) -> RawObject:
        answer = await self.transport.request(
            method,
            path,
            body=orjson.dumps(lease) if lease is not None else None,
            content_type="application/json" if lease is not None else None,
            pool=Pool.LEASE,
            timeout=timeout,
            user_agent=self.user_agent,
            gated=False,
        )
        if not 200 <= answer.status < 300:
            raise ApiError.from_response(
                method, answer.status, answer.headers, answer.body, gvk=LEASE, resource="leases", name=self.name
            )
        found: RawObject = orjson.loads(answer.body)
        return found


class LeaseWatch:
    """`ReleaseHints` from a watch on the one Lease. It has a connection of its own, so renewals never wait for it.

    Without the right to watch, which is said once in the log, a standby has to find releases by polling.
    """

    def __init__(self, requests: LeaseRequests, *, clock: Clock, rng: random.Random) -> None:
        self._requests = requests
        self._clock = clock
        self._backoff = Backoff(clock, rng)
        self._log = _log.bind(lease=f"{requests.namespace}/{requests.name}")
        self._refused = False

    async def follow(self, hint: Callable[[], None]) -> None:
        """Watch until cancelled. A watch begins with the present state, so what happens between two is not missed."""
        while True:
            pause = None
            try:
                await self._watch(hint)
            except Forbidden as error:
                pause = FORBIDDEN_SECONDS
                if not self._refused:
                    self._refused = True
                    self._log.warning("may not watch the lease: releases are noticed later", error=str(error))
            except Exception as error:  # noqa: BLE001 - only a hint; the election itself polls
                self._log.debug("watch of the lease broke", error=str(error), error_type=type(error).__name__)
            await self._clock.sleep(self._backoff.step() if pause is None else pause)

    async def _watch(self, hint: Callable[[], None]) -> None:
        requests = self._requests
        params = {
            "watch": "1",
            "fieldSelector": f"metadata.name={requests.name}",
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        async with requests.transport.stream(
            requests.collection,
            params,
            idle_timeout=WATCH_SILENCE,
            total_timeout=WATCH_SECONDS + WATCH_SILENCE,
            user_agent=requests.user_agent,
        ) as stream:
            if stream.status != 200:
                raise ApiError.from_response(
                    "WATCH", stream.status, stream.headers, await stream.body(), gvk=LEASE, resource="leases"
                )
            async for lines in stream.batches():
                for line in lines:
                    event = orjson.loads(line)
                    if event["type"] == "ERROR":
                        raise ApiError.from_status(event["object"])
                    # A Lease that was deleted is no hint: nobody released it, and its holder may still write.
                    if event["type"] in {"ADDED", "MODIFIED"} and not LeaseRecord.of(event["object"]).holder:
                        hint()
