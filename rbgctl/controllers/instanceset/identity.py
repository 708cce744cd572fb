"""What makes an instance the n-th of its set: name, labels, owner, and what it takes over from the set (SFM-10, RIS-1).

    name        <set>-<ordinal>
    labels      set labels, then selector.matchLabels, revision, identity labels (later ones win)
    annotations the COPIED_ANNOTATIONS that the set has
    spec        template of the revision, with the identity labels in every component's pod template

The identity labels say which instance a pod belongs to; RBG_ROLE_INDEX is read from them. Each instance gets its own
copy of what is changed for it, the rest of the template is shared and never changed.

COPIED_ANNOTATIONS and the role-revision labels follow the set later on, without a new revision; what was allocated to
an instance when it was made never does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rbgctl.api import annotations, kinds, labels, names
from rbgctl.api.v1alpha2.roleinstanceset import RoleInstanceSet
from rbgctl.controllers.instanceset.members import Member
from rbgctl.machinery.gvk import RawObject
from rbgctl.machinery.owner_references import controller_reference
from rbgctl.planning.revisions import name_of
from rbgctl.planning.set_revision import apply_revision
from rbgctl.planning.typed_encoding import rendered

COPIED_ANNOTATIONS: Final = (
    annotations.ROLE_INSTANCE_GANG_SCHEDULING,
    annotations.ROLE_INPLACE_SCHEDULING,
    annotations.ROLE_INPLACE_SCHEDULING_GRANULARITY,
    annotations.ROLE_INPLACE_SCHEDULING_AVOID,
    annotations.INPLACE_UPDATE_GRACE_PERIOD_SECONDS,
)
"""Annotations of the set that its instances carry too. RIS-1"""


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A revision as instances are made from it: its full name and the instance spec it stores."""

    revision: str
    spec: RawObject


def blueprint(role_instance_set: RawObject, revision: RawObject) -> Blueprint:
    """What `revision` makes of the set (REV-8). Raises ValueError for a revision that holds no usable template."""
    template = apply_revision(role_instance_set, revision)["spec"]["roleInstanceTemplate"]
    return Blueprint(name_of(revision), rendered("RoleInstanceSpec", template, "spec.roleInstanceTemplate"))


def identity_labels(name: str, ordinal: int) -> dict[str, str]:
    """The labels that tell the instances of a set apart."""
    return {labels.STATEFULSET_POD_NAME: name, labels.ROLE_INSTANCE_INDEX: str(ordinal)}


def new_instance(owner: RoleInstanceSet, raw: RawObject, ordinal: int, source: Blueprint) -> RawObject:
    """The RoleInstance to create for `ordinal`. `raw` is the same set undecoded."""
    meta = owner.metadata
    name = names.stateful_instance_name(meta.name, ordinal)
    selected = owner.spec.selector.match_labels if owner.spec.selector else None
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": meta.namespace,
        "labels": {
            **(meta.labels or {}),
            **(selected or {}),
            labels.CONTROLLER_REVISION_HASH: source.revision,
            **identity_labels(name, ordinal),
        },
        "ownerReferences": [controller_reference(raw)],
    }
    copied = {key: meta.annotation(key) for key in COPIED_ANNOTATIONS if key in (meta.annotations or {})}
    if copied:
        metadata["annotations"] = copied
    return {
        "apiVersion": kinds.API_VERSION,
        "kind": kinds.KIND_INSTANCE,
        "metadata": metadata,
        "spec": with_identity(source.spec, name, ordinal),
    }


def with_identity(spec: Mapping[str, Any], name: str, ordinal: int) -> RawObject:
    """`spec` with the identity labels in every pod template; `spec` itself stays as it is."""
    own = identity_labels(name, ordinal)
    return {**spec, "components": [_labelled(c, own) for c in spec.get("components") or ()]}


def metadata_changes(owner: RoleInstanceSet, member: Member, update: str) -> dict[str, Any]:
    """The merge patch of metadata that brings an instance's copied annotations and labels up to date; may be empty.

    Role-revision labels say what the pods follow, so an instance that stays behind at another revision keeps its own.
    """
    if member.instance is None:
        return {}
    have = member.instance.metadata.annotations or {}
    want = owner.metadata.annotations or {}
    patch: dict[str, Any] = {}
    changed = {k: want.get(k) for k in COPIED_ANNOTATIONS if have.get(k) != want.get(k)}
    if changed:
        patch["annotations"] = changed
    if member.revision == update:
        carried = member.instance.metadata.labels or {}
        revisions = {
            k: v
            for k, v in (owner.metadata.labels or {}).items()
            if k.startswith(labels.ROLE_REVISION_PREFIX) and carried.get(k) != v
        }
        if revisions:
            patch["labels"] = revisions
    return patch


def _labelled(component: Mapping[str, Any], own: Mapping[str, str]) -> RawObject:
    template = component.get("template") or {}
    metadata = template.get("metadata") or {}
    labelled = {**metadata, "labels": {**(metadata.get("labels") or {}), **own}}
    return {**component, "template": {**template, "metadata": labelled}}
