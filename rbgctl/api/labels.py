"""Label keys (LBL-1 … LBL-28) and the values that are fixed, each with who carries it."""

import hashlib
from typing import Final

PREFIX: Final = "rbg.workloads.x-k8s.io/"
"""Prefix of every key that the operator itself defines."""

GROUPSET_NAME: Final = PREFIX + "groupset-name"
"""Name of the RoleBasedGroupSet, on its child groups. LBL-1"""
GROUPSET_INDEX: Final = PREFIX + "groupset-index"
"""Decimal index of a child group in its set. LBL-2"""
GROUP_NAME: Final = PREFIX + "group-name"
"""Name of the RoleBasedGroup, on workloads, Services, pods, adapters and group revisions. LBL-3"""
GROUP_UID: Final = PREFIX + "group-uid"
"""`group_hash`, not a Kubernetes uid; part of immutable selectors. LBL-4"""
RBG_OWNER_UID: Final = PREFIX + "rbg-owner-uid"
"""metadata.uid of the group, only where in-place scheduling is asked for. LBL-5"""
GROUP_REVISION: Final = PREFIX + "group-revision"
"""Hash of a group revision, on the ControllerRevision. LBL-6"""
GROUP_UNIQUE_HASH: Final = PREFIX + "group-unique-hash"
"""What exclusive-topology affinity terms select by; equal to `group_hash`. LBL-7"""
ROLE_NAME: Final = PREFIX + "role-name"
"""Name of the role. LBL-8"""
ROLE_TYPE: Final = PREFIX + "role-type"
"""How pods of an instance are named: one of the ROLE_TYPE_* values. LBL-9, ENUM-5"""
ROLE_REVISION_PREFIX: Final = PREFIX + "role-revision-"
"""Followed by the role name; see `role_revision`. LBL-10"""
ROLE_INSTANCE_OWNER: Final = PREFIX + "role-instance-owner"
"""metadata.uid of the RoleInstanceSet, on stateless instances and their revisions. LBL-11"""
ROLE_INSTANCE_ID: Final = PREFIX + "role-instance-id"
"""Five random characters of a stateless instance. LBL-12"""
ROLE_INSTANCE_NAME: Final = PREFIX + "role-instance-name"
"""Name of the RoleInstance, on its pods and revisions. LBL-13"""
ROLE_INSTANCE_INDEX: Final = PREFIX + "role-instance-index"
"""Decimal ordinal of a stateful instance, on it and its pods. LBL-14"""
ROLE_INSTANCE_DELETE: Final = PREFIX + "role-instance-delete"
"""Present, with any value: a stateless set deletes this instance. LBL-15"""
ROLE_INSTANCE_LIFECYCLE_STATE: Final = PREFIX + "role-instance-lifecycle-state"
"""One of the LIFECYCLE_* values. LBL-16, ENUM-6"""
COMPONENT_NAME: Final = PREFIX + "component-name"
"""Name of the component a pod belongs to. LBL-17"""
COMPONENT_ID: Final = PREFIX + "component-id"
"""Zero-based number of a pod within its component. LBL-18"""
COMPONENT_SIZE: Final = PREFIX + "component-size"
"""Pods in the component, for leader-worker roles in the whole instance. LBL-19"""
COMPONENT_INDEX: Final = PREFIX + "component-index"
"""Rank of a pod in a leader-worker instance: leader 0, workers from 1. LBL-20"""

CONTROLLER_REVISION_HASH: Final = "controller-revision-hash"
"""Revision of an instance or pod: the full revision name on stateful instances, else its short hash. LBL-21"""
REVISION_HASH: Final = "controller.kubernetes.io/hash"
"""Hash of the data of set and instance revisions. LBL-22"""
STATEFULSET_POD_NAME: Final = "statefulset.kubernetes.io/pod-name"
"""On stateful instances and their pods: the name of the *instance*. LBL-23"""
POD_INDEX: Final = "apps.kubernetes.io/pod-index"
"""Ordinal that Kubernetes puts on StatefulSet pods. LBL-24"""
SCHEDULER_PLUGINS_POD_GROUP: Final = "pod-group.scheduling.sigs.k8s.io/name"
"""PodGroup of a pod under scheduler-plugins. LBL-25"""
WARMUP_NAME: Final = "workloads.x-k8s.io/warmup-name"
"""Warm-up that made a pod. LBL-26"""
WARMUP_UID: Final = "workloads.x-k8s.io/warmup-uid"
"""uid of that warm-up. LBL-26"""
WARMUP_NODE_NAME: Final = "workloads.x-k8s.io/node-name"
"""Node that a warm-up pod is for. LBL-26"""
LWS_WORKER_INDEX: Final = "leaderworkerset.sigs.k8s.io/worker-index"
"""Set by LeaderWorkerSet on its pods. LBL-27"""
CONTROL_PLANE: Final = "control-plane"
"""On the operator's own Deployment and pods, with CONTROL_PLANE_VALUE. LBL-28"""
CONTROL_PLANE_VALUE: Final = "rbgs-controller"

ROLE_TYPE_POD_TEMPLATE: Final = "PodTemplate"
ROLE_TYPE_LEADER_WORKER_SET: Final = "LeaderWorkerSet"
ROLE_TYPE_COMPONENTS: Final = "Components"

LIFECYCLE_NORMAL: Final = "Normal"
LIFECYCLE_PREPARING_UPDATE: Final = "PreparingUpdate"
LIFECYCLE_UPDATING: Final = "Updating"
LIFECYCLE_UPDATED: Final = "Updated"
LIFECYCLE_PREPARING_DELETE: Final = "PreparingDelete"

COMPONENT_LEADER: Final = "leader"
COMPONENT_WORKER: Final = "worker"


def group_hash(namespace: str, name: str) -> str:
    """SHA-1 of `<namespace>/<name>` in lower-case hex: the same for every group ever made there. HF-3, RBG-3"""
    return hashlib.sha1(f"{namespace}/{name}".encode(), usedforsecurity=False).hexdigest()


def role_revision(role: str) -> str:
    """Key of the label that carries the revision hash of role `role` on its workload. LBL-10"""
    return ROLE_REVISION_PREFIX + role


def common(namespace: str, group: str, role: str) -> dict[str, str]:
    """Labels that select everything of one role. Immutable selectors are made of them: never change. HF-1"""
    return {GROUP_NAME: group, ROLE_NAME: role, GROUP_UID: group_hash(namespace, group)}
