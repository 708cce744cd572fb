"""What controllers assume where a field is absent."""

from typing import Any

import pytest

from rbgctl.api.v1alpha2 import defaults, restart_policy
from rbgctl.api.v1alpha2.component import Component
from rbgctl.api.v1alpha2.patterns import LeaderWorkerPattern
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup, RoleSpec
from rbgctl.api.v1alpha2.roleinstance import RoleInstanceSpec
from rbgctl.api.v1alpha2.roleinstanceset import RoleInstanceSetSpec
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
def test_role_restart_policy(  # RP-3 RP-4 RP-5 RP-8 RP-11
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
    ],
)
def test_workload_type(annotation: str | None, api_version: str, kind: str, supported: bool) -> None:  # HF-20 HF-23
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
def test_stateful(role_annotations: dict[str, str] | None, stateful: bool) -> None:  # HF-21 RBG-10
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
