"""The RoleInstanceSet controller: what wakes it, what it may do, and its three steps (RIS-5).

Every change of a set wakes it, its own status writes included: the current revision advances one pass after the status
says that all is updated (SFM-18). Of RoleInstances it sees those that a set controls.
"""

from rbgctl.api import events, identity, labels
from rbgctl.api.kinds import ROLE_INSTANCE, ROLE_INSTANCE_SET
from rbgctl.controllers.instanceset.observe import INSTANCES, REVISIONS, Memory, observe
from rbgctl.controllers.instanceset.plan import plan
from rbgctl.planning.revisions import CONTROLLER_REVISION
from rbgctl.runtime.builder import Builder
from rbgctl.runtime.controller import Context, Result
from rbgctl.runtime.executor import observe_plan_execute
from rbgctl.runtime.sharding.assignment import by_label


def declare() -> Builder:
    """The controller, not connected yet; each call makes one with a memory of its own."""
    reconciler = InstanceSetReconciler()
    return (
        Builder()
        .named(identity.CONTROLLER_INSTANCE_SET)
        .for_(ROLE_INSTANCE_SET)
        .owns(ROLE_INSTANCE)
        .caches(ROLE_INSTANCE, INSTANCES)
        .reads(CONTROLLER_REVISION, REVISIONS)
        .writes(ROLE_INSTANCE, "create", "patch", "delete")
        .writes(ROLE_INSTANCE, "patch", subresource="status")
        .writes(ROLE_INSTANCE_SET, "patch", subresource="status")
        .writes(CONTROLLER_REVISION, "create", "patch", "delete")
        .acts_as(identity.USER_AGENT_INSTANCE_SET_STATEFUL)
        .reports_as(events.COMPONENT_INSTANCE_SET)
        .sharded_by(by_label(labels.GROUP_NAME), forgets=reconciler.memory.timers.forget)
        .reconciles_with(reconciler.reconcile)
    )


class InstanceSetReconciler:
    """Brings one set closer to its spec per call."""

    def __init__(self) -> None:
        self.memory = Memory()

    async def reconcile(self, ctx: Context) -> Result:
        return await observe_plan_execute(ctx, observe(ctx, self.memory), lambda observed: plan(observed, ctx.now()))
