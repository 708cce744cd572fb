"""v1alpha1 fields as JSON text in an annotation of the hub, byte for byte as the Go operator writes it (CV-23).

Both operators rewrite the text on each v1alpha1 write; if a byte differed, each would undo the other's.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from rbgctl.machinery.canonical_json import escape_html

Shape = type | dict[str, Any] | list[Any]
"""int, str, an object by its members in the order of the text, or a list by the shape of its items."""


def fault(value: Any, shape: Shape, path: str = "") -> str:
    """What keeps decoded JSON from being of that shape, empty when nothing does. Null and unknown members are fine."""
    if value is None:
        return ""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return f"{path or 'it'} is not an object"
        faults = (fault(value.get(key), inner, f"{path}.{key}" if path else key) for key, inner in shape.items())
        return next((text for text in faults if text), "")
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{path or 'it'} is not a list"
        for i, item in enumerate(value):
            if item is None:
                return f"{path}[{i}] is null"
            if text := fault(item, shape[0], f"{path}[{i}]"):
                return text
        return ""
    if not isinstance(value, shape) or isinstance(value, bool):
        return f"{path} is not {'a string' if shape is str else 'an integer'}"
    return ""


def text(value: Any, shape: Shape, always: Mapping[str, Any]) -> str:
    """The text of a value without a fault. Absent and empty members are left out, except those that stand `always`."""
    return escape_html(orjson.dumps(_ordered(value, shape, always))).decode()


def parsed(annotation: Any, shape: Shape) -> tuple[Any, str]:
    """The value that an annotation holds and what is wrong with it; None without a fault when it holds nothing."""
    if annotation is None or annotation == "":
        return None, ""
    if not isinstance(annotation, str):
        return None, "is not a string"
    try:
        value = orjson.loads(annotation)
    except orjson.JSONDecodeError as error:
        return None, f"is not JSON: {error}"
    if wrong := fault(value, shape):
        return None, wrong
    return value, ""


def _ordered(value: Any, shape: Shape, always: Mapping[str, Any]) -> Any:
    if isinstance(shape, dict):
        out = {}
        for key, inner in shape.items():
            member = value.get(key)
            if member is not None and member != "":
                out[key] = _ordered(member, inner, always)
            elif key in always:
                out[key] = always[key]
        return out
    return [_ordered(item, shape[0], always) for item in value] if isinstance(shape, list) else value
