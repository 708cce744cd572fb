"""What the discovery ConfigMap of a group says: every instance's address and ports (RBG-46)."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from rbgctl.api import names
from rbgctl.api.meta import ServicePort

# libyaml writes the same text ten times faster; a role may have thousands of instances.
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@dataclass(frozen=True, slots=True)
class DiscoveredRole:
    """A stateful role: its name, replicas, effective headless Service and ports."""

    name: str
    replicas: int
    service: str
    ports: Sequence[ServicePort] = ()


def discovery_config(group: str, roles: Sequence[DiscoveredRole]) -> str:
    """The text of config.yaml. Roles in spec order; mapping keys in natural order, so that text is stable."""
    content = {
        "group": {"name": group, "roles": [r.name for r in roles], "size": len(roles)},
        "roles": {role.name: _role(group, role) for role in roles},
    }
    return yaml.dump(_sorted(content), Dumper=_DUMPER, sort_keys=False, default_flow_style=False, width=4096)


def _role(group: str, role: DiscoveredRole) -> dict[str, Any]:
    workload = names.workload_name(group, role.name)
    ports = _ports(role.ports)
    return {
        "instances": [
            {
                "address": f"{names.stateful_instance_name(workload, ordinal)}.{role.service}",
                **({"ports": ports} if ports else {}),
            }
            for ordinal in range(role.replicas)
        ],
        "size": role.replicas,
    }


def _ports(ports: Iterable[ServicePort]) -> dict[str, int]:
    return {(p.name.lower().replace("-", "_") if p.name else f"port{p.port}"): p.port for p in ports}


def _sorted(value: Any) -> Any:
    """A copy in natural key order. Nothing in it is shared, so that YAML has no reason for aliases."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value, key=_natural)}
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return value


def _natural(key: str) -> list[tuple[int, int, str]]:
    # Digit runs compare as numbers: port80 stands before port443.
    parts = re.findall(r"\d+|\D+", key)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]
