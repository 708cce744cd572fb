"""Gang scheduling as v1alpha1 spells it; v1alpha2 has annotations instead (CV-21)."""

from typing import Annotated

from rbgctl.api.identity import GANG_TIMEOUT_SECONDS
from rbgctl.api.model import Int32, Model, Schema


class KubeScheduling(Model):
    """Gang scheduling by the scheduler-plugins."""

    schedule_timeout_seconds: Annotated[Int32 | None, Schema(default=GANG_TIMEOUT_SECONDS)] = None
    """Seconds to wait for the whole gang."""


class VolcanoScheduling(Model):
    """Gang scheduling by Volcano."""

    priority_class_name: str | None = None
    """Priority class of the PodGroup."""
    queue: str | None = None
    """Queue of the PodGroup."""


class PodGroupPolicy(Model):
    """All pods of the group are scheduled, or none. With both given, kubeScheduling counts (A1-11)."""

    kube_scheduling: KubeScheduling | None = None
    """Gang scheduling by the scheduler-plugins."""
    volcano_scheduling: VolcanoScheduling | None = None
    """Gang scheduling by Volcano."""
