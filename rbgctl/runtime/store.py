"""What an informer remembers: a small decoded header and the raw bytes per object (RT-ST-01..06, RT-MM-02..04).

Headers answer predicates, handlers, indexes and label filters; bodies stay bytes until a reconciler asks for one.
"""

import zlib
from collections.abc import Callable, Iterable, KeysView, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import orjson
import structlog

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.machinery.owner_references import OwnerRef
from rbgctl.runtime.intern import InternTable

_log = structlog.get_logger("rbgctl.runtime.store")


class Header(msgspec.Struct, gc=False, frozen=True):
    """The decoded part of a cached object.

    deletion: the deletionTimestamp text, empty when the object lives. annotations: only those the kind keeps.
    hot: the kind's own frequently asked fields, see KindOptions.hot.
    """

    namespace: str
    name: str
    uid: str
    rv: str
    generation: int = 0
    deletion: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    owners: tuple[OwnerRef, ...] = ()
    hot: tuple[str, ...] = ()

    @property
    def key(self) -> NN:
        return NN(self.namespace, self.name)

    def label(self, key: str, default: str = "") -> str:
        return next((v for k, v in self.labels if k == key), default)

    @property
    def controller(self) -> OwnerRef | None:
        return next((o for o in self.owners if o.controller), None)


class Entry(msgspec.Struct, gc=False, frozen=True):
    """One cached object: header and body bytes (JSON with apiVersion and kind, managedFields mostly dropped).

    raw: what is kept of the body, compressed for kinds that want it so.
    """

    header: Header
    raw: bytes

    @property
    def body(self) -> bytes:
        """The JSON text. No zlib stream begins with a brace (RT-MM-08)."""
        return self.raw if self.raw.startswith(b"{") else zlib.decompress(self.raw)

    def decode(self) -> RawObject:
        """A fresh private object (RT-MM-03)."""
        decoded: RawObject = orjson.loads(self.body)
        return decoded


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A deletion noticed only by absence; `last` is the last known state, if any (RT-IN-07)."""

    key: NN
    last: Entry | None


_ABSENT = msgspec.Raw()


class _Meta(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[OwnerRef] | None = None
    managed_fields: msgspec.Raw = _ABSENT


_META = msgspec.json.Decoder(_Meta)
_RAW_MAP = msgspec.json.Decoder(dict[str, msgspec.Raw])
_RAW_LIST = msgspec.json.Decoder(list[msgspec.Raw])


class _Manager(msgspec.Struct):
    manager: str = ""


_MANAGED_FIELDS = b'"managedFields":'
_MANAGER = msgspec.json.Decoder(_Manager)
_ENCODER = msgspec.json.Encoder()


class WrongKind(ValueError):
    """An object of another kind than the collection's, a printed Table for instance."""


Hot = Callable[[Mapping[str, msgspec.Raw]], tuple[str, ...]]


class EntryDecoder:
    """Turns the raw JSON of one object into an Entry without decoding its body.

    keep_managers: managers whose managedFields entries stay (those that apply this kind); the rest is dropped
    (RT-IN-09). keep_annotations: prefixes of annotation keys that the header keeps. hot: see Header. compress: keep
    bodies compressed (RT-MM-08). names: shares texts that recur in headers; one table may serve many decoders.
    """

    def __init__(
        self,
        gvk: GVK,
        *,
        keep_managers: frozenset[str] = frozenset(),
        keep_annotations: tuple[str, ...] = (),
        hot: Hot | None = None,
        compress: bool = False,
        names: InternTable | None = None,
    ) -> None:
        version, kind = orjson.dumps(gvk.api_version), orjson.dumps(gvk.kind)
        self._identity = {"apiVersion": msgspec.Raw(version), "kind": msgspec.Raw(kind)}
        self._accepted = {(version, kind), (b'"meta.k8s.io/v1"', b'"PartialObjectMetadata"'), (b"", b"")}
        self._gvk = gvk
        self._keep_managers = keep_managers
        self._keep_annotations = keep_annotations
        self._hot = hot
        self._compress = compress
        self._buffer = bytearray()
        self._names = names if names is not None else InternTable()

    def entry(self, raw: bytes | msgspec.Raw) -> Entry:
        """Raises msgspec.DecodeError for anything that is not an object with metadata, WrongKind for other kinds."""
        return self.entry_of(_RAW_MAP.decode(raw))

    def entry_of(self, body: dict[str, msgspec.Raw]) -> Entry:
        """Like `entry`, of an object whose fields are already told apart; `body` is used up."""
        found = bytes(body.get("apiVersion", b"")), bytes(body.get("kind", b""))
        if found not in self._accepted:
            raise WrongKind(f"expected {self._gvk}, found apiVersion {found[0]!r}, kind {found[1]!r}")
        given = body.get("metadata")
        if given is None:
            raise msgspec.ValidationError("an object without metadata")
        meta = _META.decode(given)
        if meta.managed_fields is not _ABSENT:
            body["metadata"] = self._less_managed(given, meta.managed_fields)
        body.update(self._identity)
        annotations = (
            tuple(sorted((k, v) for k, v in (meta.annotations or {}).items() if k.startswith(self._keep_annotations)))
            if self._keep_annotations
            else ()
        )
        intern = self._names.intern
        header = Header(
            namespace=intern(meta.namespace),
            name=meta.name,
            uid=meta.uid,
            rv=meta.resource_version,
            generation=meta.generation,
            deletion=meta.deletion_timestamp or "",
            # Lists, since a generator costs about as much as what it makes of so few.
            labels=tuple([(intern(k), v) for k, v in meta.labels.items()]) if meta.labels else (),
            annotations=tuple([(intern(k), v) for k, v in annotations]) if annotations else (),
            owners=tuple([self._owner(ref) for ref in meta.owner_references]) if meta.owner_references else (),
            hot=tuple(map(intern, self._hot_fields(self._hot, body, meta))) if self._hot is not None else (),
        )
        # By way of a buffer: bytes that the encoder makes itself keep half their size in reserve for ever.
        _ENCODER.encode_into(body, self._buffer)
        raw = bytes(self._buffer)
        return Entry(header, zlib.compress(raw, 1) if self._compress else raw)

    def _less_managed(self, metadata: msgspec.Raw, managed: msgspec.Raw) -> msgspec.Raw:
        """`metadata` without the managedFields entries that nobody will ask for."""
        if not self._keep_managers:
            rest_of_it = _cut_out(bytes(metadata), _MANAGED_FIELDS + bytes(managed))
            if rest_of_it is not None:
                return msgspec.Raw(rest_of_it)
        rest = _RAW_MAP.decode(metadata)
        del rest["managedFields"]
        if self._keep_managers:
            entries = _RAW_LIST.decode(managed)
            kept = [m for m in entries if _MANAGER.decode(m).manager in self._keep_managers]
            if kept:
                rest["managedFields"] = msgspec.Raw(_ENCODER.encode(kept))
        return msgspec.Raw(_ENCODER.encode(rest))

    def _owner(self, ref: OwnerRef) -> OwnerRef:
        intern = self._names.intern
        return OwnerRef(intern(ref.api_version), intern(ref.kind), ref.name, ref.uid, ref.controller)

    def _hot_fields(self, hot: Hot, body: Mapping[str, msgspec.Raw], meta: _Meta) -> tuple[str, ...]:
        try:
            return hot(body)
        except Exception as error:  # noqa: BLE001 - a broken function must not keep the object out of the cache
            _log.error("hot fields failed", object=f"{meta.namespace}/{meta.name}", error=repr(error))
            return ()


def _cut_out(text: bytes, member: bytes) -> bytes | None:
    """A JSON object without one of its members, given as written there: a third of what decoding it costs.

    None when it is not there in these bytes, as with white space around the colon, and when it is the only one.
    """
    # Within a string its quotes would be escaped, so what is found is the member.
    at = text.find(member)
    if at < 0:
        return None
    end = at + len(member)
    if text[at - 1 : at] == b",":
        return text[: at - 1] + text[end:]
    return text[:at] + text[end + 1 :] if text[end : end + 1] == b"," else None


IndexFunction = Callable[[Header], Iterable[str]]


class Known(Protocol):
    """What a queue compares a new list with: a store, or the share of one scope in it."""

    def get(self, key: NN) -> Entry | None: ...

    def keys(self) -> KeysView[NN]: ...

    def entries(self) -> Iterable[Entry]: ...


class Indexer:
    """Entries by key and by any number of indexes over their headers."""

    def __init__(self, indexers: Mapping[str, IndexFunction] | None = None) -> None:
        self._entries: dict[NN, Entry] = {}
        self._functions: dict[str, IndexFunction] = {}
        self._indexes: dict[str, _Index] = {}
        for name, function in (indexers or {}).items():
            self.add_index(name, function)

    def add_index(self, name: str, function: IndexFunction) -> None:
        """Existing entries are indexed too. Raises ValueError when the name is taken (RT-ST-03)."""
        if name in self._functions:
            raise ValueError(f"index {name!r} exists already")
        self._functions[name] = function
        self._indexes[name] = {}
        for key, entry in self._entries.items():
            _put_in(self._indexes[name], self._values(name, entry.header), key)

    def has_index(self, name: str) -> bool:
        return name in self._functions

    def upsert(self, entry: Entry) -> Entry | None:
        """Store `entry`; returns what it replaces."""
        key = entry.header.key
        old = self._entries.get(key)
        self._entries[key] = entry
        for name, index in self._indexes.items():
            values = self._values(name, entry.header)
            if old is not None:
                before = self._values(name, old.header)
                if before == values:
                    continue  # as for nearly every update
                _take_out(index, before, key)
            _put_in(index, values, key)
        return old

    def remove(self, key: NN) -> Entry | None:
        old = self._entries.pop(key, None)
        if old is not None:
            for name, index in self._indexes.items():
                _take_out(index, self._values(name, old.header), key)
        return old

    def replace(self, entries: Iterable[Entry]) -> None:
        """Store these and nothing else; the indexes stay defined."""
        self._entries.clear()
        for index in self._indexes.values():
            index.clear()
        for entry in entries:
            self.upsert(entry)

    def get(self, key: NN) -> Entry | None:
        return self._entries.get(key)

    def keys(self) -> KeysView[NN]:
        return self._entries.keys()

    def entries(self) -> Iterable[Entry]:
        return self._entries.values()

    def by_index(self, name: str, value: str) -> Sequence[Entry]:
        """Entries whose index function named `value`, in insertion order. Raises KeyError for an unknown index."""
        return [self._entries[key] for key in self._indexes[name].get(value, ())]

    def index_keys(self, name: str, value: str) -> Sequence[NN]:
        """Like `by_index`, keys only."""
        return list(self._indexes[name].get(value, ()))

    def list_index_values(self, name: str) -> Sequence[str]:
        """All values that an index has now. Raises KeyError for an unknown index."""
        return list(self._indexes[name])

    def __len__(self) -> int:
        return len(self._entries)

    def _values(self, name: str, header: Header) -> list[str]:
        try:
            return list(self._functions[name](header))
        except Exception as error:  # noqa: BLE001 - a broken index function must not stop the informer (RT-ST-02)
            _log.error("index function failed", index=name, object=str(header.key), error=repr(error))
            return []


_Index = dict[str, dict[NN, None]]


def _put_in(index: _Index, values: Iterable[str], key: NN) -> None:
    for value in values:
        index.setdefault(value, {})[key] = None


def _take_out(index: _Index, values: Iterable[str], key: NN) -> None:
    for value in values:
        keys = index.get(value)
        if keys is not None:
            keys.pop(key, None)
            if not keys:
                del index[value]


def owner_uids(header: Header) -> Iterable[str]:
    """Index function: the uid of every owner (RT-ID-10)."""
    return (o.uid for o in header.owners)


def decode_raw(value: msgspec.Raw | None) -> Any:
    """The JSON value of a raw slice, None for a missing one. For `hot` functions."""
    return None if value is None else orjson.loads(bytes(value))
