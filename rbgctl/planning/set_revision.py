"""Revisions of RoleInstanceSets: the whole roleInstanceTemplate (REV-1 … REV-9)."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from rbgctl.api import identity, labels
from rbgctl.machinery.gvk import RawObject
from rbgctl.machinery.plan import Delete
from rbgctl.planning.revisions import Candidate, Content, Resolution, RevisionError, drop_empty, owned_by, resolve
from rbgctl.planning.revisions import truncate as truncate_history
from rbgctl.planning.typed_encoding import comparable, encode


def set_content(role_instance_template: Mapping[str, Any]) -> Content:
    """What a set's revision stores of its `spec.roleInstanceTemplate` (REV-1).

    Raises TypedEncodingError when the template holds a value of the wrong type.
    """
    template = encode("RoleInstanceSpec", role_instance_template, "spec.roleInstanceTemplate")
    return Content.of({"spec": {"roleInstanceTemplate": {**template, "$patch": "replace"}}}, _normal)


def set_labels(role_instance_set: RawObject, *, stateless: bool) -> dict[str, str]:
    """Labels of a set's revisions (REV-4): the selector's in stateful mode, the set's uid in stateless mode.

    A stateful set without a selector is identified by its uid too.
    """
    selector = (role_instance_set["spec"].get("selector") or {}).get("matchLabels")
    if stateless or not selector:
        return {labels.ROLE_INSTANCE_OWNER: role_instance_set["metadata"]["uid"]}
    return dict(selector)


def set_history(role_instance_set: RawObject, found: Iterable[RawObject], *, stateless: bool) -> list[RawObject]:
    """The set's revisions among `found`, oldest first (REV-5).

    Whatever the set controls counts, in spite of its labels (they differ after a switch of the pattern); of the
    ownerless ones those that carry the labels and hold a set's template. Nothing that others control.
    """
    wanted = set_labels(role_instance_set, stateless=stateless).items()

    def orphan(revision: RawObject) -> bool:
        template = ((revision.get("data") or {}).get("spec") or {}).get("roleInstanceTemplate")
        return template is not None and wanted <= (revision["metadata"].get("labels") or {}).items()

    return owned_by(found, role_instance_set["metadata"]["uid"], orphan=orphan)


def resolve_set(
    role_instance_set: RawObject, found: Collection[RawObject], *, stateless: bool, adopt: bool = False
) -> Resolution:
    """Current and update revision of a set, and the writes they need (REV-6, REV-7).

    found: the ControllerRevisions that the cache lists under the set's uid or under its labels, other owners'
        included (they tell which names are taken); order and more than that do not matter.
    adopt: also take ownerless ones as controller (SFM-1.2).
    Raises TypedEncodingError as `set_content` does.
    """
    status = role_instance_set.get("status") or {}
    return resolve(
        set_history(role_instance_set, found, stateless=stateless),
        Candidate(
            owner=role_instance_set,
            content=set_content(role_instance_set["spec"].get("roleInstanceTemplate") or {}),
            labels=set_labels(role_instance_set, stateless=stateless),
            field_manager=_manager(stateless),
        ),
        current_name=status.get("currentRevision") or "",
        collision_count=status.get("collisionCount") or 0,
        seen=found,
        adopt=adopt,
    )


def apply_revision(role_instance_set: RawObject, revision: Mapping[str, Any]) -> RawObject:
    """The set with the template that the revision stores (REV-8); the set given is not changed.

    Raises RevisionError when the revision holds no template.
    """
    template = dict(_template(revision.get("data")))
    template.pop("$patch", None)
    return {**role_instance_set, "spec": {**role_instance_set["spec"], "roleInstanceTemplate": template}}


def truncate_set(
    role_instance_set: RawObject, resolution: Resolution, child_hashes: Iterable[str], *, stateless: bool
) -> list[Delete]:
    """Deletions that keep at most `spec.revisionHistoryLimit` (default 10) unused revisions (REV-9).

    child_hashes: values of label controller-revision-hash on the set's instances.
    Raises ValueError for a negative limit.
    """
    limit = role_instance_set["spec"].get("revisionHistoryLimit")
    return truncate_history(
        resolution.history,
        keep={resolution.current["metadata"]["name"], resolution.update["metadata"]["name"], *child_hashes},
        limit=identity.INSTANCE_SET_REVISION_HISTORY_LIMIT if limit is None else limit,
        field_manager=_manager(stateless),
    )


def _manager(stateless: bool) -> str:
    return identity.MANAGER_INSTANCE_SET_STATELESS if stateless else identity.MANAGER_INSTANCE_SET_STATEFUL


def _template(payload: Any) -> Mapping[str, Any]:
    try:
        template = payload["spec"]["roleInstanceTemplate"]
    except (TypeError, KeyError):
        template = None
    if not isinstance(template, Mapping):
        raise RevisionError("the revision holds no spec.roleInstanceTemplate")
    return template


def _normal(payload: Any) -> Any:
    return drop_empty(comparable("RoleInstanceSpec", _template(payload)))
