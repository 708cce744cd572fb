"""Owner references of raw objects (RT-CU-01, RT-CU-02)."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from rbgctl.machinery.gvk import RawObject


class OwnerRef(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One entry of metadata.ownerReferences."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]


class AlreadyOwned(Exception):
    """The object has another controller."""


class NotOwned(Exception):
    """The object has no such owner."""


def controller_reference(owner: Mapping[str, Any], *, block_owner_deletion: bool = True) -> dict[str, Any]:
    """The reference that makes `owner` the managing controller."""
    meta = owner["metadata"]
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": block_owner_deletion,
    }


def controller_of(obj: Mapping[str, Any]) -> dict[str, Any] | None:
    """The controller entry of a raw object's owner references."""
    for ref in (obj.get("metadata") or {}).get("ownerReferences") or ():
        if ref.get("controller"):
            return dict(ref)
    return None


def controlled_by(obj: Mapping[str, Any], uid: str) -> bool:
    """Whether the object's controller has exactly this uid."""
    ref = controller_of(obj)
    return ref is not None and ref.get("uid") == uid


def set_controller_reference(owner: Mapping[str, Any], obj: RawObject) -> None:
    """Make `owner` the controller of `obj` in place.

    A reference to the same group, kind and name is replaced (uid and version updated).
    Raises AlreadyOwned when another controller holds the object, ValueError when the scopes do not fit.
    """
    new = controller_reference(owner)
    for ref in _references(obj):
        if ref.get("controller") and not _same_owner(ref, new):
            meta = obj.get("metadata") or {}
            raise AlreadyOwned(
                f"Object {meta.get('namespace', '')}/{meta.get('name')} is already owned by another "
                f"{ref.get('kind')} controller {ref.get('name')}"
            )
    _put(owner, obj, new)


def set_owner_reference(owner: Mapping[str, Any], obj: RawObject, *, block_owner_deletion: bool | None = None) -> None:
    """Make `owner` one of the owners of `obj` in place, beside any others and any controller.

    A reference to the same group, kind and name is replaced. Raises ValueError when the scopes do not fit.
    """
    meta = owner["metadata"]
    new = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": meta["name"], "uid": meta["uid"]}
    if block_owner_deletion is not None:
        new["blockOwnerDeletion"] = block_owner_deletion
    _put(owner, obj, new)


def has_owner_reference(owner: Mapping[str, Any], obj: Mapping[str, Any]) -> bool:
    """Whether one of the object's owners has the group, kind and name of `owner` (the uid may be another)."""
    wanted = _name_of(owner)
    return any(_same_owner(ref, wanted) for ref in _references(obj))


def remove_owner_reference(owner: Mapping[str, Any], obj: RawObject) -> None:
    """Take the reference to `owner` off in place. Raises NotOwned when there is none."""
    wanted = _name_of(owner)
    kept = [ref for ref in _references(obj) if not _same_owner(ref, wanted)]
    if len(kept) == len(_references(obj)):
        raise NotOwned(
            f"{obj.get('kind')} {(obj.get('metadata') or {}).get('name')} has no owner reference to "
            f"{owner['kind']} {owner['metadata']['name']}"
        )
    obj["metadata"]["ownerReferences"] = kept
    if not kept:
        del obj["metadata"]["ownerReferences"]


def _references(obj: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    return (obj.get("metadata") or {}).get("ownerReferences") or ()


def _name_of(owner: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"]}


def _same_owner(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Versions and uids come and go; an owner is a group, a kind and a name."""

    def identity(ref: Mapping[str, Any]) -> tuple[str, Any, Any]:
        return str(ref.get("apiVersion", "")).rpartition("/")[0], ref.get("kind"), ref.get("name")

    return identity(a) == identity(b)


def _put(owner: Mapping[str, Any], obj: RawObject, new: dict[str, Any]) -> None:
    meta, owner_meta = obj.setdefault("metadata", {}), owner["metadata"]
    owner_namespace = owner_meta.get("namespace") or ""
    if owner_namespace and owner_namespace != (meta.get("namespace") or ""):
        raise ValueError(
            f"{owner['kind']} {owner_namespace}/{owner_meta['name']} cannot own "
            f"{obj.get('kind')} {meta.get('name')} outside its namespace"
        )
    references = _references(obj)
    if any(_same_owner(ref, new) for ref in references):
        meta["ownerReferences"] = [new if _same_owner(ref, new) else ref for ref in references]
    else:
        meta["ownerReferences"] = [*references, new]
