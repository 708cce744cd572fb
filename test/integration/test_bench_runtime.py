"""The runtime's benchmark in small: it works, and the ratios that hold on any machine hold."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from bench.runtime.measure import CRDS, SMALL, run
from bench.runtime.report import Figure, table, write_json

from rbgctl.runtime.testing.envtest import EnvTest


@pytest.fixture(scope="module")
async def measured() -> tuple[list[Figure], dict[str, Any]]:
    # A control plane of its own: its API server is killed, and strangers' objects would count.
    async with EnvTest(crds=[CRDS]) as env:
        return await run(env, SMALL)


Measured = tuple[list[Figure], dict[str, Any]]


def test_the_first_sync_costs_no_more_than_reading_and_copying(measured: Measured) -> None:
    """RT-AC-01: per pod, TLS, header and copy included, not several full decodes; the loop is never held up long."""
    _, raw = measured
    sync = raw["sync"]
    assert sync["pods"] == SMALL.pods
    # 10 000 pods at this price take 3 s of CPU on a machine where orjson.loads takes 15 us; the rule allows 5 s.
    assert sync["cpu"] / SMALL.pods <= 20 * raw["events"]["loads"]
    assert sync["own_lag"] <= 0.1
    assert sync["settled_own_lag"] <= 0.1


def test_a_cached_pod_takes_little_more_than_its_bytes(measured: Measured) -> None:
    """RT-AC-02: 10 000 pods of 6 KB in 250 MB leave room for the body once and a small header."""
    _, raw = measured
    assert raw["heap"]["pods"] == SMALL.pods
    assert raw["sync"]["entry_bytes"] <= 1.4 * raw["sync"]["body_bytes"]
    assert raw["heap"]["heap"] / SMALL.pods <= 1.3 * raw["served_bytes_per_pod"]
    assert raw["sync"]["before"]["rss"] <= 100e6


def test_full_caches_are_kept_from_the_garbage_collector(measured: Measured) -> None:
    """RT-MM-06."""
    _, raw = measured
    assert raw["sync"]["frozen"] > SMALL.pods


def test_events_are_cheap_and_reach_the_reconciler_at_once(measured: Measured) -> None:
    """RT-AC-03: 15 % of a core at 500/s is 300 us per event, 20 times orjson.loads of a pod where that takes 15 us.

    Three times as much is allowed here: few events at a time cost more each (25 to 30 times, on a machine that is busy
    with other things), and so does a processor that is shared.
    """
    _, raw = measured
    events = raw["events"]
    assert events["events"] == SMALL.rate * SMALL.seconds
    assert events["cpu"] / events["events"] <= 60 * events["loads"]
    assert events["to_start"]["p50"] <= 0.05


def test_after_a_restart_of_the_api_server_watches_resume(measured: Measured) -> None:
    """RT-AC-04: within 35 s, and nothing is read again unless the server says 410."""
    figures, raw = measured
    assert raw["restart"]["seconds"] <= 35
    assert not [f for f in figures if f.rule == "RT-AC-04" and f.missed]


def test_every_figure_is_told_with_what_limits_it(measured: Measured, tmp_path: Path) -> None:
    figures, raw = measured
    assert {f.rule for f in figures} == {"RT-AC-01", "RT-AC-02", "RT-AC-03", "RT-AC-04"}
    lines = table(figures).splitlines()[1:]
    assert all(f.name in line and f.bound_by in line for f, line in zip(figures, lines, strict=True))
    write_json(tmp_path / "out.json", figures, raw)
    assert orjson.loads((tmp_path / "out.json").read_bytes())["raw"] == orjson.loads(orjson.dumps(raw))


def test_a_missed_limit_shows() -> None:
    figure = Figure("RT-AC-01", "sync", 6.0, "s", 5.0, "us")
    assert figure.missed
    assert "MISSED" in table([figure])
