"""Which pods have to go and which are missing (RIN-6 to RIN-12).

For each component, with size its number of pods:

    excess  = active pods with id ≥ size, without an id, or with an id that another active pod has
    missing = {0 … size-1} - ids of active pods, minus those whose name is still taken

Failed pods go too; the next pass makes their successors. Pods go before others come: never both in one pass. A
Succeeded pod keeps its slot for ever, on purpose: after a take-over from another operator a finished pod must not
run again. Pods of components that the spec no longer names are not of this file's business (RIN-9, update.py).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rbgctl.api.kinds import ROLE_INSTANCE
from rbgctl.api.v1alpha2.defaults import component_size
from rbgctl.api.v1alpha2.roleinstance import RoleInstance
from rbgctl.controllers.instance.pods import NO_ID, Pod, Slot, slots
from rbgctl.machinery.owner_references import controller_of


class ScaleError(ValueError):
    """The spec does not say which pods there should be; only another spec helps."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What a pass does about the number of pods: either deletes or creates, or neither."""

    delete: Sequence[Pod] = ()
    create: Sequence[Slot] = ()

    @property
    def needed(self) -> bool:
        return bool(self.delete or self.create)


def scale(instance: RoleInstance, pods: Sequence[Pod], taken: Collection[str]) -> Scale:
    """Decide for an instance with these pods of its own.

    taken: names of existing pods, whoever owns them. Raises ScaleError when two components have one name (RIN-8).
    """
    check(instance)
    doomed = [p for p in pods if p.failed]
    for component in instance.components:
        doomed += _excess((p for p in pods if p.active and p.component == component.name), component_size(component))
    if doomed:
        return Scale(delete=doomed)
    filled = {(p.component, p.id) for p in pods if p.active}
    used = set(taken)
    missing: list[Slot] = []
    for slot in slots(instance):
        if (slot.component.name, slot.id) not in filled and slot.name not in used:
            used.add(slot.name)
            missing.append(slot)
    return Scale(create=missing)


def obstacles(instance: RoleInstance, foreign: Mapping[str, Pod]) -> str:
    """Why some pod will not be made before somebody changes something; empty when nothing is in the way.

    Two pods may want one name (RIN-17), or a pod that has nothing to do with this instance may have it. A predecessor's
    pod, or any that is on its way out, is just waited for.
    """
    found: list[str] = []
    owners: dict[str, str] = {}
    for slot in slots(instance):
        which = f"{slot.component.name}/{slot.id}"
        if slot.name in owners:
            found.append(f"pod {which} would have the name {slot.name}, as {owners[slot.name]} has")
        owners.setdefault(slot.name, which)
    for name in strangers(instance, foreign):
        found.append(f"the name {name} is taken by a pod of another owner")
    return "; ".join(found)


def strangers(instance: RoleInstance, foreign: Mapping[str, Pod]) -> list[str]:
    """Wanted names that pods hold whose end would not wake this instance, because they belong to somebody else."""
    me = (ROLE_INSTANCE.kind, instance.metadata.name)
    return [name for name, pod in sorted(foreign.items()) if not pod.terminating and _controller(pod) != me]


def _controller(pod: Pod) -> tuple[str, str]:
    controller = controller_of(pod.raw) or {}
    return str(controller.get("kind") or ""), str(controller.get("name") or "")


def check(instance: RoleInstance) -> None:
    """Raises ScaleError when two components have one name (RIN-8)."""
    seen: set[str] = set()
    for component in instance.components:
        if component.name in seen:
            raise ScaleError(f"spec.components: two components are named {component.name!r}; names must differ")
        seen.add(component.name)


def _excess(pods: Iterable[Pod], size: int) -> list[Pod]:
    """Pods beyond the size. Of two with one id the older one stays."""
    kept: set[int] = set()
    excess = []
    for pod in sorted(pods, key=lambda p: (p.raw["metadata"].get("creationTimestamp") or "", p.name)):
        if pod.id == NO_ID or pod.id >= size or pod.id in kept:
            excess.append(pod)
        kept.add(pod.id)
    return excess
