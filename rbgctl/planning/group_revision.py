"""Revisions of RoleBasedGroups: every role, replicas aside, and every role template (RBG-31 … RBG-43).

Unlike sets and instances a group never reuses an older revision: a rollback is a new revision with the next number.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rbgctl.api import events, identity, labels
from rbgctl.machinery.canonical_json import canonical_json
from rbgctl.machinery.gvk import RawObject
from rbgctl.machinery.plan import Create, Delete, PlannedEvent
from rbgctl.planning import revision_hash
from rbgctl.planning.revisions import (
    Candidate,
    Content,
    RevisionError,
    SameContent,
    deletions,
    in_order,
    new_revision,
    number_of,
    owned_by,
)
from rbgctl.planning.typed_encoding import comparable, encode

_REPLACE: Final = {"$patch": "replace"}
_NAME_PREFIX: Final = 220


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupResolution:
    """Outcome of `resolve_group`.

    group: whose history it is.
    revision: the group's revision; planned only (no uid) when `create` is set.
    role_hashes: role name to the value of its role-revision label (RBG-40).
    history: as it will be after `create`.
    create: the write, None when nothing changed.
    """

    group: RawObject
    revision: RawObject
    role_hashes: Mapping[str, str]
    history: Sequence[RawObject]
    create: Create | None = None

    @property
    def steps(self) -> tuple[Create, ...]:
        return (self.create,) if self.create else ()


def group_content(spec: Mapping[str, Any]) -> Content:
    """What a group's revision stores of its spec (RBG-34).

    Raises TypedEncodingError when the spec holds a value of the wrong type.
    """
    return Content.of(_data(encode, spec.get("roles") or (), spec.get("roleTemplates") or ()), _normal)


def group_history(group: RawObject, found: Iterable[RawObject]) -> list[RawObject]:
    """The group's revisions among `found`, oldest first (RBG-31).

    Those with the group's label that it controls, or that nobody controls and that hold a group's roles.
    """
    name = group["metadata"]["name"]
    mine = [r for r in found if (r["metadata"].get("labels") or {}).get(labels.GROUP_NAME) == name]
    return owned_by(mine, group["metadata"]["uid"], orphan=_holds_roles)


def resolve_group(group: RawObject, found: Collection[RawObject]) -> GroupResolution:
    """The revision of the group's spec, planned when there is none yet, and the hash of each role (RBG-32 … 40).

    found: the ControllerRevisions that the cache lists under label group-name.
    Only the newest revision is compared. When it says the same in other bytes, the role hashes are those of the
    stored bytes, so that no workload's labels move.
    Raises TypedEncodingError as `group_content` does, RevisionError when a role refers to an unknown template.
    """
    history = group_history(group, found)
    content = group_content(group.get("spec") or {})
    current = history[-1] if history else None
    if current is not None and content.same_as(current):
        return GroupResolution(group=group, revision=current, role_hashes=role_hashes(current["data"]), history=history)
    digest = revision_hash.group_hash(content.encoded)
    number = number_of(current) + 1 if current else 1
    name = group["metadata"]["name"]
    candidate = Candidate(
        owner=group,
        content=content,
        labels={labels.GROUP_NAME: name},
        field_manager=identity.MANAGER_GROUP,
    )
    revision = new_revision(
        candidate,
        name=f"{name[:_NAME_PREFIX]}-{digest}-{number}",
        number=number,
        hash_label=(labels.GROUP_REVISION, digest),
        annotations=False,
    )
    create = Create(
        obj=revision,
        accept_existing=SameContent(content),
        field_manager=identity.MANAGER_GROUP,
        on_success=PlannedEvent(
            group, "Normal", events.SUCCEED_CREATE_REVISION, "Successful create revision for RoleBasedGroup"
        ),
        on_failure=PlannedEvent(
            group, "Warning", events.FAILED_CREATE_REVISION, "Failed create revision for RoleBasedGroup"
        ),
    )
    return GroupResolution(
        group=group,
        revision=revision,
        role_hashes=role_hashes(revision["data"]),
        history=in_order([*history, revision]),
        create=create,
    )


def role_hashes(data: Mapping[str, Any]) -> dict[str, str]:
    """Role name to revision hash, from the data of a group's revision (RBG-40).

    A role's hash covers the role and the template that it refers to, nothing else.
    Raises RevisionError when the data is not a group's, or a role refers to a template that is not in it.
    """
    try:
        spec = data["spec"]
        roles = [r for r in spec["roles"] if "$patch" not in r]
        templates = {t["name"]: t["template"] for t in spec.get("roleTemplates") or () if "$patch" not in t}
        named = {role["name"]: role for role in roles}
    except (TypeError, KeyError) as error:
        raise RevisionError(f"not the data of a group's revision: {error}") from None
    hashes = {}
    for name, role in named.items():
        parts = [canonical_json(role)]
        if reference := _template_name(role):
            if reference not in templates:
                raise RevisionError(f"role {name} refers to the unknown role template {reference}")
            parts.append(canonical_json(templates[reference]))
        hashes[name] = revision_hash.group_hash(*parts)
    return hashes


def truncate_group(resolution: GroupResolution) -> list[Delete]:
    """Deletions that leave the newest five revisions (RBG-41)."""
    excess = max(0, len(resolution.history) - identity.GROUP_REVISION_HISTORY_LIMIT)
    message = f"Failed to delete expired revision for {resolution.group['metadata']['name']}"
    return deletions(
        resolution.history[:excess],
        identity.MANAGER_GROUP,
        PlannedEvent(resolution.group, "Warning", events.DELETE_EXPIRED_REVISION_ERROR, message),
    )


_Encoder = Callable[[str, Any, str], dict[str, Any]]


def _data(encoder: _Encoder, roles: Iterable[Any], templates: Iterable[Any]) -> dict[str, Any]:
    encoded_roles = (encoder("RoleSpec", role, f"spec.roles[{n}]") for n, role in enumerate(roles))
    encoded_templates = (encoder("RoleTemplate", t, f"spec.roleTemplates[{n}]") for n, t in enumerate(templates))
    return {
        "spec": {
            "roles": [_REPLACE, *({**role, "replicas": None} for role in encoded_roles)],
            "roleTemplates": [_REPLACE, *encoded_templates],
        }
    }


def _normal(payload: Any) -> Any:
    if not _holds_roles({"data": payload}):
        raise RevisionError("not the data of a group's revision")
    spec = payload["spec"]
    roles = [r for r in spec["roles"] if "$patch" not in r]
    templates = [t for t in spec.get("roleTemplates") or () if "$patch" not in t]
    return _data(comparable, roles, templates)


def _holds_roles(revision: Mapping[str, Any]) -> bool:
    data = revision.get("data")
    spec = data.get("spec") if isinstance(data, Mapping) else None
    roles = spec.get("roles") if isinstance(spec, Mapping) else None
    return isinstance(roles, list) and roles[:1] == [_REPLACE] and all(isinstance(r, Mapping) for r in roles)


def _template_name(role: Mapping[str, Any]) -> str:
    for pattern in ("standalonePattern", "leaderWorkerPattern"):
        name = ((role.get(pattern) or {}).get("templateRef") or {}).get("name")
        if name:
            return str(name)
    return ""
