"""What all models share: decoding, dumping, field types and the notes from which CRD schemas are made.

A model is a typed view of a JSON object that loses nothing: `Model.decode(raw).dump() == raw` for every
object the decoder accepts, unknown fields included (IMP-1). Absent, null and zero stay three different
things (IMP-2): nothing is filled in on decode. What a controller must assume where a field is absent is in
`rbgctl.api.v1alpha2.defaults`.

Decoding checks JSON types only. Enumerations, patterns and limits are the API server's business: stored
objects may carry values that a newer schema refuses, and must still be readable (OLD-10).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    StrictBool,
    StrictInt,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from rbgctl.machinery.gvk import RawObject


class _Unset:
    """Marks "no default in the schema": None is a value a default could have."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = _Unset()


@dataclass(frozen=True, slots=True)
class Rule:
    """A CEL rule and what the user reads when it is broken."""

    rule: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """What the CRD says about a field beyond its type. Has no influence on decoding.

    type: JSON type to publish where the decoder takes more than the API server accepts.
    core: name of the core/v1 type whose schema stands here instead of one made from the Python type.
    schemaless: any JSON; nothing below is checked, pruned or defaulted (API-06).
    list_type, list_map_keys: how server-side apply merges the list.
    addition: a field that the Go operator's API lacks: optional, and without effect when absent. It is left out
    of schemas that are to equal those of that operator (see docs/api-additions.md).
    """

    required: bool = False
    default: Any = UNSET
    enum: tuple[str, ...] = ()
    pattern: str = ""
    min_length: int | None = None
    max_length: int | None = None
    minimum: int | None = None
    maximum: int | None = None
    min_items: int | None = None
    min_properties: int | None = None
    format: str = ""
    core: str = ""
    type: str = ""
    schemaless: bool = False
    preserve_unknown: bool = False
    list_type: Literal["", "atomic", "set", "map"] = ""
    list_map_keys: tuple[str, ...] = ()
    map_type: Literal["", "atomic"] = ""
    addition: bool = False


Int32 = Annotated[StrictInt, Schema(format="int32")]
Int64 = Annotated[StrictInt, Schema(format="int64")]
Bool = StrictBool
Timestamp = Annotated[str, Schema(format="date-time")]
"""RFC 3339 text as received; parse it with `rbgctl.machinery.timestamps`."""
IntOrString = StrictInt | str
"""Keeps its JSON type. API-02"""
StringMap = dict[str, str]


class DecodeError(ValueError):
    """A JSON object is not of the kind it should be: which object, which fields, what was found there.

    Retrying does not help before the object has changed.
    """

    def __init__(self, what: str, problems: list[str]) -> None:
        super().__init__(f"{what}: {'; '.join(problems)}")
        self.problems = problems


class Model(BaseModel):
    """Base of all models. Immutable; raw JSON inside (pod templates) must not be changed in place either."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        extra="allow",
        frozen=True,
        protected_namespaces=(),
    )

    crd_rules: ClassVar[tuple[Rule, ...]] = ()
    """CEL rules of the schema node that this model describes."""
    crd_map_type: ClassVar[Literal["", "atomic"]] = ""
    """"atomic" when server-side apply replaces objects of this type whole."""

    @model_validator(mode="wrap")
    @classmethod
    def _tell_unknown_from_unset(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        # An unknown JSON key that is spelled like a Python field (min_ready_seconds) would mark it as set.
        model = handler(data)
        extra = model.__pydantic_extra__
        if extra and isinstance(data, Mapping):
            for name, field in cls.model_fields.items():
                if name in extra and field.alias not in data:
                    model.__pydantic_fields_set__.discard(name)
        return model

    @classmethod
    def decode(cls, raw: Mapping[str, Any]) -> Self:
        """The typed view of `raw`, which must not be changed afterwards. Raises DecodeError."""
        try:
            return cls.model_validate(raw, by_alias=True, by_name=False)
        except ValidationError as error:
            raise DecodeError(_describe(cls, raw), _problems(error.errors())) from None

    def dump(self) -> RawObject:
        """The JSON object this was decoded from, or that the fields given to the constructor make."""
        return self.model_dump(by_alias=True, exclude_unset=True)


def _describe(cls: type[Model], raw: Any) -> str:
    metadata = raw.get("metadata") if isinstance(raw, Mapping) else None
    if not isinstance(metadata, Mapping):
        return cls.__name__
    return f"{cls.__name__} {metadata.get('namespace', '')}/{metadata.get('name', '')}"


def _problems(errors: Iterable[Any]) -> list[str]:
    """One text per path: the branches of a union report separately and are joined here."""
    wanted: dict[str, list[str]] = {}
    found: dict[str, str] = {}
    for error in errors:
        path = _path(error["loc"])
        wanted.setdefault(path, []).append(error["msg"].removeprefix("Input should be "))
        found[path] = _shown(error["input"])
    return [f"{path}: should be {' or '.join(texts)}, found {found[path]}" for path, texts in wanted.items()]


def _path(location: Iterable[int | str]) -> str:
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        # Branches of a union are named by type or validator, which are no part of the JSON path.
        elif part not in ("int", "str", "bool") and not part[:1].isupper() and "[" not in part:
            path += f".{part}" if path else part
    return path or "(object)"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
