"""docs/runtime.md is true: its files are written down and run as the page says."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rbgctl.runtime import GVK, NN, LiveClient, Patch
from rbgctl.runtime.testing.asserts import wait_for
from rbgctl.runtime.testing.envtest import EnvTest

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
        "planned.py",
        "replicated.py",
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


async def test_two_replicas_agree_on_who_works(files: Path, env: EnvTest, client: LiveClient, namespace: str) -> None:
    kubeconfig = env.write_kubeconfig(env.config, "guide")
    script = f"import asyncio, replicated; asyncio.run(replicated.main({namespace!r}))"
    environment = {"KUBECONFIG": str(kubeconfig), "PYTHONPATH": os.pathsep.join([str(files), *filter(None, sys.path)])}
    for name in ("hello-1", "hello-2"):
        await env.processes.start(name, [sys.executable, "-c", script], env=environment)
    try:
        lease = await wait_for(client, LEASE, NN(namespace, "hello"), lambda found: found["spec"]["holderIdentity"])
        holder = lease["spec"]["holderIdentity"]
        await client.patch(NAMESPACE, NN("", namespace), Patch.merge({"metadata": {"labels": {"greet": "yes"}}}))
        await wait_for(client, CONFIG_MAP, NN(namespace, "hello"), lambda found: found["data"])
        assert (await client.get(LEASE, NN(namespace, "hello")))["spec"]["holderIdentity"] == holder
    finally:
        for name in ("hello-1", "hello-2"):
            await env.processes.stop(name)
