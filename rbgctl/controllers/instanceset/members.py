"""One instance of a set, reduced to what decisions about it need.

Ready means that condition RoleInstanceReady is True, nothing else. An instance with a uid exists in the API server.
Available means Ready for at least minReadySeconds, counted from the condition's last transition (STA-10).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rbgctl.api import conditions, labels, names
from rbgctl.api.v1alpha2.defaults import component_size
from rbgctl.api.v1alpha2.roleinstance import RoleInstance
from rbgctl.machinery.timestamps import parse_time

NEVER: Final = float("inf")
"""Seconds until something that only an event can bring about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An instance under its ordinal.

    revision: full name of the set revision it was made from or updated to; empty when it carries no such label.
    ready_since: when it became Ready; None when it is not, or when that was not recorded.
    observed: its controller has seen the newest spec (observedGeneration ≥ generation).
    complete: its controller has seen the newest spec and all its pods follow it (IPI-3).
    """

    ordinal: int
    revision: str = ""
    uid: str = ""
    ready: bool = False
    ready_since: datetime | None = None
    terminating: bool = False
    observed: bool = True
    complete: bool = True
    instance: RoleInstance | None = None

    @property
    def created(self) -> bool:
        return bool(self.uid)

    @property
    def serving(self) -> bool:
        """Exists, is Ready and is not on its way out."""
        return self.created and self.ready and not self.terminating

    def available_in(self, min_ready_seconds: int, now: datetime) -> float:
        """Seconds until it is available: 0 when it is, NEVER while it is not Ready."""
        if not self.ready:
            return NEVER
        if min_ready_seconds <= 0 or self.ready_since is None:
            return 0.0
        return max(0.0, min_ready_seconds - (now - self.ready_since).total_seconds())


def member_of(instance: RoleInstance) -> Member:
    """The view of an instance read from the API server."""
    meta, status = instance.metadata, instance.status
    ready = status.condition(conditions.INSTANCE_READY)
    is_ready = ready is not None and ready.status == conditions.TRUE
    since = ready.last_transition_time if ready is not None and is_ready else None
    return Member(
        ordinal=names.instance_ordinal(meta.name),
        revision=meta.label(labels.CONTROLLER_REVISION_HASH),
        uid=meta.uid,
        ready=is_ready,
        ready_since=parse_time(since) if since else None,
        terminating=meta.deletion_timestamp is not None,
        observed=_observed(instance),
        complete=update_complete(instance),
        instance=instance,
    )


def update_complete(instance: RoleInstance) -> bool:
    """Whether the instance's pods all follow its spec; their readiness does not count (IPI-3)."""
    statuses = instance.status.component_statuses or []
    if not _observed(instance) or len(statuses) != len(instance.components):
        return False
    sizes = {c.name: component_size(c) for c in instance.components}
    return all(s.updated_replicas == sizes.get(s.name) for s in statuses)


def _observed(instance: RoleInstance) -> bool:
    return (instance.status.observed_generation or 0) >= instance.metadata.generation
