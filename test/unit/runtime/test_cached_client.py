"""What the client of a controller remembers of its writes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson
import pytest
from unit.runtime.conftest import ManualClock
from unit.runtime.scripted import Answer, ScriptedServer, answer, broken, obj, refused

from rbgctl.machinery.gvk import GVK, NN
from rbgctl.runtime.cache import Decoded
from rbgctl.runtime.cached_client import CachedClient
from rbgctl.runtime.client import LiveClient, ObjectList, Patch
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.errors import ApiError, NotFound, TransportError
from rbgctl.runtime.store import Entry, Header
from rbgctl.runtime.transport import Transport

POD = GVK("", "v1", "Pod")
KEY = NN("ns", "a")


class Recorder:
    """In place of a cache: what was recorded, without empty fields."""

    def __init__(self) -> None:
        self.records: list[tuple[Any, ...]] = []
        self.forms: set[str] = set()

    def record_write(self, owner: Any, gvk: GVK, key: NN, **what: Any) -> None:
        self.records.append((owner, gvk, key, {k: v for k, v in what.items() if v}))

    def caches(self, gvk: GVK, form: Any = None) -> bool:
        return form in self.forms if form else bool(self.forms)

    async def get(self, gvk: GVK, key: NN, form: Any = None) -> dict[str, Any]:
        return {**obj("a", 1), "from": f"cached {form}"}

    async def list(self, gvk: GVK, namespace: str = "", *, labels: Any = None, form: Any = None) -> ObjectList:
        return ObjectList([{**obj("a", 1), "from": f"cached {form}"}])


class Rig:
    def __init__(self, server: ScriptedServer, transport: Transport) -> None:
        self.server = server
        self.recorder = Recorder()
        self.client = CachedClient(self.recorder, LiveClient(transport, RestMapper(transport)), "me")


@pytest.fixture
async def rig(manual_clock: ManualClock) -> AsyncIterator[Rig]:
    async with (
        ScriptedServer().running() as server,
        Transport(ClusterConfig(server.url), clock=manual_clock) as transport,
    ):
        yield Rig(server, transport)


def given(body: Any) -> Answer:
    return answer(200, orjson.dumps(body))


Write = Callable[[CachedClient], Awaitable[Any]]
WRITES: list[Write] = [
    lambda c: c.create(obj("a", "")),
    lambda c: c.update(obj("a", "")),
    lambda c: c.patch(POD, KEY, Patch.merge({})),
    lambda c: c.apply(obj("a", ""), field_manager="rbg"),
]
DELETE: Write = lambda c: c.delete(POD, KEY, uid="u")  # noqa: E731


@pytest.mark.parametrize("write", WRITES)
async def test_a_write_is_remembered_with_the_version_it_got(rig: Rig, write: Write) -> None:
    """RT-CA-20, RT-CA-21: and the labels, which tell whether the cache will ever show it."""
    rig.server.answers(given(obj("a", 7, labels={"l": "v"})))
    await write(rig.client)
    assert rig.recorder.records == [("me", POD, KEY, {"rv": "7", "labels": {"l": "v"}})]


async def test_a_generated_name_is_remembered(rig: Rig) -> None:
    """RT-CL-03."""
    rig.server.answers(given(obj("a-x1", 7)))
    await rig.client.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "ns", "generateName": "a-"}})
    assert rig.recorder.records == [("me", POD, NN("ns", "a-x1"), {"rv": "7"})]


async def test_a_deletion_is_remembered_as_absence_or_as_a_version(rig: Rig) -> None:
    """RT-CA-21."""
    success = {"kind": "Status", "status": "Success"}
    dying = obj("a", 9, deletionTimestamp="t", finalizers=["f"])
    rig.server.answers(given(success), given(success), given(dying))
    await DELETE(rig.client)
    await rig.client.delete(POD, KEY)
    await DELETE(rig.client)
    assert [record[3] for record in rig.recorder.records] == [{"gone_uid": "u"}, {"gone_uid": "*"}, {"rv": "9"}]


async def test_an_object_that_was_gone_already_is_remembered_as_absent(rig: Rig) -> None:
    """RT-CA-20: the cache does not show that yet, or it would not have been deleted again."""
    rig.server.answers(refused(404, "NotFound"))
    with pytest.raises(NotFound):
        await DELETE(rig.client)
    assert rig.recorder.records == [("me", POD, KEY, {"gone_uid": "u"})]


@pytest.mark.parametrize("write", [*WRITES, DELETE])
@pytest.mark.parametrize("fault", [broken(), refused(504, "Timeout"), refused(500, "InternalError")])
async def test_a_write_that_may_have_happened_is_looked_up(rig: Rig, write: Write, fault: Answer) -> None:
    """RT-CA-21."""
    rig.server.answers(fault)
    with pytest.raises((TransportError, ApiError)):
        await write(rig.client)
    assert rig.recorder.records == [("me", POD, KEY, {"unknown": True})]


@pytest.mark.parametrize("write", [*WRITES, DELETE])
async def test_a_write_broken_off_by_its_caller_is_looked_up(rig: Rig, write: Write) -> None:
    """RT-CA-21: a reconcile that ran out of time."""
    task = asyncio.ensure_future(write(rig.client))
    await rig.server.asked_at_least(1)
    task.cancel()
    await asyncio.wait([task])
    assert rig.recorder.records == [("me", POD, KEY, {"unknown": True})]


@pytest.mark.parametrize("write", [*WRITES, DELETE])
@pytest.mark.parametrize("refusal", [refused(409, "Conflict"), refused(422, "Invalid"), refused(403, "Forbidden")])
async def test_a_refused_write_leaves_nothing_to_wait_for(rig: Rig, write: Write, refusal: Answer) -> None:
    """RT-CA-20."""
    rig.server.answers(refusal)
    with pytest.raises(ApiError):
        await write(rig.client)
    assert rig.recorder.records == []


async def test_a_write_that_was_never_sent_leaves_nothing_to_wait_for(manual_clock: ManualClock) -> None:
    """RT-CA-20."""
    recorder = Recorder()
    async with Transport(ClusterConfig("http://127.0.0.1:1"), clock=manual_clock) as transport:
        client = CachedClient(recorder, LiveClient(transport, RestMapper(transport)), "me")
        with pytest.raises(TransportError):
            await DELETE(client)
    assert recorder.records == []


async def test_a_lost_creation_under_a_generated_name_cannot_be_looked_up(rig: Rig) -> None:
    """RT-CA-21."""
    rig.server.answers(broken())
    with pytest.raises(TransportError):
        await rig.client.create({**obj("", ""), "metadata": {"namespace": "ns", "generateName": "a-"}})
    assert rig.recorder.records == []


def test_an_object_is_parsed_once_per_version() -> None:
    """RT-MM-05: and only so many results are kept."""
    parsed: list[str] = []

    def parse(raw: dict[str, Any]) -> int:
        parsed.append(raw["v"])
        return len(parsed)

    def entry(uid: str, rv: str) -> Entry:
        return Entry(Header("ns", uid, uid, rv), orjson.dumps({"v": f"{uid}@{rv}"}))

    memo = Decoded(parse, size=2)
    assert memo.get(entry("a", "1")) == memo.get(entry("a", "1")) == 1
    assert memo.get(entry("a", "2")) == 2
    memo.get(entry("b", "1"))
    memo.get(entry("c", "1"))
    memo.get(entry("a", "2"))
    assert parsed == ["a@1", "a@2", "b@1", "c@1", "a@2"]
