"""One clear line and a non-zero exit for what can go wrong at the command line, and refusals that name the field."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from cluster.groups import EVENT, group, role, wait_for
from rbgctl.api.kinds import ROLE_BASED_GROUP
from rbgctl.machinery.gvk import NN, RawObject
from rbgctl.playground.deployment import ManagerProcess
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.errors import BadRequest, InternalError, Invalid
from rbgctl.runtime.testing.envtest import EnvTest


async def run(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit code and stderr of `rbgctl`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "rbgctl.cli.main",
        *arguments,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(env or {})},
    )
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, err.decode()


def error_line(err: str) -> str:
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, err
    return lines[0]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"kind: [", "is not YAML"),
        (b"kind: \xff", "is not YAML"),
        (b"a: b", "apiVersion and kind"),
        (b"{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}", "no RoleBasedGroup"),
        (b"{apiVersion: v1, kind: ConfigMap}", "metadata.name"),
    ],
)
async def test_an_unusable_example_is_refused_before_anything_starts(tmp_path: Path, content: bytes, says: str) -> None:
    manifest = tmp_path / "m.yaml"
    manifest.write_bytes(content)
    code, err = await run("playground", f"--example={manifest}")
    assert code == 1
    assert says in error_line(err)
    assert str(manifest) in error_line(err)


async def test_a_missing_example_is_named(tmp_path: Path) -> None:
    code, err = await run("playground", f"--example={tmp_path / 'nothing.yaml'}")
    assert code == 1
    assert "nothing.yaml" in error_line(err)


async def test_a_manifest_the_api_server_refuses_ends_the_playground_with_the_field(tmp_path: Path) -> None:
    manifest = tmp_path / "m.yaml"
    manifest.write_text(
        "{apiVersion: workloads.x-k8s.io/v1alpha2, kind: RoleBasedGroup, metadata: {name: x},"
        " spec: {roles: [{name: web, replicas: -1}]}}"
    )
    code, err = await run("playground", f"--example={manifest}")
    assert code == 1
    assert "spec.roles[0].replicas" in error_line(err)


async def test_a_port_in_use_is_named(cluster: EnvTest) -> None:
    port = cluster.config.host.partition(":")[2]
    code, err = await run("playground", f"--port={port}")
    assert code == 1
    assert f"port {port}" in error_line(err)


async def test_a_missing_toolchain_says_what_to_install(tmp_path: Path) -> None:
    """No Go on PATH, nothing cached, and a package index that cannot be reached."""
    (tmp_path / "bin").mkdir()
    for tool in ("python3", "sh", "env"):
        found = next(p for p in os.environ["PATH"].split(":") if (Path(p) / tool).exists())
        (tmp_path / "bin" / tool).symlink_to(Path(found) / tool)
    env = {
        "PATH": str(tmp_path / "bin"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "KUBEBUILDER_ASSETS": "",
        "PIP_INDEX_URL": "http://127.0.0.1:9/",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": "",
        "PIP_CONFIG_FILE": os.devnull,
    }
    code, err = await run("playground", env=env)
    assert code == 1
    assert "Install Go" in err
    assert "could not be built" in err


async def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    """The cache is on a file system of 32 MB, in a mount namespace of its own; the binary does not fit."""
    go_cache = os.environ.get("GOCACHE") or str(Path.home() / ".cache" / "go-build")
    inner = f"mount -t tmpfs -o size=32m tmpfs {tmp_path} && exec {sys.executable} -m rbgctl.cli.main playground"
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", inner),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path), "GOCACHE": go_cache, "KUBEBUILDER_ASSETS": ""},
    )
    _, err = await asyncio.wait_for(process.communicate(), 600)
    assert process.returncode == 1
    assert "The disk is full" in err.decode()
    assert list(tmp_path.iterdir()) == []


async def test_an_unreachable_api_server_is_named(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(
        "{clusters: [{name: c, cluster: {server: 'http://127.0.0.1:9'}}], users: [{name: u, user: {}}],"
        " contexts: [{name: x, context: {cluster: c, user: u}}], current-context: x}"
    )
    code, err = await run("manager", f"--kubeconfig={kubeconfig}", "--health-probe-bind-address=0")
    assert code == 1
    assert "http://127.0.0.1:9" in error_line(err)


async def test_a_manager_without_our_crds_says_which_one_is_missing(cluster: EnvTest, tmp_path: Path) -> None:
    """MGR-11, RBG-16."""
    async with EnvTest() as bare:
        code, err = await run("manager", f"--kubeconfig={bare.kubeconfig}", "--health-probe-bind-address=0")
    assert code == 1
    assert "rolebasedgroups.workloads.x-k8s.io is not installed" in error_line(err)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--metrics-secure=perhaps"], "metrics-secure"),
        (["--cache-sync-timeout=5"], "duration"),
        (["--zap-encoder=xml"], "zap-encoder"),
        (["--no-such-flag"], "no-such-flag"),
        (["--health-probe-bind-address=nowhere"], "nowhere"),
    ],
)
async def test_bad_flags_are_named(cluster: EnvTest, flags: list[str], says: str) -> None:
    code, err = await run("manager", f"--kubeconfig={cluster.kubeconfig}", *flags)
    assert code != 0
    assert says in err


def with_role(**changes: object) -> RawObject:
    return group("ns", {**role("web"), **changes})


@pytest.mark.parametrize(
    ("manifest", "field"),
    [
        (with_role(replicas=-1), "spec.roles[0].replicas"),
        (with_role(replicas="three"), "spec.roles[0].replicas"),
        (with_role(name=""), "spec.roles[0].name"),
        (with_role(podManagementPolicy="Sometimes"), "podManagementPolicy"),
        (group("ns"), "spec.roles"),
    ],
)
async def test_an_invalid_group_is_refused_with_the_field_named(
    client: LiveClient, namespace: str, manifest: RawObject, field: str
) -> None:
    manifest["metadata"]["namespace"] = namespace
    with pytest.raises((Invalid, BadRequest)) as refused:
        await client.create(manifest)
    assert field in refused.value.message


async def test_a_misspelt_field_is_refused_rather_than_dropped(client: LiveClient, namespace: str) -> None:
    manifest = group(namespace, role("web"))
    manifest["spec"]["rolez"] = []
    with pytest.raises((Invalid, BadRequest, InternalError)) as refused:
        await client.apply(manifest, field_manager="user", strict=True)
    assert "rolez" in refused.value.message


async def test_a_group_that_cannot_work_says_so_in_status_and_event(
    client: LiveClient, manager: ManagerProcess, namespace: str
) -> None:
    """RBG-27: a dependency cycle."""
    looped = group(namespace, role("a", dependencies=["b"]), role("b", dependencies=["a"]))
    await client.apply(looped, field_manager="user")
    found = await wait_for(
        client,
        ROLE_BASED_GROUP,
        NN(namespace, "shop"),
        lambda g: bool((g.get("status") or {}).get("conditions")),
    )
    assert "cycle" in found["status"]["conditions"][0]["message"]
    async for _kind, event in client.watch(EVENT, namespace, timeout=20):
        if event["reason"] == "InvalidRoleDependency":
            assert "cycle" in event["message"]
            break
    else:
        raise AssertionError("no event")
