"""Informers survive the end of their API server (RT-AC-04)."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from rbgctl.machinery.gvk import GVK, NN
from rbgctl.runtime.cache import Cache
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.errors import AlreadyExists, NotFound, TransportError
from rbgctl.runtime.informer import KindOptions
from rbgctl.runtime.store import Entry, Tombstone
from rbgctl.runtime.testing.asserts import eventually
from rbgctl.runtime.testing.envtest import EnvTest, new_namespace
from rbgctl.runtime.testing.fault_proxy import FaultProxy
from rbgctl.runtime.transport import Transport

CONFIG_MAP = GVK("", "v1", "ConfigMap")
SECRET = GVK("", "v1", "Secret")
KINDS = (CONFIG_MAP, SECRET)
RECOVERY = 35.0


@dataclass
class Names:
    """What is there, by what handlers are told."""

    names: set[str] = field(default_factory=set)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def on_add(self, entry: Entry, *, initial: bool) -> None:
        self.names.add(entry.header.name)
        self.news.set()

    def on_update(self, old: Entry, new: Entry) -> None:
        pass

    def on_delete(self, last: Entry | Tombstone) -> None:
        self.names.discard(last.key.name if isinstance(last, Tombstone) else last.header.name)
        self.news.set()

    async def until(self, wanted: set[str], timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                while self.names != wanted:
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            raise AssertionError(f"after {timeout:.1f} s the cache has {self.names}, not {wanted}") from None


async def create(client: LiveClient, namespace: str, name: str) -> None:
    for gvk in KINDS:
        meta = {"namespace": namespace, "name": name}
        with contextlib.suppress(AlreadyExists):
            await client.create({"apiVersion": "v1", "kind": gvk.kind, "metadata": meta})


async def delete(client: LiveClient, namespace: str, name: str) -> None:
    for gvk in KINDS:
        with contextlib.suppress(NotFound):
            await client.delete(gvk, NN(namespace, name))


async def survives(
    transport: Transport,
    client: LiveClient,
    namespace: str,
    outage: Callable[[], Awaitable[None]],
    streaming: bool | None,
) -> list[str]:
    """Run informers through the outage; they must show what happened within 35 s. Why they listed again."""
    relists: list[str] = []
    cache = Cache(
        transport,
        RestMapper(transport),
        first_list_jitter=0.0,
        on_relist=lambda _gvk, reason: relists.append(reason),
        streaming=streaming,
    )
    told = {gvk: Names() for gvk in KINDS}
    for gvk, names in told.items():
        cache.declare(gvk, KindOptions(namespace=namespace)).add_handler(names)
    running = asyncio.create_task(cache.run())
    try:
        await create(client, namespace, "before")
        await create(client, namespace, "goes")
        await cache.wait_for_sync(timeout=30)
        for names in told.values():
            await names.until({"before", "goes"}, 20)
        await outage()
        began = time.monotonic()

        async def change() -> bool:
            await create(client, namespace, "after")
            await delete(client, namespace, "goes")
            return True

        await eventually(change, timeout=10, retry=(TransportError,))
        for names in told.values():
            await names.until({"before", "after"}, RECOVERY - (time.monotonic() - began))
        for gvk in KINDS:
            # Those that outlived it must still follow.
            await client.delete(gvk, NN(namespace, "before"))
            await told[gvk].until({"after"}, 10)
        return relists
    finally:
        running.cancel()
        await asyncio.wait([running])


@pytest.fixture(scope="module")
async def own() -> AsyncIterator[EnvTest]:
    """An API server of its own: it is killed."""
    async with EnvTest() as started:
        yield started


@pytest.mark.parametrize("streaming", [None, False], ids=["stream", "list"])
async def test_informers_recover_from_a_killed_api_server_and_list_only_when_their_version_is_lost(
    own: EnvTest, streaming: bool | None
) -> None:
    """RT-AC-04. A server that starts forgets older versions, so 410 is common here; nothing else may cause a list."""
    client = own.client()
    namespace = await new_namespace(client, "restart")

    async def outage() -> None:
        await own.kill_api_server()
        with pytest.raises(TransportError):
            await client.list(CONFIG_MAP, namespace)
        await own.restart_api_server()

    relists = await survives(own.transport(), client, namespace, outage, streaming)
    assert set(relists) <= {"Expired", "Gone"}
    assert len(relists) <= len(KINDS)


@pytest.mark.parametrize("streaming", [None, False], ids=["stream", "list"])
async def test_informers_resume_without_a_list_when_the_server_still_knows_their_version(
    own: EnvTest, streaming: bool | None
) -> None:
    """RT-AC-04, RT-RF-09: connections are refused for three seconds and things happen meanwhile."""
    client = own.client()
    namespace = await new_namespace(client, "outage")
    async with FaultProxy(own.config) as proxy:

        async def outage() -> None:
            proxy.refuse_connections()
            await create(client, namespace, "unseen")
            await asyncio.sleep(3)
            await delete(client, namespace, "unseen")
            await proxy.accept_connections()

        relists = await survives(own.transport(proxy.config), client, namespace, outage, streaming)
    assert relists == []
