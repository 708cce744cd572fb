"""Update budgets and partitions that cannot work (VLD-2, VLD-3), and numbers that no Go operator can read (A1-14)."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rbgctl.api.v1alpha2 import defaults
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup, RoleSpec
from rbgctl.api.validation.problem import FieldError, shown
from rbgctl.machinery.int_or_string import scaled

PARTITION: Final = "partition"
_INT32: Final = 1 << 31


def rollouts(group: RoleBasedGroup) -> list[FieldError]:
    """Update budgets and partitions that cannot work. VLD-2, VLD-3; roles with 0 replicas are not checked."""
    errors: list[FieldError] = []
    for index, role in enumerate(group.roles):
        rolling = role.rollout_strategy.rolling_update if role.rollout_strategy else None
        if rolling is None or not role.replicas:
            continue
        errors += _rollout(f"spec.roles[{index}].rolloutStrategy.rollingUpdate", role, role.replicas)
    return errors


def _rollout(path: str, role: RoleSpec, replicas: int) -> Iterator[FieldError]:
    rollout = defaults.role_rollout(role)
    values = {
        "maxSurge": rollout.max_surge,
        "maxUnavailable": rollout.max_unavailable,
        "partition": rollout.partition,
    }
    counts: dict[str, int] = {}
    for field, value in values.items():
        try:
            counts[field] = scaled(value, replicas, round_up=True)
        except ValueError:
            text = f'invalid value "{shown(value)}", use a number or a percentage'
            yield FieldError(f"{path}.{field}", text, role.name, f"rollout {field}", value)
    if "maxSurge" in counts and "maxUnavailable" in counts:
        unavailable, surge = defaults.budgets(rollout.max_unavailable, rollout.max_surge, replicas)
        if unavailable == 0 and surge == 0:
            yield FieldError(path, "maxSurge and maxUnavailable cannot both be 0", role.name, "rollout budget")
    if counts.get("partition", 0) >= replicas:
        text = f"{rollout.partition} must be less than replicas {replicas}"
        yield FieldError(f"{path}.partition", text, role.name, PARTITION, replicas)


class Stored:
    """The roles that an update finds and those that it leaves behind, each looked up by name."""

    def __init__(self, old: RoleBasedGroup, new: RoleBasedGroup) -> None:
        self._old = _by_name(old)
        self._new = _by_name(new)

    def tolerates(self, problem: FieldError) -> bool:
        """Whether the update is not the one that brings in this problem of `rollouts`. VLD-3

        True when nothing that the problem is about changes, whatever else does: it must be possible to write anything
        else of the group. True as well for a partition that only became too large because the role got fewer
        replicas; both ways of running instances take such a partition as the number of replicas.
        """
        before, after = self._old.get(problem.role), self._new.get(problem.role)
        if before is None or after is None:
            return False
        if problem.check == PARTITION and before == after.model_copy(update={"replicas": before.replicas}):
            return True
        return before.replicas == after.replicas and _about(problem, before) == _about(problem, after)


def _about(problem: FieldError, role: RoleSpec) -> object:
    """What a problem is about besides replicas: the partition, or all of the rolling update."""
    rolling = role.rollout_strategy.rolling_update if role.rollout_strategy else None
    return rolling.partition if rolling and problem.check == PARTITION else rolling


def _by_name(group: RoleBasedGroup) -> dict[str, RoleSpec]:
    """The first role of each name."""
    return {role.name: role for role in reversed(group.roles)}


def oversized(group: RoleBasedGroup) -> list[FieldError]:
    """Int-or-strings beyond 32 bits: the Go operator can read no object that holds one. A1-14"""
    errors: list[FieldError] = []
    for index, role in enumerate(group.roles):
        path = f"spec.roles[{index}]"
        rolling = role.rollout_strategy.rolling_update if role.rollout_strategy else None
        numbers: list[tuple[str, Any]] = []
        if rolling is not None:
            where = f"{path}.rolloutStrategy.rollingUpdate"
            numbers += [
                (f"{where}.maxSurge", rolling.max_surge),
                (f"{where}.maxUnavailable", rolling.max_unavailable),
                (f"{where}.partition", rolling.partition),
            ]
        numbers += [
            (f"{path}.servicePorts[{at}].targetPort", port.target_port)
            for at, port in enumerate(role.service_ports or ())
        ]
        for name, pattern in (
            ("standalonePattern", role.standalone_pattern),
            ("leaderWorkerPattern", role.leader_worker_pattern),
        ):
            if pattern is not None:
                numbers += _ports(f"{path}.{name}.template", pattern.template)
        errors += _too_large(numbers, role.name)
    for index, entry in enumerate(group.role_templates):
        errors += _too_large(_ports(f"spec.roleTemplates[{index}].template", entry.template), entry.name)
    return errors


def _too_large(numbers: list[tuple[str, Any]], owner: str) -> Iterator[FieldError]:
    for path, value in numbers:
        if isinstance(value, int) and not -_INT32 <= value < _INT32:
            text = f"{value} does not fit into 32 bits: use a number up to {_INT32 - 1}"
            yield FieldError(path, text, owner, "32 bits", value)


def _ports(path: str, node: Any) -> list[tuple[str, Any]]:
    """Ports of probes and hooks, wherever they are in a pod template."""
    found: list[tuple[str, Any]] = []
    left: list[tuple[str, Any]] = [(path, node)]
    while left:
        where, value = left.pop()
        if isinstance(value, list):
            left += [(f"{where}[{at}]", item) for at, item in enumerate(value)]
        elif isinstance(value, Mapping):
            left += [(f"{where}.{key}", item) for key, item in value.items()]
            for action in ("httpGet", "tcpSocket"):
                target = value.get(action)
                if isinstance(target, Mapping) and "port" in target:
                    found.append((f"{where}.{action}.port", target["port"]))
    return found
