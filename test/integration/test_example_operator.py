"""examples/operator as its readers run it: a process of its own, with no other rights than it declares."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rbgctl.runtime import GVK, NN, LiveClient, NotFound, Patch
from rbgctl.runtime.testing.asserts import wait_for, wait_gone
from rbgctl.runtime.testing.envtest import EnvTest, new_namespace

PROGRAM = Path(__file__).parents[2] / "examples" / "operator" / "copier.py"
CONFIG_MAP, NAMESPACE, EVENT = GVK("", "v1", "ConfigMap"), GVK("", "v1", "Namespace"), GVK("", "v1", "Event")
LEASE = GVK("coordination.k8s.io", "v1", "Lease")
TO, ACCEPTS, FROM = "copy.example.com/to", "copy.example.com/accepts", "copy.example.com/from"


class Operator:
    """The example's process; `kill` leaves it no time for anything."""

    def __init__(self, env: EnvTest, kubeconfig: Path, name: str = "copier", *arguments: str) -> None:
        self._processes = env.processes
        self._env = {"KUBECONFIG": str(kubeconfig)}
        self._name = name
        self._arguments = arguments

    async def start(self) -> None:
        await self._processes.start(self._name, [sys.executable, PROGRAM, *self._arguments], env=self._env)

    async def kill(self) -> None:
        await self._processes.stop(self._name)


@pytest.fixture(scope="module")
async def kubeconfig(env: EnvTest) -> Path:
    """Of a user who may do what the example says that it does, and nothing else."""
    kubeconfig = env.write_kubeconfig(env.config_for_user("copier"), "copier")
    client = env.client()
    await client.apply(await printed_rights(kubeconfig), field_manager="test")
    await client.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "config-copier"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "config-copier"},
            "subjects": [{"kind": "User", "name": "copier", "apiGroup": "rbac.authorization.k8s.io"}],
        },
        field_manager="test",
    )
    return kubeconfig


@pytest.fixture(scope="module")
async def operator(env: EnvTest, kubeconfig: Path) -> AsyncIterator[Operator]:
    found = Operator(env, kubeconfig)
    await found.start()
    yield found
    await found.kill()


async def printed_rights(kubeconfig: Path) -> dict[str, object]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(PROGRAM), "rights"),
        env={**os.environ, "KUBECONFIG": str(kubeconfig)},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    found: dict[str, object] = json.loads(out)
    return found


@pytest.fixture
async def source(client: LiveClient, namespace: str) -> NN:
    """A ConfigMap that wants to be copied to the namespaces that accept the group named like its own namespace."""
    metadata = {"namespace": namespace, "name": "settings", "labels": {TO: namespace}}
    await client.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"color": "blue"}})
    return NN(namespace, "settings")


async def accept(client: LiveClient, namespace: str, group: str | None) -> None:
    patch = Patch.merge({"metadata": {"labels": {ACCEPTS: group}}})
    await client.patch(NAMESPACE, NN("", namespace), patch)


async def accepting(client: LiveClient, group: str) -> str:
    """A new namespace that accepts the group."""
    name = await new_namespace(client)
    await accept(client, name, group)
    return name


async def edit(client: LiveClient, key: NN, **data: str) -> None:
    await client.patch(CONFIG_MAP, key, Patch.merge({"data": data}))


async def copy_says(client: LiveClient, namespace: str, **data: str) -> dict[str, object]:
    key = NN(namespace, "settings")
    return await wait_for(client, CONFIG_MAP, key, lambda found: found["data"] == data, timeout=20)


async def test_copies_follow_namespaces_and_edits(operator: Operator, client: LiveClient, source: NN) -> None:
    one = await accepting(client, source.namespace)
    copy = await copy_says(client, one, color="blue")
    assert copy["metadata"]["labels"] == {FROM: source.namespace}
    assert [m["manager"] for m in copy["metadata"]["managedFields"]] == ["config-copier"]
    await edit(client, source, color="green", size="1")
    await copy_says(client, one, color="green", size="1")
    other = await accepting(client, source.namespace)
    await copy_says(client, other, color="green", size="1")


async def test_copies_go_when_they_are_no_longer_wanted(operator: Operator, client: LiveClient, source: NN) -> None:
    one, two = [await accepting(client, source.namespace) for _ in range(2)]
    for namespace in (one, two):
        await copy_says(client, namespace, color="blue")
    await accept(client, one, None)
    await wait_gone(client, CONFIG_MAP, NN(one, "settings"), timeout=20)
    await client.patch(CONFIG_MAP, source, Patch.merge({"metadata": {"labels": {TO: None}}}))
    await wait_gone(client, CONFIG_MAP, NN(two, "settings"), timeout=20)
    await client.patch(CONFIG_MAP, source, Patch.merge({"metadata": {"labels": {TO: source.namespace}}}))
    await copy_says(client, two, color="blue")
    await client.delete(CONFIG_MAP, source)
    await wait_gone(client, CONFIG_MAP, NN(two, "settings"), timeout=20)


async def test_a_damaged_copy_is_put_right(operator: Operator, client: LiveClient, source: NN) -> None:
    namespace = await accepting(client, source.namespace)
    await copy_says(client, namespace, color="blue")
    await edit(client, NN(namespace, "settings"), color="red")
    await copy_says(client, namespace, color="blue")
    await client.delete(CONFIG_MAP, NN(namespace, "settings"))
    await copy_says(client, namespace, color="blue")


async def test_what_was_there_before_is_left_alone_and_reported(
    operator: Operator, client: LiveClient, source: NN
) -> None:
    taken, free = [await new_namespace(client) for _ in range(2)]
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": taken, "name": "settings"}}
    before = await client.create({**theirs, "data": {"mine": "yes"}})
    await accept(client, taken, source.namespace)
    await accept(client, free, source.namespace)
    await copy_says(client, free, color="blue")
    async with asyncio.timeout(20):
        async for _, event in client.watch(EVENT, source.namespace):
            if event["reason"] == "NameTaken":
                break
    assert event["message"] == f"settings exists already in {taken}"
    assert await client.get(CONFIG_MAP, NN(taken, "settings")) == before


async def test_killed_and_started_again_it_catches_up_and_repeats_nothing(
    operator: Operator, client: LiveClient, source: NN
) -> None:
    kept, dropped = [await accepting(client, source.namespace) for _ in range(2)]
    before = await copy_says(client, kept, color="blue")
    await copy_says(client, dropped, color="blue")
    orphan_source = {"namespace": source.namespace, "name": "orphan", "labels": {TO: source.namespace}}
    await client.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": orphan_source, "data": {"a": "b"}})
    await wait_for(client, CONFIG_MAP, NN(kept, "orphan"), lambda _: True)
    await operator.kill()
    await client.delete(CONFIG_MAP, NN(source.namespace, "orphan"))
    await accept(client, dropped, None)
    late = await accepting(client, source.namespace)
    await operator.start()
    await copy_says(client, late, color="blue")
    await wait_gone(client, CONFIG_MAP, NN(dropped, "settings"), timeout=20)
    await wait_gone(client, CONFIG_MAP, NN(kept, "orphan"), timeout=20)
    assert await client.get(CONFIG_MAP, NN(kept, "settings")) == before
    with pytest.raises(NotFound):
        await client.get(CONFIG_MAP, NN(late, "orphan"))


async def test_of_two_replicas_one_works_and_the_other_goes_on_when_it_is_killed(
    operator: Operator, env: EnvTest, kubeconfig: Path, client: LiveClient, source: NN
) -> None:
    await operator.kill()  # it takes part in no election
    lock = NN(source.namespace, "config-copier")
    one, other = (Operator(env, kubeconfig, name, "replica", source.namespace) for name in ("copier-1", "copier-2"))
    namespace = await accepting(client, source.namespace)
    try:
        await one.start()
        await copy_says(client, namespace, color="blue")
        first = (await client.get(LEASE, lock))["spec"]["holderIdentity"]
        await other.start()
        await one.kill()
        await edit(client, source, color="green")
        lease = await wait_for(
            client, LEASE, lock, lambda found: found["spec"]["holderIdentity"] not in {"", first}, timeout=60
        )
        assert lease["spec"]["leaseTransitions"] == 1
        await copy_says(client, namespace, color="green")
    finally:
        await other.kill()
        await operator.start()
