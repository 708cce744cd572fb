"""RoleBasedGroupSet: `template` is a bare group spec in v1alpha1, `groupTemplate` has metadata of its own in v1alpha2.

Annotations that stand for fields of the template are on the set, as in the Go operator, and also in the group template,
from where the children take theirs (CV-40 … CV-42).
"""

from typing import Any, Final

from rbgctl.api.annotations import CONVERSION_COORDINATION
from rbgctl.api.conversion.derived_annotations import derived, restored
from rbgctl.api.conversion.group import spec_down, spec_up
from rbgctl.api.conversion.preserved import DERIVED, Problem
from rbgctl.machinery.gvk import RawObject

_STATUS: Final = ("observedGeneration", "replicas", "readyReplicas", "conditions")


def set_up(annotations: dict[str, Any], spec: Any) -> tuple[dict[str, Any], Any, list[Problem]]:
    """Annotations and spec of the v1alpha2 set. CV-40, CV-42"""
    template = spec.get("template") if isinstance(spec, dict) else None
    found, problems = derived(annotations, template)
    annotations = annotations | found
    if not isinstance(spec, dict):
        return annotations, None, problems
    out = _replicas(spec)
    inherited: dict[str, Any] = {key: found[key] for key in DERIVED if key in found}
    if coordination := annotations.get(CONVERSION_COORDINATION):
        inherited[CONVERSION_COORDINATION] = coordination
    group: RawObject = {"annotations": inherited} if inherited else {}
    if (group_spec := spec_up(template)) is not None:
        group["spec"] = group_spec
    if group:
        out["groupTemplate"] = group
    return annotations, out, problems


def set_down(annotations: dict[str, Any], spec: Any) -> tuple[dict[str, Any], Any, list[Problem]]:
    """Annotations and spec of the v1alpha1 set. CV-41"""
    visible, fields, problems = restored(annotations)
    if not isinstance(spec, dict):
        return visible, {"template": fields} if fields else None, problems
    out = _replicas(spec)
    template = spec_down(_group_template(spec).get("spec"), fields)
    if template is not None:
        out["template"] = template
    return visible, out, problems


def with_inherited(annotations: dict[str, Any], spec: Any, converted: Any) -> Any:
    """The spec of a stored set as if its group template had the annotations that it would get today.

    `converted` is the spec that the set's v1alpha1 form converts to. A set that the Go operator stored has them on
    itself alone; its template gets them with the next write in v1alpha1, so their absence is not kept. CV-42
    """
    group, wanted = _group_template(spec), _group_template(converted).get("annotations", {})
    own = {} if group.get("annotations") is None else group["annotations"]
    if not group or not isinstance(own, dict):
        return spec
    missing = {k: v for k, v in wanted.items() if k not in own and annotations.get(k) == v}
    return {**spec, "groupTemplate": {**group, "annotations": {**own, **missing}}} if missing else spec


def set_status(status: Any) -> Any:
    """A status of either version. CV-40, CV-41"""
    if not isinstance(status, dict):
        return None
    return {key: value for key in _STATUS if (value := status.get(key)) is not None}


def _group_template(spec: Any) -> RawObject:
    group = spec.get("groupTemplate") if isinstance(spec, dict) else None
    return group if isinstance(group, dict) else {}


def _replicas(spec: RawObject) -> RawObject:
    replicas = spec.get("replicas")
    return {} if replicas is None else {"replicas": replicas}
