"""Every literal that other programs read, spelled out once more: a changed constant must fail here (IMP-7)."""

import re
from types import ModuleType

import pytest

from rbgctl.api import annotations, conditions, env, events, identity, kinds, labels
from rbgctl.api.v1alpha2 import (
    coordinatedpolicy,
    engineruntimeprofile,
    patterns,
    restart_policy,
    roleinstance,
    rollout,
    scalingadapter,
    warmup,
)

P = "rbg.workloads.x-k8s.io/"


OLD = "rolebasedgroup.workloads.x-k8s.io/"

LABELS = """
LBL-1   GROUPSET_NAME                  P/groupset-name
LBL-2   GROUPSET_INDEX                 P/groupset-index
LBL-3   GROUP_NAME                     P/group-name
LBL-4   GROUP_UID                      P/group-uid
LBL-5   RBG_OWNER_UID                  P/rbg-owner-uid
LBL-6   GROUP_REVISION                 P/group-revision
LBL-7   GROUP_UNIQUE_HASH              P/group-unique-hash
LBL-8   ROLE_NAME                      P/role-name
LBL-9   ROLE_TYPE                      P/role-type
LBL-10  ROLE_REVISION_PREFIX           P/role-revision-
LBL-11  ROLE_INSTANCE_OWNER            P/role-instance-owner
LBL-12  ROLE_INSTANCE_ID               P/role-instance-id
LBL-13  ROLE_INSTANCE_NAME             P/role-instance-name
LBL-14  ROLE_INSTANCE_INDEX            P/role-instance-index
LBL-15  ROLE_INSTANCE_DELETE           P/role-instance-delete
LBL-16  ROLE_INSTANCE_LIFECYCLE_STATE  P/role-instance-lifecycle-state
LBL-17  COMPONENT_NAME                 P/component-name
LBL-18  COMPONENT_ID                   P/component-id
LBL-19  COMPONENT_SIZE                 P/component-size
LBL-20  COMPONENT_INDEX                P/component-index
LBL-21  CONTROLLER_REVISION_HASH       controller-revision-hash
LBL-22  REVISION_HASH                  controller.kubernetes.io/hash
LBL-23  STATEFULSET_POD_NAME           statefulset.kubernetes.io/pod-name
LBL-24  POD_INDEX                      apps.kubernetes.io/pod-index
LBL-25  SCHEDULER_PLUGINS_POD_GROUP    pod-group.scheduling.sigs.k8s.io/name
LBL-26  WARMUP_NAME                    workloads.x-k8s.io/warmup-name
LBL-26  WARMUP_UID                     workloads.x-k8s.io/warmup-uid
LBL-26  WARMUP_NODE_NAME               workloads.x-k8s.io/node-name
LBL-27  LWS_WORKER_INDEX               leaderworkerset.sigs.k8s.io/worker-index
LBL-28  CONTROL_PLANE                  control-plane
LBL-28  CONTROL_PLANE_VALUE            rbgs-controller
"""

ANNOTATIONS = """
ANN-1   GROUP_EXCLUSIVE_TOPOLOGY                P/group-exclusive-topology
ANN-2   ROLE_DISABLE_EXCLUSIVE                  P/role-disable-exclusive
ANN-3   GROUP_GANG_SCHEDULING                   P/group-gang-scheduling
ANN-4   GROUP_GANG_SCHEDULING_TIMEOUT           P/group-gang-scheduling-timeout
ANN-5   GROUP_GANG_SCHEDULING_VOLCANO_PRIORITY  P/group-gang-scheduling-volcano-priority
ANN-6   GROUP_GANG_SCHEDULING_VOLCANO_QUEUE     P/group-gang-scheduling-volcano-queue
ANN-10  ROLE_SIZE                               P/role-size
ANN-11  ROLE_WORKLOAD_TYPE                      P/role-workload-type
ANN-12  ROLE_INSTANCE_PATTERN                   P/role-instance-pattern
ANN-13  ROLE_INSTANCE_GANG_SCHEDULING           P/role-instance-gang-scheduling
ANN-14  ROLE_INSTANCE_LIFECYCLE_TIMESTAMP       P/role-instance-lifecycle-timestamp
ANN-20  INPLACE_UPDATE_STATE                    P/inplace-update-state
ANN-21  INPLACE_UPDATE_GRACE                    P/inplace-update-grace
ANN-22  INPLACE_UPDATE_GRACE_PERIOD_SECONDS     P/inplace-update-grace-period-seconds
ANN-23  RUNTIME_CONTAINERS_META                 workloads.x-k8s.io/runtime-containers-meta
ANN-24  RESTART_TRIGGER_POLICY                  P/restart-trigger-policy
ANN-25  ROLE_INPLACE_SCHEDULING                 P/role-inplace-scheduling
ANN-26  ROLE_INPLACE_SCHEDULING_GRANULARITY     P/role-inplace-scheduling-granularity
ANN-27  ROLE_INPLACE_SCHEDULING_AVOID           P/role-inplace-scheduling-avoid
ANN-30  DISCOVERY_CONFIG_MODE                   P/discovery-config-mode
ANN-40  PORT_ALLOCATOR                          OP/port-allocator
ANN-41  COMPONENT_DISCOVERY                     OP/component-discovery
ANN-42  COMPONENT_DEPENDS_ON                    OP/component-depends-on
ANN-50  VOLCANO_POD_GROUP                       scheduling.k8s.io/group-name
ANN-51  SCHEDULER_PLUGINS_PREFIX                scheduling.x-k8s.io/
ANN-51  VOLCANO_PREFIX                          volcano.sh/
ANN-52  INSTANCE_DELETION_COST                  controller.kubernetes.io/instance-deletion-cost
ANN-60  CONVERSION_POD_GROUP_POLICY             conversion.workloads.x-k8s.io/v1alpha1-pod-group-policy
ANN-61  CONVERSION_COORDINATION                 conversion.workloads.x-k8s.io/v1alpha1-coordination
ANN-62  LEGACY_EXCLUSIVE_TOPOLOGY               OP/exclusive-topology
ANN-62  LEGACY_DISABLE_EXCLUSIVE_TOPOLOGY       OP/disable-exclusive-topology
OLD-12  LEGACY_INSTANCE_PATTERN                 instance.rolebasedgroup.workloads.x-k8s.io/pattern
CV-51   CONVERSION_V1ALPHA2_DATA                conversion.workloads.x-k8s.io/v1alpha2-data
-       DISCOVERY_RESOLVABLE_ADDRESSES          P/discovery-resolvable-addresses
-       RESTART_LIMIT                           P/restart-limit
-       RESTART_LIMIT_WINDOW_SECONDS            P/restart-limit-window-seconds
-       INPLACE_UPDATE_ONLY                     P/inplace-update-only
-       ORDERED_DELETION                        P/ordered-deletion
-       ORDERED_DELETION_FINALIZER              P/ordered-deletion
-       INPLACE_SCHEDULING_BINDINGS             P/role-inplace-scheduling-bindings
-       GROUPSET_TEMPLATE_KEYS                  P/groupset-template-keys
-       SCALE_DOWN_POLICY                       P/scale-down-policy
-       CLI_POD_DEADLINE                        P/cli-delete-after
"""

ENVIRONMENT = """
ENV-1   GROUP_NAME          RBG_GROUP_NAME
ENV-2   ROLE_NAME           RBG_ROLE_NAME
ENV-3   ROLE_INDEX          RBG_ROLE_INDEX
ENV-4   ROLE_INSTANCE_NAME  RBG_ROLE_INSTANCE_NAME
ENV-5   COMPONENT_NAME      RBG_COMPONENT_NAME
ENV-6   COMPONENT_INDEX     RBG_COMPONENT_INDEX
ENV-7   LWP_LEADER_ADDRESS  RBG_LWP_LEADER_ADDRESS
ENV-8   LWP_WORKER_INDEX    RBG_LWP_WORKER_INDEX
ENV-9   LWP_GROUP_SIZE      RBG_LWP_GROUP_SIZE
ENV-20  RESERVED_PREFIX     RBG_
ENV-20  LWP_PREFIX          RBG_LWP_
ENV-23  POD_NAMESPACE       POD_NAMESPACE
"""

WHO_AND_WHERE = """
RES-1   LEADER_ELECTION_LEASE             rbg-controller
RES-2   CONTROLLER_GROUP                  workloads-rolebasedgroup
RES-2   CONTROLLER_SCALING_ADAPTER        workloads-rolebasedgroup-scalingadapter
RES-2   CONTROLLER_GROUP_SET              rbgset-controller
RES-2   CONTROLLER_WARMUP                 rbgwarmup-controller
RES-2   CONTROLLER_INSTANCE               roleinstance
RES-2   CONTROLLER_INSTANCE_SET           roleinstanceset
RES-2   CONTROLLER_WEBHOOK_CERT           webhook-cert
RES-3   FIELD_MANAGER                     rbg
RES-4   MANAGER_GROUP                     rolebasedgroup
RES-4   MANAGER_GROUP_SET                 rolebasedgroupset
RES-4   MANAGER_SCALING_ADAPTER           rolebasedgroupscalingadapter
RES-4   MANAGER_INSTANCE_SET_STATELESS    roleinstanceset
RES-4   MANAGER_INSTANCE_SET_STATEFUL     instanceset-manager
RES-4   MANAGER_INSTANCE                  roleinstance
RES-4   MANAGER_WEBHOOK_CERT              webhook-cert
RES-4   USER_AGENT_INSTANCE_SET_STATEFUL  instanceset-manager/stateful-instanceset-controller
RES-5   NAMESPACE                         rbgs-system
RES-5   NAME_PREFIX                       rbgs-
RES-6   WEBHOOK_SERVICE                   rbgs-webhook-service
RES-6   WEBHOOK_CERT_SECRET               rbgs-webhook-cert
RES-6   WEBHOOK_CERT_DIR                  /tmp/k8s-webhook-server/certs
RES-7   VALIDATING_WEBHOOK_CONFIGURATION  rbgs-validating-webhook-configuration
RES-9   CRD_LEADER_WORKER_SET             leaderworkersets.leaderworkerset.x-k8s.io
RES-9   CRD_POD_GROUP_SCHEDULER_PLUGINS   podgroups.scheduling.x-k8s.io
RES-9   CRD_POD_GROUP_VOLCANO             podgroups.scheduling.volcano.sh
RES-13  SERVICE_ACCOUNT                   rbgs-controller-sa
ENUM-15 SCHEDULER_PLUGINS                 scheduler-plugins
ENUM-15 SCHEDULER_VOLCANO                 volcano
"""


def wanted(table: str) -> dict[str, str]:
    """By constant, the value that the table gives it; `P/` and `OP/` stand for the two prefixes."""
    rows = [line.split() for line in table.strip().splitlines()]
    return {name: re.sub(r"^P/", P, re.sub(r"^OP/", OLD, value)) for _rule, name, value in rows}


def texts(module: ModuleType, *unless: str) -> dict[str, str]:
    """The text constants of a module whose names start with none of `unless`."""
    found = {n: v for n, v in vars(module).items() if n.isupper() and isinstance(v, str)}
    return {n: v for n, v in found.items() if not n.startswith(unless)}


def test_labels() -> None:  # LBL-1..28
    values = ("ROLE_TYPE_", "LIFECYCLE_", "COMPONENT_LEADER", "COMPONENT_WORKER")
    assert texts(labels, "PREFIX", *values) == wanted(LABELS)


def test_annotations() -> None:  # ANN-1..62
    values = ("TRUE", "PATTERN_", "DISCOVERY_LEGACY", "DISCOVERY_REFINE", "RESTART_TRIGGER_I", "INPLACE_GRANULARITY_")
    own = ("INPLACE_SCHEDULING_PREFERRED", "INPLACE_SCHEDULING_REQUIRED", "SCALE_DOWN_WAIT")
    assert texts(annotations, "PREFIX", "LEGACY_PREFIX", "CONVERSION_PREFIX", *values, *own) == wanted(ANNOTATIONS)


def test_environment() -> None:  # ENV-1..9 ENV-20 ENV-22 ENV-23
    assert texts(env) == wanted(ENVIRONMENT)
    assert env.REMOVED_V1ALPHA1 == (
        "GROUP_NAME",
        "ROLE_NAME",
        "ROLE_INDEX",
        "INSTANCE_NAME",
        "COMPONENT_NAME",
        "COMPONENT_INDEX",
        "LWS_LEADER_ADDRESS",
        "LWS_WORKER_INDEX",
        "LWS_GROUP_SIZE",
    )
    assert not set(env.REMOVED_V1ALPHA1) & set(texts(env).values())
    assert env.label_field_path(P + "component-id") == "metadata.labels['rbg.workloads.x-k8s.io/component-id']"


def test_who_and_where() -> None:  # RES-1 RES-2 RES-3 RES-4 RES-5 RES-7 RES-9 ENUM-15
    assert texts(identity) == wanted(WHO_AND_WHERE)


def test_default_numbers() -> None:  # RES-12
    assert {n: v for n, v in vars(identity).items() if n.isupper() and isinstance(v, int)} == {
        "GROUP_REVISION_HISTORY_LIMIT": 5,
        "INSTANCE_REVISION_HISTORY_LIMIT": 5,
        "INSTANCE_SET_REVISION_HISTORY_LIMIT": 10,
        "RESTART_BASE_DELAY_SECONDS": 30,
        "RESTART_MAX_DELAY_SECONDS": 600,
        "GANG_TIMEOUT_SECONDS": 60,
    }


@pytest.mark.parametrize(
    ("found", "values"),
    [
        ((scalingadapter.NOT_BOUND, scalingadapter.BOUND), "NotBound Bound"),  # ENUM-1
        ((warmup.RUNNING, warmup.PAUSED, warmup.COMPLETED, warmup.FAILED), "Running Paused Completed Failed"),  # ENUM-2
        ((annotations.PATTERN_STATELESS, annotations.PATTERN_STATEFUL), "Stateless Stateful"),  # ENUM-3
        (rollout.POD_MANAGEMENT, "OrderedReady Parallel"),  # ENUM-4
        (
            (rollout.RECREATE_POD, rollout.IN_PLACE_IF_POSSIBLE, rollout.IN_PLACE_ONLY),
            "RecreatePod InPlaceIfPossible InPlaceOnly",
        ),  # ENUM-8
        (restart_policy.VALUES, "None RecreateRoleInstanceOnPodRestart"),  # ENUM-9
        ((patterns.SELECT_ALL, patterns.SELECT_LEADER_ONLY), "All LeaderOnly"),  # ENUM-10
        (coordinatedpolicy.PROGRESSIONS, "OrderScheduled OrderReady"),  # ENUM-11
        ((annotations.DISCOVERY_LEGACY, annotations.DISCOVERY_REFINE), "legacy refine"),  # ENUM-12
        (engineruntimeprofile.UPDATE_STRATEGIES, "NoUpdate RollingUpdate"),  # ENUM-13
        ((roleinstance.ALL_POD_READY, roleinstance.READY_POLICY_NONE), "AllPodReady None"),  # ENUM-14
        ((annotations.RESTART_TRIGGER_IGNORE, annotations.RESTART_TRIGGER_INHERIT), "Ignore Inherit"),  # ANN-24
        (
            (annotations.INPLACE_SCHEDULING_PREFERRED, annotations.INPLACE_SCHEDULING_REQUIRED),
            "Preferred Required",
        ),  # ANN-25
        (
            (annotations.INPLACE_GRANULARITY_POD, annotations.INPLACE_GRANULARITY_COMPONENT),
            "Pod Component",
        ),  # ANN-26
    ],
)
def test_enumerations(found: tuple[str, ...], values: str) -> None:
    assert " ".join(found) == values


def test_role_revision_label() -> None:  # LBL-10
    assert labels.role_revision("backend") == P + "role-revision-backend"


def test_label_values() -> None:  # LBL-9 LBL-16 ENUM-5 ENUM-6 ENUM-7
    assert (labels.ROLE_TYPE_POD_TEMPLATE, labels.ROLE_TYPE_LEADER_WORKER_SET, labels.ROLE_TYPE_COMPONENTS) == (
        "PodTemplate",
        "LeaderWorkerSet",
        "Components",
    )
    assert [v for n, v in vars(labels).items() if n.startswith("LIFECYCLE_")] == [
        "Normal",
        "PreparingUpdate",
        "Updating",
        "Updated",
        "PreparingDelete",
    ]
    assert (labels.COMPONENT_LEADER, labels.COMPONENT_WORKER) == ("leader", "worker")


def test_common_labels_of_a_role() -> None:  # HF-1
    assert labels.common("default", "nginx-cluster", "web") == {
        P + "group-name": "nginx-cluster",
        P + "role-name": "web",
        P + "group-uid": "4c81010f509b0ea495e76e1d66ed42ae9b0dc5ef",
    }


def test_common_annotations_of_a_role() -> None:  # HF-2 HF-25
    own = {P + "role-size": "9", P + "role-workload-type": "apps/v1/Deployment", "team": "shop"}
    assert annotations.common(3, own) == {P + "role-size": "3", "team": "shop"}
    assert annotations.common(0, None) == {P + "role-size": "0"}


def test_conditions() -> None:  # CND-1 CND-5 CND-6 CND-7 CND-8 CND-10 CND-11 CND-12
    assert (conditions.GROUP_READY, conditions.ALL_ROLES_READY, conditions.ROLE_NOT_READY) == (
        "Ready",
        "AllRolesReady",
        "RoleNotReady",
    )
    assert conditions.INSTANCE_READY == "RoleInstanceReady"
    assert conditions.INSTANCE_ALL_PODS_READY == "RoleInstanceAllPodsReady"
    assert conditions.INSTANCE_IN_PLACE_UPDATE_READY == "RoleInstanceInPlaceUpdateReady"
    assert conditions.INSTANCE_CUSTOM_READY == "RoleInstanceCustomReady"
    assert conditions.INSTANCE_RESTARTING == "Restarting"
    assert conditions.POD_IN_PLACE_UPDATE_READY == "InPlaceUpdateReady"
    assert conditions.POD_INSTANCE_READY == "InstancePodReady"
    assert conditions.IN_PLACE_UPDATE_NOT_READY == "InplaceUpdateNotReady"


EVENTS = """
EVN-1  SUCCEED SUCCEED_CREATE_REVISION INVALID_ROLE_TEMPLATES INVALID_TEMPLATE_REF INVALID_ROLE_DEPENDENCY
EVN-1  FAILED_CHECK_ROLE_DEPENDENCY DEPENDENCY_NOT_MET FAILED_RECONCILE_WORKLOAD FAILED_CREATE_SCALING_ADAPTER
EVN-1  FAILED_CALCULATE_SCALING FAILED_UPDATE_STATUS FAILED_RECONCILE_POD_GROUP FAILED_CREATE_REVISION
EVN-1  FAILED_RECONCILE_DISCOVERY_CONFIG_MAP INVALID_GANG_SCHEDULING_ANNOTATIONS REPLICAS_OVERRIDDEN_BY_ADAPTER
EVN-2  SUCCESSFUL_BOUND SUCCESSFUL_SCALE FAILED_SCALE
EVN-3  SUCCESSFUL_CREATE SUCCESSFUL_UPDATE SUCCESSFUL_DELETE SUCCESSFUL_UPDATE_INSTANCE_IN_PLACE
EVN-3  FAILED_CREATE FAILED_UPDATE FAILED_DELETE FAILED_UPDATE_INSTANCE_IN_PLACE SCALE_UP_LIMITED
EVN-3  UNKNOWN_ROLE_INSTANCE_PATTERN
EVN-4  SUCCESSFUL_UPDATE_POD_IN_PLACE FAILED_UPDATE_POD_IN_PLACE REVISION_NOT_FOUND
EVN-5  WARMUP_STARTED WARMUP_COMPLETED WARMUP_FAILED
"""
"""Constants whose values are their names in CamelCase."""

ODD_EVENTS = {
    "DELETE_ROLE_ERROR": "delete role error",  # EVN-1
    "DELETE_EXPIRED_REVISION_ERROR": "delete expired revision error",  # EVN-1
    "FAILED_GET_RBG_ROLE": "FailedGetRBGRole",  # EVN-2
    "SUCCESSFUL_UPDATE_INSTANCE_RECREATE": "SuccessfulUpdateInstanceReCreate",  # EVN-3
    "FAILED_UPDATE_INSTANCE_RECREATE": "FailedUpdateInstanceReCreate",  # EVN-3
    "FAILED_UPDATE_POD_RECREATE": "FailedUpdatePodReCreate",  # EVN-4
    "RECREATE_INSTANCE": "ReCreateInstance",  # EVN-4
    "WARMUP_PAUSED": "Paused",  # EVN-5
    "WARMUP_RESUMED": "Resumed",  # EVN-5
    "WARMUP_TTL_EXPIRED": "TTLExpired",  # EVN-5
    "WARMUP_CREATED_POD": "CreatedPod",  # EVN-5
    "WARMUP_FAILED_CREATE_POD": "FailedCreatePod",  # EVN-5
    "WARMUP_VOLUME_CONFLICT": "VolumeConflict",  # EVN-5
    "WARMUP_GLOBAL_TIMEOUT_EXCEEDED": "GlobalTimeoutExceeded",  # EVN-5
    "WARMUP_MAX_FAILED_NODES_EXCEEDED": "MaxFailedNodesExceeded",  # EVN-5
}


def test_event_reasons() -> None:  # EVN-1..5
    names = [name for line in EVENTS.strip().splitlines() for name in line.split()[1:]]
    camel = {name: name.title().replace("_", "") for name in names}
    assert texts(events, "COMPONENT_", "NORMAL", "WARNING") == camel | ODD_EVENTS


def test_event_sources() -> None:  # EVN-10
    assert {v for n, v in texts(events).items() if n.startswith("COMPONENT_")} == {
        "RoleBasedGroup",
        "RoleBasedGroupScalingAdapter",
        "rbgset-controller",
        "roleinstanceset-controller",
        "instanceset-controller",
        "stateful-instanceset-controller",
        "instance-controller",
        "rbg-warmup-controller",
    }


def test_who_writes() -> None:  # API-11 RES-1 RES-3 RES-4
    assert identity.FIELD_MANAGER == "rbg"
    assert identity.LEADER_ELECTION_LEASE == "rbg-controller"
    assert identity.MANAGER_GROUP == "rolebasedgroup"
    assert identity.MANAGER_INSTANCE == "roleinstance"
    assert identity.MANAGER_INSTANCE_SET_STATEFUL == "instanceset-manager"
    assert identity.user_agent("roleinstance", "v0.8.0-alpha.5", "0123456789", "linux/amd64") == (
        "roleinstance/v0.8.0 (linux/amd64) rbg-controller/0123456"
    )
    assert identity.user_agent("x", "", "", "a/b") == "x/unknown (a/b) rbg-controller/unknown"


def test_kinds() -> None:  # KIND-1 KIND-4 KIND-5 KIND-7
    table = {(str(r.gvk.version), r.gvk.kind): (r.plural, r.namespaced) for r in kinds.RESOURCES}
    assert len(table) == 14
    assert table["v1alpha2", "RoleBasedGroup"] == ("rolebasedgroups", True)
    assert table["v1alpha1", "RoleBasedGroupSet"] == ("rolebasedgroupsets", True)
    assert table["v1alpha2", "CoordinatedPolicy"] == ("coordinatedpolicies", True)
    assert table["v1alpha2", "ClusterEngineRuntimeProfile"] == ("clusterengineruntimeprofiles", False)
    assert ("v1alpha1", "RoleInstanceSet") not in table
    assert kinds.resource(kinds.ROLE_INSTANCE).path("ns", "x") == (
        "/apis/workloads.x-k8s.io/v1alpha2/namespaces/ns/roleinstances/x"
    )
