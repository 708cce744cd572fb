"""The vectors of §14, word for word, with what is better here than upstream said beside them."""

from typing import Any

import pytest
import yaml
from unit.api.conversion.objects import (
    COORDINATION,
    OLD_TOPOLOGY,
    TEMPLATE,
    V1,
    V1_DATA,
    V2,
    annotations_of,
    down,
    group,
    group_set,
    up,
)

WT = "rbg.workloads.x-k8s.io/role-workload-type"


def read(text: str) -> Any:
    """YAML in which T stands for a pod template and WT for the workload annotation."""

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {WT if k == "WT" else k: filled(v) for k, v in value.items()}
        if isinstance(value, list):
            return [filled(v) for v in value]
        return TEMPLATE if value == "T" else value

    return filled(yaml.safe_load(text))


def test_default_workload_standalone() -> None:
    """TV-1; upstream loses the restart policy on the way back, here it is kept (CV-50)."""
    before = read("""
        roles:
        - name: w
          replicas: 1
          minReadySeconds: 0
          restartPolicy: None
          workload: {apiVersion: apps/v1, kind: StatefulSet}
          template: T
    """)
    hub = up({**group(V1), "spec": before})
    assert hub["spec"] == read("""
        roles:
        - name: w
          replicas: 1
          minReadySeconds: 0
          annotations: {WT: apps/v1/StatefulSet}
          standalonePattern: {template: T}
    """)
    [role] = down(hub)["spec"]["roles"]
    assert role.pop("restartPolicy") == "None"
    assert role == {k: v for k, v in before["roles"][0].items() if k != "restartPolicy"} | {
        "annotations": {WT: "apps/v1/StatefulSet"}
    }
    del hub["metadata"]["annotations"][V1_DATA]
    assert "restartPolicy" not in down(hub)["spec"]["roles"][0]


def test_leader_worker_with_empty_restart_policy() -> None:
    """TV-2"""
    before = read("""
        roles:
        - name: lw
          replicas: 2
          workload: {apiVersion: leaderworkerset.x-k8s.io/v1, kind: LeaderWorkerSet}
          leaderWorkerSet:
            size: 4
            patchLeaderTemplate: {metadata: {labels: {r: l}}}
          template: T
    """)
    hub = up({**group(V1), "spec": before})
    assert hub["spec"] == read("""
        roles:
        - name: lw
          replicas: 2
          annotations: {WT: leaderworkerset.x-k8s.io/v1/LeaderWorkerSet}
          leaderWorkerPattern:
            size: 4
            leaderTemplatePatch: {metadata: {labels: {r: l}}}
            restartPolicyConfig: {}
            template: T
    """)
    [role] = down(hub)["spec"]["roles"]
    assert "restartPolicy" not in role
    assert role["leaderWorkerSet"] == before["roles"][0]["leaderWorkerSet"]


@pytest.mark.parametrize("patch", [{}, None])
def test_template_reference(patch: Any) -> None:
    """TV-5"""
    before = {"name": "w", "templateRef": {"name": "b"}} | ({} if patch is None else {"templatePatch": patch})
    hub = up(group(V1, before))
    ref = {"name": "b"} if patch is None else {"name": "b", "patch": {}}
    assert hub["spec"]["roles"][0]["standalonePattern"] == {"templateRef": ref}
    assert down(hub)["spec"]["roles"][0].get("templatePatch") == patch


def test_set_with_coordination() -> None:
    """TV-7"""
    template = {"roles": [{"name": "a"}], "coordination": [{"name": "c", "roles": ["a"]}]}
    hub = up(group_set(V1, template=template))
    text = '[{"name":"c","roles":["a"]}]'
    assert annotations_of(hub)[COORDINATION] == hub["spec"]["groupTemplate"]["annotations"][COORDINATION] == text
    assert down(hub)["spec"]["template"]["coordination"] == template["coordination"]
    assert "groupTemplate" not in down(hub)["spec"]


RELEASES = {
    "v0.3: no partition, no adapter, status without updatedReplicas": """
        roles:
        - {name: w, replicas: 1, template: T, leaderWorkerSet: {size: 1}, restartPolicy: RecreateRBGOnPodRestart,
           workload: {apiVersion: apps/v1, kind: Deployment}, rolloutStrategy: {type: RollingUpdate}}
        podGroupPolicy: {kubeScheduling: {scheduleTimeoutSeconds: 60}}
    """,
    "v0.4: partition is a number": """
        roles:
        - {name: w, replicas: 1, template: T, leaderWorkerSet: {size: 1}, scalingAdapter: {enable: true},
           workload: {apiVersion: apps/v1, kind: StatefulSet},
           rolloutStrategy: {type: RollingUpdate, rollingUpdate: {partition: 1, maxUnavailable: 1}}}
    """,
    "v0.5: InstanceSet, labels, components, coordination": """
        roles:
        - {name: w, replicas: 1, labels: {a: b}, annotations: {c: d}, components: [{name: c, size: 2, template: T}],
           workload: {apiVersion: workloads.x-k8s.io/v1alpha1, kind: InstanceSet},
           rolloutStrategy: {type: RollingUpdate, rollingUpdate: {partition: 50%, type: Recreate, paused: true,
                             inPlaceUpdateStrategy: {gracePeriodSeconds: 1}}}}
        coordination: [{name: x, roles: [w], strategy: {rollingUpdate: {maxSkew: 1%}}}]
    """,
    "v0.6: templates that roles share": """
        roles:
        - {name: w, replicas: 1, templateRef: {name: t}, templatePatch: {spec: {x: y}},
           workload: {apiVersion: apps/v1, kind: StatefulSet}}
        roleTemplates: [{name: t, template: T}]
        coordination: [{name: x, roles: [w], strategy: {scaling: {maxSkew: 1%, progression: OrderReady}}}]
    """,
}


@pytest.mark.parametrize("release", RELEASES)
def test_groups_stored_by_old_releases_survive(release: str) -> None:
    """OLD-1, OLD-2, OLD-3, OLD-4"""
    old_keys = {"rolebasedgroup.workloads.x-k8s.io/name": "g", OLD_TOPOLOGY: "zone"}
    status = {"roleStatuses": [{"name": "w", "readyReplicas": 1, "replicas": 1}], "conditions": []}
    before = {**group(V1, annotations=old_keys), "spec": read(RELEASES[release]), "status": status}
    [role] = before["spec"]["roles"]
    workload = role["workload"]
    role.setdefault("annotations", {})[WT] = f"{workload['apiVersion']}/{workload['kind']}"
    hub = up(before)
    assert hub["apiVersion"] == V2
    assert V1_DATA not in annotations_of(hub)
    assert down(hub) == before


def test_keys_renamed_in_v07_are_left_alone_but_one() -> None:
    """§3.2 of the specification; CV-20: only exclusive-topology in metadata is translated."""
    old = "rolebasedgroup.workloads.x-k8s.io/"
    keys = {
        f"{old}name": "g",
        f"{old}disable-exclusive-topology": "true",
        f"instance.{old}pattern": "Stateless",
        f"{old}discovery-config-mode": "legacy",
        f"{old}role-size": "1",
    }
    template = {"metadata": {"annotations": keys}, "spec": {}}
    role = {"name": "w", "annotations": {**keys, WT: "a/v1/K"}, "labels": keys, "template": template}
    role["workload"] = {"apiVersion": "a/v1", "kind": "K"}
    hub = up({**group(V1, role, annotations=keys), "metadata": {"annotations": keys, "labels": keys}})
    assert hub["metadata"] == {"annotations": keys, "labels": keys}
    assert hub["spec"]["roles"] == [
        {"name": "w", "annotations": role["annotations"], "labels": keys, "standalonePattern": {"template": template}}
    ]
