"""Whether something that already has a name this group needs may be taken over.

A forced apply would overwrite it, and it would be deleted with the group. So only what carries the group's label, or
was applied by this operator, is taken; for anything else the group says what is in its way.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from rbgctl.api import identity, labels
from rbgctl.api.kinds import KIND_GROUP
from rbgctl.machinery.field_ownership import applied_fields
from rbgctl.machinery.gvk import RawObject
from rbgctl.machinery.owner_references import controller_of
from rbgctl.machinery.plan import Apply


def refuse_unlabelled(group: str, *, may_have_controller: bool) -> Callable[[RawObject], str]:
    """Judge of workloads and Services: why one that exists is not this group's, empty when it is."""

    def judge(existing: RawObject) -> str:
        found = (existing["metadata"].get("labels") or {}).get(labels.GROUP_NAME)
        if found is None and applied_fields(existing, identity.FIELD_MANAGER) is None:
            label = f"{labels.GROUP_NAME}={group}"
            return f"{_named(existing)} exists and has no label {label}: delete it or rename the role"
        if found not in {None, group}:
            return f"{_named(existing)} exists and belongs to group {found}: rename the role"
        return "" if may_have_controller else controlled_by_another(existing)

    return judge


def controlled_by_another(service: Mapping[str, Any]) -> str:
    """Why a Service cannot be used although it carries the group's label: ours have no controller."""
    controller = controller_of(service)
    if controller is None:
        return ""
    return (
        f"{_named(service)} exists and is controlled by {controller.get('kind')} {controller.get('name')}: "
        "delete it or rename the role"
    )


def refuse_foreign_config_map(existing: RawObject) -> str:
    """Judge of the discovery ConfigMap, which has no labels: ours was applied by us, or is controlled by a group."""
    controller = controller_of(existing)
    if controller is not None:
        ours = controller.get("kind") == KIND_GROUP and controller.get("name") == existing["metadata"]["name"]
    else:
        ours = applied_fields(existing, identity.FIELD_MANAGER) is not None
    if ours:
        return ""
    return f"{_named(existing)} exists and is not this group's: delete it or rename the group"


def guarded(apply: Apply, refuse: Callable[[RawObject], str], told: str) -> Apply:
    """`apply`, but not over what `refuse` has a reason against. `told`: what the group's condition says already.

    What it says is no news at the next look: no further event.
    """
    known = f"{_named(apply.obj)} exists and " in told
    return replace(apply, refuse_existing=refuse, on_failure=None if known else apply.on_failure)


def _named(obj: Mapping[str, Any]) -> str:
    return f"{obj['kind']} {obj['metadata']['name']}"
