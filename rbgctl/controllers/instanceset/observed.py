"""What a pass over one set starts from: a snapshot, frozen, with nothing decided yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from rbgctl.api.v1alpha2.roleinstance import RoleInstance
from rbgctl.api.v1alpha2.roleinstanceset import RoleInstanceSet
from rbgctl.machinery.gvk import RawObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One RoleInstanceSet and what is around it.

    raw: the set undecoded, owner of its model.
    instances: those it controls, and those of its namespace that nobody controls and that are members.
    revisions: ControllerRevisions it controls, that nobody controls, or that have a name it could give.
    confirmed: a live read, made because there was something to adopt, found the set alive under this uid.
    unhealthy_since: by uid of an instance, when it was first seen not Ready.
    """

    owner: RoleInstanceSet
    raw: RawObject
    instances: Sequence[RoleInstance] = ()
    revisions: Sequence[RawObject] = ()
    confirmed: bool = False
    unhealthy_since: Mapping[str, datetime] = field(default_factory=dict)
