"""RoleBasedGroupSet in both versions."""

from unit.api.conversion.objects import (
    COORDINATION,
    GANG,
    OLD_TOPOLOGY,
    POLICY,
    ROLE_INSTANCE_SET,
    TEMPLATE,
    TOPOLOGY,
    V1,
    V2,
    V2_DATA,
    annotations_of,
    down,
    group_set,
    up,
)

ROLE = {"name": "w", "replicas": 1, "workload": {"apiVersion": "apps/v1", "kind": "StatefulSet"}, "template": TEMPLATE}
NATIVE = {"name": "w", "replicas": 1, "standalonePattern": {"template": TEMPLATE}}
RULES = [{"name": "c", "roles": ["w"]}]
RULES_TEXT = '[{"name":"c","roles":["w"]}]'


def test_coordination_is_on_the_set_and_in_its_template() -> None:
    """TV-7, CV-40, CV-41, ANN-61"""
    before = group_set(V1, replicas=2, template={"roles": [ROLE], "coordination": RULES})
    hub = up(before)
    assert annotations_of(hub) == {COORDINATION: RULES_TEXT}
    assert hub["spec"]["groupTemplate"]["annotations"] == {COORDINATION: RULES_TEXT}
    assert hub["spec"]["replicas"] == 2
    back = down(hub)
    assert "groupTemplate" not in back["spec"]
    assert back["spec"]["template"]["coordination"] == RULES
    assert "annotations" not in back["metadata"]


def test_template_is_the_bare_spec() -> None:
    """CV-40, CV-41"""
    hub = up(
        group_set(V1, replicas=0, template={"roles": [ROLE], "roleTemplates": [{"name": "t", "template": TEMPLATE}]})
    )
    role = {"name": "w", "replicas": 1, "standalonePattern": {"template": TEMPLATE}}
    role["annotations"] = {"rbg.workloads.x-k8s.io/role-workload-type": "apps/v1/StatefulSet"}
    templates = [{"name": "t", "template": TEMPLATE}]
    assert hub["spec"] == {"replicas": 0, "groupTemplate": {"spec": {"roleTemplates": templates, "roles": [role]}}}
    spoke = down(group_set(V2, replicas=3, groupTemplate={"spec": {"roles": [NATIVE]}}))
    role = {"name": "w", "replicas": 1, "template": TEMPLATE, "workload": ROLE_INSTANCE_SET}
    assert spoke["spec"] == {"replicas": 3, "template": {"roles": [role]}}


def test_children_inherit_gang_and_topology() -> None:
    """CV-42: upstream puts them on the set only, and no child gets them."""
    before = group_set(V1, {OLD_TOPOLOGY: "zone"}, template={"roles": [ROLE], "podGroupPolicy": {"kubeScheduling": {}}})
    hub = up(before)
    derived = {GANG: "true", TOPOLOGY: "zone"}
    assert annotations_of(hub) == {**derived, OLD_TOPOLOGY: "zone", POLICY: '{"kubeScheduling":{}}'}
    assert hub["spec"]["groupTemplate"]["annotations"] == derived
    assert annotations_of(down(hub)) == {OLD_TOPOLOGY: "zone"}


def test_a_set_that_upstream_stored_is_completed_by_a_v1alpha1_write() -> None:
    """CV-42: what is missing in the group template is not kept as if it had been removed on purpose."""
    stored = group_set(V2, {OLD_TOPOLOGY: "zone", TOPOLOGY: "zone"}, groupTemplate={"spec": {"roles": []}})
    read = down(stored)
    assert annotations_of(read) == {OLD_TOPOLOGY: "zone"}
    completed = {"annotations": {TOPOLOGY: "zone"}, "spec": {"roles": []}}
    assert up(read)["spec"] == {"groupTemplate": completed}
    assert up(down(up(read))) == up(read)


def test_native_template_metadata_survives_v1alpha1() -> None:
    """CV-41, CV-51: v1alpha1 does not show it, and its writes bring it back."""
    template = {"labels": {"a": "b"}, "annotations": {"c": "d", GANG: "true"}, "spec": {"roles": [NATIVE]}}
    stored = group_set(V2, replicas=1, groupTemplate=template)
    read = down(stored)
    assert read["spec"]["template"].keys() == {"roles"}
    assert annotations_of(read).keys() == {V2_DATA}
    assert up(read) == stored
    read["spec"]["template"]["coordination"] = RULES
    written = up(read)["spec"]["groupTemplate"]
    assert written["labels"] == {"a": "b"}
    assert written["annotations"] == {"c": "d", GANG: "true", COORDINATION: RULES_TEXT}


def test_status_of_a_set() -> None:
    """CV-40, CV-41"""
    status = {"observedGeneration": 1, "replicas": 2, "readyReplicas": 0, "conditions": [{"type": "Ready"}]}
    for version, convert in ((V1, up), (V2, down)):
        assert convert({**group_set(version), "status": {**status, "stray": 1}})["status"] == status
        assert "status" not in convert(group_set(version))


def test_sets_without_template_or_spec() -> None:
    """CV-7, CR-8: nothing is filled in."""
    bare = group_set(V1)
    assert up(bare) == {**bare, "apiVersion": V2}
    del bare["spec"]
    assert up(bare) == {**bare, "apiVersion": V2}
    assert down(up(bare)) == bare
