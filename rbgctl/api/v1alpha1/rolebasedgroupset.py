"""RoleBasedGroupSet in its deprecated version: `spec.template` is the spec of a group, without wrapper."""

from typing import Annotated

from rbgctl.api import kinds
from rbgctl.api.meta import Condition, ObjectMeta
from rbgctl.api.model import Int32, Int64, Model, Schema
from rbgctl.api.v1alpha1.rolebasedgroup import RoleBasedGroupSpec
from rbgctl.machinery.gvk import NN


class RoleBasedGroupSetSpec(Model):
    """Desired state of a set of groups."""

    replicas: Annotated[Int32 | None, Schema(default=1)] = None
    """Number of groups; their indexes count from 0."""
    template: Annotated[RoleBasedGroupSpec, Schema(required=True)] = RoleBasedGroupSpec()
    """Spec of the groups."""


class RoleBasedGroupSetStatus(Model):
    """Observed state of a set of groups."""

    conditions: Annotated[list[Condition] | None, Schema(list_type="map", list_map_keys=("type",))] = None
    """Ready: enough groups are ready."""
    observed_generation: Int64 | None = None
    """Generation that this status describes."""
    ready_replicas: Int32 | None = None
    """Groups that are ready."""
    replicas: Int32 | None = None
    """Groups that exist."""


class RoleBasedGroupSet(Model):
    """A number of equal role-based groups."""

    api_version: str = kinds.API_VERSION_V1ALPHA1
    kind: str = kinds.KIND_GROUP_SET
    metadata: ObjectMeta = ObjectMeta()
    spec: RoleBasedGroupSetSpec = RoleBasedGroupSetSpec()
    """Desired state of the set."""
    status: RoleBasedGroupSetStatus = RoleBasedGroupSetStatus()
    """Observed state of the set."""

    @property
    def key(self) -> NN:
        return NN(self.metadata.namespace, self.metadata.name)
