"""Owner references of raw objects (RT-CU-01, RT-CU-02)."""

from collections.abc import Mapping
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
    meta, owner_meta = obj.setdefault("metadata", {}), owner["metadata"]
    owner_namespace = owner_meta.get("namespace") or ""
    if owner_namespace and owner_namespace != (meta.get("namespace") or ""):
        raise ValueError(
            f"{owner['kind']} {owner_namespace}/{owner_meta['name']} cannot own "
            f"{obj.get('kind')} {meta.get('name')} outside its namespace"
        )
    new = controller_reference(owner)
    group = str(new["apiVersion"]).rpartition("/")[0]
    kept: list[dict[str, Any]] = []
    replaced = False
    for ref in meta.get("ownerReferences") or ():
        same = (str(ref.get("apiVersion", "")).rpartition("/")[0], ref.get("kind"), ref.get("name")) == (
            group,
            new["kind"],
            new["name"],
        )
        if ref.get("controller") and not same:
            raise AlreadyOwned(
                f"Object {meta.get('namespace', '')}/{meta.get('name')} is already owned by another "
                f"{ref.get('kind')} controller {ref.get('name')}"
            )
        if same:
            kept.append(new)
            replaced = True
        else:
            kept.append(ref)
    meta["ownerReferences"] = kept if replaced else [*kept, new]
