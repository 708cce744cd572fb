"""Every literal that other programs read, spelled out once more: a changed constant must fail here (IMP-7)."""

from rbgctl.api import annotations, conditions, env, events, identity, kinds, labels

P = "rbg.workloads.x-k8s.io/"


def test_labels() -> None:  # LBL-1 LBL-3 LBL-4 LBL-10 LBL-14 LBL-21 LBL-22 LBL-23
    assert {
        name: value
        for name, value in vars(labels).items()
        if name.isupper() and isinstance(value, str) and "/" in value and name != "PREFIX"
    } == {
        "GROUPSET_NAME": P + "groupset-name",
        "GROUPSET_INDEX": P + "groupset-index",
        "GROUP_NAME": P + "group-name",
        "GROUP_UID": P + "group-uid",
        "RBG_OWNER_UID": P + "rbg-owner-uid",
        "GROUP_REVISION": P + "group-revision",
        "GROUP_UNIQUE_HASH": P + "group-unique-hash",
        "ROLE_NAME": P + "role-name",
        "ROLE_TYPE": P + "role-type",
        "ROLE_REVISION_PREFIX": P + "role-revision-",
        "ROLE_INSTANCE_OWNER": P + "role-instance-owner",
        "ROLE_INSTANCE_ID": P + "role-instance-id",
        "ROLE_INSTANCE_NAME": P + "role-instance-name",
        "ROLE_INSTANCE_INDEX": P + "role-instance-index",
        "ROLE_INSTANCE_DELETE": P + "role-instance-delete",
        "ROLE_INSTANCE_LIFECYCLE_STATE": P + "role-instance-lifecycle-state",
        "COMPONENT_NAME": P + "component-name",
        "COMPONENT_ID": P + "component-id",
        "COMPONENT_SIZE": P + "component-size",
        "COMPONENT_INDEX": P + "component-index",
        "REVISION_HASH": "controller.kubernetes.io/hash",
        "STATEFULSET_POD_NAME": "statefulset.kubernetes.io/pod-name",
        "POD_INDEX": "apps.kubernetes.io/pod-index",
        "SCHEDULER_PLUGINS_POD_GROUP": "pod-group.scheduling.sigs.k8s.io/name",
        "WARMUP_NAME": "workloads.x-k8s.io/warmup-name",
        "WARMUP_UID": "workloads.x-k8s.io/warmup-uid",
        "WARMUP_NODE_NAME": "workloads.x-k8s.io/node-name",
        "LWS_WORKER_INDEX": "leaderworkerset.sigs.k8s.io/worker-index",
    }
    assert labels.CONTROLLER_REVISION_HASH == "controller-revision-hash"
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


def test_annotations() -> None:  # ANN-1 ANN-3 ANN-10 ANN-11 ANN-12 ANN-20 ANN-24 ANN-30 ANN-40 ANN-50 ANN-52 ANN-61
    legacy = "rolebasedgroup.workloads.x-k8s.io/"
    assert {
        name: value
        for name, value in vars(annotations).items()
        if name.isupper() and isinstance(value, str) and "/" in value and not name.endswith("PREFIX")
    } == {
        "GROUP_EXCLUSIVE_TOPOLOGY": P + "group-exclusive-topology",
        "ROLE_DISABLE_EXCLUSIVE": P + "role-disable-exclusive",
        "GROUP_GANG_SCHEDULING": P + "group-gang-scheduling",
        "GROUP_GANG_SCHEDULING_TIMEOUT": P + "group-gang-scheduling-timeout",
        "GROUP_GANG_SCHEDULING_VOLCANO_PRIORITY": P + "group-gang-scheduling-volcano-priority",
        "GROUP_GANG_SCHEDULING_VOLCANO_QUEUE": P + "group-gang-scheduling-volcano-queue",
        "ROLE_SIZE": P + "role-size",
        "ROLE_WORKLOAD_TYPE": P + "role-workload-type",
        "ROLE_INSTANCE_PATTERN": P + "role-instance-pattern",
        "ROLE_INSTANCE_GANG_SCHEDULING": P + "role-instance-gang-scheduling",
        "ROLE_INSTANCE_LIFECYCLE_TIMESTAMP": P + "role-instance-lifecycle-timestamp",
        "INPLACE_UPDATE_STATE": P + "inplace-update-state",
        "INPLACE_UPDATE_GRACE": P + "inplace-update-grace",
        "INPLACE_UPDATE_GRACE_PERIOD_SECONDS": P + "inplace-update-grace-period-seconds",
        "RUNTIME_CONTAINERS_META": "workloads.x-k8s.io/runtime-containers-meta",
        "RESTART_TRIGGER_POLICY": P + "restart-trigger-policy",
        "ROLE_INPLACE_SCHEDULING": P + "role-inplace-scheduling",
        "ROLE_INPLACE_SCHEDULING_GRANULARITY": P + "role-inplace-scheduling-granularity",
        "ROLE_INPLACE_SCHEDULING_AVOID": P + "role-inplace-scheduling-avoid",
        "DISCOVERY_CONFIG_MODE": P + "discovery-config-mode",
        "PORT_ALLOCATOR": legacy + "port-allocator",
        "COMPONENT_DISCOVERY": legacy + "component-discovery",
        "COMPONENT_DEPENDS_ON": legacy + "component-depends-on",
        "VOLCANO_POD_GROUP": "scheduling.k8s.io/group-name",
        "INSTANCE_DELETION_COST": "controller.kubernetes.io/instance-deletion-cost",
        "CONVERSION_POD_GROUP_POLICY": "conversion.workloads.x-k8s.io/v1alpha1-pod-group-policy",
        "CONVERSION_COORDINATION": "conversion.workloads.x-k8s.io/v1alpha1-coordination",
        "LEGACY_EXCLUSIVE_TOPOLOGY": legacy + "exclusive-topology",
        "LEGACY_DISABLE_EXCLUSIVE_TOPOLOGY": legacy + "disable-exclusive-topology",
        "LEGACY_INSTANCE_PATTERN": "instance.rolebasedgroup.workloads.x-k8s.io/pattern",
        "CONVERSION_V1ALPHA2_DATA": "conversion.workloads.x-k8s.io/v1alpha2-data",
        "DISCOVERY_RESOLVABLE_ADDRESSES": P + "discovery-resolvable-addresses",
        "RESTART_LIMIT": P + "restart-limit",
        "RESTART_LIMIT_WINDOW_SECONDS": P + "restart-limit-window-seconds",
        "INPLACE_UPDATE_ONLY": P + "inplace-update-only",
        "ORDERED_DELETION": P + "ordered-deletion",
        "ORDERED_DELETION_FINALIZER": P + "ordered-deletion",
        "INPLACE_SCHEDULING_BINDINGS": P + "role-inplace-scheduling-bindings",
        "GROUPSET_TEMPLATE_KEYS": P + "groupset-template-keys",
        "SCALE_DOWN_POLICY": P + "scale-down-policy",
        "CLI_POD_DEADLINE": P + "cli-delete-after",
    }


def test_common_annotations_of_a_role() -> None:  # HF-2 HF-25
    own = {P + "role-size": "9", P + "role-workload-type": "apps/v1/Deployment", "team": "shop"}
    assert annotations.common(3, own) == {P + "role-size": "3", "team": "shop"}
    assert annotations.common(0, None) == {P + "role-size": "0"}


def test_environment() -> None:  # ENV-1 ENV-2 ENV-3 ENV-4 ENV-5 ENV-6 ENV-7 ENV-8 ENV-9
    injected = [v for n, v in vars(env).items() if n.isupper() and isinstance(v, str) and not n.endswith("PREFIX")]
    assert injected == [
        "RBG_GROUP_NAME",
        "RBG_ROLE_NAME",
        "RBG_ROLE_INDEX",
        "RBG_ROLE_INSTANCE_NAME",
        "RBG_COMPONENT_NAME",
        "RBG_COMPONENT_INDEX",
        "RBG_LWP_LEADER_ADDRESS",
        "RBG_LWP_WORKER_INDEX",
        "RBG_LWP_GROUP_SIZE",
        "POD_NAMESPACE",
    ]
    assert env.label_field_path(P + "component-id") == "metadata.labels['rbg.workloads.x-k8s.io/component-id']"


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


def test_event_reasons_with_odd_spelling() -> None:  # EVN-1 EVN-3 EVN-4
    assert events.DELETE_ROLE_ERROR == "delete role error"
    assert events.DELETE_EXPIRED_REVISION_ERROR == "delete expired revision error"
    assert events.SUCCESSFUL_UPDATE_INSTANCE_RECREATE == "SuccessfulUpdateInstanceReCreate"
    assert events.FAILED_UPDATE_POD_RECREATE == "FailedUpdatePodReCreate"
    assert events.RECREATE_INSTANCE == "ReCreateInstance"


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
