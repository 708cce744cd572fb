"""Revisions of RoleInstances: what is part of them, whose they are, how many stay (REV-1 … REV-9)."""

from typing import Any

import pytest

from rbgctl.api import labels
from rbgctl.machinery.plan import Create
from rbgctl.planning.instance_revision import instance_content, instance_history, resolve_instance, truncate_instance
from rbgctl.planning.revision_hash import revision_hash
from rbgctl.planning.revisions import name_of, short_hash


def an_instance(image: str = "nginx:1.25", **spec: Any) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "c", "image": image}]}}
    return {
        "apiVersion": "workloads.x-k8s.io/v1alpha2",
        "kind": "RoleInstance",
        "metadata": {"name": "g-r-0", "namespace": "ns", "uid": "instance-uid", "annotations": {"note": "x"}},
        "spec": {"components": [{"name": "main", "size": 1, "template": template}], **spec},
    }


def settle(instance: dict[str, Any], store: Any) -> Any:
    store.run(resolve_instance(instance, store.all()).steps)
    resolution = resolve_instance(instance, store.all())
    assert resolution.steps == []
    return resolution


def test_data_is_the_components_without_size() -> None:
    # HSH-5, REV-1 and the third vector of 04 §20
    content = instance_content(an_instance()["spec"])
    assert content.encoded == (
        b'{"spec":{"$setElementOrder/components":[{"name":"main"}],"components":[{"name":"main","serviceName":null,'
        b'"template":{"$patch":"replace","metadata":{},"spec":{"containers":[{"image":"nginx:1.25","name":"c",'
        b'"resources":{}}]}}}]}}'
    )
    assert revision_hash(content.encoded, 0) == "f477bb964"


@pytest.mark.parametrize(
    "change",
    [
        {"readyPolicy": "None"},
        {"restartPolicy": "None"},
        {"restartPolicyConfig": {"type": "None", "baseDelaySeconds": 1}},
        {"readinessGates": [{"conditionType": "x"}]},
    ],
)
def test_policies_and_gates_make_no_revision(store: Any, change: dict[str, Any]) -> None:
    # HSH-5, REV-1
    before = settle(an_instance(), store)
    assert name_of(settle(an_instance(**change), store).update) == name_of(before.update)


def test_size_makes_no_revision_and_labels_do(store: Any) -> None:
    # HSH-5, REV-1
    before = settle(an_instance(), store)
    bigger, labelled = an_instance(), an_instance()
    bigger["spec"]["components"][0]["size"] = 4
    labelled["spec"]["components"][0]["labels"] = {"a": "b"}
    assert name_of(settle(bigger, store).update) == name_of(before.update)
    assert name_of(settle(labelled, store).update) != name_of(before.update)


def test_revision_carries_the_instance_label_and_annotations(store: Any) -> None:
    # HSH-5, REV-4
    (create,) = resolve_instance(an_instance(), []).steps
    assert isinstance(create, Create)
    assert create.obj["metadata"]["labels"] == {
        labels.ROLE_INSTANCE_NAME: "g-r-0",
        labels.REVISION_HASH: short_hash(create.obj),
    }
    assert create.obj["metadata"]["annotations"] == {"note": "x"}
    assert create.field_manager == "roleinstance"


def test_only_controlled_revisions_with_the_label_are_the_instances_own(store: Any) -> None:
    # HF-60, REV-5 improvement, D5: nobody's revision is not ours, and is never deleted
    settle(an_instance(), store)
    own = store.all()[0]
    orphan = {**own, "metadata": {**own["metadata"], "name": "orphan", "ownerReferences": []}}
    foreign = {
        **own,
        "metadata": {**own["metadata"], "name": "foreign", "ownerReferences": [{"uid": "x", "controller": True}]},
    }
    unlabelled = {**own, "metadata": {**own["metadata"], "name": "unlabelled", "labels": {}}}
    found = [orphan, own, foreign, unlabelled]
    assert instance_history(an_instance(), found) == [own]
    assert resolve_instance(an_instance(), found).history == [own]


def test_rollback_reuses_the_old_revision(store: Any) -> None:
    # REV-6.3
    first = settle(an_instance("a"), store)
    settle(an_instance("b"), store)
    assert name_of(settle(an_instance("a"), store).update) == name_of(first.update)
    assert len(store.names()) == 2


def test_predecessors_revision_does_not_stop_a_recreated_instance(store: Any) -> None:
    # REV-7: same name and content under a deleted owner's uid counts as created, and is made anew once it is gone
    settle(an_instance(), store)
    reborn = an_instance()
    reborn["metadata"]["uid"] = "new-uid"
    resolution = resolve_instance(reborn, store.all())
    store.run(resolution.steps)
    store.run(truncate_instance(resolution, []))
    (leftover,) = store.names()
    assert name_of(resolution.update) == leftover
    assert resolution.collision_count == 0
    assert [type(s) for s in resolve_instance(reborn, []).steps] == [Create]


def test_five_unused_revisions_stay(store: Any) -> None:
    # HSH-5, REV-9: constant limit; pods' short hashes count as in use
    names = [name_of(settle(an_instance(f"i{n}"), store).update) for n in range(9)]
    resolution = resolve_instance(an_instance("i8"), store.all())
    deletes = truncate_instance(resolution, [short_hash(names[0])])
    assert [d.key.name for d in deletes] == names[1:3]
    store.run(deletes)
    assert truncate_instance(resolve_instance(an_instance("i8"), store.all()), [short_hash(names[0])]) == []
