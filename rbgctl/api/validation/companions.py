"""What is legal and has no effect, or another one than it seems, in the kinds that accompany a group.

Nothing here is ever refused: these objects may be written before the group, and the Go operator accepts them. All
functions take objects as stored, of any shape, and the group they are about, None when there is none.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from rbgctl.api import kinds
from rbgctl.api.validation.problem import shown
from rbgctl.api.validation.shapes import mapping
from rbgctl.machinery.gvk import RawObject
from rbgctl.machinery.int_or_string import scaled

_FULL: Final = 100.0


def policy_advice(policy: RawObject, group: RawObject | None) -> Iterator[str]:
    """Warnings about a CoordinatedPolicy. CP-1, CP-3, POL-20, POL-21"""
    roles = role_names(group)
    if group is None and group_of(policy) == name_of(policy):
        name = shown(name_of(policy))
        yield f'metadata.name: no RoleBasedGroup "{name}" exists here; a policy needs the name of its group'
    elif group is None:
        yield f'spec.targetRoleBasedGroup.name: no RoleBasedGroup "{shown(group_of(policy))}" exists here'
    for index, entry in enumerate(_list(mapping(policy.get("spec")).get("policies"))):
        path, rule = f"spec.policies[{index}]", mapping(entry)
        named = [name for name in _list(rule.get("roles")) if isinstance(name, str)]
        for name, times in Counter(named).items():
            if group is not None and name not in roles:
                yield f'{path}.roles: the group has no role "{shown(name)}"'
            if times > 1:
                yield f'{path}.roles: "{shown(name)}" is named more than once'
        strategy = mapping(rule.get("strategy"))
        if not strategy.get("scaling") and not strategy.get("rollingUpdate"):
            yield f"{path}.strategy: is empty, the rule has no effect"
        if strategy.get("scaling") is not None:
            yield from _scaling_skew(f"{path}.strategy.scaling.maxSkew", mapping(strategy["scaling"]).get("maxSkew"))
        if strategy.get("rollingUpdate") is not None:
            yield from _rolling(f"{path}.strategy.rollingUpdate", mapping(strategy["rollingUpdate"]), len(set(named)))


def _scaling_skew(path: str, value: Any) -> Iterator[str]:
    """CP-11, CP-24, CP-25"""
    if value is None:
        return
    text = str(value).strip()
    try:
        number = float(text.removesuffix("%")) if text.endswith("%") and " " not in text else None
    except ValueError:
        number = None
    if number is None or not 0 <= number <= _FULL:
        yield f'{path}: "{shown(value)}" holds the roles back; use a percentage from 0% to 100%'
    elif number == 0:
        yield f"{path}: 0% means one replica at a time"


def _rolling(path: str, rolling: Mapping[str, Any], roles: int) -> Iterator[str]:
    """CP-30, CP-32, CP-44"""
    if roles < 2:
        yield f"{path}: has no effect on a rule with fewer than two roles"
    for field in ("partition", "maxUnavailable", "maxSkew"):
        value = rolling.get(field)
        if value is None:
            continue
        try:
            count = scaled(value, 100, round_up=True) if isinstance(value, int | str) else None
        except ValueError:
            count = None
        if count is None:
            yield f'{path}.{field}: "{shown(value)}" is neither a number nor a percentage'
        elif count < 0:
            yield f"{path}.{field}: {shown(value)} is negative; use 0 or more"
        elif field == "maxSkew" and isinstance(value, int):
            yield f"{path}.maxSkew: the number {value} counts as strict alternation; use a percentage"


def adapter_advice(adapter: RawObject, group: RawObject | None) -> Iterator[str]:
    """Warnings about a RoleBasedGroupScalingAdapter. ADP-20"""
    spec = mapping(adapter.get("spec"))
    target = mapping(spec.get("scaleTargetRef"))
    wanted, role = str(target.get("name") or ""), str(target.get("role") or "")
    replicas = spec.get("replicas")
    if isinstance(replicas, int) and replicas < 0:
        yield f"spec.replicas: {replicas} is negative; use 0 or more"
    if group is None:
        yield f'spec.scaleTargetRef.name: no RoleBasedGroup "{shown(wanted)}" exists here'
        return
    if role not in role_names(group):
        yield f'spec.scaleTargetRef.role: the group has no role "{shown(role)}"'
    uid = mapping(group.get("metadata")).get("uid")
    owners = [mapping(owner) for owner in _list(mapping(adapter.get("metadata")).get("ownerReferences"))]
    if not any(owner.get("uid") == uid for owner in owners):
        yield "metadata.ownerReferences: not made by the group, never bound; set scalingAdapter.enable on the role"


def warmup_advice(warmup: RawObject, group: RawObject | None) -> Iterator[str]:
    """Warnings about a RoleBasedGroupWarmup. WRM-16, WRM-17"""
    target = mapping(warmup.get("spec")).get("targetRoleBasedGroup")
    if not isinstance(target, dict):
        return
    if group is None:
        name = shown(str(target.get("name") or ""))
        yield f'spec.targetRoleBasedGroup.name: no RoleBasedGroup "{name}" exists here'
        return
    for role in mapping(target.get("roles")):
        if role not in role_names(group):
            yield f'spec.targetRoleBasedGroup.roles: the group has no role "{shown(role)}"'


def group_of(obj: RawObject) -> str:
    """Name of the group that a companion is about; empty when it is about none."""
    spec = mapping(obj.get("spec"))
    match obj.get("kind"):
        case kinds.KIND_COORDINATED_POLICY:
            return str(mapping(spec.get("targetRoleBasedGroup")).get("name") or name_of(obj))
        case kinds.KIND_SCALING_ADAPTER:
            return str(mapping(spec.get("scaleTargetRef")).get("name") or "")
        case kinds.KIND_WARMUP:
            return str(mapping(spec.get("targetRoleBasedGroup")).get("name") or "")
        case _:
            return ""


def name_of(obj: RawObject) -> str:
    """metadata.name of an object of any shape."""
    return str(mapping(obj.get("metadata")).get("name") or "")


def role_names(group: RawObject | None) -> set[str]:
    """Names of the roles of a group of any shape."""
    roles = _list(mapping(mapping(group).get("spec")).get("roles"))
    return {str(mapping(role).get("name")) for role in roles}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
