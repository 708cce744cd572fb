"""Waiting for states of objects: on watches, without missing one that lasted only a moment (RT-ET-07)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.client import LiveClient, Patch
from rbgctl.runtime.errors import ApiError, NotFound
from rbgctl.runtime.testing.asserts import (
    consistently,
    eventually,
    history,
    object_of,
    objects_of,
    stays,
    update,
    update_status,
    wait_for,
    wait_gone,
)

CONFIG_MAP = GVK("", "v1", "ConfigMap")
POD = GVK("", "v1", "Pod")


async def create(client: LiveClient, namespace: str, name: str = "a", value: str = "0") -> RawObject:
    meta = {"namespace": namespace, "name": name}
    return await client.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"v": value}})


async def set_value(client: LiveClient, key: NN, value: str) -> RawObject:
    return await client.patch(CONFIG_MAP, key, Patch.merge({"data": {"v": value}}))


@contextlib.asynccontextmanager
async def meanwhile(work: object) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)  # type: ignore[call-overload]
    try:
        yield
    finally:
        await task


async def test_wait_for_sees_an_object_that_is_made_later_and_a_state_that_passes(
    client: LiveClient, namespace: str
) -> None:
    key = NN(namespace, "a")
    waiting = asyncio.ensure_future(wait_for(client, CONFIG_MAP, key, lambda o: o["data"]["v"] == "1", timeout=10))
    await create(client, namespace, "another", "1")
    await create(client, namespace)
    await set_value(client, key, "1")
    await set_value(client, key, "2")
    found = await waiting
    assert (found["metadata"]["name"], found["data"]["v"]) == ("a", "1")


async def test_wait_for_says_what_it_saw_last(client: LiveClient, namespace: str) -> None:
    with pytest.raises(AssertionError, match=r"ConfigMap .*/a did not get there within 0.3 s; .* it does not exist"):
        await wait_for(client, CONFIG_MAP, NN(namespace, "a"), lambda _o: True, timeout=0.3)
    await create(client, namespace, value="42")
    with pytest.raises(AssertionError, match=r"last seen: .*'v': '42'"):
        await wait_for(client, CONFIG_MAP, NN(namespace, "a"), lambda _o: False, timeout=0.3)


async def test_a_watch_that_the_server_ends_is_opened_again_where_it_ended(client: LiveClient, namespace: str) -> None:
    """The server ends a watch after the second it was asked for; nothing is lost or seen twice in between."""

    class Impatient(LiveClient):
        watches = 0

        def watch(self, *args: object, **options: object) -> AsyncIterator[tuple[str, RawObject]]:
            self.watches += 1
            options["timeout"] = 1
            return super().watch(*args, **options)  # type: ignore[arg-type]

    impatient = Impatient(client._transport, client.mapper)
    created = await create(client, namespace)
    key = NN.of(created)

    async def count() -> None:
        for n in range(1, 31):
            await set_value(client, key, str(n))
            await asyncio.sleep(0.08)  # spread over more than one watch, each of which ends after a second

    async with meanwhile(count()):
        since = created["metadata"]["resourceVersion"]
        states = await history(impatient, CONFIG_MAP, key, lambda o: o["data"]["v"] == "30", since=since, timeout=20)
    assert [s["data"]["v"] for s in states] == [str(n) for n in range(1, 31)]
    assert impatient.watches > 1


async def test_history_starts_over_when_the_object_is_replaced(client: LiveClient, namespace: str) -> None:
    created = await create(client, namespace)
    key = NN.of(created)
    await client.delete(CONFIG_MAP, key)
    await create(client, namespace, value="new")
    states = await history(
        client, CONFIG_MAP, key, lambda o: o["data"]["v"] == "new", since=created["metadata"]["resourceVersion"]
    )
    assert [s["data"]["v"] for s in states] == ["new"]


async def test_wait_gone_ends_with_the_object_or_its_replacement(client: LiveClient, namespace: str) -> None:
    key = NN(namespace, "a")
    await wait_gone(client, CONFIG_MAP, key)
    first = await create(client, namespace)
    with pytest.raises(AssertionError, match=r"was still there after 0\.3 s"):
        await wait_gone(client, CONFIG_MAP, key, timeout=0.3)
    waiting = asyncio.ensure_future(wait_gone(client, CONFIG_MAP, key, timeout=10))
    await set_value(client, key, "1")
    assert not waiting.done()
    await client.delete(CONFIG_MAP, key)
    await waiting
    await create(client, namespace)
    await wait_gone(client, CONFIG_MAP, key, uid=first["metadata"]["uid"], timeout=10)


async def test_stays_watches_for_the_whole_time(client: LiveClient, namespace: str) -> None:
    key = NN.of(await create(client, namespace))
    last = await stays(client, CONFIG_MAP, key, lambda o: o["data"]["v"] == "0", during=0.3)
    assert last["data"]["v"] == "0"

    watched = asyncio.Event()

    def is_zero(obj: RawObject) -> bool:
        watched.set()
        return bool(obj["data"]["v"] == "0")

    async def flicker() -> None:
        await watched.wait()
        await set_value(client, key, "1")
        await set_value(client, key, "0")

    with pytest.raises(AssertionError, match=r"did not stay as it was: .*'v': '1'"):
        async with meanwhile(flicker()):
            await stays(client, CONFIG_MAP, key, is_zero, during=10)
    watched.clear()

    async def remove() -> None:
        await watched.wait()
        await client.delete(CONFIG_MAP, key)

    with pytest.raises(AssertionError, match="was deleted"):
        async with meanwhile(remove()):
            await stays(client, CONFIG_MAP, key, is_zero, during=10)


async def test_eventually_asks_until_it_holds_and_takes_refusals_for_not_yet(
    client: LiveClient, namespace: str
) -> None:
    key = NN(namespace, "a")
    waiting = asyncio.ensure_future(eventually(object_of(client, CONFIG_MAP, key), lambda o: o["data"]["v"] == "1"))
    await create(client, namespace)
    await set_value(client, key, "1")
    assert (await waiting)["data"]["v"] == "1"
    with pytest.raises(AssertionError, match=r"within 0.2 s; last: NotFound") as failure:
        await eventually(object_of(client, CONFIG_MAP, NN(namespace, "b")), timeout=0.2)
    assert isinstance(failure.value.__cause__, NotFound)
    with pytest.raises(AssertionError, match="last seen: 3"):
        await eventually(lambda: 3, lambda n: n > 3, timeout=0.1)
    with pytest.raises(ZeroDivisionError):
        await eventually(lambda: 1 / 0)


async def test_consistently_fails_on_the_first_thing_that_does_not_hold(client: LiveClient, namespace: str) -> None:
    probe = objects_of(client, CONFIG_MAP, namespace)

    def is_empty(found: list[RawObject]) -> bool:
        return not [o for o in found if o["metadata"]["name"] == "a"]

    await consistently(probe, is_empty, during=0.2)
    with pytest.raises(AssertionError, match=r"it ceased to hold after .* s: .*'name': 'a'"):
        async with meanwhile(create(client, namespace)):
            await consistently(probe, is_empty, during=10)


async def test_update_starts_over_after_a_conflict(client: LiveClient, namespace: str) -> None:
    key = NN.of(await create(client, namespace))

    class Overtaken(LiveClient):
        reads = 0

        async def get(self, *args: object, **options: object) -> RawObject:
            found = await super().get(*args, **options)  # type: ignore[arg-type]
            self.reads += 1
            if self.reads == 1:
                await set_value(client, key, "by somebody else")
            return found

    overtaken = Overtaken(client._transport, client.mapper)
    after = await update(overtaken, CONFIG_MAP, key, lambda o: o["data"].update(n="1"))
    assert after["data"] == {"v": "by somebody else", "n": "1"}
    assert overtaken.reads == 2


async def test_update_status_writes_the_status_alone(client: LiveClient, namespace: str) -> None:
    made = await client.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": namespace, "name": "a"},
            "spec": {"containers": [{"name": "main", "image": "a"}]},
        }
    )

    def fail(obj: RawObject) -> None:
        obj["status"]["phase"] = "Failed"
        obj["spec"]["containers"][0]["image"] = "b"

    after = await update_status(client, POD, NN.of(made), fail)
    assert after["status"]["phase"] == "Failed"
    assert after["spec"]["containers"][0]["image"] == "a"


async def test_errors_that_are_not_conflicts_are_raised(client: LiveClient, namespace: str) -> None:
    key = NN.of(await create(client, namespace))

    def spoil(obj: RawObject) -> None:
        obj["data"] = {"not/a key": "x"}

    with pytest.raises(ApiError, match="not/a key"):
        await update(client, CONFIG_MAP, key, spoil)
