"""Which kind of workload runs a role, from the role annotation role-workload-type (HF-20 … HF-23, RBG-8)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rbgctl.api import annotations
from rbgctl.api.v1alpha2.legacy_keys import instance_pattern

DEPLOYMENT: Final = "apps/v1/Deployment"
STATEFUL_SET: Final = "apps/v1/StatefulSet"
LEADER_WORKER_SET: Final = "leaderworkerset.x-k8s.io/v1/LeaderWorkerSet"
ROLE_INSTANCE_SET: Final = "workloads.x-k8s.io/v1alpha2/RoleInstanceSet"
V1ALPHA1_INSTANCE_SET: Final = "workloads.x-k8s.io/v1alpha1/InstanceSet"

DEPRECATED: Final = frozenset({DEPLOYMENT, STATEFUL_SET, LEADER_WORKER_SET})
SUPPORTED: Final = DEPRECATED | {ROLE_INSTANCE_SET}


@dataclass(frozen=True, slots=True)
class WorkloadType:
    """A workload type, normalised once; `text` is `<apiVersion>/<kind>` or the malformed annotation value."""

    text: str

    @property
    def api_version(self) -> str:
        return self.text.rpartition("/")[0]

    @property
    def kind(self) -> str:
        return self.text.rpartition("/")[2]

    @property
    def supported(self) -> bool:
        """False: the role fails with "unsupported workload type". HF-23"""
        return self.text in SUPPORTED

    @property
    def is_role_instance_set(self) -> bool:
        return self.text == ROLE_INSTANCE_SET


def workload_type(role_annotations: Mapping[str, str] | None) -> WorkloadType:
    """The type that a role's annotations ask for; RoleInstanceSet when they say nothing.

    v1alpha1 InstanceSet is read as its successor RoleInstanceSet; the annotation is left as it is. DW-1, DW-6
    """
    text = (role_annotations or {}).get(annotations.ROLE_WORKLOAD_TYPE, "") or ROLE_INSTANCE_SET
    return WorkloadType(ROLE_INSTANCE_SET if text == V1ALPHA1_INSTANCE_SET else text)


def is_stateful(role_annotations: Mapping[str, str] | None) -> bool:
    """Whether instances of the role have ordinals. HF-21, RBG-10"""
    kind = workload_type(role_annotations)
    if kind.text == DEPLOYMENT:
        return False
    if kind.is_role_instance_set:
        return instance_pattern(role_annotations) != annotations.PATTERN_STATELESS
    return True
