"""What probes are told about a manager: alive, ready, or not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from unit.runtime import tls

from rbgctl.machinery.gvk import GVK
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.health import LoopMonitor
from rbgctl.runtime.manager import Manager, ManagerOptions
from rbgctl.runtime.metrics import Registry
from rbgctl.runtime.webhook import WebhookOptions, serve_kind

POD = GVK("", "v1", "Pod")
UNREACHABLE = ClusterConfig("http://127.0.0.1:1")

Probe = Callable[[str], Awaitable[tuple[int, str]]]


@contextlib.asynccontextmanager
async def probed(manager: Manager) -> AsyncIterator[Probe]:
    """The health endpoints of a manager that runs until the block ends."""
    stop = asyncio.Event()
    task = asyncio.create_task(manager.run(stop))
    await asyncio.sleep(0)
    assert manager.health_server is not None
    await manager.health_server.ready()
    url = f"http://127.0.0.1:{manager.health_server.port}"
    async with aiohttp.ClientSession() as session:

        async def get(path: str) -> tuple[int, str]:
            async with session.get(url + path) as answer:
                return answer.status, await answer.text()

        try:
            yield get
        finally:
            stop.set()
            await asyncio.wait([task])


class NeverElected:
    async def run(self, on_started: Callable[[], Awaitable[None]]) -> None:
        await asyncio.Event().wait()

    def remaining(self) -> float:
        return 0.0


def manager(*kinds: GVK, **options: Any) -> Manager:
    made = Manager(
        UNREACHABLE,
        ManagerOptions(health_address="127.0.0.1:0", first_list_jitter=0.0, graceful_shutdown=1.0, **options),
    )
    for kind in kinds:
        made.need(kind)
    return made


async def test_not_ready_before_informers_are_synced_though_alive() -> None:  # RT-HZ-09
    async with probed(manager(POD)) as get:
        status, text = await get("/readyz")
        assert (status, "[-]informers failed" in text) == (500, True)
        assert (await get("/readyz/informers"))[1] == "internal server error: not synced: Pod\n"
        assert await get("/healthz") == (200, "ok")


@pytest.mark.parametrize("converts", [True, False])
async def test_a_manager_that_serves_conversion_does_not_wait_for_what_may_need_it(
    tmp_path: Path, converts: bool
) -> None:  # RT-HZ-09
    made = manager(POD)
    tls.write(tmp_path, tls.issue())
    server = made.serve_webhooks(WebhookOptions(host="127.0.0.1", port=0, cert_dir=tmp_path))
    if converts:
        serve_kind(server, POD, converter=lambda obj, desired: {**obj, "apiVersion": desired})
    async with probed(made) as get:
        await server.started()
        if not converts:
            assert (await get("/readyz/informers"))[0] == 500
            return
        assert await get("/readyz") == (200, "ok")
        assert (await get("/readyz/informers"))[0] == 404


async def test_a_standby_is_ready_and_alive_without_being_elected() -> None:  # RT-HZ-09
    made = manager(elector=lambda _: NeverElected())
    async with probed(made) as get:
        assert await get("/readyz") == (200, "ok")
        assert await get("/healthz") == (200, "ok")
        assert not made.elected.is_set()


async def lag(monitor: LoopMonitor, clock: Any, seconds: float) -> None:
    """Let the monitor see its timer run so late."""
    task = asyncio.create_task(monitor.run())
    await asyncio.sleep(0)
    clock.time += seconds
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])


async def test_alive_while_the_loop_lags_less_than_ten_seconds(manual_clock: Any) -> None:  # RT-HZ-09
    monitor = LoopMonitor(manual_clock, Registry(), interval=0.0)
    for seconds, alive in ((0.0, True), (9.75, True), (10.0, False), (12.0, False), (0.25, True)):
        await lag(monitor, manual_clock, seconds)
        if alive:
            await monitor.check()
        else:
            with pytest.raises(RuntimeError, match=rf"the event loop ran {seconds:.1f} s late"):
                await monitor.check()


async def test_a_loop_that_lags_is_told_to_the_kubelet_not_to_services() -> None:  # RT-HZ-09
    made = manager()
    async with probed(made) as get:
        made.loop_monitor.lag = 11.0
        status, text = await get("/healthz")
        assert (status, "[-]loop failed" in text) == (500, True)
        made.loop_monitor.lag = 0.0
        assert await get("/healthz") == (200, "ok")


async def test_every_lag_is_measured(manual_clock: Any) -> None:  # RT-CT-25
    registry = Registry()
    monitor = LoopMonitor(manual_clock, registry, interval=0.0)
    await lag(monitor, manual_clock, 0.0)
    await lag(monitor, manual_clock, 0.3)
    name = "rbg_runtime_loop_lag_seconds"
    assert registry.collectors.get_sample_value(f"{name}_count") >= 2  # type: ignore[operator]
    assert registry.collectors.get_sample_value(f"{name}_sum") == pytest.approx(0.3)
    above = registry.collectors.get_sample_value(f"{name}_bucket", {"le": "0.5"})
    below = registry.collectors.get_sample_value(f"{name}_bucket", {"le": "0.25"})
    assert (above or 0) - (below or 0) == 1
