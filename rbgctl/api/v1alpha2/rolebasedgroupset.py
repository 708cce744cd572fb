"""RoleBasedGroupSet: a number of equal groups (KIND-2, RBGS-1 … RBGS-12)."""

from typing import Annotated

from rbgctl.api import kinds
from rbgctl.api.meta import Condition, ObjectMeta
from rbgctl.api.model import Bool, Int32, Int64, IntOrString, Model, Schema, StringMap
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroupSpec
from rbgctl.api.v1alpha2.rollout import ROLLING_UPDATE
from rbgctl.machinery.gvk import NN


class GroupTemplate(Model):
    """What the groups of a set are made of; labels and annotations stand here directly, without `metadata`."""

    annotations: StringMap | None = None
    """Annotations of the groups. (RBGS-3)"""
    labels: StringMap | None = None
    """Labels of the groups. (RBGS-3)"""
    spec: RoleBasedGroupSpec = RoleBasedGroupSpec()
    """Spec of the groups. (RBGS-4)"""


class GroupSetRolloutStrategy(Model):
    """In which steps a changed template reaches the groups. Not known to the Go operator."""

    max_surge: IntOrString | None = None
    """Groups above replicas during a rollout, a number or a percentage rounded up; 0 when absent."""
    max_unavailable: IntOrString | None = None
    """Groups that may be out of service during a rollout, a number or a percentage; 1 when absent."""
    partition: IntOrString | None = None
    """Groups that stay on the old template, those of the lowest indexes; 0 when absent."""
    paused: Bool | None = None
    """Stops the rollout where it is."""
    type: Annotated[str | None, Schema(enum=(ROLLING_UPDATE,))] = None
    """Only RollingUpdate."""


class RoleBasedGroupSetSpec(Model):
    """Desired state of a set of groups."""

    group_template: Annotated[GroupTemplate, Schema(required=True)] = GroupTemplate()
    """What the groups are made of. (RBGS-2)"""
    replicas: Annotated[Int32 | None, Schema(default=1)] = None
    """Number of groups; their indexes count from 0. (RBGS-1)"""
    rollout_strategy: Annotated[GroupSetRolloutStrategy | None, Schema(addition=True)] = None
    """In which steps a changed template reaches the groups; all at once when absent."""


class RoleBasedGroupSetStatus(Model):
    """Observed state of a set of groups."""

    conditions: Annotated[list[Condition] | None, Schema(list_type="map", list_map_keys=("type",))] = None
    """Ready: enough groups are ready. (RBGS-12)"""
    observed_generation: Int64 | None = None
    """Generation that this status describes. (RBGS-10)"""
    ready_replicas: Int32 | None = None
    """Groups that are ready. (RBGS-11)"""
    replicas: Int32 | None = None
    """Groups that exist. (RBGS-11)"""
    updated_ready_replicas: Annotated[Int32 | None, Schema(addition=True)] = None
    """Ready groups that have the current template."""
    updated_replicas: Annotated[Int32 | None, Schema(addition=True)] = None
    """Groups that have the current template."""


class RoleBasedGroupSet(Model):
    """A number of equal role-based groups."""

    api_version: str = kinds.API_VERSION
    kind: str = kinds.KIND_GROUP_SET
    metadata: ObjectMeta = ObjectMeta()
    spec: RoleBasedGroupSetSpec = RoleBasedGroupSetSpec()
    """Desired state of the set."""
    status: RoleBasedGroupSetStatus = RoleBasedGroupSetStatus()
    """Observed state of the set."""

    @property
    def key(self) -> NN:
        return NN(self.metadata.namespace, self.metadata.name)
