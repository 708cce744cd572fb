"""Revisions of RoleInstances: the components without their sizes (REV-1 … REV-9).

Restart policy, ready policy, readiness gates and sizes are no part of them, so changing those restarts no pod.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from rbgctl.api import identity, labels
from rbgctl.machinery.gvk import RawObject
from rbgctl.machinery.plan import Delete
from rbgctl.planning.revisions import (
    Candidate,
    Content,
    Resolution,
    RevisionError,
    drop_empty,
    name_of,
    owned_by,
    resolve,
    truncate,
)
from rbgctl.planning.typed_encoding import comparable, encode


def instance_content(spec: Mapping[str, Any]) -> Content:
    """What an instance's revision stores of its spec (REV-1).

    Raises TypedEncodingError when the spec holds a value of the wrong type.
    """
    components = []
    for encoded in encode("RoleInstanceSpec", spec, "spec")["components"] or ():
        component = {"serviceName": None, **encoded}
        component.pop("size", None)
        component["template"] = {**component["template"], "$patch": "replace"}
        components.append(component)
    order = [{"name": component["name"]} for component in components]
    return Content.of({"spec": {"$setElementOrder/components": order, "components": components}}, _normal)


def instance_history(instance: RawObject, found: Iterable[RawObject]) -> list[RawObject]:
    """The instance's revisions among `found`, oldest first: its label and its controller reference (REV-5)."""
    name = instance["metadata"]["name"]
    mine = [r for r in found if (r["metadata"].get("labels") or {}).get(labels.ROLE_INSTANCE_NAME) == name]
    return owned_by(mine, instance["metadata"]["uid"], orphan=lambda _: False)


def resolve_instance(instance: RawObject, found: Collection[RawObject]) -> Resolution:
    """Current and update revision of an instance, and the writes they need (REV-6, REV-7).

    found: the ControllerRevisions that the cache lists under label role-instance-name, other owners' included.
    Raises TypedEncodingError as `instance_content` does.
    """
    meta, status = instance["metadata"], instance.get("status") or {}
    return resolve(
        instance_history(instance, found),
        Candidate(
            owner=instance,
            content=instance_content(instance["spec"]),
            labels={labels.ROLE_INSTANCE_NAME: meta["name"]},
            field_manager=identity.MANAGER_INSTANCE,
        ),
        current_name=status.get("currentRevision") or "",
        collision_count=status.get("collisionCount") or 0,
        seen=found,
    )


def truncate_instance(resolution: Resolution, pod_hashes: Iterable[str]) -> list[Delete]:
    """Deletions that keep at most five unused revisions (REV-9).

    pod_hashes: values of label controller-revision-hash on the instance's pods.
    """
    return truncate(
        resolution.history,
        keep={name_of(resolution.current), name_of(resolution.update), *pod_hashes},
        limit=identity.INSTANCE_REVISION_HISTORY_LIMIT,
        field_manager=identity.MANAGER_INSTANCE,
    )


def _normal(payload: Any) -> Any:
    try:
        spec = payload["spec"]
        components = list(spec["components"] or ())
    except (TypeError, KeyError):
        raise RevisionError("the revision holds no spec.components") from None
    normal = comparable("RoleInstanceSpec", {"components": components})["components"]
    for component in normal:
        component.pop("size", None)
    return drop_empty(normal)
