"""podGroupPolicy of v1alpha1: JSON in a hub annotation, and the gang annotations it stands for (CV-21, CV-23)."""

from typing import Any, Final

from rbgctl.api import annotations as a
from rbgctl.api.conversion.kept_json import Shape

SHAPE: Final[Shape] = {
    "kubeScheduling": {"scheduleTimeoutSeconds": int},
    "volcanoScheduling": {"priorityClassName": str, "queue": str},
}
"""Members in the order of the text."""


def gang_annotations(policy: dict[str, Any]) -> dict[str, str]:
    """What a well-formed policy asks for in v1alpha2; kubeScheduling wins over volcanoScheduling. CV-21, A1-11"""
    kube, volcano = policy.get("kubeScheduling"), policy.get("volcanoScheduling")
    out: dict[str, str] = {}
    if kube is not None:
        out[a.GROUP_GANG_SCHEDULING] = a.TRUE
        if (timeout := kube.get("scheduleTimeoutSeconds")) is not None:
            out[a.GROUP_GANG_SCHEDULING_TIMEOUT] = str(timeout)
    elif volcano is not None:
        out[a.GROUP_GANG_SCHEDULING] = a.TRUE
        if queue := volcano.get("queue"):
            out[a.GROUP_GANG_SCHEDULING_VOLCANO_QUEUE] = queue
        if priority := volcano.get("priorityClassName"):
            out[a.GROUP_GANG_SCHEDULING_VOLCANO_PRIORITY] = priority
    return out
