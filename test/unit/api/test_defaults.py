"""What controllers assume where a field is absent."""

from typing import Any

import pytest

from rbgctl.api.v1alpha2 import defaults, legacy_keys, restart_policy, rollout
from rbgctl.api.v1alpha2.component import Component
from rbgctl.api.v1alpha2.patterns import LeaderWorkerPattern
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup, RoleSpec
from rbgctl.api.v1alpha2.roleinstance import RoleInstanceSpec
from rbgctl.api.v1alpha2.roleinstanceset import RoleInstanceSetSpec
from rbgctl.api.v1alpha2.scalingadapter import RoleBasedGroupScalingAdapter
from rbgctl.api.v1alpha2.workload_type import is_stateful, workload_type

RECREATE = "RecreateRoleInstanceOnPodRestart"
WORKLOAD_TYPE = "rbg.workloads.x-k8s.io/role-workload-type"
PATTERN = "rbg.workloads.x-k8s.io/role-instance-pattern"
LWS = "leaderworkerset.x-k8s.io/v1/LeaderWorkerSet"
RIS = "workloads.x-k8s.io/v1alpha2/RoleInstanceSet"


def role(**fields: Any) -> RoleSpec:
    return RoleSpec.decode({"name": "role", **fields})


def test_unset_counts_are_one() -> None:  # HF-32 HF-33 IMP-6 SET-1
    assert defaults.role_replicas(role()) == 1
    assert defaults.role_replicas(role(replicas=0)) == 0
    assert defaults.role_replicas(None) == 0
    assert defaults.component_size(Component()) == 1
    assert defaults.component_size(Component(size=0)) == 0
    assert defaults.component_size(None) == 0
    assert defaults.leader_worker_size(LeaderWorkerPattern()) == 1
    assert defaults.set_replicas(RoleInstanceSetSpec()) == 1
    assert defaults.set_replicas(RoleInstanceSetSpec(replicas=0)) == 0


def test_group_size_counts_every_pod() -> None:  # HF-4 RBG-15
    group = RoleBasedGroup.decode(
        {
            "spec": {
                "roles": [
                    {"name": "a", "replicas": 2, "standalonePattern": {}},
                    {"name": "b", "replicas": 2, "leaderWorkerPattern": {"size": 3}},
                    {"name": "c", "leaderWorkerPattern": {}},
                    {"name": "d", "replicas": 2, "customComponentsPattern": {"components": [{"size": 2}, {}]}},
                ]
            }
        }
    )
    assert defaults.group_size(group) == 2 + 6 + 1 + 6


@pytest.mark.parametrize(
    ("fields", "policy", "base", "limit"),
    [
        ({"leaderWorkerPattern": {"size": 2, "restartPolicy": RECREATE}}, RECREATE, 30, 600),
        ({"leaderWorkerPattern": {}}, RECREATE, 30, 600),
        ({"customComponentsPattern": {"restartPolicy": "None"}}, "None", 30, 600),
        ({"customComponentsPattern": {}}, RECREATE, 30, 600),
        ({"standalonePattern": {}}, "None", 30, 600),
        ({}, "None", 30, 600),
        # type of the config beats the string; a config without type keeps its delays
        (
            {"leaderWorkerPattern": {"restartPolicy": RECREATE, "restartPolicyConfig": {"type": "None"}}},
            "None",
            30,
            600,
        ),
        (
            {
                "leaderWorkerPattern": {
                    "restartPolicy": "None",
                    "restartPolicyConfig": {"baseDelaySeconds": 0, "maxDelaySeconds": 0},
                }
            },
            "None",
            0,
            0,
        ),
        # the object that two pre-releases stored under the name of the string
        ({"leaderWorkerPattern": {"restartPolicy": {"type": "None", "maxDelaySeconds": 40}}}, "None", 30, 40),
        (
            {
                "leaderWorkerPattern": {
                    "restartPolicy": {"type": "None", "maxDelaySeconds": 40},
                    "restartPolicyConfig": {"maxDelaySeconds": 50},
                }
            },
            RECREATE,
            30,
            50,
        ),
        # leader-worker comes before custom components, and standalone hides neither
        (
            {
                "standalonePattern": {},
                "leaderWorkerPattern": {"restartPolicy": "None"},
                "customComponentsPattern": {"restartPolicy": RECREATE},
            },
            "None",
            30,
            600,
        ),
    ],
)
def test_role_restart_policy(  # HF-30 RP-3 RP-4 RP-5 RP-8 RP-11
    fields: dict[str, Any], policy: str, base: int, limit: int
) -> None:
    found = defaults.role_restart_policy(role(**fields))
    assert (found.type, found.base_delay_seconds, found.max_delay_seconds) == (policy, base, limit)
    assert found.recreates == (policy == RECREATE)
    assert found.config().dump() == {
        "type": policy,
        "baseDelaySeconds": base,
        "maxDelaySeconds": limit,
    }  # RP-9


def test_a_retired_restart_policy_recreates_the_instance() -> None:  # OLD-11
    found = defaults.role_restart_policy(role(leaderWorkerPattern={"restartPolicy": "RecreateRBGOnPodRestart"}))
    assert found.recreates
    assert found.retired
    assert not defaults.role_restart_policy(role(leaderWorkerPattern={})).retired


def test_an_instance_without_policy_is_not_recreated() -> None:  # RP-7
    assert defaults.instance_restart_policy(RoleInstanceSpec()).type == ""
    assert not defaults.instance_restart_policy(None).recreates
    found = defaults.instance_restart_policy(RoleInstanceSpec.decode({"restartPolicy": RECREATE}))
    assert (found.recreates, found.base_delay_seconds, found.max_delay_seconds) == (True, 30, 600)


def test_conversion_sees_the_stored_type_only() -> None:  # RP-6
    assert defaults.role_raw_restart_policy(role(leaderWorkerPattern={})) == ""
    assert defaults.role_raw_restart_policy(role(standalonePattern={})) == ""
    assert defaults.role_raw_restart_policy(role(customComponentsPattern={"restartPolicy": "None"})) == "None"
    stored = {"restartPolicy": "None", "restartPolicyConfig": {"type": RECREATE}}
    assert defaults.role_raw_restart_policy(role(leaderWorkerPattern=stored)) == RECREATE
    assert restart_policy.raw_type(None, restart_policy.RestartPolicyConfig(type="None")) == "None"


@pytest.mark.parametrize(
    ("annotation", "pattern", "selection"),
    [
        (None, {}, "LeaderOnly"),
        (RIS, {}, "LeaderOnly"),
        (None, {"sharedServiceSelection": "LeaderOnly"}, "LeaderOnly"),
        (None, {"sharedServiceSelection": "All"}, "All"),
        (None, None, "All"),
        (LWS, {}, "All"),
        (LWS, {"sharedServiceSelection": "LeaderOnly"}, "All"),
    ],
)
def test_service_selection(annotation: str | None, pattern: dict[str, Any] | None, selection: str) -> None:  # HF-31
    found = role(
        **({"annotations": {WORKLOAD_TYPE: annotation}} if annotation else {}),
        **({} if pattern is None else {"leaderWorkerPattern": pattern}),
    )
    assert defaults.shared_service_selection(found) == selection


@pytest.mark.parametrize(
    ("annotation", "api_version", "kind", "supported"),
    [
        (None, "workloads.x-k8s.io/v1alpha2", "RoleInstanceSet", True),
        ("", "workloads.x-k8s.io/v1alpha2", "RoleInstanceSet", True),
        ("apps/v1/Deployment", "apps/v1", "Deployment", True),
        (LWS, "leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", True),
        ("workloads.x-k8s.io/v1alpha1/InstanceSet", "workloads.x-k8s.io/v1alpha2", "RoleInstanceSet", True),
        ("foo", "", "foo", False),
        ("batch/v1/Job", "batch/v1", "Job", False),
        ("/Job", "", "Job", False),
    ],
)
def test_workload_type(  # HF-20 HF-23 DW-1 DW-2 DW-3 DW-6
    annotation: str | None, api_version: str, kind: str, supported: bool
) -> None:
    found = workload_type(None if annotation is None else {WORKLOAD_TYPE: annotation})
    assert (found.api_version, found.kind, found.supported) == (api_version, kind, supported)


@pytest.mark.parametrize(
    ("role_annotations", "stateful"),
    [
        (None, True),
        ({PATTERN: "Stateless"}, False),
        ({PATTERN: "stateless"}, True),
        ({WORKLOAD_TYPE: "apps/v1/StatefulSet", PATTERN: "Stateless"}, True),
        ({WORKLOAD_TYPE: "apps/v1/Deployment"}, False),
        ({WORKLOAD_TYPE: LWS}, True),
        ({WORKLOAD_TYPE: "batch/v1/Job"}, True),
    ],
)
def test_stateful(role_annotations: dict[str, str] | None, stateful: bool) -> None:  # HF-21 RBG-10 DW-5
    assert is_stateful(role_annotations) is stateful


def test_rollout_without_strategy() -> None:  # HF-40 HF-41
    for fields in ({}, {"rolloutStrategy": {"type": "RollingUpdate"}}):
        found = defaults.role_rollout(role(**fields))
        assert (found.partition, found.max_unavailable, found.max_surge) == (0, 1, 0)
        assert (found.type, found.paused, found.grace_period_seconds) == ("InPlaceIfPossible", False, None)


def test_rollout_keeps_what_the_user_wrote() -> None:  # HF-41 RBG-84
    rolling = {"type": "", "partition": "50%", "maxUnavailable": "0", "paused": True, "inPlaceUpdateStrategy": {}}
    found = defaults.role_rollout(role(rolloutStrategy={"rollingUpdate": rolling}))
    assert (found.partition, found.max_unavailable, found.max_surge) == ("50%", "0", 0)
    assert (found.type, found.paused, found.grace_period_seconds) == ("InPlaceIfPossible", True, 0)


def test_unavailable_is_rounded_up_only_without_surge() -> None:  # HF-40 SET-9
    assert defaults.budgets("10%", 0, 5) == (1, 0)
    assert defaults.budgets("10%", "10%", 5) == (0, 1)
    with pytest.raises(ValueError, match="not a percentage"):
        defaults.budgets("1", 0, 5)


def test_set_defaults() -> None:  # SET-4 SET-9 SET-13 RI-7
    assert defaults.set_max_unavailable(RoleInstanceSetSpec()) == "10%"
    assert defaults.set_max_unavailable(RoleInstanceSetSpec.decode({"updateStrategy": {"maxUnavailable": 0}})) == 0
    assert defaults.set_revision_history_limit(RoleInstanceSetSpec()) == 10
    assert defaults.set_revision_history_limit(RoleInstanceSetSpec(revision_history_limit=0)) == 0
    assert not defaults.set_is_parallel(RoleInstanceSetSpec())
    assert defaults.set_is_parallel(RoleInstanceSetSpec(pod_management_policy="Parallel"))
    assert defaults.ready_policy(RoleInstanceSpec()) == "AllPodReady"
    assert defaults.ready_policy(RoleInstanceSpec(ready_policy="None")) == "None"


def group(**fields: Any) -> RoleBasedGroup:
    return RoleBasedGroup.decode({"metadata": {"namespace": "shop", "name": "front"}, **fields})


def test_roles_and_templates_are_found_by_name() -> None:  # HF-7 HF-10 HF-11
    found = group(
        spec={"roles": [{"name": ""}, {"name": "a", "replicas": 2}], "roleTemplates": [{"name": "t"}, {"name": ""}]}
    )
    assert found.role("a") is found.roles[1]
    assert found.role("b") is None
    assert found.role("") is None
    assert found.role_template("t") is found.role_templates[0]
    assert found.role_template("u") is None
    assert found.role_template("") is None
    assert str(found.key) == "shop/front"


def test_status_of_a_role() -> None:  # HF-8
    status = group(status={"roleStatuses": [{"name": "", "replicas": 1}, {"name": "a", "replicas": 2}]}).status
    found = status.role("a")
    assert found
    assert found.replicas == 2
    assert status.role("b") is None
    assert status.role("") is None


def test_templates_come_from_the_standalone_pattern_first() -> None:  # HF-16 HF-17
    inline, reference = {"template": {"spec": {}}}, {"templateRef": {"name": "t", "patch": {"a": 1}}}
    assert role(standalonePattern=inline, leaderWorkerPattern=reference).template == {"spec": {}}
    assert role(standalonePattern={}, leaderWorkerPattern=reference).template_ref is None
    assert role(customComponentsPattern={"components": []}).template is None
    referring = role(leaderWorkerPattern=reference).template_ref
    assert referring
    assert (referring.name, referring.patch) == ("t", {"a": 1})
    assert role(leaderWorkerPattern=reference).template is None


def test_an_adapter_belongs_to_whoever_an_owner_reference_names() -> None:  # HF-13
    owners = [{"uid": "one", "kind": "Other"}, {"uid": "two", "controller": False}]
    adapter = RoleBasedGroupScalingAdapter.decode({"metadata": {"name": "x", "ownerReferences": owners}})
    assert adapter.owned_by("one")
    assert adapter.owned_by("two")
    assert not adapter.owned_by("three")
    assert not RoleBasedGroupScalingAdapter().owned_by("one")


EXCLUSIVE = "rbg.workloads.x-k8s.io/group-exclusive-topology"
OLD_EXCLUSIVE = "rolebasedgroup.workloads.x-k8s.io/exclusive-topology"
DISABLE = "rbg.workloads.x-k8s.io/role-disable-exclusive"
OLD_DISABLE = "rolebasedgroup.workloads.x-k8s.io/disable-exclusive-topology"
OLD_PATTERN = "instance.rolebasedgroup.workloads.x-k8s.io/pattern"


@pytest.mark.parametrize(
    ("found", "topology"),
    [
        (None, None),
        ({EXCLUSIVE: "zone"}, "zone"),
        ({EXCLUSIVE: ""}, ""),
        ({OLD_EXCLUSIVE: "rack"}, "rack"),
        ({OLD_EXCLUSIVE: "rack", EXCLUSIVE: "zone"}, "zone"),
        ({OLD_EXCLUSIVE: "rack", EXCLUSIVE: ""}, ""),
    ],
)
def test_exclusive_topology(
    found: dict[str, str] | None, topology: str | None
) -> None:  # HF-9 HF-24 OLD-12 ANN-1 ANN-62
    assert legacy_keys.exclusive_topology(found) == topology


@pytest.mark.parametrize(
    ("found", "disabled"),
    [
        (None, False),
        ({DISABLE: "false"}, True),
        ({DISABLE: ""}, False),
        ({OLD_DISABLE: "true"}, True),
        ({OLD_DISABLE: "true", DISABLE: ""}, False),
    ],
)
def test_disabled_exclusive_topology(found: dict[str, str] | None, disabled: bool) -> None:  # OLD-12 ANN-2
    assert legacy_keys.exclusive_topology_disabled(found) is disabled


@pytest.mark.parametrize(
    ("found", "pattern"),
    [
        (None, "Stateful"),
        ({PATTERN: ""}, "Stateful"),
        ({PATTERN: "Odd"}, "Odd"),
        ({OLD_PATTERN: "Stateless"}, "Stateless"),
        ({OLD_PATTERN: "Stateless", PATTERN: "Stateful"}, "Stateful"),
        ({OLD_PATTERN: "Stateless", PATTERN: ""}, "Stateful"),
    ],
)
def test_instance_pattern(found: dict[str, str] | None, pattern: str) -> None:  # OLD-12 ANN-12
    assert legacy_keys.instance_pattern(found) == pattern
    assert is_stateful(found) is (pattern != "Stateless")


def test_update_types() -> None:  # CV-14 GRP-17 SET-7
    assert rollout.recreates_pods("RecreatePod")
    assert rollout.recreates_pods("Recreate")
    assert not any(rollout.recreates_pods(t) for t in (None, "", "InPlaceIfPossible", "InPlaceOnly", "Odd"))
    # The stored word stays: a role's strategy is passed on as it was written.
    kept = defaults.role_rollout(role(rolloutStrategy={"rollingUpdate": {"type": "Recreate"}}))
    assert kept.type == "Recreate"
