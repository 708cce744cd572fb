"""How old an answer may be: what the API server makes of a resourceVersion in reads (07 §1.5)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from rbgctl.api.kinds import RESOURCES, ROLE_INSTANCE
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.errors import ApiError, BadRequest, RequestTimeout, needs_relist
from rbgctl.runtime.testing.envtest import EnvTest
from rbgctl.runtime.transport import Transport

CONFIG_MAP = GVK("", "v1", "ConfigMap")
PATH = "/api/v1/namespaces/{}/configmaps"


@dataclass
class Rig:
    """A client whose requests are counted, and three objects, each with the version at which it was created."""

    client: LiveClient
    namespace: str
    requests: list[str]
    versions: dict[str, str]

    async def names(self, **how: object) -> list[str]:
        self.requests.clear()
        found = await self.client.list(CONFIG_MAP, self.namespace, **how)  # type: ignore[arg-type]
        return [obj["metadata"]["name"] for obj in found.items]

    @property
    def future(self) -> str:
        return str(int(self.versions["c"]) + 1_000_000)


@pytest.fixture
async def rig(env: EnvTest, namespace: str) -> AsyncIterator[Rig]:
    requests: list[str] = []
    async with Transport(env.config, observer=lambda _m, _c, _h, path, _s: requests.append(path)) as transport:
        client = LiveClient(transport, RestMapper(transport, *RESOURCES))
        versions = {}
        for name in "abc":
            made = await client.create(config_map(namespace, name))
            versions[name] = made["metadata"]["resourceVersion"]
        yield Rig(client, namespace, requests, versions)


def config_map(namespace: str, name: str) -> RawObject:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": name}}


async def test_one_object_is_the_newest_or_as_new_as_asked(rig: Rig) -> None:
    """RT-RV-01, RT-RV-06: what the server has not reached yet it waits for, and then gives up."""
    key = NN(rig.namespace, "a")
    changed = await rig.client.update({**await rig.client.get(CONFIG_MAP, key), "data": {"k": "2"}})
    assert await rig.client.get(CONFIG_MAP, key) == changed
    assert await rig.client.get(CONFIG_MAP, key, rv=changed["metadata"]["resourceVersion"]) == changed
    # Any state will do, but one in which the object exists: the cache has it since the read above.
    cached = await rig.client.get(CONFIG_MAP, key, rv="0")
    assert cached["metadata"]["uid"] == changed["metadata"]["uid"]
    with pytest.raises(RequestTimeout) as late:
        await rig.client.get(CONFIG_MAP, key, rv=rig.future, timeout=4.0)
    assert late.value.too_large_resource_version


async def test_a_whole_list_is_the_newest_or_as_new_as_asked(rig: Rig) -> None:
    """RT-RV-02: "not older than" unless that very version is asked for."""
    b = rig.versions["b"]
    assert await rig.names(limit=0) == ["a", "b", "c"]
    assert await rig.names(limit=0, rv=rig.versions["c"]) == ["a", "b", "c"]
    assert (await rig.names(limit=0, rv=b))[:2] == ["a", "b"]
    assert await rig.names(limit=0, rv=b, match="Exact") == ["a", "b"]
    assert (await rig.names(limit=0, rv=rig.versions["c"], match="NotOlderThan")) == ["a", "b", "c"]
    assert set(await rig.names(limit=0, rv="0")) <= {"a", "b", "c"}
    with pytest.raises(RequestTimeout) as late:
        await rig.client.list(CONFIG_MAP, rig.namespace, limit=0, rv=rig.future, match="NotOlderThan")
    assert late.value.too_large_resource_version


async def test_a_paged_list_is_of_one_version(rig: Rig) -> None:
    """RT-RV-03: of exactly the one asked for, the newest by default; "0" ignores the limit."""
    b = rig.versions["b"]
    assert await rig.names(limit=1) == ["a", "b", "c"]
    assert len(rig.requests) == 3
    assert await rig.names(limit=1, rv=b) == ["a", "b"]
    assert len(rig.requests) == 2
    assert await rig.names(limit=1, rv=rig.versions["c"], match="NotOlderThan") == ["a", "b", "c"]
    await rig.client.get(CONFIG_MAP, NN(rig.namespace, "c"), rv=rig.versions["c"])
    assert await rig.names(limit=1, rv="0") == ["a", "b", "c"]
    assert len(rig.requests) == 1


async def test_a_page_cannot_be_asked_for_at_another_version(rig: Rig) -> None:
    """RT-RV-04: which is why the client drops it after the first page."""
    first = await rig.client._transport.request("GET", PATH.format(rig.namespace), params={"limit": "1"})
    token = first.body.partition(b'"continue":"')[2].partition(b'"')[0].decode()
    both = {"continue": token, "resourceVersion": rig.versions["a"]}
    with pytest.raises(BadRequest):
        await rig.client._call("GET", PATH.format(rig.namespace), CONFIG_MAP, NN(rig.namespace, ""), params=both)
    assert await rig.names(limit=1, rv=rig.versions["c"], match="Exact") == ["a", "b", "c"]


async def test_a_watch_shows_what_is_there_or_what_came_later(rig: Rig) -> None:
    """RT-RV-05: from the start the current state, from a version what came after it, from too old a one an error."""

    async def first(count: int, rv: str) -> list[tuple[str, str]]:
        seen = []
        async for kind, obj in rig.client.watch(CONFIG_MAP, rig.namespace, rv=rv, timeout=20):
            seen.append((kind, obj["metadata"]["name"]))
            if len(seen) == count:
                break
        return seen

    everything = [("ADDED", name) for name in "abc"]
    assert sorted(await first(3, "")) == everything
    assert sorted(await first(3, "0")) == everything
    assert await first(1, rig.versions["b"]) == [("ADDED", "c")]
    # The server remembers what happened to a kind from the moment on at which it began to serve it.
    with pytest.raises(ApiError) as old:
        async for _ in rig.client.watch(ROLE_INSTANCE, rig.namespace, rv="1", timeout=20):
            pass
    assert (old.value.code, old.value.reason) == (410, "Expired")
    assert needs_relist(old.value)
