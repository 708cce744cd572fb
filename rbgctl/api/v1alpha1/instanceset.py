"""InstanceSet: forerunner of RoleInstanceSet, stored but no longer reconciled (KIND-10, LEG-2)."""

from typing import Annotated

from rbgctl.api import kinds
from rbgctl.api.meta import LabelSelector, ObjectMeta
from rbgctl.api.model import Int32, IntOrString, Model, Schema
from rbgctl.api.v1alpha1.instance import InstanceSpec
from rbgctl.api.v1alpha2.roleinstanceset import Lifecycle, RoleInstanceSetStatus
from rbgctl.api.v1alpha2.rollout import InstanceSetUpdateStrategy
from rbgctl.machinery.gvk import NN


class InstanceScaleStrategy(Model):
    """How the number of instances changes."""

    instance_to_delete: list[str] | None = None
    """Instances to delete first when scaling in."""
    max_unavailable: IntOrString | None = None
    """Instances that may be out of service while scaling up."""


class InstanceSetSpec(Model):
    """Desired state of a set."""

    instance_template: Annotated[InstanceSpec, Schema(required=True, schemaless=True)] = InstanceSpec()
    """Spec of the instances to make, stored as it was sent."""
    lifecycle: Lifecycle | None = None
    """Hooks around deletion and in-place update."""
    min_ready_seconds: Int32 | None = None
    """Seconds an instance must be ready to count as available."""
    replicas: Int32 | None = None
    """Number of instances; 1 when absent."""
    revision_history_limit: Int32 | None = None
    """Old revisions to keep; 10 when absent."""
    scale_strategy: InstanceScaleStrategy = InstanceScaleStrategy()
    """How the number of instances changes."""
    selector: LabelSelector | None = None
    """Selects the instances."""
    update_strategy: InstanceSetUpdateStrategy = InstanceSetUpdateStrategy()
    """How instances are replaced when the template changes."""


class InstanceSet(Model):
    """The instances of one role; nothing reconciles it, use RoleInstanceSet."""

    api_version: str = kinds.API_VERSION_V1ALPHA1
    kind: str = kinds.KIND_LEGACY_INSTANCE_SET
    metadata: ObjectMeta = ObjectMeta()
    spec: InstanceSetSpec = InstanceSetSpec()
    """Desired state of the set."""
    status: RoleInstanceSetStatus = RoleInstanceSetStatus()
    """Observed state of the set."""

    @property
    def key(self) -> NN:
        return NN(self.metadata.namespace, self.metadata.name)
