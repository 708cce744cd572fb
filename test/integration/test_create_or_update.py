"""Bringing one object to a wanted state, on a real API server."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.create_or_change import create_or_patch, create_or_update
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.errors import Conflict, NotFound
from rbgctl.runtime.testing.envtest import EnvTest
from rbgctl.runtime.transport import Transport

CONFIG_MAP = GVK("", "v1", "ConfigMap")
DEPLOYMENT = GVK("apps", "v1", "Deployment")

Sent = list[tuple[str, str]]
Bring = Callable[..., Any]


@pytest.fixture
def sent() -> Sent:
    """Method and last part of the path of every write."""
    return []


@pytest.fixture
async def client(env: EnvTest, sent: Sent) -> AsyncIterator[LiveClient]:
    def observe(method: str, code: str, host: str, path: str, seconds: float) -> None:
        if method != "GET" and path != "/api/v1/namespaces":
            sent.append((method, path.rpartition("/")[2]))

    async with Transport(env.config, observer=observe) as transport:
        yield LiveClient(transport, RestMapper(transport), user_agent="tester/v1")


def config_map(namespace: str) -> RawObject:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": "a"}}


def deployment(namespace: str) -> RawObject:
    labels = {"app": "a"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "a", "namespace": namespace},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template},
    }


def sets(**data: str) -> Callable[[RawObject], None]:
    return lambda obj: obj.setdefault("data", {}).update(data)


@pytest.mark.parametrize(("bring", "method"), [(create_or_update, "PUT"), (create_or_patch, "PATCH")])
async def test_an_object_is_created_changed_and_then_left_alone(
    client: LiveClient, namespace: str, sent: Sent, bring: Bring, method: str
) -> None:
    """RT-CU-03, RT-CU-04: arguments stay as they were."""
    wanted = config_map(namespace)
    operations = []
    for data in ({"k": "1"}, {"k": "2", "m": "3"}, {"k": "2"}):
        operation, obj = await bring(client, wanted, sets(**data))
        operations.append(operation)
        assert obj == await client.get(CONFIG_MAP, NN(namespace, "a"))
    assert operations == ["created", "updated", "unchanged"]
    assert obj["data"] == {"k": "2", "m": "3"}
    assert wanted == config_map(namespace)
    assert sent == [("POST", "configmaps"), (method, "a")]


@pytest.mark.parametrize("bring", [create_or_update, create_or_patch])
@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("changed", [{"name": "b"}, {"namespace": "other"}])
async def test_a_change_that_renames_is_refused(
    client: LiveClient, namespace: str, sent: Sent, bring: Bring, exists: bool, changed: dict[str, str]
) -> None:
    """RT-CU-03, RT-CU-04: whether the object exists or not, and nothing is written."""
    if exists:
        await client.create(config_map(namespace))
        sent.clear()
    with pytest.raises(ValueError, match="was renamed"):
        await bring(client, config_map(namespace), lambda obj: obj["metadata"].update(changed))
    assert sent == []


async def test_an_update_is_of_what_was_read(client: LiveClient, namespace: str) -> None:
    """RT-CU-03: whoever is faster wins, and nothing of theirs is lost."""
    await client.create(config_map(namespace))

    class Late:
        """Reads what somebody else changes right afterwards."""

        async def get(self, gvk: GVK, key: NN) -> RawObject:
            read = await client.get(gvk, key)
            await client.update({**read, "data": {"theirs": "1"}})
            return read

        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

    with pytest.raises(Conflict):
        await create_or_update(Late(), config_map(namespace), sets(ours="1"))  # type: ignore[arg-type]
    _, patched = await create_or_patch(Late(), config_map(namespace), sets(ours="1"))  # type: ignore[arg-type]
    assert patched["data"] == {"theirs": "1", "ours": "1"}


@pytest.mark.parametrize(
    ("replicas", "ready", "operation", "writes"),
    [
        (2, 0, "unchanged", []),
        (3, 0, "updated", ["a"]),
        (2, 1, "updatedStatusOnly", ["status"]),
        (3, 1, "updatedStatus", ["a", "status"]),
    ],
)
async def test_a_status_is_written_apart_and_last(
    client: LiveClient, namespace: str, sent: Sent, replicas: int, ready: int, operation: str, writes: list[str]
) -> None:
    """RT-CU-04: the answer to the first write, which has the old status, does not undo the second."""
    await client.create(deployment(namespace))
    sent.clear()

    def mutate(obj: RawObject) -> None:
        obj["spec"]["replicas"] = replicas
        if ready:
            obj["status"] = {**(obj.get("status") or {}), "replicas": ready, "readyReplicas": ready}

    done, obj = await create_or_patch(client, deployment(namespace), mutate)
    assert done == operation
    assert sent == [("PATCH", last) for last in writes]
    assert obj == await client.get(DEPLOYMENT, NN(namespace, "a"))
    assert (obj["spec"]["replicas"], (obj.get("status") or {}).get("readyReplicas", 0)) == (replicas, ready)


async def test_a_patch_sends_the_difference_alone(client: LiveClient, namespace: str) -> None:
    """RT-CU-04: fields of others are not sent, so their owners keep them."""
    await create_or_patch(client, deployment(namespace), lambda obj: None, field_manager="one")
    _, obj = await create_or_patch(
        client, deployment(namespace), lambda obj: obj["spec"].update(replicas=5), field_manager="two"
    )
    (mine,) = [entry for entry in obj["metadata"]["managedFields"] if entry["manager"] == "two"]
    assert mine["fieldsV1"] == {"f:spec": {"f:replicas": {}}}


@pytest.mark.parametrize("bring", [create_or_update, create_or_patch])
async def test_a_failing_change_writes_nothing(client: LiveClient, namespace: str, sent: Sent, bring: Bring) -> None:
    """RT-CU-03, RT-CU-04."""

    def fails(_: RawObject) -> None:
        raise LookupError("no")

    with pytest.raises(LookupError):
        await bring(client, config_map(namespace), fails)
    assert sent == []
    with pytest.raises(NotFound):
        await client.get(CONFIG_MAP, NN(namespace, "a"))
