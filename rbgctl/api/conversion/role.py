"""One role in both versions (CV-9 … CV-14, CV-30 … CV-36).

Built from a list of known fields: a v1alpha1 role with a stray v1alpha2 key must not come alive (CV-2). Pod templates,
patches, ports, sidecars and the rollout strategy are handed over as they are, with whatever fields a newer Kubernetes
may have added (CV-3); the result shares them with the argument. A field of a wrong JSON type counts as absent where its
content would be needed; `difference` keeps it then.
"""

from typing import Any, Final

from rbgctl.api.conversion.workload import annotations_up, workload_down
from rbgctl.machinery.gvk import RawObject

_FIELDS: Final = ("name", "replicas", "minReadySeconds", "rolloutStrategy")
_LISTS_AND_MAPS: Final = ("labels", "dependencies", "servicePorts", "engineRuntimes")
_COMPONENT: Final = frozenset({"name", "size", "serviceName", "template"})

# v1alpha1, v1alpha2
_LEADER_WORKER: Final = (
    ("size", "size"),
    ("patchLeaderTemplate", "leaderTemplatePatch"),
    ("patchWorkerTemplate", "workerTemplatePatch"),
)


def role_up(role: RawObject) -> RawObject:
    """The v1alpha2 role of a v1alpha1 role. The first of leaderWorkerSet, components, template decides its pattern."""
    out = _shared(role)
    if (annotations := _without_nulls(annotations_up(role))) is not None:
        out["annotations"] = annotations
    leader_worker, components = role.get("leaderWorkerSet"), role.get("components")
    if isinstance(leader_worker, dict):
        pattern = {new: leader_worker[old] for old, new in _LEADER_WORKER if leader_worker.get(old) is not None}
        pattern["restartPolicyConfig"] = _restart_policy_up(role)
        out["leaderWorkerPattern"] = pattern | _template_up(role)
    elif isinstance(components, list) and components:
        out["customComponentsPattern"] = {
            "components": [_component(c) for c in components],
            "restartPolicyConfig": _restart_policy_up(role),
        }
    else:
        out["standalonePattern"] = _template_up(role)
    return out


def role_down(role: RawObject) -> RawObject:
    """The v1alpha1 role of a v1alpha2 role. The first of its leader-worker, components, standalone patterns counts."""
    out = _shared(role)
    if (annotations := _without_nulls(role.get("annotations"))) is not None:
        out["annotations"] = annotations
    out["workload"] = workload_down(role)
    leader_worker, custom = role.get("leaderWorkerPattern"), role.get("customComponentsPattern")
    if isinstance(leader_worker, dict):
        out["leaderWorkerSet"] = {
            old: leader_worker[new] for old, new in _LEADER_WORKER if leader_worker.get(new) is not None
        }
        out |= _template_down(leader_worker)
        out |= _restart_policy_down(leader_worker)
    elif isinstance(custom, dict):
        components = custom.get("components")
        if isinstance(components, list) and components:
            out["components"] = [_component(c) for c in components]
        out |= _restart_policy_down(custom)
    elif isinstance(standalone := role.get("standalonePattern"), dict):
        out |= _template_down(standalone)
    return out


def _shared(role: RawObject) -> RawObject:
    """The fields that both versions have, less empty lists and maps. CV-4, CV-9, CV-30, CV-36"""
    out = {key: value for key in _FIELDS if (value := role.get(key)) is not None}
    for key in _LISTS_AND_MAPS:
        value = role.get(key)
        if value is not None and value not in ([], {}):
            out[key] = value
    adapter = role.get("scalingAdapter")
    if isinstance(adapter, dict):
        enable = adapter.get("enable")
        out["scalingAdapter"] = {} if enable is None else {"enable": enable}
    return out


def _without_nulls(annotations: Any) -> Any:
    """None for a map without entries. CV-4"""
    if isinstance(annotations, dict) and None in annotations.values():
        annotations = {key: value for key, value in annotations.items() if value is not None}
    return None if annotations == {} else annotations


def _component(component: Any) -> Any:
    if not isinstance(component, dict):
        return component
    if component.keys() <= _COMPONENT and None not in component.values():
        return component
    return {key: value for key, value in component.items() if key in _COMPONENT and value is not None}


def _template_up(role: RawObject) -> RawObject:
    """Where the pods of a pattern come from: an inline template, else a reference with its patch. CV-13, A1-13"""
    template, ref = role.get("template"), role.get("templateRef")
    if template is not None:
        return {"template": template}
    if not isinstance(ref, dict):
        return {}
    out = {} if ref.get("name") is None else {"name": ref["name"]}
    if (patch := role.get("templatePatch")) is not None:
        out["patch"] = patch
    return {"templateRef": out}


def _template_down(pattern: RawObject) -> RawObject:
    """CV-34"""
    template, ref = pattern.get("template"), pattern.get("templateRef")
    if template is not None:
        return {"template": template}
    if not isinstance(ref, dict):
        return {}
    out: RawObject = {"templateRef": {} if ref.get("name") is None else {"name": ref["name"]}}
    if (patch := ref.get("patch")) is not None:
        out["templatePatch"] = patch
    return out


def _restart_policy_up(role: RawObject) -> RawObject:
    policy = role.get("restartPolicy")
    return {"type": policy} if isinstance(policy, str) and policy else {}


def _restart_policy_down(pattern: RawObject) -> RawObject:
    """The policy as stored, without a default; an object under the name of the string is read as a config. CV-35"""
    config, legacy = pattern.get("restartPolicyConfig"), pattern.get("restartPolicy")
    if config is None and isinstance(legacy, dict):
        config = legacy
    for policy in (config.get("type") if isinstance(config, dict) else None, legacy):
        if isinstance(policy, str) and policy:
            return {"restartPolicy": policy}
    return {}
