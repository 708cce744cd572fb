"""RoleInstance: one replica of a role, one pod or several (KIND-5, RI-1 … RI-28)."""

from typing import Annotated, Final

from pydantic import Field

from rbgctl.api import kinds
from rbgctl.api.meta import LooseCondition, ObjectMeta
from rbgctl.api.model import Int32, Int64, Model, Schema, Timestamp
from rbgctl.api.v1alpha2.component import Component
from rbgctl.api.v1alpha2.restart_policy import RestartPolicyConfig, StoredRestartPolicy
from rbgctl.machinery.gvk import NN

ALL_POD_READY: Final = "AllPodReady"
READY_POLICY_NONE: Final = "None"


class InstanceReadinessGate(Model):
    """A condition that must be True before the instance counts as ready."""

    condition_type: Annotated[str, Schema(required=True)] = ""
    """Type of that condition. (RI-10)"""


class RoleInstanceSpec(Model):
    """Desired state of an instance; also the body of a RoleInstanceSet's roleInstanceTemplate."""

    components: Annotated[list[Component] | None, Schema(required=True)] = None
    """Components of the instance; their names must differ. (RI-1)"""
    readiness_gates: list[InstanceReadinessGate] | None = None
    """Further conditions that must be True before the instance counts as ready. (RI-10)"""
    ready_policy: Annotated[str | None, Schema(default=ALL_POD_READY)] = None
    """AllPodReady: ready when all pods are. None: pods do not count. (RI-7)"""
    restart_policy: StoredRestartPolicy = None
    """Deprecated: use restartPolicyConfig. (RI-8)"""
    restart_policy_config: RestartPolicyConfig | None = None
    """What happens to the instance when one of its pods restarts. (RI-9)"""

    def component(self, name: str) -> Component | None:
        """The component of that name."""
        return next((c for c in self.components or () if c.name == name), None)


class ComponentStatus(Model):
    """Observed state of one component (RI-22)."""

    available_replicas: Annotated[Int32, Schema(required=True)] = 0
    """Pods that are available."""
    name: Annotated[str, Schema(required=True)] = ""
    """Name of the component."""
    ready_replicas: Annotated[Int32, Schema(required=True)] = 0
    """Pods that are ready."""
    scheduled_replicas: Annotated[Int32, Schema(required=True)] = 0
    """Pods that have a node."""
    size: Annotated[Int32, Schema(required=True)] = 0
    """Pods that exist."""
    updated_ready_replicas: Annotated[Int32, Schema(required=True)] = 0
    """Ready pods on the newest revision."""
    updated_replicas: Annotated[Int32, Schema(required=True)] = 0
    """Pods on the newest revision."""


class ContainerBaseline(Model):
    """State of a container before an in-place update (RI-26)."""

    image_id: str | None = Field(default=None, alias="imageID")
    """Image that ran."""
    restart_count: Annotated[Int32, Schema(required=True)] = 0
    """Restarts so far."""


class InstanceFailure(Model):
    """Why the instance was recreated: how one of its containers ended. Not known to the Go operator."""

    component: str | None = None
    """Component of the pod."""
    container: str | None = None
    """Container that ended; absent when the pod as a whole failed, by eviction for example."""
    exit_code: Int32 | None = None
    """Exit code of the container."""
    message: str | None = None
    """What the container or the kubelet said, cut to a bounded length."""
    node: str | None = None
    """Node that the pod was on."""
    pod: Annotated[str, Schema(required=True)] = ""
    """Name of the pod."""
    pod_uid: str | None = Field(default=None, alias="podUID")
    """uid of the pod, which tells it from its successors of the same name."""
    reason: str | None = None
    """One CamelCase word: OOMKilled, Error, Evicted and so on."""
    restart_count: Int32 | None = None
    """Restarts of the container until then."""
    signal: Int32 | None = None
    """Signal that ended the container."""
    time: Annotated[Timestamp, Schema(required=True)] = ""
    """When the container ended or, if that is not known, when it was noticed."""


class RestartWindow(Model):
    """Recreations that count towards the limit an annotation sets. Not known to the Go operator."""

    restarts: Annotated[Int32, Schema(required=True)] = 0
    """Recreations since the start."""
    start_time: Annotated[Timestamp, Schema(required=True)] = ""
    """When the window began."""


class RoleInstanceStatus(Model):
    """Observed state of an instance."""

    collision_count: Int32 | None = None
    """Times that the hash of a new revision was taken. (RI-25)"""
    component_statuses: list[ComponentStatus] | None = None
    """One entry per component, in the order of the spec. (RI-22)"""
    conditions: list[LooseCondition] | None = None
    """RoleInstanceReady and others. (RI-21)"""
    current_revision: str | None = None
    """ControllerRevision that the pods came from. (RI-24)"""
    in_place_update_container_baselines: dict[str, dict[str, ContainerBaseline]] | None = None
    """By pod and container, the state before an in-place update. (RI-26)"""
    label_selector: str | None = None
    """Selector of the instance's pods. (RI-23)"""
    last_restart_time: Timestamp | None = None
    """When the restart policy last recreated the instance. (RI-28)"""
    observed_generation: Int64 | None = None
    """Generation that this status describes. (RI-20)"""
    recent_failures: Annotated[list[InstanceFailure] | None, Schema(list_type="atomic", addition=True)] = None
    """The last few failures that led to a recreation, newest first."""
    restart_count: Int32 | None = None
    """Recreations by the restart policy in the current window. (RI-27)"""
    restart_window: Annotated[RestartWindow | None, Schema(addition=True)] = None
    """Recreations that count towards the restart limit; absent without a limit."""
    update_revision: str | None = None
    """ControllerRevision that the pods are going to. (RI-24)"""

    def condition(self, type_: str) -> LooseCondition | None:
        """The condition of that type."""
        return next((c for c in self.conditions or () if c.type == type_), None)

    def component(self, name: str) -> ComponentStatus | None:
        """Status of the component of that name."""
        return next((c for c in self.component_statuses or () if c.name == name), None)


class RoleInstance(Model):
    """One replica of a role: one pod, or several that belong together."""

    api_version: str = kinds.API_VERSION
    kind: str = kinds.KIND_INSTANCE
    metadata: ObjectMeta = ObjectMeta()
    spec: RoleInstanceSpec = RoleInstanceSpec()
    """Desired state of the instance."""
    status: RoleInstanceStatus = RoleInstanceStatus()
    """Observed state of the instance."""

    @property
    def key(self) -> NN:
        return NN(self.metadata.namespace, self.metadata.name)

    @property
    def components(self) -> list[Component]:
        """spec.components, empty when absent."""
        return self.spec.components or []
