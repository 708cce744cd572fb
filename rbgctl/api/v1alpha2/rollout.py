"""How instances are replaced when their template changes; shared by roles and RoleInstanceSets."""

from typing import Annotated, Final

from rbgctl.api.model import Bool, Int32, IntOrString, Model, Schema

ROLLING_UPDATE: Final = "RollingUpdate"
"""The only value of rolloutStrategy.type. GRP-15"""

RECREATE_POD: Final = "RecreatePod"
IN_PLACE_IF_POSSIBLE: Final = "InPlaceIfPossible"
IN_PLACE_ONLY: Final = "InPlaceOnly"
RETIRED_RECREATE: Final = "Recreate"
"""v1alpha1 spelling of RECREATE_POD that conversion lets through and nothing rewrites. CV-14"""

PARALLEL: Final = "Parallel"
ORDERED_READY: Final = "OrderedReady"
POD_MANAGEMENT: Final = (ORDERED_READY, PARALLEL)


def recreates_pods(update_type: str | None) -> bool:
    """Whether an update type never keeps the pods; every other one, known or not, does where possible. SET-7, CV-14"""
    return update_type in (RECREATE_POD, RETIRED_RECREATE)


class InPlaceUpdateStrategy(Model):
    """Details of updates that keep the pod."""

    grace_period_seconds: Int32 | None = None
    """Seconds between taking a pod out of service and changing its images. (GRP-22)"""


class RollingUpdate(Model):
    """Parameters of a role's rolling update."""

    in_place_update_strategy: InPlaceUpdateStrategy | None = None
    """Details of updates that keep the pod."""
    max_surge: Annotated[IntOrString | None, Schema(default=0)] = None
    """Instances above replicas during an update, a number or a percentage rounded up. (GRP-20)"""
    max_unavailable: Annotated[IntOrString | None, Schema(default=1)] = None
    """Instances that may be out of service during an update, a number or a percentage. (GRP-19)"""
    partition: Annotated[IntOrString | None, Schema(default=0)] = None
    """Instances that stay on the old revision, a number or a percentage rounded up. (GRP-18)"""
    paused: Bool | None = None
    """Stops the update where it is. (GRP-21)"""
    type: str | None = None
    """RecreatePod, InPlaceIfPossible (also when empty) or InPlaceOnly. (GRP-17)"""


class RolloutStrategy(Model):
    """Update strategy of a role."""

    rolling_update: RollingUpdate | None = None
    """Parameters. (GRP-16)"""
    type: Annotated[str | None, Schema(required=True, default=ROLLING_UPDATE, enum=(ROLLING_UPDATE,))] = None
    """Only RollingUpdate. (GRP-15)"""


class InstanceSetUpdateStrategy(Model):
    """Update strategy of a RoleInstanceSet; like RollingUpdate, without defaults in the schema."""

    in_place_update_strategy: InPlaceUpdateStrategy | None = None
    """Details of updates that keep the pod. (SET-12)"""
    max_surge: IntOrString | None = None
    """Instances above replicas during an update. (SET-10)"""
    max_unavailable: IntOrString | None = None
    """Instances that may be out of service during an update; 10% when absent. (SET-9)"""
    partition: IntOrString | None = None
    """Instances that stay on the old revision. (SET-8)"""
    paused: Bool | None = None
    """Stops the update where it is. (SET-11)"""
    type: str | None = None
    """RecreatePod replaces pods; every other value updates in place where possible. (SET-7)"""
