"""What to do about one RoleInstanceSet: the entry to all of its decisions (RIS-6 … RIS-10).

Which pattern the set follows decides which of its modes plans; a set that cannot be acted on gets a Warning event and
an error that says why, and nothing of it is touched.
"""

from datetime import datetime
from typing import Final

from rbgctl.api import annotations, events, identity
from rbgctl.api.kinds import ROLE_INSTANCE
from rbgctl.controllers.instanceset.observed import Observed
from rbgctl.controllers.instanceset.pattern import STATEFUL, STATELESS, pattern_of, strays
from rbgctl.controllers.instanceset.stateful import plan_stateful
from rbgctl.machinery.gvk import RawObject
from rbgctl.machinery.plan import Delete, Plan, PlannedEvent, Together

_KEY: Final = annotations.ROLE_INSTANCE_PATTERN


def plan(observed: Observed, now: datetime) -> Plan:
    """The writes, events and the next look that `observed` calls for."""
    pattern = pattern_of(observed.owner)
    if pattern == STATELESS:
        return _refused(
            observed,
            f"annotation {_KEY}: {STATELESS} sets are not supported by this version of rbgctl; "
            f"use {STATEFUL} or keep this set with a manager that supports them",
            events.FAILED_UPDATE,
        )
    if pattern != STATEFUL:
        return _refused(
            observed,
            f"annotation {_KEY}: unknown value {pattern!r}; use {STATEFUL} or {STATELESS}",
            events.UNKNOWN_ROLE_INSTANCE_PATTERN,
        )
    try:
        left_over = strays(observed.owner, observed.instances)
        if left_over:
            # Those already terminating are waited for: their end is an event.
            doomed = [i for i in left_over if i.metadata.deletion_timestamp is None]
            return Plan(
                steps=[
                    Together(
                        [
                            Delete(
                                gvk=ROLE_INSTANCE,
                                key=i.key,
                                uid=i.metadata.uid,
                                field_manager=identity.MANAGER_INSTANCE_SET_STATEFUL,
                            )
                            for i in doomed
                        ]
                    )
                ],
                requeue=bool(doomed),
                attributes={"strays": len(left_over)},
            )
        return plan_stateful(observed, now)
    except ValueError as error:
        return _refused(observed, str(error), events.FAILED_UPDATE)


def _refused(observed: Observed, why: str, reason: str) -> Plan:
    meta = observed.owner.metadata
    return Plan(
        refused=f"RoleInstanceSet {meta.namespace}/{meta.name}: {why}",
        events=[PlannedEvent(_regarding(observed.raw), events.WARNING, reason, why)],
    )


def _regarding(raw: RawObject) -> RawObject:
    return {key: raw[key] for key in ("apiVersion", "kind", "metadata")}
