"""What a group leaves behind: workloads of roles that are gone (RBG-116, RBG-117)."""

from rbgctl.api import events, identity, names
from rbgctl.api.kinds import ROLE_INSTANCE_SET
from rbgctl.api.v1alpha2.workload_type import workload_type
from rbgctl.controllers.group.observe import Observed
from rbgctl.machinery.gvk import NN
from rbgctl.machinery.owner_references import controlled_by
from rbgctl.machinery.plan import Delete, PlannedEvent


def orphan_deletions(observed: Observed) -> list[Delete]:
    """Delete RoleInstanceSets that this group controls and no role wants; their Services follow by ownership."""
    group = observed.group.metadata
    wanted = {
        names.workload_name(group.name, role.name)
        for role in observed.group.roles
        if workload_type(role.annotations).is_role_instance_set
    }
    failure = PlannedEvent(
        observed.raw, "Warning", events.DELETE_ROLE_ERROR, f"Failed to delete orphan roles for {group.name}"
    )
    return [
        Delete(
            gvk=ROLE_INSTANCE_SET,
            key=NN(group.namespace, name),
            uid=workload["metadata"]["uid"],
            field_manager=identity.MANAGER_GROUP,
            on_failure=failure,
        )
        for name, workload in sorted(observed.workloads.items())
        if name not in wanted and controlled_by(workload, group.uid) and "deletionTimestamp" not in workload["metadata"]
    ]
