"""Hints about releases from a watch on the Lease: real sockets, and an election that hears them."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs
from unit.runtime.lease_store import PATH, LeaseServer, LeaseStore, config, copy, error

from rbgctl.runtime.clock import SystemClock
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.elector_thread import Election, ElectorThread
from rbgctl.runtime.lease_requests import FORBIDDEN_SECONDS, LeaseRequests, LeaseWatch
from rbgctl.runtime.transport import Transport

SLOW: dict[str, Any] = {"lease": 90, "renew": 60.0, "retry": 20.0}
"""Looks 20 to 44 s apart: who leads sooner has heard of the release."""


@pytest.fixture
async def server() -> AsyncIterator[LeaseServer]:
    async with LeaseServer(LeaseStore()).running() as server:
        server.store.held_by("other")
        yield server


class Pauses(SystemClock):
    """Notes how long is waited between watches, and waits hardly at all."""

    def __init__(self) -> None:
        self.waited: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        await asyncio.sleep(0.01)


class Follower:
    """A watch, and how often it gave a hint."""

    def __init__(self, server: LeaseServer, transport: Transport) -> None:
        self.server = server
        self.clock = Pauses()
        requests = LeaseRequests(transport, "ns", "lock", "agent/leader-election")
        self.watch = LeaseWatch(requests, clock=self.clock, rng=random.Random(1))
        self.hints = 0
        self.heard = asyncio.Event()
        self.task = asyncio.create_task(self.watch.follow(self._hint))

    def _hint(self) -> None:
        self.hints += 1
        self.heard.set()

    async def hint(self) -> None:
        async with asyncio.timeout(20):
            await self.heard.wait()
        self.heard.clear()


@pytest.fixture
async def follower(server: LeaseServer) -> AsyncIterator[Follower]:
    async with Transport(ClusterConfig(server.url)) as transport:
        follower = Follower(server, transport)
        yield follower
        follower.task.cancel()
        await asyncio.wait([follower.task])


async def watched(server: LeaseServer) -> None:
    await server.until(lambda: server.watching > 0)


def say(server: LeaseServer, kind: str, holder: str) -> None:
    server.store.held_by(holder)
    server.tell(kind, server.store.get())


async def test_only_a_lease_without_holder_is_a_hint(server: LeaseServer, follower: Follower) -> None:
    await watched(server)
    assert server.queries[0] == (
        "GET",
        PATH,
        {"watch": "1", "fieldSelector": "metadata.name=lock", "timeoutSeconds": "300"},
    )
    assert server.asked[0][3] == "agent/leader-election"
    say(server, "MODIFIED", "other")
    say(server, "DELETED", "")  # nobody released it: its holder may still write
    say(server, "BOOKMARK", "other")
    say(server, "MODIFIED", "")
    await follower.hint()
    assert follower.hints == 1


async def test_a_release_between_two_watches_is_not_missed(server: LeaseServer, follower: Follower) -> None:
    await watched(server)
    server.store.held_by("")
    server.cut()
    await follower.hint()
    assert 0.8 <= follower.clock.waited[0] <= 1.6


async def test_a_watch_that_breaks_is_opened_anew_more_and_more_slowly(server: LeaseServer, follower: Follower) -> None:
    for count in range(4):
        await watched(server)
        server.tell("ERROR", error(410, "Expired").status)
        await server.until(lambda count=count: len(server.queries) >= count + 2)  # type: ignore[misc]
    assert [round(w / 0.8, 1) >= 2**n for n, w in enumerate(follower.clock.waited[:4])] == [True] * 4
    await watched(server)
    say(server, "MODIFIED", "")
    await follower.hint()


async def test_a_lease_that_may_not_be_watched_is_said_once(server: LeaseServer, follower: Follower) -> None:
    """Rights that are granted later are used."""
    with capture_logs() as logs:
        server.refusal = error(403, "Forbidden")
        await server.until(lambda: len(server.queries) >= 4)
        assert set(follower.clock.waited) == {FORBIDDEN_SECONDS}
        server.refusal = None
        await watched(server)
        say(server, "MODIFIED", "")
        await follower.hint()
    assert [log["event"] for log in logs if log["log_level"] == "warning"] == [
        "may not watch the lease: releases are noticed later"
    ]


# -- an election that hears --------------------------------------------------------------------------------------


class Standby:
    def __init__(self, server: LeaseServer, **changes: Any) -> None:
        self.thread = ElectorThread(ClusterConfig(server.url), user_agent="manager/v1", exit_process=print)
        self.election: Election = self.thread.election(config(**changes))
        self.leads = asyncio.Event()
        self.task = asyncio.create_task(self.election.run(self._started))

    async def _started(self) -> None:
        self.leads.set()

    async def end(self) -> None:
        await self.election.stop(release=True)
        await self.election.close()
        await self.task


async def test_a_standby_leads_as_soon_as_the_lease_is_released(server: LeaseServer) -> None:  # RT-LE-23, RT-LE-31
    standby = Standby(server, **SLOW)
    await watched(server)
    say(server, "MODIFIED", "other")
    say(server, "MODIFIED", "")
    async with asyncio.timeout(15):
        await standby.leads.wait()
    await server.until(lambda: server.watching == 0)  # a leader does not watch
    watches = {peer for (_, path, query), (_, _, peer, _) in zip(server.queries, server.asked, strict=True) if query}
    others = {peer for (_, path, query), (_, _, peer, _) in zip(server.queries, server.asked, strict=True) if not query}
    assert watches
    assert not watches & others  # renewals need not wait for a watch
    await standby.end()


async def test_a_standby_that_may_not_watch_finds_the_release_by_looking(server: LeaseServer) -> None:  # RT-LE-10
    server.refusal = error(403, "Forbidden")
    standby = Standby(server, lease=6, renew=3.0, retry=0.5)
    await server.until(lambda: any(query for _, _, query in server.queries))
    looks = len(server.asked)
    await server.until(lambda: len(server.asked) >= looks + 2)
    server.store.held_by("")
    async with asyncio.timeout(15):
        await standby.leads.wait()
    assert sum("watch" in query for _, _, query in server.queries) == 1
    await standby.end()


async def test_a_hint_about_a_lease_that_is_held_takes_nothing(server: LeaseServer) -> None:  # RT-LE-13
    standby = Standby(server, **SLOW)
    await watched(server)
    stale = copy(server.store.get())
    stale["spec"]["holderIdentity"] = ""
    looks = len(server.asked)
    server.tell("MODIFIED", stale)
    server.tell("MODIFIED", stale)
    await server.until(lambda: len(server.asked) > looks)
    await asyncio.sleep(0.5)
    assert not standby.leads.is_set()
    assert server.store.spec["holderIdentity"] == "other"
    await standby.end()
