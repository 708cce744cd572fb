"""Annotations of the hub's metadata that stand for v1alpha1 fields (CV-20 … CV-22, CV-37, CV-38).

On the way up the fields are written as JSON, for the way back, and translated into the annotations that controllers
read. On the way down an annotation is hidden only if it says exactly what the restored fields say.
"""

from typing import Any, Final

from rbgctl.api import annotations as a
from rbgctl.api.conversion import coordination, kept_json, pod_group_policy
from rbgctl.api.conversion.preserved import DERIVED, TOTAL_ANNOTATION_BYTES, Problem, size

_MOST_IMPORTANT_FIRST: Final = (*DERIVED, a.CONVERSION_COORDINATION, a.CONVERSION_POD_GROUP_POLICY)
"""Order in which annotations get what room there is: those that controllers act on before the mere copy of a field."""


def derived(annotations: dict[str, Any], spec: Any) -> tuple[dict[str, Any], list[Problem]]:
    """The annotations that follow from v1alpha1 annotations and a v1alpha1 group spec. CV-20 … CV-22

    Less those that there is no room for beside `annotations`, which are reported: the API server would refuse the
    object, also when it only reads it. CV-7, CR-5
    """
    out, problems = _wanted(annotations, spec), list[Problem]()
    if not out or size(annotations | out) <= TOTAL_ANNOTATION_BYTES:
        return out, problems
    fitting: dict[str, Any] = {}
    for key in _MOST_IMPORTANT_FIRST:
        if key not in out:
            continue
        if size({**annotations, **fitting, key: out[key]}) <= TOTAL_ANNOTATION_BYTES:
            fitting[key] = out[key]
        else:
            problems.append(Problem(key, f"no room in {TOTAL_ANNOTATION_BYTES} bytes of annotations, not written"))
    return fitting, problems


def _wanted(annotations: dict[str, Any], spec: Any) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if (topology := annotations.get(a.LEGACY_EXCLUSIVE_TOPOLOGY)) is not None:
        out[a.GROUP_EXCLUSIVE_TOPOLOGY] = topology
    if not isinstance(spec, dict):
        return out
    policy, rules = spec.get("podGroupPolicy"), spec.get("coordination")
    if policy is not None and not kept_json.fault(policy, pod_group_policy.SHAPE):
        out[a.CONVERSION_POD_GROUP_POLICY] = kept_json.text(policy, pod_group_policy.SHAPE, {})
        out |= pod_group_policy.gang_annotations(policy)
    if rules and not kept_json.fault(rules, coordination.SHAPE):
        out[a.CONVERSION_COORDINATION] = kept_json.text(rules, coordination.SHAPE, coordination.ALWAYS)
    return out


def restored(annotations: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], list[Problem]]:
    """The annotations that a v1alpha1 reader sees, the spec fields that the others hold, and what was wrong.

    An annotation that holds no such field, or a malformed one, stays visible. CV-7, CV-37, CV-38
    """
    fields: dict[str, Any] = {}
    problems = []
    hidden = {}
    policy, wrong = kept_json.parsed(annotations.get(a.CONVERSION_POD_GROUP_POLICY), pod_group_policy.SHAPE)
    if policy is not None:
        fields["podGroupPolicy"] = policy
        hidden = {**pod_group_policy.gang_annotations(policy), a.CONVERSION_POD_GROUP_POLICY: None}
    elif wrong:
        problems.append(Problem(a.CONVERSION_POD_GROUP_POLICY, wrong))
    rules, wrong = kept_json.parsed(annotations.get(a.CONVERSION_COORDINATION), coordination.SHAPE)
    if rules:
        fields["coordination"] = rules
        hidden[a.CONVERSION_COORDINATION] = None
    elif wrong:
        problems.append(Problem(a.CONVERSION_COORDINATION, wrong))
    if (topology := annotations.get(a.LEGACY_EXCLUSIVE_TOPOLOGY)) is not None:
        hidden[a.GROUP_EXCLUSIVE_TOPOLOGY] = topology
    visible = {k: v for k, v in annotations.items() if k not in hidden or hidden[k] not in (None, v)}
    return visible, fields, problems
