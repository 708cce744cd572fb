"""What the set says about itself (SFM-5, SFM-17, SFM-18, SFM-21, SFM-23, STA-10).

Counted are instances that exist and are not terminating:

    replicas                 all of them
    readyReplicas            Ready, as observed after the instance's last spec change
    availableReplicas        the same for at least minReadySeconds
    currentReplicas          at currentRevision
    updatedReplicas          at updateRevision
    updatedReadyReplicas     both
    expectedUpdatedReplicas  replicas wanted − partition

currentRevision becomes updateRevision when, with partition 0 and not paused, every base instance serves at it and was
observed so, and the status stored before already said that enough instances are updated: one pass later than that.

Only fields that differ are sent; conditions belong to whoever set them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rbgctl.api import identity
from rbgctl.api.kinds import ROLE_INSTANCE_SET
from rbgctl.api.meta import LabelSelector
from rbgctl.api.v1alpha2.roleinstanceset import RoleInstanceSet, RoleInstanceSetStatus
from rbgctl.controllers.instanceset.members import Member
from rbgctl.controllers.instanceset.topology import Topology
from rbgctl.machinery.plan import MergePatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Revisions:
    """Full names of the current and the update revision, and status.collisionCount."""

    current: str
    update: str
    collision_count: int = 0


def current_revision(
    revisions: Revisions, shape: Topology, slots: Mapping[int, Member], stored: RoleInstanceSetStatus
) -> str:
    """The current revision that the status shall name: the update revision once the rollout is done (SFM-18)."""
    replicas = shape.budgets.replicas
    done = (
        shape.in_rollout
        and shape.budgets.partition == 0
        and stored.update_revision == revisions.update
        and stored.updated_replicas >= replicas
        and all(_done(slots.get(o), revisions.update) for o in range(replicas))
    )
    return revisions.update if done else revisions.current


def set_status(
    owner: RoleInstanceSet, shape: Topology, members: Iterable[Member], revisions: Revisions, now: datetime
) -> dict[str, Any]:
    """The fields of the status that are ours; None where there is nothing to say."""
    existing = [m for m in members if m.created and not m.terminating]
    ready = [m for m in existing if m.ready and m.observed]
    minimum = owner.spec.min_ready_seconds or 0
    return {
        "observedGeneration": owner.metadata.generation,
        "replicas": len(existing),
        "readyReplicas": len(ready),
        "availableReplicas": sum(m.available_in(minimum, now) == 0.0 for m in ready),
        "currentReplicas": sum(m.revision == revisions.current for m in existing),
        "updatedReplicas": sum(m.revision == revisions.update for m in existing),
        "updatedReadyReplicas": sum(m.revision == revisions.update for m in ready),
        "expectedUpdatedReplicas": shape.budgets.replicas - shape.budgets.partition or None,
        "currentRevision": revisions.current,
        "updateRevision": revisions.update,
        "collisionCount": revisions.collision_count,
        "labelSelector": selector_text(owner.spec.selector) or None,
    }


def status_write(owner: RoleInstanceSet, wanted: Mapping[str, Any]) -> MergePatch | None:
    """The patch that makes the stored status say `wanted`; None when it does."""
    stored = owner.status.dump()
    changed = {k: v for k, v in wanted.items() if stored.get(k) != v}
    if not changed:
        return None
    meta = owner.metadata
    return MergePatch(
        gvk=ROLE_INSTANCE_SET,
        key=owner.key,
        patch={"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version}, "status": changed},
        subresource="status",
        field_manager=identity.MANAGER_INSTANCE_SET_STATEFUL,
    )


def selector_text(selector: LabelSelector | None) -> str:
    """The selector as the scale sub-resource wants it: sorted by key, values sorted; empty for none (SFM-23)."""
    if selector is None:
        return ""
    parts = [(key, f"{key}={value}") for key, value in (selector.match_labels or {}).items()]
    for expression in selector.match_expressions or ():
        key, values = expression.key, ",".join(sorted(expression.values or ()))
        texts = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}
        parts.append((key, texts.get(expression.operator, f"!{key}")))
    return ",".join(text for _, text in sorted(parts))


def _done(slot: Member | None, update: str) -> bool:
    return slot is not None and slot.serving and slot.revision == update and slot.observed
