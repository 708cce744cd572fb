"""JSON objects re-encoded the way Go's typed structs would encode them (RBG-36, RBG-141, REV-2).

The Go operator decodes a pod template into structs and encodes these again: what the structs do not know is gone,
optional fields that hold their zero value are gone, fields without `omitempty` are always there, quantities are in
canonical spelling. The result is what revision hashes are taken of and what a RoleInstanceSet carries.

Two tables say what the structs look like: core_types.json, printed by hack/controlplane/typeschema from k8s.io/api,
and workload_types.py for the specs of our own kinds.

Encoding is idempotent: what comes out encodes to itself.
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any, Final, NamedTuple

from rbgctl.machinery.quantity import Quantity, quantity_of
from rbgctl.planning.workload_types import OBJECT_RESTART_POLICY, WORKLOAD_TYPES

JSON = Any
"""A decoded JSON value."""

_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})", re.ASCII)
_NOT_OMITTED_WHEN_EMPTY: Final = frozenset({"struct", "quantity", "intorstring", "time"})
"""`omitempty` has no effect on a struct in Go, and these are structs."""


class TypedEncodingError(ValueError):
    """A value of the wrong JSON type. The Go operator cannot even read such an object."""

    def __init__(self, path: str, wanted: str, found: JSON) -> None:
        super().__init__(f"{path} must be {wanted}, found {_shown(found)}")
        self.path = path
        self.wanted = wanted
        self.found = found


def encode(type_name: str, value: JSON, path: str = "") -> dict[str, JSON]:
    """`value` as Go encodes a struct of this type, nulls included: the form of revision data (RBG-36).

    `type_name` is a name of either table, e.g. "PodTemplateSpec", "RoleSpec", "RoleInstanceSpec". `path` starts the
    field paths in errors. `value` is not changed; the result shares nothing with it but raw patches.
    Raises TypedEncodingError for a value of the wrong type, KeyError for an unknown type name.
    """
    return _codec(type_name, False)(value, path or type_name)


def comparable(type_name: str, value: JSON, path: str = "") -> dict[str, JSON]:
    """The same with every quantity replaced by its bare value: to compare with, never to store (REV-6).

    Two spellings that Go keeps apart (`1.500`, `1500m`, `15e-1`) are one here. Raises as `encode` does.
    """
    return _codec(type_name, True)(value, path or type_name)


def rendered(type_name: str, value: JSON, path: str = "") -> dict[str, JSON]:
    """The same without nulls: the form sent in applies (RBG-141). Raises as `encode` does."""
    result: dict[str, JSON] = without_nulls(encode(type_name, value, path))
    return result


def rendered_pod_template(template: JSON, path: str = "template") -> dict[str, JSON]:
    """A pod template as it stands in a RoleInstanceSet (RBG-141). Raises TypedEncodingError."""
    return rendered("PodTemplateSpec", template, path)


def without_nulls(value: JSON) -> JSON:
    """A copy without the map entries that are null; list elements stay."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


_Encode = Callable[[JSON, str], JSON]
"""Encodes a present, non-null value; the text is its path for errors."""


class _Field(NamedTuple):
    name: str
    encode: _Encode
    zero: Callable[[], JSON]
    """The encoding of an absent value."""
    when_absent: bool
    """Whether an absent value is emitted."""
    when_empty: bool
    """Whether a present value is emitted although its encoding is empty, zero or false."""


class _Struct:
    """Encodes one struct type; calling it is the encoder."""

    def __init__(self, type_name: str, by_value: bool) -> None:
        table = WORKLOAD_TYPES.get(type_name) or _core_types()[type_name]
        self._fields = tuple(_field(name, shape, by_value) for name, shape in table.items())
        self._object_restart_policy = type_name in OBJECT_RESTART_POLICY

    def __call__(self, value: JSON, path: str) -> dict[str, JSON]:
        if not isinstance(value, Mapping):
            raise TypedEncodingError(path, "an object", value)
        if self._object_restart_policy:
            value = _with_restart_policy_config(value)
        result: dict[str, JSON] = {}
        for field in self._fields:
            given = value.get(field.name)
            if given is None:
                if field.when_absent:
                    result[field.name] = field.zero()
                continue
            encoded = field.encode(given, f"{path}.{field.name}")
            if encoded or field.when_empty:
                result[field.name] = encoded
        return result

    def zero(self) -> dict[str, JSON]:
        return self({}, "")


@cache
def _codec(type_name: str, by_value: bool) -> _Struct:
    return _Struct(type_name, by_value)


@cache
def _core_types() -> dict[str, dict[str, dict[str, JSON]]]:
    text = resources.files(__package__).joinpath("core_types.json").read_bytes()
    types: dict[str, dict[str, dict[str, JSON]]] = json.loads(text)["types"]
    return types


def _field(name: str, shape: Mapping[str, JSON], by_value: bool) -> _Field:
    encode_one, zero = _value(shape, by_value)
    pointer = bool(shape.get("pointer"))
    omit = shape.get("omit", "")
    if omit == "empty" and not pointer and shape["kind"] in _NOT_OMITTED_WHEN_EMPTY:
        omit = ""
    return _Field(name, encode_one, zero, when_absent=not omit, when_empty=not omit or pointer)


def _value(shape: Mapping[str, JSON], by_value: bool) -> tuple[_Encode, Callable[[], JSON]]:
    """The encoder of a shape and the maker of its zero value; `by_value` is about quantities."""
    kind = shape["kind"]
    encode_one: _Encode
    zero: Callable[[], JSON]
    if kind == "struct":
        codec = _codec(shape["type"], by_value)
        encode_one, zero = codec, codec.zero
    elif kind == "slice":
        encode_one, zero = _slice(*_value(shape["of"], by_value)), _nothing
    elif kind == "map":
        encode_one, zero = _map(*_value(shape["of"], by_value)), _nothing
    elif kind == "quantity" and by_value:
        encode_one, zero = _quantity_value, lambda: "0e0"
    else:
        encode_one, zero = _SCALARS[kind]
    return encode_one, _nothing if shape.get("pointer") else zero


def _nothing() -> JSON:
    return None


def _slice(element: _Encode, zero: Callable[[], JSON]) -> _Encode:
    def encode_slice(value: JSON, path: str) -> JSON:
        if not isinstance(value, list | tuple):
            raise TypedEncodingError(path, "a list", value)
        return [zero() if item is None else element(item, f"{path}[{n}]") for n, item in enumerate(value)]

    return encode_slice


def _map(element: _Encode, zero: Callable[[], JSON]) -> _Encode:
    def encode_map(value: JSON, path: str) -> JSON:
        if not isinstance(value, Mapping):
            raise TypedEncodingError(path, "an object", value)
        return {key: zero() if item is None else element(item, f"{path}[{key}]") for key, item in value.items()}

    return encode_map


def _string(value: JSON, path: str) -> JSON:
    if not isinstance(value, str):
        raise TypedEncodingError(path, "a string", value)
    return value


def _bool(value: JSON, path: str) -> JSON:
    if not isinstance(value, bool):
        raise TypedEncodingError(path, "true or false", value)
    return value


def _integer(bits: int) -> _Encode:
    limit = 1 << (bits - 1)

    def encode_integer(value: JSON, path: str) -> JSON:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not -limit <= value < limit:
            raise TypedEncodingError(path, f"a {bits} bit integer", value)
        return value

    return encode_integer


_int32: Final = _integer(32)


def _int_or_string(value: JSON, path: str) -> JSON:
    return value if isinstance(value, str) else _int32(value, path)


def _parsed_quantity(value: JSON, path: str) -> Quantity:
    try:
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return quantity_of(value)
    except ValueError:
        pass
    raise TypedEncodingError(path, "a quantity such as 500m or 2Gi", value)


def _quantity(value: JSON, path: str) -> JSON:
    return str(_parsed_quantity(value, path))


def _quantity_value(value: JSON, path: str) -> JSON:
    return _parsed_quantity(value, path).value


def _time(value: JSON, path: str) -> JSON:
    """UTC, whole seconds; the zero time is a null, which `omitzero` drops."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise TypedEncodingError(path, "an RFC 3339 time", value)
    try:
        instant = datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        raise TypedEncodingError(path, "an RFC 3339 time", value) from None
    if instant == datetime(1, 1, 1, tzinfo=UTC):
        return None
    return f"{instant.replace(microsecond=0, tzinfo=None).isoformat()}Z"


def _as_given(value: JSON, path: str) -> JSON:
    return value


_SCALARS: Final[dict[str, tuple[_Encode, Callable[[], JSON]]]] = {
    "string": (_string, str),
    "bool": (_bool, bool),
    "int32": (_int32, int),
    "int64": (_integer(64), int),
    "intorstring": (_int_or_string, int),
    "quantity": (_quantity, lambda: "0"),
    "time": (_time, _nothing),
    "any": (_as_given, _nothing),
}


def _with_restart_policy_config(value: Mapping[str, JSON]) -> Mapping[str, JSON]:
    policy = value.get("restartPolicy")
    if not isinstance(policy, Mapping):
        return value
    rest = {key: item for key, item in value.items() if key != "restartPolicy"}
    return {"restartPolicyConfig": policy, **{k: v for k, v in rest.items() if v is not None}}


def _shown(value: JSON) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
