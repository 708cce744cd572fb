"""Who our controllers are to the API server: User-Agents, and the field managers it takes from them (07 §0)."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from unit.runtime.scripted import ScriptedServer, answer

from rbgctl import manager as composition
from rbgctl.api import identity
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.manager import ManagerOptions, build
from rbgctl.runtime.client import LiveClient, Patch
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.manager import Manager
from rbgctl.runtime.testing.envtest import EnvTest

CONFIG_MAP = GVK("", "v1", "ConfigMap")

OWN = {
    identity.CONTROLLER_GROUP: "rolebasedgroup",
    identity.CONTROLLER_INSTANCE: "roleinstance",
    identity.CONTROLLER_INSTANCE_SET: "instanceset-manager/stateful-instanceset-controller",
    identity.CONTROLLER_SCALING_ADAPTER: "rolebasedgroupscalingadapter",
    identity.CONTROLLER_GROUP_SET: "rolebasedgroupset",
    identity.CONTROLLER_WEBHOOK_CERT: "webhook-cert",
    identity.CONTROLLER_WARMUP: "manager",
}
"""What the client of each controller is called; what holds a slash is the whole User-Agent (RT-ID-04)."""


def agent(product: str) -> str:
    """A pattern for the User-Agent: <name>/<version> (<os>/<arch>) rbg-controller/<commit>."""
    if "/" in product:
        return re.escape(product)
    return re.escape(product) + r"/(v\d+(\.\d+)*|unknown) \(linux/(amd64|arm64)\) rbg-controller/([0-9a-f]{7}|unknown)"


def client_of(manager: Manager, controller: str) -> LiveClient:
    """That of a controller, or for one that does not run here the client made for its name."""
    if controller in manager.controllers:
        return manager.controllers[controller]._support.live
    product = OWN[controller]
    return manager.client("" if product == "manager" else product)


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer().running() as server:
        yield server


def test_every_controller_of_the_manager_is_in_the_table() -> None:
    assert set(composition.CONTROLLERS) <= set(OWN)


@pytest.mark.parametrize("controller", sorted(OWN))
async def test_a_controller_sends_its_own_name(scripted: ScriptedServer, controller: str) -> None:
    """MGR-5, MGR-6, RT-ID-04, RT-ID-05: as User-Agent; plain writes name no manager, an apply is forced, as rbg."""
    manager = build(ClusterConfig(scripted.url), ManagerOptions())
    client = client_of(manager, controller)
    name = OWN[controller].partition("/")[0]
    body = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","namespace":"ns"}}'
    scripted.answers(*[answer(200, body)] * 5)
    wanted = config_map("ns")
    await client.create(wanted, field_manager=name)
    await client.update(wanted, field_manager=name)
    await client.patch(CONFIG_MAP, NN("ns", "a"), Patch.merge({}), field_manager=name)
    await client.patch(CONFIG_MAP, NN("ns", "a"), Patch.merge({}), subresource="status")
    await client.apply(wanted, field_manager=identity.FIELD_MANAGER)
    await manager.transport.close()
    assert all(re.fullmatch(agent(OWN[controller]), asked.headers["User-Agent"]) for asked in scripted.asked)
    assert [asked.query for asked in scripted.asked] == [{}] * 4 + [{"fieldManager": "rbg", "force": "true"}]


@pytest.mark.parametrize("controller", sorted(OWN))
async def test_the_server_records_a_controller_by_its_name(env: EnvTest, namespace: str, controller: str) -> None:
    """RT-ID-04, RT-ID-05: whether or not the write says who it is from."""
    manager = build(env.config, ManagerOptions())
    client = client_of(manager, controller)
    name = OWN[controller].partition("/")[0]
    made = await client.create({**config_map(namespace), "data": {"a": "1"}})
    key = NN.of(made)
    patched = await client.patch(CONFIG_MAP, key, Patch.merge({"data": {"b": "1"}}), field_manager=name)
    assert managers(patched) == [(name, "Update")]
    applied = await client.apply({**config_map(namespace), "data": {"c": "1"}}, field_manager=identity.FIELD_MANAGER)
    assert managers(applied) == [("rbg", "Apply"), (name, "Update")]
    await manager.transport.close()


async def test_a_set_without_ordinals_is_written_under_a_name_of_its_own(env: EnvTest, namespace: str) -> None:
    """RT-ID-04: one controller does for both kinds of sets what two clients of the Go operator do."""
    manager = build(env.config, ManagerOptions())
    client = client_of(manager, identity.CONTROLLER_INSTANCE_SET)
    made = await client.create(config_map(namespace), field_manager=identity.MANAGER_INSTANCE_SET_STATELESS)
    await manager.transport.close()
    assert managers(made) == [("roleinstanceset", "Update")]


@pytest.mark.parametrize(
    ("version", "commit", "text"),
    [
        ("1.2.3-alpha.1", "0123456789abcdef", "p/1.2.3 (linux/amd64) rbg-controller/0123456"),
        ("", "", "p/unknown (linux/amd64) rbg-controller/unknown"),
    ],
)
def test_versions_and_commits_are_shortened(version: str, commit: str, text: str) -> None:
    """RT-ID-04."""
    assert identity.user_agent("p", version, commit, "linux/amd64") == text


def config_map(namespace: str) -> RawObject:
    meta = {"namespace": namespace, "name": "a"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"k": "v"}}


def managers(obj: RawObject) -> list[tuple[Any, Any]]:
    return [(entry["manager"], entry["operation"]) for entry in obj["metadata"]["managedFields"]]
