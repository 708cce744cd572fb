"""Health endpoints, byte for byte."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from rbgctl.runtime.health import health_app, ping
from rbgctl.runtime.http_server import AddressError, HttpServer, parse_address


async def broken() -> None:
    raise RuntimeError("disk on fire")


@pytest.fixture
async def probe() -> AsyncIterator[Callable[..., Any]]:
    checks = {"healthz": {"b-bad": broken, "a-good": ping}, "readyz": {"ping": ping, "x": ping}, "unused": {}}
    async with TestClient(TestServer(health_app(checks))) as client:

        async def get(path: str) -> tuple[int, str, str]:
            async with client.get(path) as answer:
                return answer.status, await answer.text(), answer.headers.get("X-Content-Type-Options", "")

        yield get


async def test_all_well_is_ok(probe: Any) -> None:  # RT-HZ-02
    assert await probe("/readyz") == (200, "ok", "nosniff")
    assert await probe("/readyz/") == (200, "ok", "nosniff")


async def test_verbose_lists_the_checks_by_name(probe: Any) -> None:  # RT-HZ-02, RT-DC-03
    assert (await probe("/readyz?verbose"))[1] == "[+]ping ok\n[+]x ok\nhealthz check passed\n"


async def test_failure_is_always_verbose_and_withholds_reasons(probe: Any) -> None:  # RT-HZ-02
    status, text, sniff = await probe("/healthz")
    assert (status, sniff) == (500, "nosniff")
    assert text == "[+]a-good ok\n[-]b-bad failed: reason withheld\nhealthz check failed\n"


async def test_excluded_checks_do_not_run(probe: Any) -> None:  # RT-HZ-02
    assert await probe("/healthz?exclude=b-bad") == (200, "ok", "nosniff")
    text = (await probe("/healthz?exclude=b-bad&exclude=zz&exclude=nope&verbose"))[1]
    assert text == (
        "[+]a-good ok\n[+]b-bad excluded: ok\n"
        'warn: some health checks cannot be excluded: no matches for "nope","zz"\nhealthz check passed\n'
    )


async def test_single_checks_tell_the_reason(probe: Any) -> None:  # RT-HZ-03
    assert (await probe("/healthz/a-good"))[:2] == (200, "ok")
    assert (await probe("/healthz/b-bad"))[:2] == (500, "internal server error: disk on fire\n")


async def test_unknown_checks_and_empty_endpoints_are_not_found(probe: Any) -> None:  # RT-HZ-01
    assert (await probe("/healthz/nope"))[0] == 404
    assert (await probe("/unused"))[0] == 404


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", None),
        ("", None),
        (":8082", (None, 8082)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:80", ("::1", 80)),
    ],
)
def test_addresses(text: str, expected: Any) -> None:  # RT-ID-08
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["8082", "host", "host:port", ":99999"])
def test_bad_addresses_say_what_would_work(text: str) -> None:
    with pytest.raises(AddressError, match=f"cannot listen on '{text}': host:port, :port or 0 is wanted"):
        parse_address(text)


async def test_a_port_in_use_is_named() -> None:
    first = HttpServer("health", "127.0.0.1:0", health_app({}))
    task = asyncio.create_task(first.run())
    await first.ready()
    text = rf"the health server cannot listen on 127\.0\.0\.1:{first.port}: Address already in use"
    with pytest.raises(OSError, match=text):
        await HttpServer("health", f"127.0.0.1:{first.port}", health_app({})).run()
    task.cancel()
    await asyncio.wait([task])
