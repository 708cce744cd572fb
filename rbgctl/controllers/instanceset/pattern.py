"""How a set names and keeps its instances, and what happens when that is changed (RIS-6, RIS-7).

Annotation role-instance-pattern says Stateful (also when absent: ordinals, stable names) or Stateless (random ids).
After a switch the instances of the other pattern are deleted before anything else is done: the two cannot be told
apart safely while both exist.
"""

from collections.abc import Iterable
from typing import Final

from rbgctl.api import annotations, labels
from rbgctl.api.v1alpha2.legacy_keys import instance_pattern
from rbgctl.api.v1alpha2.roleinstance import RoleInstance
from rbgctl.api.v1alpha2.roleinstanceset import RoleInstanceSet
from rbgctl.controllers.instanceset.claim import has_members_name, selector_of

STATEFUL: Final = annotations.PATTERN_STATEFUL
STATELESS: Final = annotations.PATTERN_STATELESS


def pattern_of(owner: RoleInstanceSet) -> str:
    """Stateful, Stateless, or whatever else the user wrote."""
    return instance_pattern(owner.metadata.annotations)


def strays(owner: RoleInstanceSet, found: Iterable[RoleInstance]) -> list[RoleInstance]:
    """The instances that a stateful set controls and selects but that a stateless one has made.

    Without a selector everything it controls counts as selected. An id may consist of digits only, so the name alone
    does not tell: stateless instances carry the uid of their set in a label. Raises ValueError for an invalid selector.
    """
    selector = selector_of(owner)
    return [
        instance
        for instance in found
        if (ref := instance.metadata.controller_ref) is not None
        and ref.uid == owner.metadata.uid
        and (owner.spec.selector is None or selector.matches(instance.metadata.labels or {}))
        and not _stateful(owner, instance)
    ]


def _stateful(owner: RoleInstanceSet, instance: RoleInstance) -> bool:
    return has_members_name(owner, instance.metadata.name) and not instance.metadata.label(labels.ROLE_INSTANCE_OWNER)
