"""The live client against answers that a healthy API server does not give (or not on demand)."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from unit.runtime.conftest import ManualClock
from unit.runtime.scripted import Answer, ScriptedServer, answer, failure, listing, obj, refused

from rbgctl.machinery.gvk import GVK, NN
from rbgctl.machinery.selectors import LabelSelector
from rbgctl.runtime.client import LiveClient, Patch
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.errors import ApiError, Conflict, Expired, InternalError
from rbgctl.runtime.transport import Transport

POD = GVK("", "v1", "Pod")
NODE = GVK("", "v1", "Node")
KEY = NN("ns", "a")
NOTHING = LabelSelector.from_object(None)


@dataclass
class Rig:
    server: ScriptedServer
    client: LiveClient


@pytest.fixture
async def rig(manual_clock: ManualClock) -> AsyncIterator[Rig]:
    async with (
        ScriptedServer().running() as server,
        Transport(ClusterConfig(server.url), clock=manual_clock) as transport,
    ):
        yield Rig(server, LiveClient(transport, RestMapper(transport)))


def given(body: Any) -> Answer:
    return answer(200, orjson.dumps(body))


# -- reading -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["Expired", "Gone"])
async def test_a_list_that_expires_between_pages_is_read_again_whole(rig: Rig, reason: str) -> None:
    """RT-CL-02, RT-RV-04: nothing of the first attempt is kept."""
    rig.server.answers(listing(5, obj("a", 1), then="c"), refused(410, reason), listing(7, obj("b", 6)))
    found = await rig.client.list(POD, "ns", labels=LabelSelector.labels({"x": "y"}))
    assert [item["metadata"]["name"] for item in found.items] == ["b"]
    assert found.resource_version == "7"
    assert rig.server.asked[2].query == {"labelSelector": "x=y"}


async def test_a_first_page_that_expires_is_an_error(rig: Rig) -> None:
    """RT-CL-02."""
    rig.server.answers(refused(410, "Expired"))
    with pytest.raises(Expired):
        await rig.client.list(POD)


async def test_a_selector_that_matches_nothing_reaches_no_server(rig: Rig) -> None:
    """RT-SL-01: its text would be that of the selector that matches everything."""
    assert (await rig.client.list(POD, labels=NOTHING)).items == []
    await rig.client.delete_collection(POD, "ns", labels=NOTHING)
    assert rig.server.asked == []


@pytest.mark.parametrize("key", [NN("ns", ""), NN("", "a")])
async def test_an_incomplete_key_reaches_no_server(rig: Rig, key: NN) -> None:
    """RT-CL-01."""
    for call in (rig.client.get(POD, key), rig.client.delete(POD, key), rig.client.patch(POD, key, Patch.merge({}))):
        with pytest.raises(ValueError, match="required"):
            await call
    assert rig.server.asked == []


async def test_a_namespace_is_ignored_where_there_are_none(rig: Rig) -> None:
    """RT-CA-08."""
    rig.server.answers(given(obj("n", 1, kind="Node")))
    await rig.client.get(NODE, NN("ns", "n"))
    assert rig.server.asked[0].path == "/api/v1/nodes/n"


async def test_metadata_alone_is_asked_for_and_stamped_with_its_kind(rig: Rig) -> None:
    """RT-CL-12."""
    partial = {**obj("a", 1), "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata"}
    rig.server.answers(given(partial), given({"metadata": {"resourceVersion": "3"}, "items": [partial]}))
    found = await rig.client.get(POD, KEY, form="metadata", rv="0")
    (listed,) = (await rig.client.list(POD, form="metadata")).items
    assert found == listed == obj("a", 1)
    assert rig.server.asked[0].query == {"resourceVersion": "0"}
    accepts = [a.headers["Accept"].partition(",")[0] for a in rig.server.asked]
    assert accepts == [
        "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
    ]


async def test_a_long_list_gives_way_to_others(rig: Rig) -> None:
    """RT-MM-06."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    big = [obj(f"p{i}", 1, annotations={"x": "y" * 8000}) for i in range(100)]
    rig.server.answers(listing(5, *big))
    answered = await rig.client._transport.request("GET", "/api/v1/pods")
    rig.client._transport.request = lambda *_, **__: asyncio.sleep(0, answered)  # type: ignore[assignment,method-assign]
    task = asyncio.create_task(other())
    await rig.client.list(POD)
    assert turns >= 10  # 800 KB
    task.cancel()


# -- answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd",
    [
        answer(200, b"<html>"),
        answer(200, b"[]"),
        answer(200, b""),
        answer(302, headers={"Location": "/"}),
        given(failure(500, "InternalError")),
        given({"kind": "Status", "status": "Unknown"}),
    ],
)
@pytest.mark.parametrize("method", ["get", "list", "create"])
async def test_an_answer_that_is_no_object_is_an_error(rig: Rig, odd: Answer, method: str) -> None:
    """RT-ER-24."""
    rig.server.answers(odd)
    calls = {
        "get": lambda: rig.client.get(POD, KEY),
        "list": lambda: rig.client.list(POD),
        "create": lambda: rig.client.create(obj("a", "")),
    }
    with pytest.raises(ApiError):
        await calls[method]()


async def test_an_error_names_verb_resource_and_object(rig: Rig) -> None:
    """RT-ER-22."""
    rig.server.answers(answer(502, b"bad gateway"))
    with pytest.raises(InternalError, match=r"\(get pods a\)") as caught:
        await rig.client.get(POD, KEY)
    assert caught.value.causes[0].message == "bad gateway"


@pytest.mark.parametrize(
    ("meta", "lives"),
    [
        ({}, False),
        ({"deletionTimestamp": "t", "deletionGracePeriodSeconds": 0}, False),
        ({"deletionTimestamp": "t", "deletionGracePeriodSeconds": 30}, True),
        ({"deletionTimestamp": "t", "deletionGracePeriodSeconds": 0, "finalizers": ["f"]}, True),
    ],
)
async def test_a_deletion_tells_whether_the_object_lives_on(rig: Rig, meta: dict[str, Any], lives: bool) -> None:
    """RT-CL-08: some kinds are returned as they last were although they are gone."""
    rig.server.answers(given(obj("a", 5, **meta)))
    assert (await rig.client.delete(POD, KEY) is not None) is lives


async def test_a_deletion_sends_what_it_depends_on(rig: Rig) -> None:
    """RT-CL-08."""
    rig.server.answers(given({"kind": "Status", "status": "Success"}))
    await rig.client.delete(POD, KEY, uid="u", rv="7", propagation="Foreground", grace_seconds=0)
    assert orjson.loads(rig.server.asked[0].body) == {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "preconditions": {"uid": "u", "resourceVersion": "7"},
        "propagationPolicy": "Foreground",
        "gracePeriodSeconds": 0,
    }


async def test_many_are_deleted_by_selector_with_a_policy(rig: Rig) -> None:
    """RT-CL-09."""
    rig.server.answers(given({"kind": "Status", "status": "Success"}))
    await rig.client.delete_collection(POD, "ns", labels=LabelSelector.has("x"), fields="a=b", propagation="Background")
    (asked,) = rig.server.asked
    assert (asked.method, asked.path) == ("DELETE", "/api/v1/namespaces/ns/pods")
    assert asked.query == {"labelSelector": "x", "fieldSelector": "a=b"}
    assert orjson.loads(asked.body)["propagationPolicy"] == "Background"


async def test_arguments_are_never_changed(rig: Rig) -> None:
    """RT-CL-14."""
    rig.server.answers(given(obj("a", 5)))
    sent = obj("a", "")
    answered = await rig.client.create(sent)
    assert sent == obj("a", "")
    assert answered["metadata"]["resourceVersion"] == "5"


# -- patches -----------------------------------------------------------------------------------------------------


def test_a_merge_patch_may_be_locked_to_the_version_it_was_made_from() -> None:
    """RT-CL-06."""
    before = {"metadata": {"name": "a", "resourceVersion": "7", "labels": {"x": "1"}}, "spec": {"n": 1}}
    after = {"metadata": {"name": "a", "resourceVersion": "9", "labels": {}}, "spec": {"n": 1}}
    assert Patch.between(before, after, lock=True) == Patch.merge(
        {"metadata": {"labels": {"x": None}, "resourceVersion": "7"}}
    )
    assert Patch.between(before, before).body == {}
    with pytest.raises(ValueError, match="resourceVersion"):
        Patch.between({"metadata": {}}, after, lock=True)


async def test_the_content_type_says_how_to_read_a_patch(rig: Rig) -> None:
    """RT-CL-05."""
    rig.server.answers(*[given(obj("a", 5))] * 4)
    for patch in (Patch.merge({}), Patch.strategic({}), Patch.json([])):
        await rig.client.patch(POD, KEY, patch)
    await rig.client.apply(obj("a", ""), field_manager="rbg")
    assert [a.headers["Content-Type"] for a in rig.server.asked] == [
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
        "application/json-patch+json",
        "application/apply-patch+yaml",
    ]
    assert rig.server.asked[3].query == {"fieldManager": "rbg", "force": "true"}


async def test_an_apply_without_a_manager_reaches_no_server(rig: Rig) -> None:
    """RT-CL-05."""
    with pytest.raises(ValueError, match="field manager"):
        await rig.client.apply(obj("a", ""), field_manager="")
    assert rig.server.asked == []


async def test_a_conflict_names_the_other_managers(rig: Rig) -> None:
    """RT-CL-13."""
    cause = {"reason": "FieldManagerConflict", "message": 'conflict with "kubectl"', "field": ".spec.replicas"}
    rig.server.answers(refused(409, "Conflict", details={"causes": [cause]}))
    with pytest.raises(Conflict) as caught:
        await rig.client.apply(obj("a", ""), field_manager="rbg", force=False)
    assert [(c.reason, c.field) for c in caught.value.causes] == [("FieldManagerConflict", ".spec.replicas")]
