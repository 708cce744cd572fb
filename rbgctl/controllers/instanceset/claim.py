"""Which instances belong to the set (SFM-2).

A member carries the labels of `spec.selector` and is named `<set>-<ordinal>`. By whom it is controlled decides:

    controlled by us, a member          claimed, also while it is terminating
    controlled by us, not a member      released: it stays, without our owner reference
    controlled by nobody, a member      adopted, unless it or the set is terminating; a live read must have confirmed
                                        that the set still is the one the cache shows
    anything else                       none of our business

A set without a selector knows its instances by their controller alone and adopts nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rbgctl.api import identity, names
from rbgctl.api.kinds import ROLE_INSTANCE
from rbgctl.api.meta import ObjectMeta, OwnerReference
from rbgctl.api.v1alpha2.roleinstance import RoleInstance
from rbgctl.api.v1alpha2.roleinstanceset import RoleInstanceSet
from rbgctl.machinery.gvk import RawObject
from rbgctl.machinery.owner_references import controller_reference
from rbgctl.machinery.plan import MergePatch
from rbgctl.machinery.selectors import LabelSelector


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The outcome. steps: one patch for each instance to adopt or to release."""

    claimed: Sequence[RoleInstance]
    steps: Sequence[MergePatch] = ()


def selector_of(owner: RoleInstanceSet) -> LabelSelector:
    """The set's selector; one that selects nothing when it has none. Raises ValueError naming the field."""
    selector = owner.spec.selector
    try:
        return LabelSelector.from_object(selector.dump() if selector is not None else None)
    except ValueError as error:
        raise ValueError(f"spec.selector: {error}") from None


def has_members_name(owner: RoleInstanceSet, name: str) -> bool:
    """Whether `name` is `<set>-<ordinal>`, the ordinal written as we write it."""
    ordinal = names.instance_ordinal(name)
    return ordinal >= 0 and name == names.stateful_instance_name(owner.metadata.name, ordinal)


def adoptable(owner: RoleInstanceSet, selector: LabelSelector, name: str, labels: Mapping[str, str]) -> bool:
    """Whether an instance that nobody controls is a member."""
    return selector.matches(labels) and has_members_name(owner, name)


def claims(owner: RoleInstanceSet, raw: RawObject, found: Iterable[RoleInstance], *, confirmed: bool) -> Claims:
    """Sort `found`, the instances that the set controls and those that nobody does. `raw` is the set undecoded.

    confirmed: a live read found the set alive under the same uid. Raises ValueError for an invalid selector.
    """
    selector = selector_of(owner)
    claimed: list[RoleInstance] = []
    steps: list[MergePatch] = []
    for instance in found:
        meta = instance.metadata
        controller = meta.controller_ref
        member = has_members_name(owner, meta.name) and (
            selector.matches(meta.labels or {}) or (owner.spec.selector is None and controller is not None)
        )
        if controller is not None:
            if controller.uid != owner.metadata.uid:
                continue
            if member:
                claimed.append(instance)
            else:
                steps.append(_release(owner, instance))
        elif member and confirmed and meta.deletion_timestamp is None and owner.metadata.deletion_timestamp is None:
            steps.append(_adopt(raw, instance))
    return Claims(claimed=claimed, steps=steps)


def _adopt(owner: RawObject, instance: RoleInstance) -> MergePatch:
    return _owners(instance, [*_dumped(instance.metadata.owner_references or ()), controller_reference(owner)])


def _release(owner: RoleInstanceSet, instance: RoleInstance) -> MergePatch:
    others = [o for o in instance.metadata.owner_references or () if o.uid != owner.metadata.uid]
    return _owners(instance, _dumped(others))


def _dumped(references: Iterable[OwnerReference]) -> list[RawObject]:
    return [r.dump() for r in references]


def _owners(instance: RoleInstance, references: Sequence[RawObject]) -> MergePatch:
    meta: ObjectMeta = instance.metadata
    return MergePatch(
        gvk=ROLE_INSTANCE,
        key=instance.key,
        patch={
            "metadata": {
                "uid": meta.uid,
                "resourceVersion": meta.resource_version,
                "ownerReferences": list(references),
            }
        },
        field_manager=identity.MANAGER_INSTANCE_SET_STATEFUL,
    )
