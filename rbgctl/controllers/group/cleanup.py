"""What a group leaves behind: workloads of roles that are gone (RBG-116, RBG-117)."""

from collections.abc import Iterator, Sequence

from rbgctl.api import events, identity, names
from rbgctl.api.v1alpha2.workload_type import workload_type
from rbgctl.controllers.group.observe import WORKLOAD_KINDS, Observed
from rbgctl.controllers.group.roles import RoleOutcome
from rbgctl.machinery.gvk import NN
from rbgctl.machinery.owner_references import controlled_by
from rbgctl.machinery.plan import Delete, PlannedEvent


def orphan_deletions(observed: Observed, outcomes: Sequence[RoleOutcome]) -> list[Delete]:
    """Delete workloads that this group controls and no role wants; their Services follow by ownership.

    A role that is refused keeps what it has: there is nothing to take its place.
    """
    group = observed.group.metadata
    failure = PlannedEvent(
        observed.raw, "Warning", events.DELETE_ROLE_ERROR, f"Failed to delete orphan roles for {group.name}"
    )
    return [
        Delete(
            gvk=WORKLOAD_KINDS[kind],
            key=NN(group.namespace, name),
            uid=workload["metadata"]["uid"],
            field_manager=identity.MANAGER_GROUP,
            on_failure=failure,
        )
        for kind, found in observed.workloads.items()
        for wanted in [set(_wanted(observed, outcomes, kind))]
        for name, workload in sorted(found.items())
        if name not in wanted and controlled_by(workload, group.uid) and "deletionTimestamp" not in workload["metadata"]
    ]


def _wanted(observed: Observed, outcomes: Sequence[RoleOutcome], kind: str) -> Iterator[str]:
    for outcome in outcomes:
        if outcome.state == "refused" or workload_type(outcome.role.annotations).text == kind:
            yield names.workload_name(observed.group.metadata.name, outcome.role.name)
