"""RoleBasedGroup in its deprecated version (LEG-3, A1-5 … A1-13).

Every release up to v0.6 stored this shape, so the decoder takes all of theirs: retired values of restartPolicy
(OLD-4), an empty leaderWorkerSet on roles of other kinds (OLD-1), partition as a number.
"""

from typing import Annotated, ClassVar, Final

from rbgctl.api import kinds
from rbgctl.api.meta import ObjectMeta, ServicePort
from rbgctl.api.model import Bool, Int32, Model, Rule, Schema, StringMap
from rbgctl.api.v1alpha1.coordination import Coordination
from rbgctl.api.v1alpha1.podgrouppolicy import PodGroupPolicy
from rbgctl.api.v1alpha2.patterns import DNS_LABEL
from rbgctl.api.v1alpha2.restart_policy import VALUES as RESTART_POLICIES
from rbgctl.api.v1alpha2.rolebasedgroup import EngineRuntime, RoleBasedGroupStatus, RoleTemplate
from rbgctl.api.v1alpha2.rollout import RolloutStrategy
from rbgctl.machinery.gvk import NN, RawObject

API_VERSION_PATTERN: Final = (
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/v[0-9]+((alpha|beta)[0-9]+)?$"
)
DEFAULT_WORKLOAD: Final = {"apiVersion": "apps/v1", "kind": "StatefulSet"}


class WorkloadRef(Model):
    """Which kind of workload runs a role."""

    api_version: Annotated[str | None, Schema(default=DEFAULT_WORKLOAD["apiVersion"], pattern=API_VERSION_PATTERN)] = (
        None
    )
    """Group and version of the kind."""
    kind: Annotated[str | None, Schema(default=DEFAULT_WORKLOAD["kind"])] = None
    """The kind."""


class TemplateRef(Model):
    """Refers to one of the group's role templates; changes to it stand in the role's templatePatch."""

    name: Annotated[str, Schema(required=True, min_length=1, max_length=63, pattern=DNS_LABEL)] = ""
    """Name in spec.roleTemplates."""


class LeaderWorkerTemplate(Model):
    """One leader and size - 1 workers per instance."""

    patch_leader_template: Annotated[RawObject | None, Schema(schemaless=True)] = None
    """Strategic merge patch for the leader's pod template."""
    patch_worker_template: Annotated[RawObject | None, Schema(schemaless=True)] = None
    """Strategic merge patch for the workers' pod template."""
    size: Annotated[Int32 | None, Schema(default=1)] = None
    """Pods per instance, leader included."""


class InstanceComponent(Model):
    """Pods of one template within an instance."""

    name: Annotated[str, Schema(required=True)] = ""
    """Name of the component; part of pod names."""
    service_name: str | None = None
    """Headless Service that gives the pods their host names."""
    size: Int32 | None = None
    """Pods of this component."""
    template: Annotated[RawObject | None, Schema(required=True, schemaless=True)] = None
    """Pod template, stored as it was sent."""


class ScalingAdapter(Model):
    """Scaling of one role by an autoscaler."""

    enable: Annotated[Bool | None, Schema(default=False)] = None
    """Make a RoleBasedGroupScalingAdapter for this role."""


class RoleSpec(Model):
    """One role of a group: a number of equal instances of one shape."""

    crd_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("!(has(self.template) && has(self.templateRef))", "template and templateRef are mutually exclusive"),
        Rule(
            "!has(self.templateRef) || self.workload.kind != 'InstanceSet'",
            "templateRef is not supported for InstanceSet workloads",
        ),
        Rule(
            "!has(self.templateRef) || self.workload.kind != 'LeaderWorkerSet'",
            "templateRef is not supported for LeaderWorkerSet workloads",
        ),
        Rule(
            "has(self.template) || has(self.templateRef) || self.workload.kind == 'InstanceSet'",
            "template or templateRef must be set for non-InstanceSet workloads",
        ),
    )
    """Defaulting comes first: `workload` and its kind are always there. A1-5 … A1-8"""

    annotations: StringMap | None = None
    """Annotations of the role's workload."""
    components: list[InstanceComponent] | None = None
    """Several components of different templates per instance."""
    dependencies: list[str] | None = None
    """Roles that must be ready before this one is created or changed."""
    engine_runtimes: list[EngineRuntime] | None = None
    """Sidecar profiles to inject."""
    labels: StringMap | None = None
    """Labels of the role's workload."""
    leader_worker_set: LeaderWorkerTemplate | None = None
    """One leader and some workers per instance."""
    min_ready_seconds: Annotated[Int32 | None, Schema(default=0)] = None
    """Seconds an instance must be ready to count as available."""
    name: Annotated[str, Schema(required=True, min_length=1)] = ""
    """Name of the role, unique in the group."""
    replicas: Annotated[Int32 | None, Schema(required=True, default=1, minimum=0)] = None
    """Number of instances."""
    restart_policy: Annotated[str | None, Schema(enum=RESTART_POLICIES)] = None
    """What happens to an instance when one of its pods restarts."""
    rollout_strategy: RolloutStrategy | None = None
    """How instances are replaced when the role changes."""
    scaling_adapter: ScalingAdapter | None = None
    """Scaling of this role by an autoscaler."""
    service_ports: Annotated[list[ServicePort] | None, Schema(list_type="atomic")] = None
    """Ports that the discovery configuration lists for this role."""
    template: Annotated[RawObject | None, Schema(core="PodTemplateSpec")] = None
    """Pod template."""
    template_patch: Annotated[RawObject | None, Schema(schemaless=True)] = None
    """Strategic merge patch over the role template."""
    template_ref: TemplateRef | None = None
    """Use a role template instead."""
    workload: Annotated[WorkloadRef | None, Schema(default=DEFAULT_WORKLOAD)] = None
    """Which kind of workload runs the role."""


class RoleBasedGroupSpec(Model):
    """Desired state of a group."""

    coordination: Annotated[list[Coordination] | None, Schema(list_type="map", list_map_keys=("name",))] = None
    """Keeps roles in step while they roll out or scale."""
    pod_group_policy: PodGroupPolicy | None = None
    """All pods of the group are scheduled, or none."""
    role_templates: Annotated[list[RoleTemplate] | None, Schema(list_type="map", list_map_keys=("name",))] = None
    """Pod templates that roles can refer to."""
    roles: Annotated[
        list[RoleSpec] | None,
        Schema(required=True, min_items=1, preserve_unknown=True, list_type="map", list_map_keys=("name",)),
    ] = None
    """The roles; their order means nothing. (A1-10)"""


class RoleBasedGroup(Model):
    """A set of roles that are deployed, updated and scaled together."""

    api_version: str = kinds.API_VERSION_V1ALPHA1
    kind: str = kinds.KIND_GROUP
    metadata: ObjectMeta = ObjectMeta()
    spec: RoleBasedGroupSpec = RoleBasedGroupSpec()
    """Desired state of the group."""
    status: RoleBasedGroupStatus = RoleBasedGroupStatus()
    """Observed state of the group."""

    @property
    def key(self) -> NN:
        return NN(self.metadata.namespace, self.metadata.name)
