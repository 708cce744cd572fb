"""Liveness and readiness as Kubernetes probes expect them (RT-HZ-01 to RT-HZ-03, RT-HZ-09)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

from aiohttp import web

from rbgctl.runtime.clock import Clock
from rbgctl.runtime.metrics import Registry

Check = Callable[[], Awaitable[None]]
"""Returns when all is well, raises otherwise."""

Endpoint = Literal["healthz", "readyz"]

MAX_LAG = 10.0
LAG_INTERVAL = 0.25

_NOSNIFF = {"X-Content-Type-Options": "nosniff"}


async def ping() -> None:
    """The check that only proves that the process answers."""


def health_app(checks: Mapping[str, Mapping[str, Check]]) -> web.Application:
    """Serves /<endpoint>, /<endpoint>/ and /<endpoint>/<check> for every endpoint that has checks."""
    app = web.Application()
    for endpoint, of_endpoint in checks.items():
        if not of_endpoint:
            continue
        app.router.add_get(f"/{endpoint}", _aggregate(of_endpoint))
        app.router.add_get(f"/{endpoint}/", _aggregate(of_endpoint))
        app.router.add_get(f"/{endpoint}/{{check}}", _single(of_endpoint))
    return app


def _aggregate(checks: Mapping[str, Check]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        excluded = set(request.query.getall("exclude", []))
        lines: list[str] = []
        failed = False
        for name in sorted(checks):
            if name in excluded:
                excluded.discard(name)
                lines.append(f"[+]{name} excluded: ok")
                continue
            try:
                await checks[name]()
            except Exception:  # noqa: BLE001 - whatever a check raises is its answer
                failed = True
                lines.append(f"[-]{name} failed: reason withheld")
            else:
                lines.append(f"[+]{name} ok")
        if excluded:
            names = ",".join(f'"{name}"' for name in sorted(excluded))
            lines.append(f"warn: some health checks cannot be excluded: no matches for {names}")
        # The word is healthz under /readyz too: existing probes and scripts look for it.
        if failed:
            return _text(500, "".join(f"{line}\n" for line in [*lines, "healthz check failed"]))
        if "verbose" in request.query:
            return _text(200, "".join(f"{line}\n" for line in [*lines, "healthz check passed"]))
        return _text(200, "ok")

    return handle


def _single(checks: Mapping[str, Check]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        check = checks.get(request.match_info["check"])
        if check is None:
            return _text(404, "404 page not found\n")
        try:
            await check()
        except Exception as error:  # noqa: BLE001 - whatever a check raises is its answer
            return _text(500, f"internal server error: {error}\n")
        return _text(200, "ok")

    return handle


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text, headers=_NOSNIFF)


class LoopMonitor:
    """Measures how late the event loop runs timers; a runnable, and the liveness check of its loop."""

    def __init__(self, clock: Clock, registry: Registry, interval: float = LAG_INTERVAL) -> None:
        self._clock = clock
        self._interval = interval
        self._histogram = registry.loop_lag
        self.lag = 0.0

    def __str__(self) -> str:
        return "loop monitor"

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            expected = self._clock.monotonic() + self._interval
            await asyncio.sleep(self._interval)
            self.lag = max(0.0, self._clock.monotonic() - expected)
            self._histogram.observe(self.lag)

    async def check(self) -> None:
        """Raises RuntimeError while the last measured lag is 10 s or more (RT-HZ-09)."""
        if self.lag >= MAX_LAG:
            raise RuntimeError(f"the event loop ran {self.lag:.1f} s late")
