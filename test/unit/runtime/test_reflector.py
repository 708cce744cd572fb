"""What the streams of a reflector do when versions expire. Random histories: test_reflector_histories.py."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from unit.runtime.conftest import ManualClock
from unit.runtime.scripted import ScriptedServer, bookmark, event, failure, listing, obj, refused, watch

from rbgctl.machinery.gvk import GVK, Resource
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.fifo import OrderedFifo
from rbgctl.runtime.reflector import STREAM_RETRY, Reflector, WatchTarget
from rbgctl.runtime.store import EntryDecoder, Indexer
from rbgctl.runtime.transport import Transport

POD = GVK("", "v1", "Pod")
TARGET = WatchTarget(Resource(POD, "pods", True))
# -- streams whose version expires ---------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def reflecting(server: ScriptedServer, clock: ManualClock) -> AsyncIterator[Reflector]:
    async with Transport(ClusterConfig(server.url), clock=clock) as transport:
        reflector = Reflector(
            TARGET, transport, OrderedFifo(Indexer()), EntryDecoder(POD), clock=clock, first_list_jitter=0
        )
        task = asyncio.create_task(reflector.run())
        yield reflector
        task.cancel()
        await asyncio.wait([task], timeout=1)
        assert task.cancelled()


async def test_a_stream_at_a_version_the_server_lost_is_asked_for_the_newest_at_once(manual_clock: ManualClock) -> None:
    """RT-RF-14."""
    async with ScriptedServer().running() as server:
        server.answers(
            watch(bookmark(5, end=True), event("ERROR", failure(410, "Expired"))),
            refused(410, "Expired"),
            watch(event("ADDED", obj("a", 8)), bookmark(9, end=True)),
        )
        async with reflecting(server, manual_clock) as reflector:
            asked = await server.asked_at_least(4)
            assert [a.query["resourceVersion"] for a in asked] == ["", "5", "", "9"]
            assert manual_clock.time < 2 * 0.8  # one pause, for the watch that expired
            assert reflector.relists == 2


async def test_a_server_without_streams_is_tried_again_after_ten_minutes(manual_clock: ManualClock) -> None:
    """RT-RF-14, RT-OP-02."""

    def expires(seconds: float) -> Any:
        def later() -> None:
            manual_clock.time += seconds

        return watch(event("ERROR", failure(410, "Expired")), before=later)

    async with ScriptedServer().running() as server:
        server.answers(refused(422, "Invalid"), listing(7), expires(1), listing(8), expires(STREAM_RETRY))
        async with reflecting(server, manual_clock):
            asked = await server.asked_at_least(6)
            assert ["sendInitialEvents" in a.query for a in asked] == [True, False, False, False, False, True]
