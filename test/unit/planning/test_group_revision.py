"""Revisions of RoleBasedGroups (RBG-31 … RBG-43) and the vectors of 03 §28."""

import copy
from typing import Any

import pytest

from rbgctl.api import labels
from rbgctl.planning.group_revision import (
    group_content,
    group_history,
    resolve_group,
    role_hashes,
    truncate_group,
)
from rbgctl.planning.revision_hash import group_hash
from rbgctl.planning.revisions import RevisionError, name_of, number_of


def role(name: str = "worker", image: str = "nginx:1.27", **more: Any) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "main", "image": image}]}}
    return {
        "name": name,
        "replicas": 2,
        "podManagementPolicy": "Parallel",
        "minReadySeconds": 0,
        "standalonePattern": {"template": template},
        **more,
    }


def group(*roles: dict[str, Any], templates: list[Any] | None = None) -> dict[str, Any]:
    spec: dict[str, Any] = {"roles": list(roles or [role()])}
    if templates is not None:
        spec["roleTemplates"] = templates
    return {
        "apiVersion": "workloads.x-k8s.io/v1alpha2",
        "kind": "RoleBasedGroup",
        "metadata": {"name": "demo", "namespace": "ns", "uid": "group-uid", "annotations": {"a": "b"}},
        "spec": spec,
    }


def settle(rbg: dict[str, Any], store: Any) -> Any:
    before = copy.deepcopy(rbg)
    store.run(resolve_group(rbg, store.all()).steps)
    resolution = resolve_group(rbg, store.all())
    assert resolution.steps == ()
    assert rbg == before
    return resolution


def test_vector_of_one_standalone_role() -> None:
    # HSH-2, HSH-3, RBG-132, RBG-34, RBG-37, RBG-40
    content = group_content(group()["spec"])
    assert content.encoded == (
        b'{"spec":{"roleTemplates":[{"$patch":"replace"}],"roles":[{"$patch":"replace"},{"name":"worker",'
        b'"podManagementPolicy":"Parallel","replicas":null,"standalonePattern":{"template":{"metadata":{},"spec":'
        b'{"containers":[{"image":"nginx:1.27","name":"main","resources":{}}]}}}}]}}'
    )
    resolution = resolve_group(group(), [])
    assert name_of(resolution.revision) == "demo-854b75d675-1"
    assert resolution.role_hashes == {"worker": "7467977984"}


def test_vector_of_a_role_template() -> None:
    # HSH-3, RBG-133, RBG-40: the template is hashed after the role
    template = {"metadata": {}, "spec": {"containers": [{"image": "nginx:1.27", "name": "main", "resources": {}}]}}
    web = {
        "name": "web",
        "podManagementPolicy": "Parallel",
        "standalonePattern": {"templateRef": {"name": "base", "patch": {}}},
    }
    content = group_content({"roles": [web], "roleTemplates": [{"name": "base", "template": template}]})
    assert group_hash(content.encoded) == "57b76bfdb6"
    assert role_hashes(content.payload) == {"web": "86969877d7"}


def test_created_revision_object() -> None:
    # HSH-2, RBG-33: no annotations of the group
    (create,) = resolve_group(group(), []).steps
    assert create.obj["metadata"] == {
        "name": "demo-854b75d675-1",
        "namespace": "ns",
        "labels": {labels.GROUP_NAME: "demo", labels.GROUP_REVISION: "854b75d675"},
        "ownerReferences": [
            {
                "apiVersion": "workloads.x-k8s.io/v1alpha2",
                "kind": "RoleBasedGroup",
                "name": "demo",
                "uid": "group-uid",
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
    assert (create.obj["apiVersion"], create.obj["kind"], create.obj["revision"]) == (
        "apps/v1",
        "ControllerRevision",
        1,
    )
    assert create.field_manager == "rolebasedgroup"


def test_events_of_a_new_revision() -> None:
    # RBG-39
    (create,) = resolve_group(group(), []).steps
    assert (create.on_success.type, create.on_success.reason, create.on_success.message) == (
        "Normal",
        "SucceedCreateRevision",
        "Successful create revision for RoleBasedGroup",
    )
    assert (create.on_failure.type, create.on_failure.reason) == ("Warning", "FailedCreateRevision")


def test_replicas_make_no_revision(store: Any) -> None:
    # HSH-2, RBG-38
    first = settle(group(role(replicas=1)), store)
    assert name_of(settle(group(role(replicas=9)), store).revision) == name_of(first.revision)


def test_a_change_makes_the_next_number(store: Any) -> None:
    # HSH-2, RBG-33, RBG-39
    settle(group(), store)
    changed = settle(group(role(image="nginx:1.28")), store)
    assert number_of(changed.revision) == 2
    assert name_of(changed.revision).endswith("-2")
    assert len(store.names()) == 2


def test_rollback_is_a_new_revision_with_the_old_hash(store: Any) -> None:
    # RBG-38, RBG-42: only the newest is compared, older equal ones are not reused
    first = settle(group(), store)
    settle(group(role(image="b")), store)
    back = settle(group(), store)
    assert (name_of(first.revision), name_of(back.revision)) == ("demo-854b75d675-1", "demo-854b75d675-3")
    assert len(store.names()) == 3


def test_same_meaning_in_other_bytes_keeps_stored_hashes(store: Any) -> None:
    # HSH-8, RBG-38 improvement, RBG-43: nothing is written and no role label moves
    settle(group(), store)
    stored = store.all()[0]
    stored["data"]["spec"]["roles"][1]["minReadySeconds"] = 0
    stored["data"]["spec"]["roles"][1]["standalonePattern"]["template"]["spec"]["hostNetwork"] = False
    store.put(stored)
    resolution = settle(group(), store)
    assert resolution.role_hashes == role_hashes(stored["data"])
    assert resolution.role_hashes != {"worker": "7467977984"}


def test_role_order_and_patches_matter(store: Any) -> None:
    # RBG-34, RBG-36: spec order is kept, raw patches are kept as given
    one, two = role("a"), role("b")
    assert not group_content(group(one, two)["spec"]).same_as({"data": group_content(group(two, one)["spec"]).payload})
    patched = [role(standalonePattern={"templateRef": {"name": "t", "patch": p}}) for p in ({}, {"x": None})]
    contents = [group_content(group(r)["spec"]) for r in patched]
    assert not contents[0].same_as({"data": contents[1].payload})


def test_template_edit_moves_exactly_the_roles_that_refer_to_it() -> None:
    # RBG-40
    def hashes(image: str) -> dict[str, str]:
        templates = [
            {"name": "t", "template": {"spec": {"containers": [{"name": "c", "image": image}]}}},
            {"name": "u", "template": {"spec": {"containers": [{"name": "c", "image": "fixed"}]}}},
        ]
        roles = [
            role("direct"),
            role("by-t", standalonePattern={"templateRef": {"name": "t", "patch": {}}}),
            role("by-u", standalonePattern={"templateRef": {"name": "u", "patch": {}}}),
            {"name": "lw", "leaderWorkerPattern": {"size": 2, "templateRef": {"name": "t", "patch": {}}}},
        ]
        return role_hashes(group_content({"roles": roles, "roleTemplates": templates}).payload)

    before, after = hashes("a"), hashes("b")
    assert {name for name in before if before[name] != after[name]} == {"by-t", "lw"}


def test_editing_one_role_leaves_the_others_hash() -> None:
    # RBG-40
    before = resolve_group(group(role("a"), role("b")), []).role_hashes
    after = resolve_group(group(role("a"), role("b", image="new")), []).role_hashes
    assert before["a"] == after["a"]
    assert before["b"] != after["b"]


def test_unknown_role_template_ends_the_pass() -> None:
    # RBG-40
    rbg = group(role(standalonePattern={"templateRef": {"name": "none", "patch": {}}}))
    with pytest.raises(RevisionError, match="role worker refers to the unknown role template none"):
        resolve_group(rbg, [])


@pytest.mark.parametrize("data", [{}, {"spec": {}}, {"spec": {"roles": [{}]}}, {"spec": {"roles": 3}}, None])
def test_malformed_payload_ends_the_pass(data: Any) -> None:
    # RBG-40
    with pytest.raises(RevisionError):
        role_hashes(data)


def test_history_is_ours_and_orphans_of_our_shape(store: Any) -> None:
    # RBG-31 improvement
    settle(group(), store)
    own = store.all()[0]

    def variant(name: str, data: Any = own["data"], **metadata: Any) -> dict[str, Any]:
        return {**own, "data": data, "metadata": {**own["metadata"], "name": name, **metadata}}

    orphan = variant("orphan", ownerReferences=[])
    stray = variant("stray", {"spec": {"template": {}}}, ownerReferences=[])
    roles_only = variant("roles-only", {"spec": {"roles": own["data"]["spec"]["roles"][1:]}}, ownerReferences=[])
    foreign = variant("foreign", ownerReferences=[{"uid": "x", "controller": True}])
    other = variant("other", labels={labels.GROUP_NAME: "another"})
    names = [name_of(r) for r in group_history(group(), [stray, roles_only, orphan, foreign, own, other])]
    assert sorted(names) == [name_of(own), "orphan"]


def test_orphaned_revision_is_used_again(store: Any) -> None:
    # RBG-31 improvement: dropping it would collide by name with the next one
    settle(group(), store)
    store.change(store.names()[0], ownerReferences=[])
    assert settle(group(), store).steps == ()


def test_equal_revision_missed_by_the_cache_is_accepted(store: Any) -> None:
    # RBG-39 improvement
    (create,) = resolve_group(group(), []).steps
    store.run([create])
    store.run([create])
    assert not create.accept_existing({"data": {"spec": {"roles": []}}})


def test_name_prefix_is_cut_to_220_characters() -> None:
    # HSH-2, RBG-33
    rbg = group()
    rbg["metadata"]["name"] = "n" * 230
    assert name_of(resolve_group(rbg, []).revision).startswith("n" * 220 + "-854b75d675-1")


def test_newest_five_revisions_stay(store: Any) -> None:
    # HSH-2, RBG-41
    names = [name_of(settle(group(role(image=f"i{n}")), store).revision) for n in range(6)]
    planned = resolve_group(group(role(image="i6")), store.all())
    deletes = truncate_group(planned)
    assert [d.key.name for d in deletes] == names[:2]
    assert all(d.uid for d in deletes)
    assert deletes[0].on_failure.reason == "delete expired revision error"
    store.run([*planned.steps, *deletes])
    assert len(store.names()) == 5
    assert truncate_group(resolve_group(group(role(image="i6")), store.all())) == []
