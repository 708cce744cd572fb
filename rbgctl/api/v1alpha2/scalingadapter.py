"""RoleBasedGroupScalingAdapter: lets an autoscaler scale one role (KIND-3, ADP-1 … ADP-14)."""

from typing import Annotated, Final

from rbgctl.api import kinds
from rbgctl.api.meta import Condition, ObjectMeta
from rbgctl.api.model import Int32, Model, Schema, Timestamp
from rbgctl.machinery.gvk import NN

NOT_BOUND: Final = "NotBound"
BOUND: Final = "Bound"
"""Values of status.phase; a new adapter has none. ENUM-1"""


class ScaleTargetRef(Model):
    """A role of a group in the same namespace."""

    name: Annotated[str, Schema(required=True)] = ""
    """Name of the RoleBasedGroup. (ADP-3)"""
    role: Annotated[str, Schema(required=True)] = ""
    """Name of the role. (ADP-3)"""


class ScalingAdapterSpec(Model):
    """Desired state of an adapter."""

    replicas: Int32 | None = None
    """Replicas that the role should have; taken from the role when the adapter binds to it. (ADP-1)"""
    scale_target_ref: Annotated[ScaleTargetRef, Schema(required=True)] = ScaleTargetRef()
    """The role to scale. (ADP-2)"""


class ScalingAdapterStatus(Model):
    """Observed state of an adapter."""

    conditions: Annotated[list[Condition] | None, Schema(list_type="map", list_map_keys=("type",), addition=True)] = (
        None
    )
    """ScaleDownHeld: a scale-down waits for the role's rollout."""
    last_scale_time: Timestamp | None = None
    """When the role was last scaled. (ADP-14)"""
    phase: str | None = None
    """Bound, or NotBound while the role does not exist. (ADP-10)"""
    ready_replicas: Int32 | None = None
    """Ready instances of the role. (ADP-12)"""
    replicas: Int32 | None = None
    """Replicas last given to the role. (ADP-11)"""
    selector: str | None = None
    """Selector of the role's pods, for autoscalers. (ADP-13)"""


class RoleBasedGroupScalingAdapter(Model):
    """Gives one role of a group a scale subresource."""

    api_version: str = kinds.API_VERSION
    kind: str = kinds.KIND_SCALING_ADAPTER
    metadata: ObjectMeta = ObjectMeta()
    spec: ScalingAdapterSpec = ScalingAdapterSpec()
    """Desired state of the adapter."""
    status: ScalingAdapterStatus = ScalingAdapterStatus()
    """Observed state of the adapter."""

    @property
    def key(self) -> NN:
        return NN(self.metadata.namespace, self.metadata.name)

    def owned_by(self, uid: str) -> bool:
        """Whether any owner reference has that uid, controller or not. HF-13"""
        return any(owner.uid == uid for owner in self.metadata.owner_references or ())
