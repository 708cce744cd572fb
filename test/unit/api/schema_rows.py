"""Schemas of CRDs as readable lines, one per field, for tests that compare them with a table."""

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from rbgctl.api.crd.core_v1 import embedded

Node = dict[str, Any]

ROOT_FIELDS: Final = ("apiVersion", "kind", "metadata")
CORE_TYPES: Final = ("PodTemplateSpec", "Container", "Volume", "Toleration", "LocalObjectReference")
LIMITS: Final = ("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "minProperties", "pattern")


def rows(node: Node, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, what the schema says there) of every field below `node`; `[]` is a list item, `{}` a map value."""
    for name, child in sorted(node.get("properties", {}).items()):
        at = f"{path}.{name}" if path else name
        if at in ROOT_FIELDS:
            continue
        yield at, " ".join([type_of(child), *(["required"] if name in node.get("required", ()) else []), *_said(child)])
        inner = child
        while "type" in inner and type_of(inner) not in CORE_TYPES:
            if inner["type"] == "array":
                inner, at = inner["items"], f"{at}[]"
            elif isinstance(inner.get("additionalProperties"), dict):
                inner, at = inner["additionalProperties"], f"{at}{{}}"
            else:
                if inner is not child and type_of(inner) == "object" and _said(inner):
                    yield at, " ".join(_said(inner))
                yield from rows(inner, at)
                break


def type_of(node: Node) -> str:
    plain = {key: value for key, value in node.items() if key != "description"}
    for name, schema in _core().items():
        if plain == schema:
            return name
    if node.get("x-kubernetes-int-or-string"):
        return "int-or-string"
    if "type" not in node:
        return "any" if node.get("x-kubernetes-preserve-unknown-fields") else "UNTYPED"
    if node["type"] == "array":
        return f"[]{type_of(node['items'])}"
    if node["type"] == "object" and "additionalProperties" in node:
        return f"map:{type_of(node['additionalProperties'])}"
    return str(node.get("format", node["type"]))


@cache
def _core() -> dict[str, Node]:
    return {name: embedded(name) for name in CORE_TYPES}


def _said(node: Node) -> list[str]:
    said = []
    if "default" in node:
        said.append(f"default={node['default']!r}")
    if "enum" in node:
        said.append(f"one-of={'|'.join(node['enum'])}")
    said += [f"{word}={node[word]}" for word in LIMITS if word in node]
    if node.get("x-kubernetes-preserve-unknown-fields") and "type" in node:
        said.append("keeps-unknown")
    if kind := node.get("x-kubernetes-list-type"):
        said.append(f"list={','.join(node.get('x-kubernetes-list-map-keys', [kind]))}")
    if kind := node.get("x-kubernetes-map-type"):
        said.append(f"map={kind}")
    if rules := node.get("x-kubernetes-validations"):
        said.append(f"rules={len(rules)}")
    return said
