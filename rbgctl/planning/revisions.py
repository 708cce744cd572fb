"""ControllerRevision history (apps/v1): which revision is current, which is wanted, and the writes in between.

What is common to the three histories we keep: of groups (group_revision.py), of RoleInstanceSets (set_revision.py)
and of RoleInstances (instance_revision.py). Those say what goes into a revision; here is what happens to it.

A revision is recognised by its content, not by its bytes (REV-6 improvement): the Go operator or an older release may
have spelled the same template differently, and a new revision would restart every pod. New revisions carry exactly
the bytes, name and labels that the Go operator would give them.

A history is a list of ControllerRevisions sorted by (revision, creationTimestamp, name), oldest first. A revision
that is planned but not created yet stands in it like any other, only without uid and resourceVersion.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import orjson

from rbgctl.api import labels
from rbgctl.machinery.canonical_json import canonical_json
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.machinery.owner_references import controller_of, controller_reference
from rbgctl.machinery.plan import Create, Delete, MergePatch, PlannedEvent, SingleWrite
from rbgctl.planning.revision_hash import revision_hash

CONTROLLER_REVISION: Final = GVK("apps", "v1", "ControllerRevision")

_NAME_PREFIX_BYTES: Final = 223
_KEEP_EMPTY: Final = frozenset({"emptyDir", "labelSelector", "namespaceSelector", "selector"})
"""Keys under which an empty map means something else than its absence."""


class RevisionError(ValueError):
    """A revision's data does not have the shape that its kind must have."""


@dataclass(frozen=True, slots=True)
class Content:
    """The data of a revision: the exact bytes, and how to tell whether another revision says the same.

    `normalise` maps a payload to what is compared; it raises ValueError for a payload of another kind.
    """

    encoded: bytes
    normalise: Callable[[Any], Any] = field(repr=False)

    @classmethod
    def of(cls, payload: Mapping[str, Any], normalise: Callable[[Any], Any]) -> "Content":
        return cls(canonical_json(payload), normalise)

    @property
    def payload(self) -> dict[str, Any]:
        """A fresh copy of the data, keys sorted as in the bytes."""
        decoded: dict[str, Any] = orjson.loads(self.encoded)
        return decoded

    def same_bytes(self, revision: Mapping[str, Any]) -> bool:
        """Whether the revision's data is this, byte for byte."""
        return canonical_json(revision.get("data")) == self.encoded

    def same_as(self, revision: Mapping[str, Any]) -> bool:
        """Whether the revision's data means the same (RBG-38, REV-6)."""
        stored = canonical_json(revision.get("data"))
        return stored == self.encoded or _meaning(self.normalise, stored) == _meaning(self.normalise, self.encoded)


@dataclass(frozen=True, slots=True)
class SameContent:
    """Judge of a revision found under the name that was to be created (`Create.accept_existing`)."""

    content: Content

    def __call__(self, live: RawObject) -> bool:
        return self.content.same_as(live)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """The revision that an object's spec calls for.

    owner: the object; apiVersion, kind and metadata are used.
    labels: what a revision of this owner must carry, without the hash label (REV-4).
    field_manager: of the writes.
    """

    owner: RawObject
    content: Content
    labels: Mapping[str, str]
    field_manager: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """Outcome of `resolve`.

    current, update: ControllerRevisions; the update one may be planned only (no uid yet). The same object when
        nothing is being rolled out.
    collision_count: to be kept in status.collisionCount.
    history: as it will be when `steps` are done.
    steps: the writes, in order; empty when nothing changes.
    """

    current: RawObject
    update: RawObject
    collision_count: int
    history: Sequence[RawObject]
    steps: Sequence[SingleWrite] = ()

    @property
    def rolling(self) -> bool:
        """Whether current and update differ."""
        return name_of(self.current) != name_of(self.update)


def name_of(revision: Mapping[str, Any]) -> str:
    """Full name: what stateful instances carry in label controller-revision-hash, and status fields name."""
    name: str = revision["metadata"]["name"]
    return name


def short_hash(revision: Mapping[str, Any] | str) -> str:
    """Text after the last dash of the name: what stateless instances and pods carry (LBL-21).

    Takes a revision or its name; a text without a dash is returned as it is.
    """
    name = revision if isinstance(revision, str) else name_of(revision)
    return name.rpartition("-")[2]


def number_of(revision: Mapping[str, Any]) -> int:
    """The revision number; 0 when there is none."""
    return int(revision.get("revision") or 0)


def in_order(revisions: Iterable[RawObject]) -> list[RawObject]:
    """A history: sorted oldest first (REV-5), each name once."""
    return sorted({name_of(r): r for r in revisions}.values(), key=_age)


def owned_by(revisions: Iterable[RawObject], uid: str, *, orphan: Callable[[RawObject], bool]) -> list[RawObject]:
    """The history of one owner: controlled by `uid`, or by nobody and accepted by `orphan`."""
    found = []
    for revision in revisions:
        controller = controller_of(revision)
        if controller.get("uid") == uid if controller is not None else orphan(revision):
            found.append(revision)
    return in_order(found)


def resolve(
    history: Sequence[RawObject],
    candidate: Candidate,
    *,
    current_name: str = "",
    collision_count: int = 0,
    seen: Iterable[RawObject] = (),
    adopt: bool = False,
) -> Resolution:
    """Find or plan the revision for `candidate`, and find the current one (REV-6, REV-7).

    history: the owner's revisions, see `owned_by`.
    current_name: status.currentRevision of the owner; unknown or empty means the update revision.
    collision_count: status.collisionCount.
    seen: any other revisions of the namespace that the caller knows of. One that has the computed name but says
        something else raises the collision count; one that says the same and belongs to nobody is taken over.
    adopt: plan to take ownerless revisions of the history as controller (SFM-1.2). The caller makes sure that the
        owner is alive and the same as in the API server.

    An equal revision is reused: the newest as it is, an older one with the next number (rollback), in both cases
    with the labels that it lacks. Otherwise one is created; a revision of that name found live is accepted when it
    says the same, else the create fails and the next pass, which sees it, takes another name.
    """
    ordered = in_order(history)
    planner = _Planner(ordered, candidate, adopt=adopt)
    next_number = number_of(ordered[-1]) + 1 if ordered else 1
    equal = [r for r in ordered if candidate.content.same_as(r)]
    if equal:
        newest = name_of(equal[-1]) == name_of(ordered[-1])
        update = planner.reuse(equal[-1], number_of(equal[-1]) if newest else next_number)
    else:
        label_hash = revision_hash(candidate.content.encoded, collision_count)
        taken = {name_of(r): r for r in [*seen, *ordered]}
        while (found := taken.get(_name(candidate, collision_count))) is not None:
            if candidate.content.same_as(found):
                break
            collision_count += 1
        if found is not None and _is_free(found, candidate):
            update = planner.reuse(found, max(next_number, number_of(found)))
        else:
            update = planner.create(_name(candidate, collision_count), label_hash, next_number)
    known = in_order(planner.history.values())
    current = next((r for r in known if name_of(r) == current_name), update)
    return Resolution(
        current=current,
        update=update,
        collision_count=collision_count,
        history=known,
        steps=planner.steps(),
    )


def truncate(
    history: Sequence[RawObject],
    *,
    keep: Collection[str],
    limit: int,
    field_manager: str = "",
) -> list[Delete]:
    """Deletions, oldest first, until at most `limit` revisions are left that nobody needs (REV-9).

    keep: names of the current and update revisions and the values of the children's controller-revision-hash label,
        full names or short hashes.
    Planned revisions are never deleted. Raises ValueError for a negative limit.
    """
    if limit < 0:
        raise ValueError(f"revisionHistoryLimit must not be negative, found {limit}")
    unused = [
        r
        for r in in_order(history)
        if r["metadata"].get("uid") and name_of(r) not in keep and short_hash(r) not in keep
    ]
    return deletions(unused[: max(0, len(unused) - limit)], field_manager)


def deletions(
    revisions: Iterable[RawObject], field_manager: str = "", on_failure: PlannedEvent | None = None
) -> list[Delete]:
    """One deletion each, of exactly the revision that was seen."""
    return [
        Delete(
            gvk=CONTROLLER_REVISION,
            key=NN.of(revision),
            uid=revision["metadata"].get("uid"),
            field_manager=field_manager,
            on_failure=on_failure,
        )
        for revision in revisions
    ]


def new_revision(
    candidate: Candidate, *, name: str, number: int, hash_label: tuple[str, str], annotations: bool = True
) -> RawObject:
    """The ControllerRevision to create (REV-4, RBG-33)."""
    meta = candidate.owner["metadata"]
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": meta.get("namespace") or "",
        "labels": {**candidate.labels, hash_label[0]: hash_label[1]},
        "ownerReferences": [controller_reference(candidate.owner)],
    }
    if annotations and meta.get("annotations"):
        metadata["annotations"] = dict(meta["annotations"])
    return {
        "apiVersion": CONTROLLER_REVISION.api_version,
        "kind": CONTROLLER_REVISION.kind,
        "metadata": metadata,
        "data": candidate.content.payload,
        "revision": number,
    }


def drop_empty(value: Any) -> Any:
    """The normal form of REV-6: no nulls, no empty lists and no empty maps as values of a map.

    An empty map stays where it says something (`emptyDir: {}`, selectors), and list elements always stay.
    """
    if isinstance(value, Mapping):
        kept = {}
        for key, item in value.items():
            normal = drop_empty(item)
            if normal is None or normal == [] or (normal == {} and key not in _KEEP_EMPTY):
                continue
            kept[key] = normal
        return kept
    if isinstance(value, list | tuple):
        return [drop_empty(item) for item in value]
    return value


@lru_cache(maxsize=512)
def _meaning(normalise: Callable[[Any], Any], encoded: bytes) -> bytes:
    """A digest of what data means. Kept, since the same few revisions are compared in every pass of a rollout."""
    payload = orjson.loads(encoded)
    try:
        payload = normalise(payload)
    except ValueError:
        return encoded
    return hashlib.blake2b(canonical_json(payload), digest_size=16).digest()


class _Planner:
    """Collects what happens to each revision, so that one revision never gets two patches."""

    def __init__(self, history: Sequence[RawObject], candidate: Candidate, *, adopt: bool) -> None:
        self.history = {name_of(r): r for r in history}
        self._candidate = candidate
        self._patches: dict[str, dict[str, Any]] = {}
        self._create: Create | None = None
        if adopt:
            for revision in history:
                if controller_of(revision) is None:
                    self._adopt(revision)

    def reuse(self, revision: RawObject, number: int) -> RawObject:
        """The revision with this number and all labels, taken over if it belongs to nobody."""
        if name_of(revision) not in self.history and controller_of(revision) is None:
            self._adopt(revision)
        changed = self.history.get(name_of(revision), revision)
        if number_of(revision) != number:
            self._patch(revision)["revision"] = number
            changed = {**changed, "revision": number}
        given = revision["metadata"].get("labels") or {}
        missing = {k: v for k, v in self._candidate.labels.items() if given.get(k) != v}
        if missing:
            self._patch(revision)["metadata"]["labels"] = missing
            changed = {**changed, "metadata": {**changed["metadata"], "labels": {**given, **missing}}}
        self.history[name_of(revision)] = changed
        return changed

    def create(self, name: str, label_hash: str, number: int) -> RawObject:
        revision = new_revision(
            self._candidate, name=name, number=number, hash_label=(labels.REVISION_HASH, label_hash)
        )
        self._create = Create(
            obj=revision,
            accept_existing=SameContent(self._candidate.content),
            field_manager=self._candidate.field_manager,
        )
        self.history[name] = revision
        return revision

    def steps(self) -> list[SingleWrite]:
        writes: list[SingleWrite] = [
            MergePatch(
                gvk=CONTROLLER_REVISION,
                key=NN(self.history[name]["metadata"].get("namespace") or "", name),
                patch=patch,
                field_manager=self._candidate.field_manager,
            )
            for name, patch in self._patches.items()
        ]
        return [*writes, self._create] if self._create else writes

    def _adopt(self, revision: RawObject) -> None:
        owners = [
            *(revision["metadata"].get("ownerReferences") or ()),
            controller_reference(self._candidate.owner),
        ]
        self._patch(revision)["metadata"]["ownerReferences"] = owners
        self.history[name_of(revision)] = {
            **revision,
            "metadata": {**revision["metadata"], "ownerReferences": owners},
        }

    def _patch(self, revision: RawObject) -> dict[str, Any]:
        """The patch of one revision so far; it applies to exactly the version that was seen."""
        meta = revision["metadata"]
        precondition = {key: meta[key] for key in ("uid", "resourceVersion") if key in meta}
        return self._patches.setdefault(name_of(revision), {"metadata": precondition})


def _age(revision: Mapping[str, Any]) -> tuple[int, str, str]:
    created = revision["metadata"].get("creationTimestamp") or "~"
    return number_of(revision), created, name_of(revision)


def _is_free(revision: RawObject, candidate: Candidate) -> bool:
    """Whether the owner may take the revision: nobody else controls it."""
    controller = controller_of(revision)
    return controller is None or controller.get("uid") == candidate.owner["metadata"]["uid"]


def _name(candidate: Candidate, collision_count: int) -> str:
    owner: str = candidate.owner["metadata"]["name"]
    prefix = owner.encode()[:_NAME_PREFIX_BYTES].decode(errors="ignore")
    return f"{prefix}-{revision_hash(candidate.content.encoded, collision_count)}"
