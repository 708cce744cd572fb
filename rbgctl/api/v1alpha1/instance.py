"""Instance: forerunner of RoleInstance, stored but no longer reconciled (KIND-9, LEG-1)."""

from typing import Annotated

from rbgctl.api import kinds
from rbgctl.api.meta import LooseCondition, ObjectMeta
from rbgctl.api.model import Int32, Int64, Model, Schema
from rbgctl.api.v1alpha1.podgrouppolicy import PodGroupPolicy
from rbgctl.api.v1alpha1.rolebasedgroup import InstanceComponent
from rbgctl.api.v1alpha2.roleinstance import ALL_POD_READY, InstanceReadinessGate
from rbgctl.machinery.gvk import NN


class InstanceSpec(Model):
    """Desired state of an instance; also the body of an InstanceSet's instanceTemplate."""

    components: Annotated[list[InstanceComponent] | None, Schema(required=True)] = None
    """Components of the instance."""
    pod_group_policy: PodGroupPolicy | None = None
    """All pods of the instance are scheduled, or none."""
    readiness_gates: list[InstanceReadinessGate] | None = None
    """Further conditions that must be True before the instance counts as ready."""
    ready_policy: Annotated[str | None, Schema(default=ALL_POD_READY)] = None
    """AllPodReady: ready when all pods are. None: pods do not count."""
    restart_policy: str | None = None
    """None or RecreateInstanceOnPodRestart."""


class InstanceComponentStatus(Model):
    """Observed state of one component."""

    available_replicas: Annotated[Int32, Schema(required=True)] = 0
    """Pods that are available."""
    name: Annotated[str, Schema(required=True)] = ""
    """Name of the component."""
    ready_replicas: Annotated[Int32, Schema(required=True)] = 0
    """Pods that are ready."""
    replicas: Annotated[Int32, Schema(required=True)] = 0
    """Pods that exist."""
    scheduled_replicas: Annotated[Int32, Schema(required=True)] = 0
    """Pods that have a node."""
    updated_ready_replicas: Annotated[Int32, Schema(required=True)] = 0
    """Ready pods on the newest revision."""
    updated_replicas: Annotated[Int32, Schema(required=True)] = 0
    """Pods on the newest revision."""


class InstanceStatus(Model):
    """Observed state of an instance."""

    collision_count: Int32 | None = None
    """Times that the hash of a new revision was taken."""
    component_statuses: list[InstanceComponentStatus] | None = None
    """One entry per component."""
    conditions: list[LooseCondition] | None = None
    """InstanceReady and others."""
    current_revision: str | None = None
    """ControllerRevision that the pods came from."""
    label_selector: str | None = None
    """Selector of the instance's pods."""
    observed_generation: Int64 | None = None
    """Generation that this status describes."""
    update_revision: str | None = None
    """ControllerRevision that the pods are going to."""


class Instance(Model):
    """One replica of a role; nothing reconciles it, use RoleInstance."""

    api_version: str = kinds.API_VERSION_V1ALPHA1
    kind: str = kinds.KIND_LEGACY_INSTANCE
    metadata: ObjectMeta = ObjectMeta()
    spec: InstanceSpec = InstanceSpec()
    """Desired state of the instance."""
    status: InstanceStatus = InstanceStatus()
    """Observed state of the instance."""

    @property
    def key(self) -> NN:
        return NN(self.metadata.namespace, self.metadata.name)
