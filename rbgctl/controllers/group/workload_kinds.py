"""The kinds of workload that can run a role, and how each is made: one entry per kind (RBG-8, RBG-68)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from rbgctl.api.v1alpha2 import workload_type
from rbgctl.api.v1alpha2.rolebasedgroup import RoleSpec
from rbgctl.controllers.group.observe import Observed
from rbgctl.controllers.group.role_instance_set import role_instance_set
from rbgctl.machinery.gvk import RawObject


@dataclass(frozen=True, slots=True)
class WorkloadKind:
    """How roles of one workload type are run.

    make: (observed, role, effective Service name, revision hash of the role) to the object to apply; raises
    ValueError, saying what is wrong with the role. has_service: the role gets a headless Service of ours.
    """

    make: Callable[[Observed, RoleSpec, str, str], RawObject]
    has_service: bool


def _role_instance_set(observed: Observed, role: RoleSpec, service: str, revision: str) -> RawObject:
    return role_instance_set(observed, role, service=service, revision=revision)


KINDS: Final[Mapping[str, WorkloadKind]] = {
    workload_type.ROLE_INSTANCE_SET: WorkloadKind(make=_role_instance_set, has_service=True),
}
"""By workload type. A role of any other type is refused (see `support`)."""
