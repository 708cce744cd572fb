"""What keeps the group controller from acting on a group at all (RBG-30)."""

from collections.abc import Sequence
from dataclasses import dataclass

from rbgctl.api import events
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup
from rbgctl.api.validation.gang_scheduling import gang_annotations
from rbgctl.api.validation.pod_templates import role_templates, template_references
from rbgctl.api.validation.problem import FieldError, aggregate
from rbgctl.api.validation.workload_kinds import workload_types


@dataclass(frozen=True, slots=True)
class PreCheckFailure:
    """Why a group is not reconciled at all. `prefix` stands in the returned error, not in the event."""

    reason: str
    prefix: str
    errors: Sequence[FieldError]

    @property
    def event_message(self) -> str:
        """Text of the Warning event."""
        return aggregate(self.errors)

    def __str__(self) -> str:
        return f"{self.prefix}{aggregate(self.errors)}"


def pre_check(group: RoleBasedGroup) -> PreCheckFailure | None:
    """The first failing group of checks in the order of RBG-30; None: the group can be reconciled."""
    if errors := gang_annotations(group):
        return PreCheckFailure(events.INVALID_GANG_SCHEDULING_ANNOTATIONS, "", errors)
    if errors := role_templates(group):
        return PreCheckFailure(events.INVALID_ROLE_TEMPLATES, "invalid role templates: ", errors)
    if errors := template_references(group):
        return PreCheckFailure(events.INVALID_TEMPLATE_REF, "invalid template references: ", errors)
    if errors := workload_types(group):
        return PreCheckFailure(events.FAILED_RECONCILE_WORKLOAD, "invalid role workload declarations: ", errors)
    return None
