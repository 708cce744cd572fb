"""Flags and environment that cannot work are refused in one line, before anything starts."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from rbgctl import manager as composition
from rbgctl.manager import ManagerOptions, check_flags

BAD = [
    ("zap-encoder", {"log_encoding": "xml"}),
    ("zap-log-level", {"log_level": "trace"}),
    ("cache-sync-timeout", {"cache_sync_timeout": -1.0}),
    ("watch-timeout", {"watch_timeout": 0.0}),
    ("termination-grace-period", {"termination_grace_period": -1.0}),
    ("kube-api-qps", {"kube_api_qps": float("nan")}),
    ("kube-api-qps", {"kube_api_qps": float("inf")}),
    ("kube-api-burst", {"kube_api_burst": -1}),
    ("controllers", {"controllers": ","}),
    ("namespaces", {"namespaces": ","}),
    ("namespaces", {"namespaces": " , "}),
    ("shards", {"shards": 2}),
    ("shards", {"shards": 33, "leader_elect": True}),
    ("foo", {"health_probe_bind_address": "foo"}),
    ("99999", {"metrics_bind_address": "127.0.0.1:99999"}),
]


@pytest.mark.parametrize(("name", "flags"), BAD, ids=[f"{n}-{i}" for i, (n, _) in enumerate(BAD)])
def test_a_bad_flag_is_named(name: str, flags: dict[str, object]) -> None:
    with pytest.raises((ValueError, OSError), match=name):
        check_flags(ManagerOptions(**flags))  # type: ignore[arg-type]


def test_no_flag_and_an_empty_one_mean_the_same() -> None:
    check_flags(ManagerOptions(namespaces=""))


def manager(*arguments: str, **env: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "rbgctl.cli.main", "manager", "--health-probe-bind-address=0", *arguments]
    return subprocess.Popen(command, env={"PATH": "/usr/bin:/bin", **env}, stderr=subprocess.PIPE, text=True)


def kubeconfig(path: Path, server: str = "https://127.0.0.1:1", user: str = "{}") -> Path:
    path.write_text(
        f"""apiVersion: v1
kind: Config
current-context: c
contexts: [{{name: c, context: {{cluster: c, user: u}}}}]
clusters: [{{name: c, cluster: {{server: "{server}"}}}}]
users: [{{name: u, user: {user}}}]
"""
    )
    return path


@pytest.mark.parametrize(
    ("content", "env", "text"),
    [
        (b"\xff\xfe", {}, "kubeconfig"),
        (b"a: [", {}, "kubeconfig"),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER_ARG": "zzz"}, "tracing"),
    ],
)
def test_what_only_shows_at_the_start_is_said_in_one_line(
    tmp_path: Path, content: bytes | None, env: dict[str, str], text: str
) -> None:
    path = kubeconfig(tmp_path / "kubeconfig")
    if content is not None:
        path.write_bytes(content)
    ran = manager(f"--kubeconfig={path}", **env)
    _, told = ran.communicate(timeout=60)
    assert ran.returncode == 1
    assert "Traceback" not in told
    (line,) = [one for one in told.splitlines() if one.startswith("error: ")]
    assert text in line


async def test_a_stop_while_crds_are_looked_for_takes_effect_at_once() -> None:  # RT-MG-12
    stop = asyncio.Event()
    begun = asyncio.Event()
    cancelled = asyncio.Event()

    async def endless() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    waiting = asyncio.create_task(composition._unless_stopped(endless(), stop))
    await begun.wait()
    stop.set()
    async with asyncio.timeout(5):
        assert not await waiting
    assert cancelled.is_set()


async def test_what_ends_by_itself_says_so_and_errors_come_through() -> None:
    async def failing() -> None:
        raise LookupError("no CRD")

    assert await composition._unless_stopped(asyncio.sleep(0), asyncio.Event())
    with pytest.raises(LookupError, match="no CRD"):
        await composition._unless_stopped(failing(), asyncio.Event())
