"""Environment variables that tell a container which part of a group it is (RBG-77, RBG-78, RBG-79).

The list holds nothing that changes with scaling: it must not restart pods.
"""

from collections.abc import Sequence
from typing import Any

from rbgctl.api import env, labels, names

EnvVar = dict[str, Any]


def common_env(group: str, role: str, *, stateful: bool) -> list[EnvVar]:
    """The variables of every regular container of a RoleInstanceSet role, sorted by name."""
    found = [
        _from_label(env.COMPONENT_INDEX, labels.COMPONENT_ID),
        _from_label(env.COMPONENT_NAME, labels.COMPONENT_NAME),
        {"name": env.GROUP_NAME, "value": group},
        *([_from_label(env.ROLE_INDEX, labels.ROLE_INSTANCE_INDEX)] if stateful else []),
        _from_label(env.ROLE_INSTANCE_NAME, labels.ROLE_INSTANCE_NAME),
        {"name": env.ROLE_NAME, "value": role},
    ]
    return sorted(found, key=lambda v: str(v["name"]))


def leader_worker_env(service: str, namespace: str) -> list[EnvVar]:
    """Further variables of leaders and workers, in this order. `service`: effective headless Service of the role."""
    address = names.leader_address(f"$({env.ROLE_INSTANCE_NAME})", service, namespace)
    return [
        {"name": env.LWP_LEADER_ADDRESS, "value": address},
        _from_label(env.LWP_WORKER_INDEX, labels.COMPONENT_INDEX),
        _from_label(env.LWP_GROUP_SIZE, labels.COMPONENT_SIZE),
    ]


def merge_env(existing: Sequence[EnvVar], injected: Sequence[EnvVar]) -> list[EnvVar]:
    """`existing` with `injected` on top, in the order that later `$(VAR)` references rely on.

    Of equal names the last one stays (at its place); injected names win over existing ones. Order: existing RBG_*
    but not RBG_LWP_*, injected, existing RBG_LWP_*, everything else.
    """
    new = _last_of_each(injected)
    names = {v["name"] for v in new}
    kept = [v for v in _last_of_each(existing) if v["name"] not in names]
    lwp = [v for v in kept if v["name"].startswith(env.LWP_PREFIX)]
    reserved = [v for v in kept if v["name"].startswith(env.RESERVED_PREFIX) and v not in lwp]
    own = [v for v in kept if not v["name"].startswith(env.RESERVED_PREFIX)]
    return [*reserved, *new, *lwp, *own]


def _last_of_each(variables: Sequence[EnvVar]) -> list[EnvVar]:
    last = {v["name"]: index for index, v in enumerate(variables)}
    return [v for index, v in enumerate(variables) if last[v["name"]] == index]


def _from_label(name: str, label: str) -> EnvVar:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": env.label_field_path(label)}}}
