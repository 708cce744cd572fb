"""Reads what a pass over one instance needs, from the cache.

Pods are found by the uid of their owner, revisions by the label that names the instance, each through an index:
the size of the namespace does not matter (RIN-1, REV-5). Pods of other owners matter only where they hold a name.

When a pod crashed under a restart policy, the instance is read live as well: to act twice on one crash would take all
its pods away twice (RST-6, RST-9).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from rbgctl.api import labels
from rbgctl.api.kinds import ROLE_INSTANCE
from rbgctl.api.v1alpha2.defaults import instance_restart_policy
from rbgctl.api.v1alpha2.roleinstance import RoleInstance
from rbgctl.controllers.instance.observed import Observed
from rbgctl.controllers.instance.pods import POD, Pod, slots
from rbgctl.controllers.instance.restart_policy import Recreation, Tracking, in_force, needs_live_read
from rbgctl.controllers.instance.status import baselines_of
from rbgctl.machinery.gvk import NN, RawObject
from rbgctl.planning.revisions import CONTROLLER_REVISION
from rbgctl.runtime.cache import Decoded
from rbgctl.runtime.controller import Context
from rbgctl.runtime.errors import ApiError, TransportError
from rbgctl.runtime.informer import KindOptions
from rbgctl.runtime.store import Entry, Header, owner_uids

BY_OWNER: Final = "ownerRefUID"
BY_INSTANCE: Final = "instance/name"


def by_instance(header: Header) -> Iterable[str]:
    """Index function: `<namespace>/<name of the instance>`, from the label."""
    name = header.label(labels.ROLE_INSTANCE_NAME)
    return (f"{header.namespace}/{name}",) if name else ()


PODS: Final = KindOptions(indexes={BY_OWNER: owner_uids})
REVISIONS: Final = KindOptions(indexes={BY_INSTANCE: by_instance})


def _decode_instance(raw: RawObject) -> tuple[RawObject, RoleInstance]:
    return raw, RoleInstance.decode(raw)


@dataclass(slots=True)
class Memory:
    """Instances decoded once per version, and recreations that are going on, by instance."""

    instances: Decoded[tuple[RawObject, RoleInstance]] = field(default_factory=lambda: Decoded(_decode_instance))
    recreations: dict[NN, Recreation] = field(default_factory=dict)

    def remember(self, key: NN, recreation: Recreation) -> None:
        self.recreations[key] = recreation

    def forget(self, key: NN) -> None:
        """The instance is gone, or another process works on it."""
        self.recreations.pop(key, None)
        self.instances.forget(key)

    def recreation(self, key: NN, instance: RoleInstance, pods: Iterable[Pod], now: datetime) -> Recreation | None:
        """The one of this instance; forgotten once it is over."""
        found = self.recreations.get(key)
        if found is not None and found.over(instance.metadata.uid, Tracking.of(instance.status), pods, now):
            del self.recreations[key]
            return None
        return found


async def observe(ctx: Context, memory: Memory) -> Observed | None:
    """The snapshot for one instance.

    None when there is no such instance, or when it is being deleted: its pods are the garbage collector's (RIN-3).
    Raises DecodeError for an instance that has not the shape of its kind.
    """
    cache, key = ctx.cache, ctx.key
    entry = cache.entry(ROLE_INSTANCE, key)
    if entry is None or entry.header.deletion:
        memory.forget(key)
        return None
    raw, instance = memory.instances.get(entry)
    uid = entry.header.uid
    pods = [Pod(e.decode()) for e in cache.entries(POD, index=(BY_OWNER, uid)) if _controlled(e, uid)]
    mine = {pod.name for pod in pods}
    foreign = {}
    for slot in slots(instance):
        other = None if slot.name in mine else cache.entry(POD, NN(key.namespace, slot.name))
        if other is not None:
            foreign[slot.name] = Pod(other.decode())
    return Observed(
        raw=raw,
        instance=instance,
        pods=pods,
        foreign=foreign,
        revisions=[e.decode() for e in cache.entries(CONTROLLER_REVISION, index=(BY_INSTANCE, str(key)))],
        live=await _live(ctx, instance, pods),
        recreation=memory.recreation(key, instance, pods, ctx.now()),
    )


async def _live(ctx: Context, instance: RoleInstance, pods: Iterable[Pod]) -> Tracking | None:
    baselines = in_force(baselines_of(instance.status), pods)
    if not needs_live_read(instance_restart_policy(instance.spec), pods, baselines):
        return None
    try:
        raw = await ctx.live.get(ROLE_INSTANCE, ctx.key)
    except (ApiError, TransportError):
        return None  # RST-6: what the cache says has to do
    return Tracking.of(RoleInstance.decode(raw).status) if raw["metadata"]["uid"] == instance.metadata.uid else None


def _controlled(entry: Entry, uid: str) -> bool:
    controller = entry.header.controller
    return controller is not None and controller.uid == uid
