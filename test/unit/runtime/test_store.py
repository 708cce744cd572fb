"""Headers, entries and indexes."""

import gc
import json
import zlib
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from rbgctl.machinery.gvk import GVK, NN
from rbgctl.runtime.intern import InternTable
from rbgctl.runtime.list_page import list_page
from rbgctl.runtime.store import Entry, EntryDecoder, Header, Indexer, WrongKind, decode_raw, owner_uids

POD = GVK("", "v1", "Pod")
SET = GVK("apps", "v1", "StatefulSet")

OWNER = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "s", "uid": "o1", "controller": True}
MANAGED = [
    {"manager": "rbg", "operation": "Apply", "fieldsV1": {"f:spec": {}}},
    {"manager": "kubelet", "operation": "Update", "fieldsV1": {"f:status": {}}},
]


def pod(**meta: Any) -> dict[str, Any]:
    metadata = {"namespace": "ns", "name": "a", "uid": "u", "resourceVersion": "5", **meta}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"phase": "Running"}, "new": [1, None]}


def header(name: str, *, namespace: str = "ns", label: str = "", owners: Any = ()) -> Header:
    return Header(namespace, name, f"u-{name}", "1", labels=(("l", label),), owners=owners)


# -- decoding ----------------------------------------------------------------------------------------------------


def test_the_header_says_what_predicates_and_indexes_ask_for() -> None:
    """RT-MM-02."""
    raw = pod(
        generation=3,
        deletionTimestamp="2026-01-01T00:00:00Z",
        labels={"app": "x"},
        annotations={"rbg/a": "1", "rbg/b": "2", "other": "3"},
        ownerReferences=[{**OWNER, "controller": False, "uid": "o0"}, OWNER],
    )
    decoder = EntryDecoder(POD, keep_annotations=("rbg/",), hot=lambda body: (decode_raw(body["status"])["phase"],))
    found = decoder.entry(orjson.dumps(raw)).header
    assert found.key == NN("ns", "a")
    assert (found.uid, found.rv, found.generation, found.deletion) == ("u", "5", 3, "2026-01-01T00:00:00Z")
    assert (found.label("app"), found.label("none", "d")) == ("x", "d")
    assert found.annotations == (("rbg/a", "1"), ("rbg/b", "2"))
    assert found.hot == ("Running",)
    assert found.controller is not None
    assert found.controller.uid == "o1"
    assert list(owner_uids(found)) == ["o0", "o1"]


def test_the_body_keeps_everything_but_managed_fields() -> None:
    """RT-IN-09, RT-MM-03: also fields that nobody knows."""
    entry = EntryDecoder(POD).entry(orjson.dumps(pod(managedFields=MANAGED)))
    assert entry.decode() == pod()


QUOTED = {"managedFields": "x", "text": '"managedFields":' + orjson.dumps(MANAGED).decode()}


@given(
    order=st.permutations(["name", "namespace", "uid", "resourceVersion", "annotations", "managedFields"]),
    style=st.sampled_from([{"separators": (",", ":")}, {"indent": 2}, {}]),
    managed=st.sampled_from([MANAGED, MANAGED[:1], []]),
)
def test_managed_fields_are_left_out_wherever_and_however_they_are_written(
    order: list[str], style: dict[str, Any], managed: list[Any]
) -> None:
    """RT-IN-09: also where texts speak of them."""
    wanted = pod(annotations=QUOTED)
    metadata = {**wanted["metadata"], "managedFields": managed}
    written = {**wanted, "metadata": {name: metadata[name] for name in order}}
    entry = EntryDecoder(POD).entry(json.dumps(written, **style).encode())
    assert entry.decode() == wanted


def test_an_object_with_nothing_but_managed_fields_is_left_with_none() -> None:
    entry = EntryDecoder(POD).entry(orjson.dumps({"metadata": {"managedFields": MANAGED}}))
    assert entry.decode()["metadata"] == {}


def test_entries_of_our_own_managers_are_kept() -> None:
    """RT-IN-09: they decide whether an apply can be skipped."""
    decoder = EntryDecoder(POD, keep_managers=frozenset({"rbg"}))
    entry = decoder.entry(orjson.dumps(pod(managedFields=MANAGED)))
    assert entry.decode()["metadata"]["managedFields"] == MANAGED[:1]
    assert "managedFields" not in decoder.entry(orjson.dumps(pod(managedFields=MANAGED[1:]))).decode()["metadata"]


def test_every_decode_is_a_private_copy() -> None:
    """RT-MM-03, RT-CA-11."""
    entry = EntryDecoder(POD).entry(orjson.dumps(pod()))
    entry.decode()["metadata"]["name"] = "changed"
    assert entry.decode()["metadata"]["name"] == "a"


def test_items_of_lists_and_metadata_only_objects_are_stamped_with_their_kind() -> None:
    """RT-CL-12."""
    bare = {k: v for k, v in pod().items() if k not in {"apiVersion", "kind"}}
    partial = {**bare, "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata"}
    for raw in (bare, partial):
        found = EntryDecoder(SET).entry(orjson.dumps(raw)).decode()
        assert (found["apiVersion"], found["kind"]) == ("apps/v1", "StatefulSet")


@pytest.mark.parametrize("stranger", [{"apiVersion": "v1", "kind": "Service"}, {"apiVersion": "v2", "kind": "Pod"}])
def test_objects_of_another_kind_are_refused(stranger: dict[str, str]) -> None:
    """RT-RF-11."""
    with pytest.raises(WrongKind, match="expected v1, Kind=Pod"):
        EntryDecoder(POD).entry(orjson.dumps({**pod(), **stranger}))


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"metadata": 1}', b'{"metadata": {"name": 1}}', b'{"metadata":'])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        EntryDecoder(POD).entry(raw)


def test_a_broken_hot_function_does_not_keep_the_object_out() -> None:
    """RT-QF-06: it is logged."""
    with capture_logs() as logs:
        found = EntryDecoder(POD, hot=lambda body: (decode_raw(body["spec"])["x"],)).entry(orjson.dumps(pod()))
    assert found.header.hot == ()
    assert logs[0]["object"] == "ns/a"


def test_stored_objects_are_nothing_to_the_garbage_collector() -> None:
    """RT-MM-04."""
    entry = EntryDecoder(POD).entry(orjson.dumps(pod(ownerReferences=[OWNER], labels={"a": "b"})))
    assert not gc.is_tracked(entry)
    assert not gc.is_tracked(entry.header)
    assert not any(gc.is_tracked(owner) for owner in entry.header.owners)


def test_a_list_is_cut_into_items_without_decoding_them() -> None:
    """RT-MM-06."""
    body = b'{"kind":"PodList","metadata":{"resourceVersion":"7","continue":"c"},"items":[{"a":1}, {"b":[2]}]}'
    page = list_page(body)
    assert (page.metadata.resource_version, page.metadata.continue_) == ("7", "c")
    assert [bytes(raw) for raw in page.items or ()] == [b'{"a":1}', b'{"b":[2]}']
    assert list_page(b'{"metadata":{},"items":null}').items is None


def test_what_recurs_in_headers_is_kept_once() -> None:
    """RT-MM-07: across objects and kinds that share a table, and only so much of it."""
    table = InternTable(limit=50)
    decoders = [EntryDecoder(kind, keep_annotations=("k",), hot=phase, names=table) for kind in (POD, SET)]

    def decoded(decoder: EntryDecoder, name: str) -> Header:
        raw = pod(name=name, uid=name, labels={"app": name}, annotations={"k": name}, ownerReferences=[OWNER])
        bare = {k: v for k, v in raw.items() if k not in {"apiVersion", "kind"}}
        return decoder.entry(orjson.dumps(bare)).header

    one, other = (decoded(decoder, name) for decoder, name in zip(decoders, ("a", "b"), strict=True))
    for part in (
        lambda h: h.namespace,
        lambda h: h.labels[0][0],
        lambda h: h.annotations[0][0],
        lambda h: h.hot[0],
        lambda h: h.owners[0].kind,
        lambda h: h.owners[0].api_version,
    ):
        assert part(one) is part(other)
    assert one.labels[0][1] == "a"
    assert len(table) == 6
    for number in range(1000):
        table.intern(f"text {number}")
        assert len(table) <= 50
    long = "x" * 129
    assert table.intern(long) == long
    assert long not in table._texts


def phase(body: Any) -> tuple[str, ...]:
    return (decode_raw(body["status"])["phase"],)


def test_bodies_of_cold_kinds_are_kept_compressed() -> None:
    """RT-MM-08: at level 1; the header and what is decoded are the same."""
    raw = orjson.dumps(pod(annotations={f"a{n}": "some text " * 20 for n in range(20)}))
    plain, cold = EntryDecoder(POD).entry(raw), EntryDecoder(POD, compress=True).entry(raw)
    assert cold.header == plain.header
    assert cold.decode() == plain.decode()
    assert cold.body == plain.body == plain.raw
    assert cold.raw == zlib.compress(plain.raw, 1)
    assert len(cold.raw) < len(plain.raw) / 2


# -- index -------------------------------------------------------------------------------------------------------


def stored(*headers: Header) -> Indexer:
    indexer = Indexer({"label": lambda h: [h.label("l")]})
    for one in headers:
        indexer.upsert(Entry(one, b"{}"))
    return indexer


def names(entries: Any) -> list[str]:
    return [e.header.name for e in entries]


def test_an_update_moves_the_object_to_its_new_index_values() -> None:
    """RT-ST-02."""
    indexer = stored(header("a", label="x"), header("b", label="x"))
    old = indexer.upsert(Entry(header("a", label="y"), b"{}"))
    assert old is not None
    assert old.header.label("l") == "x"
    assert names(indexer.by_index("label", "x")) == ["b"]
    assert names(indexer.by_index("label", "y")) == ["a"]
    indexer.remove(NN("ns", "b"))
    assert indexer.by_index("label", "x") == []
    assert "x" not in indexer._indexes["label"]


def test_an_index_may_name_several_values() -> None:
    """RT-ID-10."""
    owners = EntryDecoder(POD).entry(orjson.dumps(pod(ownerReferences=[{**OWNER, "uid": "o0"}, OWNER]))).header.owners
    indexer = Indexer({"ownerRefUID": owner_uids})
    indexer.upsert(Entry(header("a", owners=owners), b"{}"))
    assert names(indexer.by_index("ownerRefUID", "o0")) == names(indexer.by_index("ownerRefUID", "o1")) == ["a"]


def test_an_index_added_later_covers_what_is_there() -> None:
    """RT-ST-03."""
    indexer = stored(header("a"), header("b"))
    indexer.add_index("name", lambda h: [h.name])
    assert names(indexer.by_index("name", "b")) == ["b"]


def test_an_index_name_is_used_once_and_must_exist() -> None:
    """RT-ST-03, RT-CA-09."""
    indexer = stored()
    with pytest.raises(ValueError, match="label"):
        indexer.add_index("label", lambda _: [])
    with pytest.raises(KeyError):
        indexer.by_index("none", "x")


def test_a_failing_index_function_is_logged_and_the_object_stays() -> None:
    """RT-ST-02."""
    indexer = Indexer({"bad": lambda h: [str(1 / 0), h.name]})
    with capture_logs() as logs:
        indexer.upsert(Entry(header("a"), b"{}"))
    assert indexer.get(NN("ns", "a")) is not None
    assert logs[0]["index"] == "bad"


def test_every_accessor_answers_from_the_same_objects() -> None:
    """RT-ST-01: keys are `namespace/name`, of cluster-scoped objects the name alone."""
    indexer = Indexer({"label": lambda h: [h.label("l")]})
    assert indexer.upsert(Entry(header("a", label="x"), b"{}")) is None
    indexer.upsert(Entry(header("c", namespace="", label="x"), b"{}"))
    updated = Entry(header("a", label="y"), b"{}")
    assert indexer.upsert(updated) is not None
    assert [str(key) for key in indexer.keys()] == ["ns/a", "c"]  # noqa: SIM118
    assert indexer.get(NN("ns", "a")) is updated
    assert indexer.get(NN("", "a")) is None
    assert names(indexer.entries()) == ["a", "c"]
    assert names(indexer.by_index("label", "y")) == ["a"]
    assert [str(key) for key in indexer.index_keys("label", "x")] == ["c"]
    assert indexer.index_keys("label", "none") == []
    assert set(indexer.list_index_values("label")) == {"x", "y"}
    assert indexer.remove(NN("", "c")) is not None
    assert indexer.remove(NN("", "c")) is None
    assert indexer.list_index_values("label") == ["y"]
    indexer.replace([Entry(header("d", label="z"), b"{}")])
    assert names(indexer.entries()) == ["d"]
    assert indexer.list_index_values("label") == ["z"]
    assert len(indexer) == 1


HEADERS = st.builds(header, st.sampled_from("abc"), namespace=st.sampled_from(["", "ns"]), label=st.sampled_from("xyz"))


@given(st.lists(st.tuples(st.booleans(), HEADERS), max_size=30))
def test_an_index_equals_its_recomputation(steps: list[tuple[bool, Header]]) -> None:
    """RT-ST-02."""
    indexer = Indexer({"label": lambda h: [h.label("l"), h.name]})
    model: dict[NN, Header] = {}
    for keep, one in steps:
        if keep:
            indexer.upsert(Entry(one, b""))
            model[one.key] = one
        else:
            removed = indexer.remove(one.key)
            assert (removed.header if removed else None) == model.pop(one.key, None)
    wanted: dict[str, set[NN]] = {}
    for one in model.values():
        for value in (one.label("l"), one.name):
            wanted.setdefault(value, set()).add(one.key)
    assert {value: set(keys) for value, keys in indexer._indexes["label"].items()} == wanted
    assert len(indexer) == len(model)
