"""The RoleInstance controller: what wakes it, what it may do, and its three steps (RIN-1 to RIN-3).

Every change of an instance wakes it, and every change of a pod that an instance controls, by the instance's name: the
end of a predecessor's pod wakes the successor that waits for the pod's name.
"""

from functools import partial

from rbgctl.api import events, identity, labels
from rbgctl.api.kinds import ROLE_INSTANCE
from rbgctl.controllers.instance.observe import PODS, REVISIONS, Memory, observe
from rbgctl.controllers.instance.plan import plan
from rbgctl.controllers.instance.pods import POD
from rbgctl.planning.revisions import CONTROLLER_REVISION
from rbgctl.runtime.builder import Builder
from rbgctl.runtime.controller import Context, Result
from rbgctl.runtime.executor import observe_plan_execute
from rbgctl.runtime.sharding.assignment import by_label


def declare() -> Builder:
    """The controller, not connected yet; each call makes one with a memory of its own."""
    reconciler = InstanceReconciler()
    return (
        Builder()
        .named(identity.CONTROLLER_INSTANCE)
        .for_(ROLE_INSTANCE)
        .owns(POD)
        .caches(POD, PODS)
        .reads(CONTROLLER_REVISION, REVISIONS)
        .writes(POD, "create", "patch", "delete")
        .writes(POD, "patch", subresource="status")
        .writes(ROLE_INSTANCE, "patch", subresource="status")
        .writes(CONTROLLER_REVISION, "create", "patch", "delete")
        .acts_as(identity.MANAGER_INSTANCE)
        .reports_as(events.COMPONENT_INSTANCE)
        .sharded_by(by_label(labels.GROUP_NAME), forgets=reconciler.memory.forget)
        .reconciles_with(reconciler.reconcile)
    )


class InstanceReconciler:
    """Brings one instance closer to its spec per call."""

    def __init__(self) -> None:
        self.memory = Memory()

    async def reconcile(self, ctx: Context) -> Result:
        remember = partial(self.memory.remember, ctx.key)
        return await observe_plan_execute(
            ctx, observe(ctx, self.memory), lambda observed: plan(observed, ctx.now(), remember)
        )
