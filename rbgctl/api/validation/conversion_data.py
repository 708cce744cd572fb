"""Annotations in which conversion keeps what only v1alpha1 can say: malformed ones hide it (A1-14, ANN-60)."""

import json
from collections.abc import Mapping
from typing import Any, Final

from rbgctl.api import annotations
from rbgctl.api.validation.problem import FieldError, shown

_POLICY_FIELDS: Final[Mapping[str, Mapping[str, type]]] = {
    "kubeScheduling": {"scheduleTimeoutSeconds": int},
    "volcanoScheduling": {"priorityClassName": str, "queue": str},
}


def conversion_annotations(path: str, given: Mapping[str, str] | None) -> list[FieldError]:
    """Conversion annotations that v1alpha1 could not be restored from. `path`: of the annotations."""
    errors = []
    for key, judge in _JUDGES.items():
        text = (given or {}).get(key, "")
        if not text:
            continue
        if found := _problem(text, judge):
            errors.append(
                FieldError(
                    f'{path}["{key}"]',
                    f'{found}, found "{shown(text)}": conversion writes this annotation, take it out',
                    check=key,
                    value=text,
                )
            )
    return errors


def _problem(text: str, judge: Any) -> str:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return "is not JSON"
    return str(judge(content))


def _pod_group_policy(content: Any) -> str:
    if not isinstance(content, dict):
        return "should be a JSON object"
    for name, fields in _POLICY_FIELDS.items():
        part = content.get(name)
        if part is None:
            continue
        if not isinstance(part, dict):
            return f"{name} should be a JSON object"
        for field, kind in fields.items():
            value = part.get(field)
            if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
                return f"{name}.{field} should be {'an integer' if kind is int else 'text'}"
    return ""


def _coordination(content: Any) -> str:
    if not isinstance(content, list):
        return "should be a JSON list"
    for at, entry in enumerate(content):
        if not isinstance(entry, dict):
            return f"[{at}] should be a JSON object"
        if not isinstance(entry.get("name") or "", str):
            return f"[{at}].name should be text"
        roles = entry.get("roles") or []
        if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
            return f"[{at}].roles should be a list of role names"
        if problem := _strategy(entry.get("strategy")):
            return f"[{at}].strategy{problem}"
    return ""


def _strategy(strategy: Any) -> str:
    if strategy is None:
        return ""
    if not isinstance(strategy, dict):
        return " should be a JSON object"
    for name in ("rollingUpdate", "scaling"):
        part = strategy.get(name)
        if part is None:
            continue
        if not isinstance(part, dict):
            return f".{name} should be a JSON object"
        for field, value in part.items():
            if value is not None and not isinstance(value, str):
                return f".{name}.{field} should be text"
    return ""


_JUDGES: Final = {
    annotations.CONVERSION_POD_GROUP_POLICY: _pod_group_policy,
    annotations.CONVERSION_COORDINATION: _coordination,
}
