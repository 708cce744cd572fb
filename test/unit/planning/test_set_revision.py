"""Revisions of RoleInstanceSets: content, resolution, rollback, take-over of orphans, truncation (REV-1 … REV-9)."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from rbgctl.api import labels
from rbgctl.machinery.plan import Create, MergePatch
from rbgctl.planning.revision_hash import revision_hash
from rbgctl.planning.revisions import RevisionError, in_order, name_of, number_of, short_hash, truncate
from rbgctl.planning.set_revision import (
    apply_revision,
    resolve_set,
    set_content,
    set_labels,
    truncate_set,
)

SELECTOR = {labels.GROUP_NAME: "g", labels.ROLE_NAME: "r"}


def a_set(image: str = "a", **template: Any) -> dict[str, Any]:
    container = {"name": "c", "image": image, **template}
    return {
        "apiVersion": "workloads.x-k8s.io/v1alpha2",
        "kind": "RoleInstanceSet",
        "metadata": {"name": "g-r", "namespace": "ns", "uid": "set-uid", "annotations": {"size": "3"}},
        "spec": {
            "selector": {"matchLabels": dict(SELECTOR)},
            "roleInstanceTemplate": {
                "components": [{"name": "r", "size": 1, "template": {"spec": {"containers": [container]}}}]
            },
        },
    }


def resolve(ris: dict[str, Any], store: Any, *, stateless: bool = False, **status: Any) -> Any:
    ris = {**ris, "status": status}
    before = copy.deepcopy((ris, store.all()))
    found = store.all()
    resolution = resolve_set(ris, found, stateless=stateless, adopt=True)
    assert (ris, found) == before, "a planner changes nothing that it is given"
    return resolution


def settle(ris: dict[str, Any], store: Any, **more: Any) -> Any:
    """Resolve, write, and resolve again: the second time must be quiet."""
    first = resolve(ris, store, **more)
    store.run(first.steps)
    again = resolve(ris, store, **{**more, "collisionCount": first.collision_count})
    assert again.steps == []
    assert name_of(again.update) == name_of(first.update)
    return again


def test_data_is_the_typed_template_with_a_replace_directive() -> None:
    # HSH-4, REV-1 and the second vector of 04 §20
    template = {
        "components": [
            {"name": "main", "size": 1, "template": {"spec": {"containers": [{"name": "c", "image": "nginx:1.25"}]}}}
        ]
    }
    content = set_content(template)
    assert content.encoded == (
        b'{"spec":{"roleInstanceTemplate":{"$patch":"replace","components":[{"name":"main","size":1,"template":'
        b'{"metadata":{},"spec":{"containers":[{"image":"nginx:1.25","name":"c","resources":{}}]}}}]}}}'
    )
    assert revision_hash(content.encoded, 0) == "86984c75c5"


def test_first_revision_is_planned_and_usable_before_it_exists(store: Any) -> None:
    # HSH-4, REV-4, REV-6, REV-7
    resolution = resolve(a_set(), store)
    (create,) = resolution.steps
    assert isinstance(create, Create)
    digest = revision_hash(set_content(a_set()["spec"]["roleInstanceTemplate"]).encoded, 0)
    assert create.obj["metadata"] == {
        "name": f"g-r-{digest}",
        "namespace": "ns",
        "labels": {**SELECTOR, labels.REVISION_HASH: digest},
        "annotations": {"size": "3"},
        "ownerReferences": [
            {
                "apiVersion": "workloads.x-k8s.io/v1alpha2",
                "kind": "RoleInstanceSet",
                "name": "g-r",
                "uid": "set-uid",
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
    assert create.obj["revision"] == 1
    assert resolution.current == resolution.update == create.obj
    assert not resolution.rolling
    assert (name_of(resolution.update), short_hash(resolution.update)) == (f"g-r-{digest}", digest)
    assert resolution.history == [create.obj]


def test_a_change_makes_the_next_revision_and_status_names_the_current(store: Any) -> None:
    # REV-6.1, REV-6.4
    old = settle(a_set("a"), store)
    new = settle(a_set("b"), store, currentRevision=name_of(old.update))
    assert new.rolling
    assert name_of(new.current) == name_of(old.update)
    assert (number_of(new.current), number_of(new.update)) == (1, 2)


def test_unknown_current_revision_is_the_update_revision(store: Any) -> None:
    # REV-6.4
    settle(a_set("a"), store)
    resolution = settle(a_set("b"), store, currentRevision="g-r-gone")
    assert name_of(resolution.current) == name_of(resolution.update)


def test_rollback_renumbers_the_old_revision(store: Any) -> None:
    # REV-6.3: name unchanged, nothing created, guarded by the version that was seen
    first = settle(a_set("a"), store)
    second = settle(a_set("b"), store)
    back = resolve(a_set("a"), store, currentRevision=name_of(second.update))
    (patch,) = back.steps
    assert isinstance(patch, MergePatch)
    assert patch.key.name == name_of(first.update)
    stored = next(r for r in store.all() if name_of(r) == name_of(first.update))["metadata"]
    assert patch.patch == {
        "metadata": {"uid": stored["uid"], "resourceVersion": stored["resourceVersion"]},
        "revision": 3,
    }
    assert number_of(back.update) == 3
    assert [name_of(r) for r in back.history] == [name_of(second.update), name_of(first.update)]
    settle(a_set("a"), store)
    assert len(store.names()) == 2


@pytest.mark.parametrize(
    "respell",
    [
        lambda data: data["c"].update(resources={"limits": None, "requests": {}}),
        lambda data: data["c"].update(env=[], args=None, tty=False),
        lambda data: data["t"]["spec"].update(hostNetwork=False, securityContext={}),
        lambda data: data["t"].update(metadata=None),
        lambda data: data["c"].update(notKnownToGo=1),
    ],
)
def test_another_spelling_of_the_same_template_is_reused(store: Any, respell: Callable[[Any], None]) -> None:
    # HSH-8, REV-6.2 improvement, D6: no new revision, hash labels ignored
    settle(a_set(), store)
    (name,) = store.names()
    stored = store.all()[0]
    template = stored["data"]["spec"]["roleInstanceTemplate"]["components"][0]["template"]
    respell({"t": template, "c": template["spec"]["containers"][0]})
    stored["metadata"]["labels"][labels.REVISION_HASH] = "12345"
    store.put(stored)
    resolution = resolve(a_set(), store)
    assert (resolution.steps, name_of(resolution.update)) == ([], name)


def test_quantities_compare_by_value(store: Any) -> None:
    # HSH-8, REV-6.2 improvement
    settle(a_set(resources={"limits": {"cpu": "1.500", "memory": "1Gi"}}), store)
    same = resolve(a_set(resources={"limits": {"memory": "1024Mi", "cpu": 1.5}}), store)
    assert same.steps == []
    assert resolve(a_set(resources={"limits": {"cpu": "1.501", "memory": "1Gi"}}), store).steps != []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"volumes": [{"name": "v", "emptyDir": {}}]}, {"volumes": [{"name": "v"}]}),
        (
            {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z", "labelSelector": {}}]},
            {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z"}]},
        ),
        ({"tolerations": [{}]}, {"tolerations": []}),
    ],
)
def test_empty_maps_that_mean_something_are_told_apart(store: Any, one: Any, other: Any) -> None:
    # REV-6.2 improvement: emptyDir, selectors and list elements stay
    def with_spec(fields: Any) -> dict[str, Any]:
        ris = a_set()
        ris["spec"]["roleInstanceTemplate"]["components"][0]["template"]["spec"].update(fields)
        return ris

    first = settle(with_spec(one), store)
    second = settle(with_spec(other), store)
    assert name_of(first.update) != name_of(second.update)


def test_hash_collision_takes_the_next_name(store: Any) -> None:
    # REV-7: the name moves on, the label keeps the first hash, the count goes to status
    content = set_content(a_set()["spec"]["roleInstanceTemplate"])
    first, second = (revision_hash(content.encoded, n) for n in (0, 1))
    settle(a_set("b"), store)
    impostor = store.all()[0]
    impostor["metadata"]["name"] = f"g-r-{first}"
    store.put(impostor)
    resolution = resolve(a_set("a"), store)
    (create,) = resolution.steps
    assert name_of(create.obj) == f"g-r-{second}"
    assert create.obj["metadata"]["labels"][labels.REVISION_HASH] == first
    assert resolution.collision_count == 1


def test_collision_with_a_stranger_is_seen_too(store: Any) -> None:
    # REV-7: the name is taken in the namespace, whoever owns it
    (create,) = resolve(a_set("a"), store).steps
    stranger = copy.deepcopy(create.obj)
    stranger["data"] = {"other": True}
    stranger["metadata"] |= {"labels": {}, "ownerReferences": [{"uid": "else", "controller": True}]}
    store.put(stranger)
    assert settle(a_set("a"), store).collision_count == 1


def test_create_accepts_its_own_revision_that_the_cache_missed(store: Any) -> None:
    # REV-7: identical data under the name is success; different data is not
    (create,) = resolve(a_set("a"), store).steps
    assert create.accept_existing(create.obj)
    assert not create.accept_existing({**create.obj, "data": {"spec": {}}})
    store.run([create])
    store.run([create])
    assert len(store.names()) == 1


def test_status_collision_count_is_where_hashing_starts(store: Any) -> None:
    # HSH-4, REV-3, REV-6
    content = set_content(a_set()["spec"]["roleInstanceTemplate"])
    resolution = resolve(a_set(), store, collisionCount=4)
    assert short_hash(resolution.update) == revision_hash(content.encoded, 4)
    assert resolution.collision_count == 4


def test_pattern_switch_adds_the_labels_of_the_new_mode(store: Any) -> None:
    # HSH-4, REV-4, REV-6 improvement: same revision, one label patch, no create
    old = settle(a_set(), store)
    switched = resolve(a_set(), store, stateless=True, currentRevision=name_of(old.update))
    (patch,) = switched.steps
    assert isinstance(patch, MergePatch)
    assert patch.patch["metadata"]["labels"] == {labels.ROLE_INSTANCE_OWNER: "set-uid"}
    assert "revision" not in patch.patch
    assert (patch.field_manager, name_of(switched.update)) == ("roleinstanceset", name_of(old.update))
    settle(a_set(), store, stateless=True)
    kept = store.all()[0]["metadata"]["labels"]
    assert kept == {**old.update["metadata"]["labels"], labels.ROLE_INSTANCE_OWNER: "set-uid"}


def test_orphans_of_the_set_are_adopted_in_one_patch_each(store: Any) -> None:
    # SFM-1.2: with uid and resourceVersion, other owners kept
    settle(a_set("a"), store)
    settle(a_set("b"), store)
    other = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x"}
    for name in store.names():
        store.change(name, ownerReferences=[other])
    resolution = resolve(a_set("a"), store)
    assert [type(s) for s in resolution.steps] == [MergePatch, MergePatch]
    assert [s.patch.get("revision") for s in resolution.steps] == [3, None] or [
        s.patch.get("revision") for s in resolution.steps
    ] == [None, 3]
    for step in resolution.steps:
        assert step.patch["metadata"]["ownerReferences"][0] == other
        assert step.patch["metadata"]["ownerReferences"][1]["uid"] == "set-uid"
        assert step.patch["metadata"].keys() >= {"uid", "resourceVersion"}
    settle(a_set("a"), store)


def test_without_adoption_orphans_are_read_and_left_alone(store: Any) -> None:
    # REV-5
    settle(a_set("a"), store)
    store.change(store.names()[0], ownerReferences=[])
    assert resolve_set(a_set("a"), store.all(), stateless=False).steps == []


def test_orphan_without_labels_is_recognised_by_name_and_content(store: Any) -> None:
    # REV-7: the name is taken by nobody's equal revision: take it over instead of failing for ever
    old = settle(a_set("a"), store)
    store.change(name_of(old.update), ownerReferences=[], labels={})
    resolution = settle(a_set("a"), store)
    assert name_of(resolution.update) == name_of(old.update)
    assert store.all()[0]["metadata"]["ownerReferences"][0]["uid"] == "set-uid"
    assert store.all()[0]["metadata"]["labels"].items() >= SELECTOR.items()


@pytest.mark.parametrize(
    "metadata",
    [
        {"ownerReferences": [{"uid": "other", "controller": True}]},
        {"ownerReferences": [], "labels": {}},
    ],
)
def test_revisions_of_others_are_no_part_of_the_history(store: Any, metadata: dict[str, Any]) -> None:
    # REV-5: another controller, or nobody's without our labels
    settle(a_set("a"), store)
    store.change(store.names()[0], **metadata)
    resolution = resolve(a_set("b"), store)
    assert [name_of(r) for r in resolution.history] == [name_of(resolution.update)]
    assert number_of(resolution.update) == 1


def test_orphans_of_another_kind_are_no_part_of_the_history(store: Any) -> None:
    # REV-5 improvement: a StatefulSet's orphan can carry the same labels
    settle(a_set("a"), store)
    stray = store.all()[0]
    stray["metadata"] |= {"name": "stray", "ownerReferences": []}
    stray["data"] = {"spec": {"template": {"$patch": "replace"}}}
    store.put(stray)
    assert "stray" not in [name_of(r) for r in resolve(a_set("a"), store).history]


def test_stale_patch_is_refused_by_its_precondition(store: Any) -> None:
    # REV-6.3
    settle(a_set("a"), store)
    settle(a_set("b"), store)
    back = resolve(a_set("a"), store)
    store.change(back.steps[0].key.name)
    with pytest.raises(Exception, match="resourceVersion"):
        store.run(back.steps)


def test_set_without_a_selector_is_known_by_its_uid() -> None:
    # REV improvement: nil selector
    ris = a_set()
    del ris["spec"]["selector"]
    assert set_labels(ris, stateless=False) == {labels.ROLE_INSTANCE_OWNER: "set-uid"}


def test_long_names_are_cut_to_223_bytes(store: Any) -> None:
    # HSH-4, REV-4
    ris = a_set()
    ris["metadata"]["name"] = "n" * 240
    assert name_of(resolve(ris, store).update).rpartition("-")[0] == "n" * 223


def test_apply_revision_brings_the_old_template_back(store: Any) -> None:
    # REV-8
    old = settle(a_set("a"), store)
    restored = apply_revision(a_set("b"), old.update)
    assert set_content(restored["spec"]["roleInstanceTemplate"]).same_bytes(old.update)
    assert "$patch" not in restored["spec"]["roleInstanceTemplate"]
    assert restored["spec"]["selector"] == a_set()["spec"]["selector"]
    assert restored["metadata"] == a_set()["metadata"]
    with pytest.raises(RevisionError):
        apply_revision(a_set(), {"data": {"spec": {}}})


def many(store: Any, count: int) -> list[str]:
    return [name_of(settle(a_set(f"i{n}"), store).update) for n in range(count)]


def test_truncation_deletes_the_oldest_that_nobody_needs(store: Any) -> None:
    # REV-9: current, update and what children carry (full name or short hash) are kept
    names = many(store, 6)
    ris = a_set("i5")
    ris["spec"]["revisionHistoryLimit"] = 1
    resolution = resolve(ris, store, currentRevision=names[0])
    deletes = truncate_set(ris, resolution, [names[1], short_hash(names[2])], stateless=False)
    assert [d.key.name for d in deletes] == [names[3]]
    uids = {name_of(r): r["metadata"]["uid"] for r in store.all()}
    assert [d.uid for d in deletes] == [uids[names[3]]]
    store.run(deletes)
    assert truncate_set(ris, resolve(ris, store, currentRevision=names[0]), names[1:3], stateless=False) == []


@pytest.mark.parametrize(("limit", "left"), [(None, 11), (0, 1), (3, 4), (12, 12), (50, 12)])
def test_truncation_limit(store: Any, limit: int | None, left: int) -> None:
    # REV-9: default 10, beside the revision in use
    many(store, 12)
    ris = a_set("i11")
    if limit is not None:
        ris["spec"]["revisionHistoryLimit"] = limit
    store.run(truncate_set(ris, resolve(ris, store), [], stateless=False))
    assert len(store.names()) == left


def test_negative_limit_is_an_error(store: Any) -> None:
    # REV-9
    ris = a_set()
    ris["spec"]["revisionHistoryLimit"] = -1
    with pytest.raises(ValueError, match="revisionHistoryLimit must not be negative, found -1"):
        truncate_set(ris, resolve(ris, store), [], stateless=False)


def test_planned_revision_is_never_deleted(store: Any) -> None:
    # REV-9
    ris = a_set()
    ris["spec"]["revisionHistoryLimit"] = 0
    resolution = resolve(ris, store)
    assert truncate_set(ris, resolution, [], stateless=False) == []
    assert truncate(resolution.history, keep=[], limit=0) == []


@pytest.mark.parametrize("newer", [0, 1])
def test_equal_revision_numbers_are_ordered_by_time(store: Any, newer: int) -> None:
    # REV-5
    names = many(store, 2)
    store.change(names[newer], creationTimestamp="2030-01-01T00:00:00Z")
    same_number = [{**revision, "revision": 7} for revision in store.all()]
    assert [name_of(r) for r in in_order(same_number)] == [names[1 - newer], names[newer]]


def test_empty_and_missing_lists_are_the_same(store: Any) -> None:
    # REV-6.2 improvement: also of lists that Go always emits
    def with_sources(sources: Any) -> dict[str, Any]:
        ris = a_set()
        spec = ris["spec"]["roleInstanceTemplate"]["components"][0]["template"]["spec"]
        spec["volumes"] = [{"name": "p", "projected": {"sources": sources, "defaultMode": 1}}]
        return ris

    first = settle(with_sources(None), store)
    assert name_of(settle(with_sources([]), store).update) == name_of(first.update)
