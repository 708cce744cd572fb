"""How much one client may send, and how it waits for its turn."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from typer.testing import CliRunner
from unit.runtime.conftest import ManualClock
from unit.runtime.scripted import Answer, ScriptedServer, answer, watch

from rbgctl import manager as composition
from rbgctl.cli.main import app
from rbgctl.machinery.gvk import GVK, NN
from rbgctl.runtime.cached_client import CachedClient
from rbgctl.runtime.client import LiveClient, Patch
from rbgctl.runtime.client_limits import ClientLimits, RequestBucket, RequestRate
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.errors import InternalError, NotSent
from rbgctl.runtime.manager import Manager, ManagerOptions
from rbgctl.runtime.transport import Pool, Transport

POD, NODE = GVK("", "v1", "Pod"), GVK("", "v1", "Node")
KEY = NN("ns", "a")
OBJECT = b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","namespace":"ns"}}'


class Rig:
    """Clients on one transport, whose clock only moves when something waits."""

    def __init__(self, server: ScriptedServer, clock: ManualClock) -> None:
        self.server = server
        self.clock = clock
        self.waits: list[tuple[str, str, float]] = []
        self.transport = Transport(
            ClusterConfig(server.url),
            clock=clock,
            on_wait=lambda method, host, seconds: self.waits.append((method, host, seconds)),
        )

    def client(self, rate: RequestRate | None = None, **more: Any) -> LiveClient:
        limits = ClientLimits(self.clock.monotonic, rate=rate, **more)
        return LiveClient(self.transport, RestMapper(self.transport), limits=limits)

    async def waited(self, call: Any) -> float:
        """Seconds of the clock that a call took."""
        began = self.clock.time
        await call
        return self.clock.time - began


@pytest.fixture
async def rig(manual_clock: ManualClock) -> AsyncIterator[Rig]:
    async with ScriptedServer().running() as server:
        rig = Rig(server, manual_clock)
        async with rig.transport:
            yield rig


def fine(count: int) -> list[Answer]:
    return [answer(200, OBJECT)] * count


# -- the bucket --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("qps", "burst", "rate"),
    [
        (None, None, None),
        (None, 30, None),
        (-1, None, None),
        (-0.5, 30, None),
        (20, None, RequestRate(20, 30)),
        (0.5, 1, RequestRate(0.5, 1)),
        (0, 0, RequestRate(5, 10)),
        (20, 0, RequestRate(20, 10)),
    ],
)
def test_flags_say_whether_and_how_much(qps: float | None, burst: int | None, rate: RequestRate | None) -> None:
    """RT-CF-20, RT-CF-23: unset or negative is off; 0 is what client-go takes it for."""
    assert RequestRate.of(qps, burst) == rate


def test_a_burst_below_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="--kube-api-burst is -1"):
        RequestRate.of(20, -1)


@given(
    st.lists(st.tuples(st.floats(0, 3), st.floats(0, 4)), max_size=40),
    st.sampled_from([0.5, 1.0, 3.0]),
    st.integers(1, 4),
)
def test_no_stretch_of_time_sees_more_than_the_rate_allows(
    asked: list[tuple[float, float]], qps: float, burst: int
) -> None:
    """RT-CF-20: `burst` at once and `qps` a second, in the order of asking; whoever cannot wait takes nothing."""
    now = 0.0
    bucket = RequestBucket(RequestRate(qps, burst), lambda: now)
    turns: list[float] = []
    for pause, within in asked:
        now += pause
        turn = bucket.reserve(within)
        if turn is None:
            assert turns[-1] > now - burst / qps - 1e-6  # a bucket that was left alone is full
            continue
        assert now <= turn <= now + within + 1e-9
        assert not turns or turn >= turns[-1] - 1e-9
        turns.append(turn)
    for first in range(len(turns)):
        for last in range(first, len(turns)):
            assert last - first + 1 <= burst + (turns[last] - turns[first]) * qps + 1e-6


async def test_a_turn_given_up_serves_the_next_one(manual_clock: ManualClock) -> None:
    """RT-CF-22: a cancelled caller, or one whose deadline was too near, costs nobody anything."""
    bucket = RequestBucket(RequestRate(1, 1), manual_clock.monotonic)

    class Waiting(ManualClock):
        async def sleep(self, seconds: float) -> None:
            await asyncio.Event().wait()

    assert await bucket.take(manual_clock, 0) == 0
    task = asyncio.create_task(bucket.take(Waiting(), 10))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    with pytest.raises(NotSent):
        await bucket.take(manual_clock, 0.5)
    assert await bucket.take(manual_clock, 10) == 1


def test_turns_given_up_last_first_all_come_back(manual_clock: ManualClock) -> None:
    """RT-CF-22."""
    bucket = RequestBucket(RequestRate(1, 1), manual_clock.monotonic)
    turns = [bucket.reserve(100) for _ in range(4)]
    assert turns == [0, 1, 2, 3]
    for turn in reversed(turns[1:]):
        assert turn is not None
        bucket.give_back(turn)
    assert bucket.reserve(100) == 1


# -- whose bucket ------------------------------------------------------------------------------------------------


async def test_every_client_has_a_bucket_for_every_kind(rig: Rig) -> None:
    """RT-CF-21, RT-CF-23: reads and writes of a kind share it, other kinds and other clients do not."""
    rate = RequestRate(qps=1, burst=2)
    one, other = rig.client(rate), rig.client(rate)
    rig.server.answers(*fine(7))
    assert await rig.waited(one.get(POD, KEY)) == 0
    assert await rig.waited(one.patch(POD, KEY, Patch.merge({}))) == 0
    assert await rig.waited(one.get(NODE, NN("", "n"))) == 0
    assert await rig.waited(other.get(POD, KEY)) == 0
    assert await rig.waited(one.get(POD, KEY)) == 1
    rig.clock.time += 60
    assert await rig.waited(one.get(POD, KEY)) == 0
    assert rig.waits[4] == ("GET", rig.transport.config.host, 1)
    assert len(rig.waits) == 6


async def test_without_a_rate_nobody_waits(rig: Rig) -> None:
    """RT-CF-20, RT-CF-23."""
    client = rig.client(None)
    rig.server.answers(*fine(100))
    for _ in range(100):
        await client.get(POD, KEY)
    assert (rig.clock.time, rig.waits) == (0, [])


async def test_a_manager_gives_every_client_limits_of_its_own(manual_clock: ManualClock) -> None:
    """RT-CF-21, RT-CF-23: with the rate of the flags, and the waits in the metrics."""
    manager = Manager(ClusterConfig("http://127.0.0.1:1"), ManagerOptions(rate=RequestRate(5, 1)), clock=manual_clock)
    clients = [manager.client("a"), manager.client("a"), manager.live, manager.ungated]
    buckets = []
    for client in clients:
        assert client._limits is not None
        for gvk in (POD, NODE):
            buckets.append(client._limits.allowance(gvk).bucket)
            assert client._limits.allowance(gvk).slots is client._limits.allowance(POD).slots
    assert None not in buckets
    assert len({id(bucket) for bucket in buckets}) == 8
    manager.transport._on_wait("GET", "h", 0.3)
    sample = manager.metrics.collectors.get_sample_value
    bucket = {"verb": "GET", "host": "h", "le": "0.5"}
    assert sample("rest_client_rate_limiter_duration_seconds_bucket", bucket) == 1
    assert sample("rest_client_rate_limiter_duration_seconds_bucket", {**bucket, "le": "0.25"}) == 0
    assert sample("rbg_runtime_rest_client_rate_limiter_seconds_sum") == 0.3
    await manager.transport.close()


@pytest.mark.parametrize(
    ("arguments", "rate"),
    [
        ([], None),
        (["--kube-api-qps", "-1"], None),
        (["--kube-api-qps=20"], RequestRate(20, 30)),
        (["--kube-api-qps", "2.5", "--kube-api-burst", "3"], RequestRate(2.5, 3)),
    ],
)
def test_the_flags_reach_the_runtime(
    arguments: list[str], rate: RequestRate | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RT-CF-23, RT-ID-08."""
    given: list[composition.ManagerOptions] = []
    monkeypatch.setattr(composition, "run", lambda options: given.append(options) or 0)
    result = CliRunner().invoke(app, ["manager", *arguments])
    assert result.exit_code == 0, result.output
    assert composition.runtime_options(given[0]).rate == rate


# -- waiting -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("qps", "level"), [(100, None), (10, "debug"), (0.5, "info")])
async def test_a_long_wait_is_logged(rig: Rig, qps: float, level: str | None) -> None:
    """RT-CF-22: at debug from 50 ms, at info from a second."""
    client = rig.client(RequestRate(qps, 1))
    rig.server.answers(*fine(2))
    with capture_logs() as logs:
        for _ in range(2):
            await client.get(POD, KEY)
    found = [(entry["log_level"], entry["seconds"]) for entry in logs if "rate limit" in entry["event"]]
    assert found == ([] if level is None else [(level, 1 / qps)])


async def test_whoever_cannot_wait_that_long_is_told_at_once(rig: Rig) -> None:
    """RT-CF-22: before anything is sent, and without using up what others wait for."""
    client = rig.client(RequestRate(0.1, 1))
    rig.server.answers(*fine(2))
    await client.get(POD, KEY)
    with pytest.raises(NotSent, match=r"GET /api/v1/namespaces/ns/pods/a: .* rate limit"):
        await client.get(POD, KEY, timeout=9.0)
    assert (rig.clock.time, len(rig.server.asked)) == (0, 1)
    assert await rig.waited(client.get(POD, KEY, timeout=11.0)) == 10


async def test_a_wait_counts_toward_the_caller_s_deadline(rig: Rig) -> None:
    """RT-CF-22: what is left of it is for the server, and for asking it again."""
    client = rig.client(RequestRate(0.1, 1))
    rig.server.answers(*fine(1), answer(503, headers={"Retry-After": "3"}))
    await client.get(POD, KEY)
    with pytest.raises(Exception, match="unable to handle"):
        await client.get(POD, KEY, timeout=12.0)
    assert (rig.clock.time, len(rig.server.asked)) == (10, 2)


async def test_no_time_for_another_attempt_leaves_the_answer_to_the_first(rig: Rig) -> None:
    """RT-CF-22, RT-CL-20: which may have been carried out, so nobody may take it for not sent."""
    client = rig.client(RequestRate(0.01, 1))
    rig.server.answers(answer(500, headers={"Retry-After": "1"}))
    with pytest.raises(InternalError):
        await client.patch(POD, KEY, Patch.merge({}))
    assert (len(rig.server.asked), rig.clock.time) == (1, 1)


async def test_every_attempt_takes_a_token(rig: Rig) -> None:
    """RT-CL-20: the seconds that the server asked for, and then the wait for the rate limit."""
    client = rig.client(RequestRate(0.1, 1))
    rig.server.answers(answer(429, headers={"Retry-After": "2"}), *fine(1))
    assert await rig.waited(client.get(POD, KEY)) == 10


async def test_a_watch_waits_only_when_it_is_opened_again(rig: Rig) -> None:
    """RT-CF-22, RT-CL-21."""
    client = rig.client(RequestRate(0.1, 1))
    rig.server.answers(*fine(1), watch(), answer(429, headers={"Retry-After": "2"}), watch())
    await client.get(POD, KEY)
    assert [found async for found in client.watch(POD)] == []
    assert (rig.clock.time, len(rig.server.asked)) == (0, 2)
    assert [found async for found in client.watch(POD)] == []
    assert (rig.clock.time, len(rig.server.asked)) == (10, 4)


async def test_leases_never_wait(rig: Rig) -> None:
    """RT-CF-22: neither for tokens nor behind the calls of others."""
    limits = ClientLimits(rig.clock.monotonic, concurrent=1, rate=RequestRate(0.001, 1))
    lease = LiveClient(rig.transport, RestMapper(rig.transport), pool=Pool.LEASE, limits=limits)
    busy = rig.client(concurrent=100)
    release = asyncio.Event()
    rig.server.answers(*[hold(release)] * 64, *fine(3))
    calls = [asyncio.create_task(busy.get(POD, KEY)) for _ in range(70)]
    await rig.server.asked_at_least(64)
    async with asyncio.timeout(5):
        for _ in range(3):
            await lease.get(POD, KEY)
    assert rig.clock.time == 0
    await cancelled(calls)


# -- slots -------------------------------------------------------------------------------------------------------


def hold(release: asyncio.Event) -> Answer:
    async def give(_: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response(body=OBJECT)

    return give


async def cancelled(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def settled(measure: Callable[[], int]) -> int:
    """The value once it has stopped changing."""
    before = -1
    while before != (now := measure()):
        before = now
        await asyncio.sleep(0.1)
    return now


async def test_a_client_has_sixteen_requests_under_way_and_the_process_sixty_four(rig: Rig) -> None:
    """RT-CF-23: also when the connections were replaced meanwhile."""
    release = asyncio.Event()
    rig.server.answers(*[hold(release)] * 200)
    clients = [rig.client() for _ in range(5)]
    calls = [asyncio.create_task(clients[0].get(POD, KEY)) for _ in range(30)]
    await rig.server.asked_at_least(16)
    assert await settled(lambda: len(rig.server.asked)) == 16
    calls += [asyncio.create_task(client.get(NODE, NN("", "n"))) for client in clients[1:] for _ in range(16)]
    await rig.server.asked_at_least(64)
    await rig.transport.rotate()
    calls.append(asyncio.create_task(rig.transport.request("GET", "/x")))
    assert await settled(lambda: len(rig.server.asked)) == 64
    release.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*calls)
    assert len(rig.server.asked) == 95


async def test_without_a_free_slot_the_deadline_still_counts(rig: Rig) -> None:
    """RT-CF-22, RT-CF-23: and nothing was sent."""
    release = asyncio.Event()
    rig.server.answers(hold(release))
    client = rig.client(concurrent=1)
    call = asyncio.create_task(client.get(POD, KEY))
    await rig.server.asked_at_least(1)
    with pytest.raises(NotSent, match="too many requests under way"):
        await client.get(POD, KEY, timeout=0.05)
    assert len(rig.server.asked) == 1
    await cancelled([call])


async def test_whoever_waits_to_try_again_leaves_its_slot_to_others(rig: Rig) -> None:
    """RT-CF-23."""
    asleep = asyncio.Event()

    class Sleepy(ManualClock):
        async def sleep(self, seconds: float) -> None:
            asleep.set()
            await asyncio.Event().wait()

    rig.transport._clock = Sleepy()
    rig.server.answers(answer(429, headers={"Retry-After": "2"}), *fine(1))
    client = rig.client(concurrent=1)
    call = asyncio.create_task(client.get(POD, KEY))
    await asleep.wait()
    async with asyncio.timeout(5):
        await client.get(POD, KEY)
    await cancelled([call])


async def test_a_write_that_never_had_its_turn_leaves_nothing_to_wait_for(rig: Rig) -> None:
    """RT-CF-22, RT-CA-21."""

    class Cache:
        def record_write(self, *_: Any, **__: Any) -> None:
            raise AssertionError

    live = rig.client(RequestRate(0.001, 1))
    rig.server.answers(*fine(1))
    await live.get(POD, KEY)
    client = CachedClient(Cache(), live, "me")  # type: ignore[arg-type]
    with pytest.raises(NotSent):
        await client.delete(POD, KEY)


# -- what the server says about its load -------------------------------------------------------------------------


async def test_who_slows_us_down_is_logged(rig: Rig) -> None:
    """RT-CF-24: for calls and for watches, at debug."""
    headers = {
        "Retry-After": "1",
        "X-Kubernetes-PF-FlowSchema-UID": "schema",
        "X-Kubernetes-PF-PriorityLevel-UID": "level",
    }
    rig.server.answers(answer(429, headers=headers), *fine(1), answer(429, headers=headers), watch())
    client = rig.client()
    with capture_logs() as logs:
        await client.get(POD, KEY)
        async for _ in client.watch(POD):
            pass
    told = [entry for entry in logs if "slow down" in entry["event"]]
    assert [(e["log_level"], e["retry_after"], e["flow_schema"], e["priority_level"]) for e in told] == [
        ("debug", "1", "schema", "level")
    ] * 2


async def test_no_more_than_four_kinds_are_listed_at_once(rig: Rig) -> None:
    """RT-CF-24: a large list takes several seats of its priority level."""
    from rbgctl.runtime.cache import Cache
    from rbgctl.runtime.clock import SystemClock
    from rbgctl.runtime.known_kinds import BUILT_IN

    logging.getLogger("asyncio").setLevel(logging.ERROR)
    open_lists = most = 0

    async def listed(request: web.Request) -> web.StreamResponse:
        nonlocal open_lists, most
        if "watch" in request.query:
            await asyncio.Event().wait()
        open_lists += 1
        most = max(most, open_lists)
        await asyncio.sleep(0.05)
        open_lists -= 1
        return web.Response(body=b'{"metadata":{"resourceVersion":"1"},"items":[]}')

    rig.server.answers(*[listed] * 100)
    clock = SystemClock()
    async with Transport(ClusterConfig(rig.server.url), clock=clock) as transport:
        cache = Cache(transport, RestMapper(transport), clock=clock, first_list_jitter=0.0, streaming=False)
        for resource in BUILT_IN[:12]:
            cache.declare(resource.gvk)
        task = asyncio.create_task(cache.run())
        await cache.wait_for_sync(timeout=20)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert most == 4
