"""CoordinatedPolicy: keeps roles of a group in step while they roll out or scale (KIND-6, POL-1 … POL-10)."""

from typing import Annotated, Final

from rbgctl.api import kinds
from rbgctl.api.meta import Condition, ObjectMeta
from rbgctl.api.model import Int64, IntOrString, Model, Schema
from rbgctl.machinery.gvk import NN

ORDER_SCHEDULED: Final = "OrderScheduled"
ORDER_READY: Final = "OrderReady"
PROGRESSIONS: Final = (ORDER_SCHEDULED, ORDER_READY)
"""ENUM-11"""


class CoordinatedRollingUpdate(Model):
    """Bounds of a rollout that concerns several roles."""

    max_skew: IntOrString | None = None
    """How far the updated shares of two roles may differ, a percentage. (POL-5)"""
    max_unavailable: IntOrString | None = None
    """maxUnavailable of each role while the policy holds. (POL-5)"""
    partition: IntOrString | None = None
    """partition of each role while the policy holds. (POL-5)"""


class CoordinatedScaling(Model):
    """Bounds of a scaling that concerns several roles."""

    max_skew: IntOrString | None = None
    """How far the scaled shares of two roles may differ, a percentage; 100% when absent. (POL-6)"""
    progression: Annotated[str | None, Schema(enum=PROGRESSIONS)] = None
    """When the next step may begin: its instances scheduled or ready; absent means no waiting. (POL-7)"""


class PolicyStrategy(Model):
    """What a rule coordinates; empty means nothing."""

    rolling_update: CoordinatedRollingUpdate | None = None
    """Bounds of rollouts. (POL-5)"""
    scaling: CoordinatedScaling | None = None
    """Bounds of scaling. (POL-6)"""


class PolicyRule(Model):
    """Coordinates some roles of the group."""

    name: Annotated[str, Schema(required=True, min_length=1)] = ""
    """Name, unique in the policy. (POL-2)"""
    roles: Annotated[list[str] | None, Schema(required=True, min_items=1)] = None
    """Names of the roles. (POL-3)"""
    strategy: Annotated[PolicyStrategy, Schema(required=True)] = PolicyStrategy()
    """What is coordinated. (POL-4)"""


class PolicyTarget(Model):
    """The group that a policy is for. Not known to the Go operator."""

    name: Annotated[str, Schema(required=True, min_length=1)] = ""
    """Name of a RoleBasedGroup in the namespace of the policy."""


class CoordinatedPolicySpec(Model):
    """The rules of a policy."""

    policies: Annotated[
        list[PolicyRule] | None, Schema(required=True, min_items=1, list_type="map", list_map_keys=("name",))
    ] = None
    """The rules. (POL-1)"""
    target_role_based_group: Annotated[PolicyTarget | None, Schema(addition=True)] = None
    """The group that the policy is for; when absent, the group of the policy's own name."""


class CoordinatedPolicyStatus(Model):
    """Observed state of a policy."""

    conditions: Annotated[list[Condition] | None, Schema(list_type="map", list_map_keys=("type",))] = None
    """Whether the policy is in force, and what it holds back now. (POL-10)"""
    observed_generation: Int64 | None = None
    """Generation that this status describes. (POL-10)"""


class CoordinatedPolicy(Model):
    """Keeps roles of the group of the same name in step while they roll out or scale."""

    api_version: str = kinds.API_VERSION
    kind: str = kinds.KIND_COORDINATED_POLICY
    metadata: ObjectMeta = ObjectMeta()
    spec: CoordinatedPolicySpec = CoordinatedPolicySpec()
    """The rules."""
    status: CoordinatedPolicyStatus = CoordinatedPolicyStatus()
    """Observed state of the policy."""

    @property
    def key(self) -> NN:
        return NN(self.metadata.namespace, self.metadata.name)
