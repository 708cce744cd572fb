"""RoleBasedGroup: annotations and spec (CV-8, CV-20 … CV-22, CV-30 … CV-38)."""

from typing import Any, Final

from rbgctl.api.conversion.derived_annotations import derived, restored
from rbgctl.api.conversion.preserved import Problem
from rbgctl.api.conversion.role import role_down, role_up
from rbgctl.machinery.gvk import RawObject

STATUS: Final = ("observedGeneration", "conditions")
ROLE_STATUS: Final = frozenset({"name", "readyReplicas", "replicas", "updatedReplicas"})
_ROLE_TEMPLATE: Final = frozenset({"name", "template"})


def group_up(annotations: dict[str, Any], spec: Any) -> tuple[dict[str, Any], Any, list[Problem]]:
    """Annotations and spec of the v1alpha2 group."""
    found, problems = derived(annotations, spec)
    return annotations | found, spec_up(spec), problems


def group_down(annotations: dict[str, Any], spec: Any) -> tuple[dict[str, Any], Any, list[Problem]]:
    """Annotations and spec of the v1alpha1 group."""
    visible, fields, problems = restored(annotations)
    return visible, spec_down(spec, fields), problems


def spec_up(spec: Any) -> Any:
    """The v1alpha2 group spec without what became annotations; None without a spec."""
    if not isinstance(spec, dict):
        return None
    out = _role_templates(spec)
    roles = spec.get("roles")
    if isinstance(roles, list):
        out["roles"] = [role_up(role) if isinstance(role, dict) else role for role in roles]
    else:
        out["roles"] = [] if roles is None else roles
    return out


def spec_down(spec: Any, fields: dict[str, Any]) -> Any:
    """The v1alpha1 group spec with the fields that come from annotations; None without a spec and such fields."""
    if not isinstance(spec, dict):
        return dict(fields) or None
    out = _role_templates(spec) | fields
    roles = spec.get("roles")
    if isinstance(roles, list):
        out["roles"] = [role_down(role) if isinstance(role, dict) else role for role in roles]
    else:
        out["roles"] = [] if roles is None else roles
    return out


def group_status(status: Any) -> Any:
    """A status of either version; roleStatuses is required there. CV-4, CV-15, CV-39"""
    if not isinstance(status, dict):
        return None
    out = {key: value for key in STATUS if (value := status.get(key)) is not None}
    roles = status.get("roleStatuses")
    if isinstance(roles, list):
        roles = [_known(role, ROLE_STATUS) for role in roles]
    out["roleStatuses"] = [] if roles is None else roles
    return out


def _role_templates(spec: RawObject) -> RawObject:
    templates = spec.get("roleTemplates")
    if templates is None or templates == []:
        return {}
    if isinstance(templates, list):
        templates = [_known(template, _ROLE_TEMPLATE) for template in templates]
    return {"roleTemplates": templates}


def _known(item: Any, fields: frozenset[str]) -> Any:
    if not isinstance(item, dict) or (item.keys() <= fields and None not in item.values()):
        return item
    return {key: value for key, value in item.items() if key in fields and value is not None}
