"""Declaration of the RoleBasedGroup controller: what triggers a pass, what it may write, how a pass goes (03 §2)."""

from collections.abc import Iterable, Mapping
from functools import partial

import msgspec

from rbgctl.api import annotations, events, identity, labels
from rbgctl.api.kinds import ROLE_BASED_GROUP, ROLE_INSTANCE_SET
from rbgctl.controllers.group.observe import (
    BY_GROUP,
    CONFIG_MAP,
    SERVICE,
    Memory,
    by_group,
    observe,
)
from rbgctl.controllers.group.plan import plan
from rbgctl.machinery.gvk import NN
from rbgctl.machinery.selectors import LabelSelector
from rbgctl.planning.revisions import CONTROLLER_REVISION
from rbgctl.runtime.builder import Builder
from rbgctl.runtime.controller import Context, Result
from rbgctl.runtime.executor import observe_plan_execute
from rbgctl.runtime.handler import enqueue_mapped
from rbgctl.runtime.informer import KindOptions
from rbgctl.runtime.predicate import Event, any_of, generation_changed
from rbgctl.runtime.sharding.assignment import own_key
from rbgctl.runtime.store import Entry, decode_raw

APPLIED = frozenset({identity.FIELD_MANAGER})
ANNOTATIONS = (annotations.PREFIX, annotations.LEGACY_PREFIX, annotations.CONVERSION_PREFIX)
GROUP_INDEX = {BY_GROUP: by_group}


def role_counts(body: Mapping[str, msgspec.Raw]) -> tuple[str, ...]:
    """Hot fields of a RoleInstanceSet: what a group reads of its status."""
    status = decode_raw(body.get("status")) or {}
    fields = ("observedGeneration", "replicas", "readyReplicas", "updatedReplicas")
    return tuple(str(status.get(f, "")) for f in fields)


def annotations_changed(event: Event) -> bool:
    """A user toggled a feature; the mode that we write ourselves does not count (RBG-23)."""
    if event.verb != "update" or event.obj is None or event.old is None:
        return True
    return _without_mode(event.obj) != _without_mode(event.old)


def _without_mode(entry: Entry) -> dict[str, str]:
    return {k: v for k, v in entry.header.annotations if k != annotations.DISCOVERY_CONFIG_MODE}


def workload_changed(event: Event) -> bool:
    """RBG-22: not its creation, which is our own doing; its deletion, changes of spec, counts and what we label."""
    if event.verb == "update" and event.obj is not None and event.old is not None:
        return _what_counts(event.obj) != _what_counts(event.old)
    return event.verb == "delete"


def _what_counts(entry: Entry) -> tuple[object, ...]:
    header = entry.header
    return header.generation, header.hot, header.labels, header.annotations, header.owners


def changed_or_deleted(event: Event) -> bool:
    """For objects that we keep as they should be: somebody edited or deleted one."""
    if event.verb == "update" and event.obj is not None and event.old is not None:
        return event.obj.header.rv != event.old.header.rv
    return event.verb == "delete"


def group_of(entry: Entry) -> Iterable[NN]:
    """The group that an object's label names."""
    name = entry.header.label(labels.GROUP_NAME)
    return [NN(entry.header.namespace, name)] if name else []


class GroupReconciler:
    """A pass: observe, plan, execute, with the memory that outlives it."""

    def __init__(self) -> None:
        self.memory = Memory()

    async def reconcile(self, ctx: Context) -> Result:
        remember = partial(self.memory.remember, ctx.key)
        return await observe_plan_execute(
            ctx, observe(ctx, self.memory), lambda observed: plan(observed, ctx.now(), remember)
        )


def declare() -> Builder:
    """The controller, without a connection."""
    with_group_label = LabelSelector.has(labels.GROUP_NAME)
    reconciler = GroupReconciler()
    return (
        Builder()
        .named(identity.CONTROLLER_GROUP)
        .for_(ROLE_BASED_GROUP, any_of(generation_changed, annotations_changed))
        .owns(ROLE_INSTANCE_SET, workload_changed)
        .owns(CONFIG_MAP, changed_or_deleted)
        .watches(SERVICE, enqueue_mapped(group_of), changed_or_deleted)
        .reads(CONTROLLER_REVISION, KindOptions(indexes=GROUP_INDEX))
        .caches(ROLE_BASED_GROUP, KindOptions(keep_annotations=ANNOTATIONS))
        .caches(
            ROLE_INSTANCE_SET,
            KindOptions(hot=role_counts, keep_managers=APPLIED, keep_annotations=ANNOTATIONS, indexes=GROUP_INDEX),
        )
        .caches(SERVICE, KindOptions(labels=with_group_label, keep_managers=APPLIED, indexes=GROUP_INDEX))
        .caches(CONFIG_MAP, KindOptions(form="metadata"))
        .writes(ROLE_BASED_GROUP, "patch")
        .writes(ROLE_BASED_GROUP, "patch", subresource="status")
        .writes(ROLE_INSTANCE_SET, "create", "patch", "delete")
        .writes(ROLE_INSTANCE_SET, "update", subresource="finalizers")
        .writes(SERVICE, "create", "patch")
        .writes(CONFIG_MAP, "create", "patch")
        .writes(CONTROLLER_REVISION, "create", "delete")
        .acts_as(identity.MANAGER_GROUP)
        .reports_as(events.COMPONENT_GROUP)
        .sharded_by(own_key, forgets=reconciler.memory.forget)
        .reconciles_with(reconciler.reconcile)
    )
