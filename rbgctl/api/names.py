"""Names of the objects the operator makes (NAM-1 … NAM-22)."""

import re
from typing import Final

from rbgctl.api import labels

MAX_NAME: Final = 63
"""Length of a DNS label, to which workload, Service and instance names are cut."""
MAX_ROLE_NAME: Final = 49
"""What is left for a role name in the label key `role-revision-<role>`. NAM-30"""
ID_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
"""Characters of random ids and of hashes. NAM-11, HSH-1"""
ID_LENGTH: Final = 5
SERVICE_PREFIX: Final = "s-"
CONFIG_MAP_KEY: Final = "config.yaml"
CONFIG_VOLUME: Final = "rbg-cluster-config"
CONFIG_MOUNT_PATH: Final = "/etc/rbg"
"""Where and how pods of stateful roles see the discovery ConfigMap. NAM-7"""

_ORDINAL = re.compile(r"^(.*)-([0-9]+)$", re.DOTALL)


def workload_name(group: str, role: str) -> str:
    """Name of a role's RoleInstanceSet, StatefulSet, Deployment or LeaderWorkerSet. NAM-1"""
    return _cut(f"{group}-{role}")


def legacy_service_name(group: str, role: str) -> str:
    """Service name of old releases, kept where such a Service exists. NAM-2"""
    return workload_name(group, role)


def service_name(group: str, role: str) -> str:
    """Name of a role's headless Service; the prefix keeps it from starting with a digit. NAM-3"""
    return _cut(f"{SERVICE_PREFIX}{group}-{role}")


def scaling_adapter_name(group: str, role: str) -> str:
    """Name of a role's scaling adapter, never cut. NAM-5"""
    return f"{group}-{role}"


def child_group_name(group_set: str, index: int) -> str:
    """Name of the index-th group of a set. NAM-6"""
    return f"{group_set}-{index}"


def config_map_name(group: str) -> str:
    """Name of the discovery ConfigMap. NAM-7"""
    return group


def pod_group_name(group: str) -> str:
    """Name of the gang's PodGroup. NAM-8"""
    return group


def coordinated_policy_name(group: str) -> str:
    """A policy binds to the group of the same name. NAM-8"""
    return group


def stateful_instance_name(instance_set: str, ordinal: int) -> str:
    """Name of the ordinal-th instance of a stateful set. NAM-10"""
    return f"{instance_set}-{ordinal}"


def instance_ordinal(instance: str) -> int:
    """Ordinal in the name of a stateful instance; -1 if it has none. NAM-10"""
    return parse_instance_name(instance)[1]


def parse_instance_name(instance: str) -> tuple[str, int]:
    """(set name, ordinal) of a stateful instance; ("", -1) when the name is not of that form. NAM-10"""
    match = _ORDINAL.match(instance)
    return (match[1], int(match[2])) if match else ("", -1)


def stateless_instance_name(instance_set: str, instance_id: str) -> str:
    """Name of the stateless instance with that id; the set's name is cut so that all fits. NAM-11"""
    return f"{instance_set[: MAX_NAME - 1 - len(instance_id)]}-{instance_id}"


def pod_name(instance: str, role_type: str | None, component: str, component_id: int) -> str:
    """Name of a pod of an instance.

    `role_type` is the value of label role-type on the instance, None when it carries no such label.
    NAM-12, NAM-13, NAM-14, HF-15
    """
    if role_type is None or role_type == labels.ROLE_TYPE_COMPONENTS:
        return f"{instance}-{component}-{component_id}"
    if role_type == labels.ROLE_TYPE_LEADER_WORKER_SET:
        number = component_id + 1 if component == labels.COMPONENT_WORKER else component_id
        return f"{instance}-{number}"
    return instance


def leader_address(instance: str, service: str, namespace: str) -> str:
    """Host name of the leader pod of a leader-worker instance. NAM-21"""
    return f"{instance}-0.{service}.{namespace}"


def component_address(instance: str, component: str, index: int, service: str, namespace: str) -> str:
    """Fully qualified host name of a custom component's pod. NAM-22"""
    return f"{instance}-{component}-{index}.{service}.{namespace}.svc.cluster.local"


def short_hash(revision: str) -> str:
    """What follows the last dash of a revision name, all of it if there is none. HF-61"""
    return revision.rpartition("-")[2]


def _cut(name: str) -> str:
    return name if len(name) <= MAX_NAME else name[:MAX_NAME].rstrip("-")
