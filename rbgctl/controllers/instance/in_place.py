"""Whether an in-place update of a pod has reached its containers (IPP-7).

The state annotation lists, per container whose image was changed, the image that ran before. The update is complete
when each of them runs another one, or the same one under the name that the spec now asks for.

While the grace annotation is there the new images are not even in the pod's spec yet.
"""

import json
from collections.abc import Mapping
from typing import Any

from rbgctl.api import annotations
from rbgctl.controllers.instance.pods import Pod


def update_complete(pod: Pod) -> bool:
    """Whether no in-place update of `pod` is going on. Pods that never had one are complete."""
    if pod.annotation(annotations.INPLACE_UPDATE_GRACE):
        return False
    text = pod.annotation(annotations.INPLACE_UPDATE_STATE)
    if not text:
        return True
    try:
        before = json.loads(text).get("lastContainerStatuses") or {}
        return all(_changed(pod, name, str(was.get("imageID") or "")) for name, was in before.items())
    except (ValueError, AttributeError):
        # A state that nobody can read never completes (IPP-7): the pod must not serve an unknown image.
        return False


def _changed(pod: Pod, container: str, image_id: str) -> bool:
    found: Mapping[str, Any] | None = pod.container_statuses.get(container)
    if found is None:
        return False
    if found.get("imageID") != image_id:
        return True
    return _canonical(pod.images.get(container) or "") == _canonical(str(found.get("image") or ""))


def _canonical(image: str) -> str:
    """The full reference: what kubelets and registries leave out is filled in."""
    name, at, digest = image.partition("@")
    first, slash, rest = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif "." not in first and ":" not in first and first != "localhost":
        name = f"docker.io/{name}"
    elif first == "docker.io" and "/" not in rest:
        name = f"docker.io/library/{rest}"
    if ":" not in name.rpartition("/")[2] and not at:
        name += ":latest"
    return f"{name}{at}{digest}"
