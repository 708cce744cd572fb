"""The snapshot that a pass decides from; observe.py fills it, plan.py reads it, nobody changes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rbgctl.api.v1alpha2.roleinstance import RoleInstance
from rbgctl.controllers.instance.pods import Pod
from rbgctl.controllers.instance.restart_policy import Recreation, Tracking
from rbgctl.machinery.gvk import RawObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One instance and what there is of it.

    raw, instance: the same object, as stored and typed.
    pods: pods whose controller has the instance's uid, sorted by name.
    foreign: other existing pods under names that the instance wants.
    revisions: ControllerRevisions with the instance's label, other owners' included.
    live: what the API server itself says of earlier recreations; read only when some pod crashed.
    recreation: one that this process began and that is not over.
    """

    raw: RawObject
    instance: RoleInstance
    pods: Sequence[Pod] = ()
    foreign: Mapping[str, Pod]
    revisions: Sequence[RawObject] = ()
    live: Tracking | None = None
    recreation: Recreation | None = None
