"""From a model to the structural OpenAPI schema of a CRD.

Types, nesting and field names come from the model, everything else from the `Schema` notes on its fields,
from `crd_rules` and `crd_map_type` of its classes, and descriptions from the docstrings under its fields.
Only what API servers accept as structural is produced.
"""

import ast
import inspect
import re
import textwrap
from functools import cache
from itertools import pairwise
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from rbgctl.api.crd.core_v1 import INT_OR_STRING, embedded
from rbgctl.api.model import UNSET, Model, Schema

JSONSchema = dict[str, Any]

_RULE_ID: Final = re.compile(r"\s*\([A-Z][A-Z0-9]{1,5}-\d[^)]*\)")
_ROOT_FIELDS: Final = ("api_version", "kind", "metadata")
_SCALARS: Final = {str: "string", int: "integer", bool: "boolean"}


def root_schema(kind: type[Model], *, additions: bool = True) -> JSONSchema:
    """The `openAPIV3Schema` of one version of a kind; without `additions` it has the Go operator's fields only."""
    schema = _object(kind, additions, skip=_ROOT_FIELDS)
    schema["description"] = _plain(kind.__doc__)
    schema["properties"] |= {
        "apiVersion": {"type": "string", "description": "Group and version of this object's schema."},
        "kind": {"type": "string", "description": "Kind of this object."},
        "metadata": {"type": "object"},
    }
    return schema


def _object(model: type[Model], additions: bool, skip: tuple[str, ...] = ()) -> JSONSchema:
    properties: JSONSchema = {}
    required = []
    described = _field_docs(model)
    for name, field in model.model_fields.items():
        if name in skip:
            continue
        notes = [note for note in field.metadata if isinstance(note, Schema)]
        if not additions and any(note.addition for note in notes):
            continue
        key = field.alias or name
        node = _typed(field.annotation, notes, additions)
        if text := described.get(name):
            node["description"] = text
        properties[key] = node
        if any(note.required for note in notes):
            required.append(key)
    schema: JSONSchema = {"type": "object"}
    if properties:
        schema["properties"] = properties
    if required:
        schema["required"] = sorted(required)
    if model.crd_rules:
        schema["x-kubernetes-validations"] = [{"message": rule.message, "rule": rule.rule} for rule in model.crd_rules]
    if model.crd_map_type:
        schema["x-kubernetes-map-type"] = model.crd_map_type
    return schema


def _typed(annotation: Any, notes: list[Schema], additions: bool) -> JSONSchema:
    if get_origin(annotation) is Annotated:
        inner, *extra = get_args(annotation)
        return _typed(inner, [note for note in extra if isinstance(note, Schema)] + notes, additions)
    if get_origin(annotation) in (Union, UnionType):
        branches = [a for a in get_args(annotation) if a is not NoneType]
        if len(branches) == 1:
            return _typed(branches[0], notes, additions)
        node = _union(branches, notes)
    elif any(note.schemaless for note in notes):
        node = {"x-kubernetes-preserve-unknown-fields": True}
    else:
        node = _plain_type(annotation, notes, additions)
    for note in notes:
        node |= _constraints(note)
    return node


def _union(branches: list[Any], notes: list[Schema]) -> JSONSchema:
    for note in notes:
        if note.type:
            return {"type": note.type}
    bare = {get_args(b)[0] if get_origin(b) is Annotated else b for b in branches}
    if bare == {int, str}:
        return {**INT_OR_STRING}
    raise TypeError(f"no structural schema for a choice of {branches}")


def _plain_type(annotation: Any, notes: list[Schema], additions: bool) -> JSONSchema:
    core = next((note.core for note in notes if note.core), "")
    if get_origin(annotation) is list:
        items = embedded(core) if core else _typed(get_args(annotation)[0], [], additions)
        return {"type": "array", "items": items}
    if core:
        return embedded(core)
    if get_origin(annotation) is dict:
        return {"type": "object", "additionalProperties": _typed(get_args(annotation)[1], [], additions)}
    if annotation in _SCALARS:
        return {"type": _SCALARS[annotation]}
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return _object(annotation, additions)
    raise TypeError(f"no structural schema for {annotation}")


def _constraints(note: Schema) -> JSONSchema:
    said = {
        "enum": list(note.enum) or None,
        "pattern": note.pattern or None,
        "minLength": note.min_length,
        "maxLength": note.max_length,
        "minimum": note.minimum,
        "maximum": note.maximum,
        "minItems": note.min_items,
        "minProperties": note.min_properties,
        "format": note.format or None,
        "x-kubernetes-preserve-unknown-fields": note.preserve_unknown or None,
        "x-kubernetes-list-type": note.list_type or None,
        "x-kubernetes-list-map-keys": list(note.list_map_keys) or None,
        "x-kubernetes-map-type": note.map_type or None,
    }
    node = {key: value for key, value in said.items() if value is not None}
    if note.default is not UNSET:
        node["default"] = note.default
    return node


@cache
def _field_docs(model: type[Model]) -> dict[str, str]:
    """Docstrings that stand under the fields of a class and of the models it extends."""
    docs: dict[str, str] = {}
    for base in model.__bases__:
        if issubclass(base, Model) and base is not Model:
            docs |= _field_docs(base)
    tree = ast.parse(textwrap.dedent(inspect.getsource(model)))
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    for statement, following in pairwise(body):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
            and isinstance(following.value.value, str)
        ):
            docs[statement.target.id] = _plain(following.value.value)
    return docs


def _plain(docstring: str | None) -> str:
    return _RULE_ID.sub("", inspect.cleandoc(docstring or "")).replace("\n", " ").strip()
