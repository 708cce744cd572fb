"""What happens to a pod that was made from an older revision of its instance (RIN-18 to RIN-20).

    revision unknown, component gone, other Service         -> delete; a later pass makes the new one
    template of its component unchanged                     -> only tell it the new revision (IPP-8)
    anything else                                           -> delete

All outdated pods are dealt with in one pass: how many instances change at once is the set's business.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rbgctl.controllers.instance.pods import Pod
from rbgctl.machinery.gvk import RawObject
from rbgctl.planning.revisions import drop_empty, short_hash
from rbgctl.planning.typed_encoding import TypedEncodingError, comparable


class Action(Enum):
    """How one pod reaches the update revision."""

    RECREATE = "recreate"
    RECREATE_UNKNOWN = "recreate, its revision is unknown"
    RELABEL = "relabel"


@dataclass(frozen=True, slots=True)
class PodUpdate:
    """One outdated pod and what to do with it."""

    pod: Pod
    action: Action


def outdated(pods: Iterable[Pod], update: RawObject, history: Sequence[RawObject]) -> list[PodUpdate]:
    """The active ones among `pods` that do not follow revision `update`.

    history: the instance's revisions; the ones that pods were made from are looked up there.
    """
    wanted = short_hash(update)
    known = {short_hash(revision): revision for revision in history}
    return [
        PodUpdate(pod, action(pod, known.get(pod.hash), update)) for pod in pods if pod.active and pod.hash != wanted
    ]


def action(pod: Pod, old: RawObject | None, new: RawObject) -> Action:
    """How `pod`, made from revision `old` (None: not known), reaches revision `new`."""
    if old is None:
        return Action.RECREATE_UNKNOWN
    before, after = _component(old, pod.component), _component(new, pod.component)
    if before is None or after is None:
        return Action.RECREATE
    if (before.get("serviceName") or "") != (after.get("serviceName") or ""):
        return Action.RECREATE
    return Action.RELABEL if _same_template(before, after) else Action.RECREATE


def _component(revision: RawObject, name: str) -> Mapping[str, Any] | None:
    components = ((revision.get("data") or {}).get("spec") or {}).get("components") or ()
    return next((c for c in components if c.get("name") == name), None)


def _same_template(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    try:
        return bool(_meaning(before.get("template")) == _meaning(after.get("template")))
    except TypedEncodingError:
        return bool(before.get("template") == after.get("template"))


def _meaning(template: Any) -> Any:
    return drop_empty(comparable("PodTemplateSpec", template or {}))
