"""docs/runtime.md is true: its files are written down and run as the page says."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rbgctl.runtime import GVK

CONFIG_MAP, NAMESPACE = GVK("", "v1", "ConfigMap"), GVK("", "v1", "Namespace")
LEASE = GVK("coordination.k8s.io", "v1", "Lease")
GUIDE = Path(__file__).parents[2] / "docs" / "runtime.md"
BLOCK = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with every snippet under the name that it gives itself."""
    for name, text in BLOCK.findall(GUIDE.read_text()):
        (tmp_path / name).write_text(text)
    return tmp_path


async def run(directory: Path, *arguments: str) -> str:
    """Output of Python there; a failure shows it."""
    found = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(directory), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_every_snippet_names_its_file(files: Path) -> None:
    assert GUIDE.read_text().count("```python") == len(list(files.iterdir()))
    assert {f.name for f in files.iterdir()} == {
        "hello.py",
        "test_hello.py",
        "rights.py",
        "replicas.py",
        "hooks.py",
        "planned.py",
    }


async def test_the_first_operator_passes_its_test(files: Path) -> None:
    out = await run(files, "-m", "pytest", "-q", "-o", "asyncio_mode=auto", "-p", "no:cacheprovider", "test_hello.py")
    assert "1 passed" in out


async def test_the_rights_are_those_of_the_operator(files: Path) -> None:
    role = json.loads(await run(files, "rights.py"))
    allowed = {(r, v) for rule in role["rules"] for r in rule["resources"] for v in rule["verbs"]}
    read = {(r, v) for r in ("configmaps", "namespaces") for v in ("get", "list", "watch")}
    assert allowed == {*read, ("configmaps", "create"), ("configmaps", "patch"), ("namespaces/finalizers", "update")}


async def test_the_plan_is_what_the_page_says(files: Path) -> None:
    await run(files, "planned.py")


async def test_one_replica_is_elected_and_several_divide_the_work(files: Path) -> None:
    """Each way of running it greets, and leaves its Leases behind, given back."""
    (files / "test_replicas.py").write_text(REPLICAS)
    out = await run(
        files, "-m", "pytest", "-q", "-o", "asyncio_mode=auto", "-p", "no:cacheprovider", "test_replicas.py"
    )
    assert "2 passed" in out


async def test_the_webhook_wants_a_hello(files: Path) -> None:
    (files / "use_hooks.py").write_text(HOOKS)
    await run(files, "use_hooks.py")


REPLICAS = """
import asyncio

import pytest
import replicas
from hello import CONFIG_MAP
from rbgctl.runtime import GVK, NN
from rbgctl.runtime.testing.asserts import wait_for
from rbgctl.runtime.testing.envtest import EnvTest

LEASE = GVK("coordination.k8s.io", "v1", "Lease")
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "blue", "labels": {"greet": "yes"}}}


@pytest.mark.parametrize(("make", "lease"), [(replicas.elected, "hello"), (replicas.divided, "hello-7")])
async def test_greets(make, lease):
    async with EnvTest() as env:
        client, stop = env.client(), asyncio.Event()
        await client.create(NAMESPACE)
        running = asyncio.create_task(make(env.config).run(stop))
        await wait_for(client, CONFIG_MAP, NN("blue", "hello"), lambda found: bool(found["data"]))
        held = NN(env.config.namespace, lease)
        await wait_for(client, LEASE, held, lambda found: bool(found["spec"]["holderIdentity"]))
        stop.set()
        await running
        assert not (await client.get(LEASE, held))["spec"]["holderIdentity"]
"""

HOOKS = """
import asyncio

import hooks
from rbgctl.runtime import ClusterConfig, Manager


async def main():
    server = hooks.serve(Manager(ClusterConfig(server="https://not.contacted")), port=0)
    assert server.paths == ["/validate--v1-configmap"]
    rules = hooks.Polite()
    assert (await rules.validate_create(None, {"data": {"text": "hello you"}})).error is None
    assert (await rules.validate_update(None, {}, {"data": {"text": "you"}})).error is not None


asyncio.run(main())
"""
