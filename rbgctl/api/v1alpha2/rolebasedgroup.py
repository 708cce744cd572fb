"""RoleBasedGroup: roles that are deployed, updated and scaled together (KIND-1, GRP-1 … GRP-76)."""

from typing import Annotated, ClassVar

from rbgctl.api import annotations, kinds
from rbgctl.api.meta import Condition, ObjectMeta, ServicePort
from rbgctl.api.model import Bool, Int32, Int64, Model, Rule, Schema, StringMap
from rbgctl.api.v1alpha2.patterns import (
    DNS_LABEL,
    CustomComponentsPattern,
    LeaderWorkerPattern,
    StandalonePattern,
    TemplateRef,
)
from rbgctl.api.v1alpha2.rollout import PARALLEL, POD_MANAGEMENT, RolloutStrategy
from rbgctl.api.v1alpha2.workload_type import ROLE_INSTANCE_SET
from rbgctl.machinery.gvk import NN, RawObject


class EngineRuntime(Model):
    """A sidecar profile to inject into the role's pods."""

    containers: Annotated[list[RawObject] | None, Schema(core="Container")] = None
    """Additions to containers of the profile: env and args are appended, by container name. (GRP-31)"""
    inject_containers: list[str] | None = None
    """Names of containers that the profile is meant for. (GRP-30)"""
    profile_name: Annotated[str, Schema(required=True)] = ""
    """Name of the ClusterEngineRuntimeProfile. (GRP-29)"""


class ScalingAdapterSpec(Model):
    """Scaling of one role by an autoscaler."""

    enable: Annotated[Bool | None, Schema(default=False)] = None
    """Make a RoleBasedGroupScalingAdapter for this role. (GRP-32)"""
    labels: StringMap | None = None
    """Further labels of that adapter. (GRP-33)"""


class RoleTemplate(Model):
    """A named pod template that roles can refer to."""

    name: Annotated[str, Schema(required=True, min_length=1, max_length=63, pattern=DNS_LABEL)] = ""
    """Name, unique in the group. (GRP-4)"""
    template: Annotated[RawObject | None, Schema(required=True, core="PodTemplateSpec")] = None
    """Pod template. (GRP-5)"""


class RoleSpec(Model):
    """One role of a group: a number of equal instances of one shape."""

    crd_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.standalonePattern) && has(self.leaderWorkerPattern))",
            "standalonePattern and leaderWorkerPattern are mutually exclusive",
        ),
        Rule(
            "!has(self.leaderWorkerPattern) || !has(self.leaderWorkerPattern.sharedServiceSelection)"
            " || self.leaderWorkerPattern.sharedServiceSelection != 'LeaderOnly' || !has(self.annotations)"
            f" || !('{annotations.ROLE_WORKLOAD_TYPE}' in self.annotations)"
            f" || self.annotations['{annotations.ROLE_WORKLOAD_TYPE}'] == '{ROLE_INSTANCE_SET}'",
            "leaderWorkerPattern.sharedServiceSelection=LeaderOnly is only supported for"
            " RoleInstanceSet + leaderWorkerPattern",
        ),
    )

    annotations: StringMap | None = None
    """Annotations of the role's workload and Service, some of which switch features. (GRP-12)"""
    custom_components_pattern: CustomComponentsPattern | None = None
    """Several components of different templates per instance. (GRP-26)"""
    dependencies: list[str] | None = None
    """Roles that must be ready before this one is created or changed. (GRP-23)"""
    engine_runtimes: list[EngineRuntime] | None = None
    """Sidecar profiles to inject. (GRP-28)"""
    labels: StringMap | None = None
    """Labels of the role's workload; not of its pods. (GRP-11)"""
    leader_worker_pattern: LeaderWorkerPattern | None = None
    """One leader and some workers per instance. (GRP-25)"""
    min_ready_seconds: Annotated[Int32 | None, Schema(default=0)] = None
    """Seconds an instance must be ready to count as available. (GRP-34)"""
    name: Annotated[str, Schema(required=True, min_length=1)] = ""
    """Name of the role, unique in the group. (GRP-10)"""
    pod_management_policy: Annotated[str | None, Schema(default=PARALLEL, enum=POD_MANAGEMENT)] = None
    """Create and delete instances one by one (OrderedReady) or all at once (Parallel). (GRP-35)"""
    replicas: Annotated[Int32 | None, Schema(required=True, default=1, minimum=0)] = None
    """Number of instances. (GRP-13)"""
    rollout_strategy: RolloutStrategy | None = None
    """How instances are replaced when the role changes. (GRP-14)"""
    scaling_adapter: ScalingAdapterSpec | None = None
    """Scaling of this role by an autoscaler."""
    service_ports: Annotated[list[ServicePort] | None, Schema(list_type="atomic")] = None
    """Ports that the discovery configuration lists for this role. (GRP-27)"""
    standalone_pattern: StandalonePattern | None = None
    """One pod per instance. (GRP-24)"""

    def annotation(self, key: str) -> str:
        """Value of a role annotation, empty when it is absent."""
        return (self.annotations or {}).get(key, "")

    @property
    def templated_pattern(self) -> StandalonePattern | LeaderWorkerPattern | None:
        """The pattern that template, templateRef and patch are read from; custom components have none. HF-16"""
        if self.standalone_pattern is not None:
            return self.standalone_pattern
        return self.leader_worker_pattern

    @property
    def template(self) -> RawObject | None:
        """The inline pod template. HF-16"""
        pattern = self.templated_pattern
        return pattern.template if pattern else None

    @property
    def template_ref(self) -> TemplateRef | None:
        """The reference to a role template. HF-16, HF-17"""
        pattern = self.templated_pattern
        return pattern.template_ref if pattern else None


class RoleBasedGroupSpec(Model):
    """Desired state of a group."""

    role_templates: Annotated[list[RoleTemplate] | None, Schema(list_type="map", list_map_keys=("name",))] = None
    """Pod templates that roles can refer to. (GRP-3)"""
    roles: Annotated[
        list[RoleSpec] | None,
        Schema(required=True, min_items=1, preserve_unknown=True, list_type="map", list_map_keys=("name",)),
    ] = None
    """The roles; their order means nothing. (GRP-2)"""


class RoleStatus(Model):
    """Observed state of one role."""

    name: Annotated[str, Schema(required=True)] = ""
    """Name of the role. (GRP-73)"""
    ready_replicas: Annotated[Int32, Schema(required=True)] = 0
    """Instances that are ready. (GRP-75)"""
    replicas: Annotated[Int32, Schema(required=True)] = 0
    """Instances that exist. (GRP-74)"""
    updated_replicas: Annotated[Int32, Schema(required=True)] = 0
    """Instances on the newest revision. (GRP-76)"""


class RoleBasedGroupStatus(Model):
    """Observed state of a group."""

    conditions: Annotated[list[Condition] | None, Schema(list_type="map", list_map_keys=("type",))] = None
    """Ready: every role has all its instances, and all are ready. (GRP-71)"""
    observed_generation: Int64 | None = None
    """Generation that this status describes. (GRP-70)"""
    role_statuses: Annotated[list[RoleStatus] | None, Schema(required=True, list_type="atomic")] = None
    """One entry per role. (GRP-72)"""

    def role(self, name: str) -> RoleStatus | None:
        """Status of the role of that name. HF-8"""
        return next((r for r in self.role_statuses or () if r.name == name), None) if name else None

    def condition(self, type_: str) -> Condition | None:
        """The condition of that type."""
        return next((c for c in self.conditions or () if c.type == type_), None)


class RoleBasedGroup(Model):
    """A set of roles that are deployed, updated and scaled together."""

    api_version: str = kinds.API_VERSION
    kind: str = kinds.KIND_GROUP
    metadata: ObjectMeta = ObjectMeta()
    spec: RoleBasedGroupSpec = RoleBasedGroupSpec()
    """Desired state of the group."""
    status: RoleBasedGroupStatus = RoleBasedGroupStatus()
    """Observed state of the group."""

    @property
    def key(self) -> NN:
        return NN(self.metadata.namespace, self.metadata.name)

    @property
    def roles(self) -> list[RoleSpec]:
        """spec.roles, empty when absent: a group without spec has no roles. GRP-60"""
        return self.spec.roles or []

    @property
    def role_templates(self) -> list[RoleTemplate]:
        return self.spec.role_templates or []

    def role(self, name: str) -> RoleSpec | None:
        """The role of that name; None when there is none or the name is empty. HF-7"""
        return next((r for r in self.roles if r.name == name), None) if name else None

    def role_template(self, name: str) -> RoleTemplate | None:
        """The role template of that name; None when there is none or the name is empty. HF-10"""
        return next((t for t in self.role_templates if t.name == name), None) if name else None
