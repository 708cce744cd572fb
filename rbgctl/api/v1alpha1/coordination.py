"""Coordination of roles inside a v1alpha1 group; v1alpha2 has CoordinatedPolicy instead (CV-22, CM-3)."""

from typing import Annotated, Final

from rbgctl.api.model import Model, Schema
from rbgctl.api.v1alpha2.coordinatedpolicy import ORDER_SCHEDULED, PROGRESSIONS

PERCENTAGE: Final = r"^([0-9]|[1-9][0-9]|100)%$"


class CoordinationRollingUpdate(Model):
    """Bounds of a rollout that concerns several roles. Percentages only."""

    max_skew: Annotated[str | None, Schema(pattern=PERCENTAGE)] = None
    """How far the updated shares of two roles may differ."""
    max_unavailable: Annotated[str | None, Schema(pattern=PERCENTAGE)] = None
    """maxUnavailable of each role."""
    partition: Annotated[str | None, Schema(pattern=PERCENTAGE)] = None
    """partition of each role."""


class CoordinationScaling(Model):
    """Bounds of a scaling that concerns several roles."""

    max_skew: Annotated[str | None, Schema(pattern=PERCENTAGE)] = None
    """How far the scaled shares of two roles may differ."""
    progression: Annotated[str | None, Schema(default=ORDER_SCHEDULED, enum=PROGRESSIONS)] = None
    """When the next step may begin: its instances scheduled or ready."""


class CoordinationStrategy(Model):
    """What is coordinated."""

    rolling_update: CoordinationRollingUpdate | None = None
    """Bounds of rollouts."""
    scaling: CoordinationScaling | None = None
    """Bounds of scaling."""


class Coordination(Model):
    """Keeps some roles of the group in step."""

    name: Annotated[str, Schema(required=True)] = ""
    """Name, unique in the group."""
    roles: Annotated[list[str] | None, Schema(required=True)] = None
    """Names of the roles."""
    strategy: CoordinationStrategy | None = None
    """What is coordinated."""
