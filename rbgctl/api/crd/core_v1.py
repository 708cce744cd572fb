"""Schemas of core/v1 types as CRDs embed them (API-08).

`core_v1.json` beside this file holds the types reachable from PodTemplateSpec, each under its short name,
with `$ref` to one another. `bounding` makes it from what an API server publishes.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any, Final

SNAPSHOT: Final = "core_v1.json"
INT_OR_STRING: Final[dict[str, Any]] = {
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "x-kubernetes-int-or-string": True,
}


def embedded(name: str) -> dict[str, Any]:
    """The schema of core/v1 type `name` with nothing left to refer to. Raises KeyError for unknown types."""
    schema: dict[str, Any] = _resolved(_snapshot()[name])
    return schema


@cache
def _snapshot() -> dict[str, Any]:
    text = files(__package__).joinpath(SNAPSHOT).read_text(encoding="utf-8")
    schemas: dict[str, Any] = json.loads(text)["schemas"]
    return schemas


def _resolved(node: Any) -> Any:
    if isinstance(node, list):
        return [_resolved(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        # A field may narrow what it refers to (list types stand beside $ref); its own words win.
        beside = {key: _resolved(value) for key, value in node.items() if key != "$ref"}
        return embedded(node["$ref"]) | beside
    return {key: _resolved(value) for key, value in node.items()}
