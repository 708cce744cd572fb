"""Reads what a pass over one set needs: from the cache, and live only where something is to be adopted (SFM-1, SFM-2).

Two indexes make that cheap whatever the size of the namespace. BY_CONTROLLER files instances and revisions under the
uid of their controller, those without one under their namespace; BY_NAME files revisions under the name of the object
that would give them theirs.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from rbgctl.api.kinds import ROLE_INSTANCE, ROLE_INSTANCE_SET
from rbgctl.api.v1alpha2.roleinstance import RoleInstance
from rbgctl.api.v1alpha2.roleinstanceset import RoleInstanceSet
from rbgctl.controllers.instanceset.claim import adoptable, selector_of
from rbgctl.controllers.instanceset.health import Timers
from rbgctl.controllers.instanceset.members import member_of
from rbgctl.controllers.instanceset.observed import Observed
from rbgctl.machinery.gvk import NN, RawObject
from rbgctl.machinery.owner_references import controller_of
from rbgctl.planning.revisions import CONTROLLER_REVISION
from rbgctl.planning.set_revision import set_history
from rbgctl.runtime.cache import Decoded
from rbgctl.runtime.controller import Context
from rbgctl.runtime.errors import NotFound
from rbgctl.runtime.informer import KindOptions
from rbgctl.runtime.store import Entry, Header

BY_CONTROLLER: Final = "instanceset/controller"
BY_NAME: Final = "instanceset/name"


def by_controller(header: Header) -> Iterable[str]:
    """Index function: uid of the controller, or `orphan/<namespace>`."""
    controller = header.controller
    return (controller.uid if controller is not None else f"orphan/{header.namespace}",)


def by_name(header: Header) -> Iterable[str]:
    """Index function: `<namespace>/<name up to the last dash>`."""
    return (f"{header.namespace}/{header.name.rpartition('-')[0]}",)


INSTANCES: Final = KindOptions(indexes={BY_CONTROLLER: by_controller})
REVISIONS: Final = KindOptions(indexes={BY_CONTROLLER: by_controller, BY_NAME: by_name})


@dataclass(slots=True)
class Memory:
    """What the controller keeps between passes: timers, and objects already decoded."""

    timers: Timers = field(default_factory=Timers)
    instances: Decoded[RoleInstance] = field(default_factory=lambda: Decoded(RoleInstance.decode))


async def observe(ctx: Context, memory: Memory) -> Observed | None:
    """The snapshot for the set of `ctx.key`; None when there is no such set. Raises DecodeError, ApiError."""
    entry = ctx.cache.entry(ROLE_INSTANCE_SET, ctx.key)
    if entry is None:
        memory.timers.forget(ctx.key)
        return None
    raw = entry.decode()
    owner = RoleInstanceSet.decode(raw)
    controlled = ctx.cache.entries(ROLE_INSTANCE, index=(BY_CONTROLLER, entry.header.uid))
    orphans = _orphans(ctx, owner)
    instances = [memory.instances.get(e) for e in [*controlled, *orphans]]
    revisions = _revisions(ctx, entry.header)
    ownerless = any(controller_of(r) is None for r in set_history(raw, revisions, stateless=False))
    members = (member_of(i) for i in instances if i.metadata.controller_ref is not None)
    return Observed(
        owner=owner,
        raw=raw,
        instances=instances,
        revisions=revisions,
        confirmed=bool(orphans or ownerless) and await _still_there(ctx, entry.header.uid),
        unhealthy_since=memory.timers.look(ctx.key, entry.header.uid, members, ctx.now()),
    )


def _orphans(ctx: Context, owner: RoleInstanceSet) -> list[Entry]:
    try:
        selector = selector_of(owner)
    except ValueError:
        return []  # plan() tells the user
    found = ctx.cache.entries(ROLE_INSTANCE, index=(BY_CONTROLLER, f"orphan/{ctx.key.namespace}"))
    return [e for e in found if adoptable(owner, selector, e.header.name, dict(e.header.labels))]


def _revisions(ctx: Context, owner: Header) -> list[RawObject]:
    found: dict[NN, Entry] = {}
    for index in (
        (BY_CONTROLLER, owner.uid),
        (BY_CONTROLLER, f"orphan/{owner.namespace}"),
        (BY_NAME, f"{owner.namespace}/{owner.name}"),
    ):
        found.update((e.header.key, e) for e in ctx.cache.entries(CONTROLLER_REVISION, index=index))
    return [e.decode() for e in found.values()]


async def _still_there(ctx: Context, uid: str) -> bool:
    try:
        metadata = (await ctx.live.get(ROLE_INSTANCE_SET, ctx.key))["metadata"]
    except NotFound:
        return False
    return metadata["uid"] == uid and not metadata.get("deletionTimestamp")
