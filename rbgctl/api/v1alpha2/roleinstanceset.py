"""RoleInstanceSet: the instances of one role (KIND-4, SET-1 … SET-36)."""

from typing import Annotated

from rbgctl.api import kinds
from rbgctl.api.meta import LabelSelector, LooseCondition, ObjectMeta
from rbgctl.api.model import Bool, Int32, Int64, IntOrString, Model, Schema, StringMap
from rbgctl.api.v1alpha2.roleinstance import RoleInstanceSpec
from rbgctl.api.v1alpha2.rollout import PARALLEL, POD_MANAGEMENT, InstanceSetUpdateStrategy
from rbgctl.machinery.gvk import NN


class ScaleStrategy(Model):
    """How the number of instances changes."""

    max_unavailable: IntOrString | None = None
    """Instances that may be out of service while scaling up. (SET-6)"""
    role_instance_to_delete: list[str] | None = None
    """Instances to delete first when scaling in. (SET-5)"""


class LifecycleHook(Model):
    """Holds an instance in a state for as long as labels or finalizers are on it."""

    finalizers_handler: list[str] | None = None
    """Finalizers that hold the instance. (SET-17)"""
    labels_handler: StringMap | None = None
    """Labels that hold the instance. (SET-16)"""
    mark_pod_not_ready: Bool | None = None
    """Take the instance out of service while it is held. (SET-18)"""


class Lifecycle(Model):
    """Hooks around deletion and in-place update of an instance."""

    in_place_update: LifecycleHook | None = None
    """Before an in-place update. (SET-15)"""
    pre_delete: LifecycleHook | None = None
    """Before deletion. (SET-15)"""


class RoleInstanceSetSpec(Model):
    """Desired state of a set."""

    lifecycle: Lifecycle | None = None
    """Hooks around deletion and in-place update. (SET-15)"""
    min_ready_seconds: Int32 | None = None
    """Seconds an instance must be ready to count as available. (SET-14)"""
    pod_management_policy: Annotated[str | None, Schema(default=PARALLEL, enum=POD_MANAGEMENT)] = None
    """Create and delete instances one by one (OrderedReady) or all at once (Parallel). (SET-4)"""
    replicas: Int32 | None = None
    """Number of instances; 1 when absent. (SET-1)"""
    revision_history_limit: Annotated[Int32 | None, Schema(default=10, minimum=0)] = None
    """Old revisions to keep. (SET-13)"""
    role_instance_template: Annotated[RoleInstanceSpec, Schema(required=True, schemaless=True)] = RoleInstanceSpec()
    """Spec of the instances to make, stored as it was sent. (SET-3)"""
    scale_strategy: ScaleStrategy = ScaleStrategy()
    """How the number of instances changes."""
    selector: LabelSelector | None = None
    """Selects the instances of a stateful set. (SET-2)"""
    update_strategy: InstanceSetUpdateStrategy = InstanceSetUpdateStrategy()
    """How instances are replaced when the template changes."""


class RoleInstanceSetStatus(Model):
    """Observed state of a set. The counts of SET-31 are always written, also when 0."""

    available_replicas: Annotated[Int32, Schema(required=True)] = 0
    """Instances that have been ready for minReadySeconds."""
    collision_count: Int32 | None = None
    """Times that the hash of a new revision was taken. (SET-34)"""
    conditions: list[LooseCondition] | None = None
    """FailedScale and FailedUpdate. (SET-35)"""
    current_replicas: Annotated[Int32, Schema(required=True)] = 0
    """Instances on the current revision."""
    current_revision: str | None = None
    """ControllerRevision that the instances came from. (SET-33)"""
    expected_updated_replicas: Int32 | None = None
    """Instances that the update strategy wants on the newest revision. (SET-32)"""
    label_selector: str | None = None
    """Selector for the scale subresource. (SET-36)"""
    observed_generation: Int64 | None = None
    """Generation that this status describes. (SET-30)"""
    ready_replicas: Annotated[Int32, Schema(required=True)] = 0
    """Instances that are ready."""
    replicas: Annotated[Int32, Schema(required=True)] = 0
    """Instances that exist."""
    update_revision: str | None = None
    """ControllerRevision that the instances are going to. (SET-33)"""
    updated_ready_replicas: Annotated[Int32, Schema(required=True)] = 0
    """Ready instances on the newest revision."""
    updated_replicas: Annotated[Int32, Schema(required=True)] = 0
    """Instances on the newest revision."""


class RoleInstanceSet(Model):
    """The instances of one role."""

    api_version: str = kinds.API_VERSION
    kind: str = kinds.KIND_INSTANCE_SET
    metadata: ObjectMeta = ObjectMeta()
    spec: RoleInstanceSetSpec = RoleInstanceSetSpec()
    """Desired state of the set."""
    status: RoleInstanceSetStatus = RoleInstanceSetStatus()
    """Observed state of the set."""

    @property
    def key(self) -> NN:
        return NN(self.metadata.namespace, self.metadata.name)
