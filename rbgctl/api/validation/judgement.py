"""What admission says to a write of a RoleBasedGroup or a RoleBasedGroupSet, decided without any I/O.

                          CREATE          UPDATE
    VAL-1 name            refuse          -
    VAL-2                 refuse          refuse, except what stays as it was, VLD-3 and WH-8
    VAL-4                 refuse          refuse, except WH-8
    VAL-3 adapters        -               refuse (read by the caller)
    what the controllers  refuse          refuse what is new, warn of what was there before (see `ratchet`)
      would refuse
    GRP-61, VAL-21,       refuse          warn
      VAL-22
    inert, deprecated     warn            warn

A group that a set made is judged like an update of the set's template, which was judged when it was written.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from rbgctl.api import kinds, names
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup
from rbgctl.api.validation import naming, rollout_budgets
from rbgctl.api.validation.adapter_guard import Contested, contested
from rbgctl.api.validation.advice import group_advice, set_annotation_advice
from rbgctl.api.validation.conversion_data import conversion_annotations
from rbgctl.api.validation.dependency_graph import all_dependency_problems
from rbgctl.api.validation.gang_scheduling import gang_annotations
from rbgctl.api.validation.lenient import lenient
from rbgctl.api.validation.pod_names import shared_pod_names
from rbgctl.api.validation.pod_templates import missing_templates, role_templates, template_references
from rbgctl.api.validation.problem import FieldError, aggregate, shown
from rbgctl.api.validation.ratchet import Settled, settle
from rbgctl.api.validation.role_patterns import has_roles, instance_shapes, patterns
from rbgctl.api.validation.shapes import mapping
from rbgctl.api.validation.wording import bounded
from rbgctl.api.validation.workload_kinds import deprecated_types
from rbgctl.machinery.dns_label import dns_label_problem
from rbgctl.machinery.gvk import RawObject

MAX_ERRORS: Final = 100
"""Problems that one refusal names: nobody reads more, and the API server has to pass them on."""
TEMPLATE: Final = "spec.groupTemplate."
"""Where a group stands inside a set."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """errors: why the write is refused, none when it is not. warnings: at most what AR-5 allows."""

    errors: Sequence[FieldError | str] = ()
    warnings: Sequence[str] = ()

    @property
    def refusal(self) -> str:
        """One text for all errors, empty when there are none; of very many the first ones. VAL-9"""
        if len(self.errors) <= MAX_ERRORS:
            return aggregate(self.errors) if self.errors else ""
        return aggregate([*self.errors[:MAX_ERRORS], f"and {len(self.errors) - MAX_ERRORS} more"])


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group as stored or sent, of any shape: `malformed` says what of it cannot be read."""

    raw: RawObject
    group: RoleBasedGroup
    malformed: Sequence[FieldError] = ()

    @classmethod
    def of(cls, raw: RawObject) -> "GroupView":
        group, malformed = lenient(RoleBasedGroup, raw)
        return cls(raw, group, malformed)

    @property
    def made_by_set(self) -> bool:
        """Whether it says that a group set controls it."""
        owner = self.group.metadata.controller_ref
        if owner is None or owner.kind != kinds.KIND_GROUP_SET:
            return False
        return owner.api_version.partition("/")[0] == kinds.GROUP


@dataclass(frozen=True, slots=True)
class SetView:
    """A group set: its highest child as a group, whose paths start at TEMPLATE."""

    raw: RawObject
    name: str
    replicas: int
    child: GroupView
    annotations: dict[str, str]

    @classmethod
    def of(cls, raw: RawObject) -> "SetView":
        metadata, spec = mapping(raw.get("metadata")), mapping(raw.get("spec"))
        replicas = spec.get("replicas")
        count = replicas if isinstance(replicas, int) else 1
        name = str(metadata.get("name") or "")
        template = mapping(spec.get("groupTemplate"))
        group: RawObject = {
            "metadata": {
                "name": names.child_group_name(name, max(count - 1, 0)),
                "annotations": template.get("annotations"),
                "labels": template.get("labels"),
            }
        }
        if "spec" in template:
            group["spec"] = template["spec"]
        given = mapping(metadata.get("annotations"))
        own = {key: value for key, value in given.items() if isinstance(value, str)}
        return cls(raw, name, count, GroupView.of(group), own)


# -- groups ------------------------------------------------------------------------------------------------------


def judge_group_create(
    view: GroupView, *, deprecated_types_enabled: bool = True, owner: SetView | None = None
) -> Judgement:
    """A new group: nothing is accepted that its controller would not act on.

    owner: the set that really controls it; what is wrong with its template is not held against the group.
    """
    group = view.group
    errors: list[FieldError | str] = [*naming.group_label(group), *rollout_budgets.rollouts(group)]
    if not deprecated_types_enabled and (text := deprecated_types(group)):
        errors.append(text)
    strict = [*_new_rules(view), *_template_rules(group)]
    template = [*_new_rules(owner.child), *_template_rules(owner.child.group)] if owner else []
    settled = settle(strict, template)
    return Judgement([*errors, *settled.refused], bounded([*map(str, settled.tolerated), *group_advice(group)]))


def judge_group_update(
    old: GroupView,
    new: GroupView,
    *,
    deprecated_types_enabled: bool = True,
    adapters: Iterable[FieldError] = (),
) -> Judgement:
    """A change of a stored group. `adapters`: what the caller found out about `adapter_questions`."""
    group = new.group
    if _only_leaving(old.raw, new.raw):
        return Judgement()
    errors: list[FieldError | str] = []
    tolerated: list[FieldError] = []
    stored = rollout_budgets.Stored(old.group, group)
    for problem in rollout_budgets.rollouts(group):
        (tolerated if stored.tolerates(problem) else errors).append(problem)
    errors += adapters
    if not deprecated_types_enabled and (text := deprecated_types(group)):
        errors.append(text)
    found = _new_rules(new)
    settled = _spared(settle(found, _new_rules(old) if found else ()), old.group)
    warned = [*tolerated, *settled.tolerated, *_template_rules(group)]
    return Judgement([*errors, *settled.refused], bounded([*map(str, warned), *group_advice(group)]))


def adapter_questions(old: GroupView, new: GroupView) -> list[Contested]:
    """Which scaling adapters have to be read before an update can be judged. VAL-3"""
    return [] if _only_leaving(old.raw, new.raw) else contested(old.group, new.group)


def _only_leaving(old: RawObject, new: RawObject) -> bool:
    """An object that is being deleted, and whose spec stays as it is, can always be written. WH-8"""
    return bool(mapping(new.get("metadata")).get("deletionTimestamp")) and old.get("spec") == new.get("spec")


def _new_rules(view: GroupView) -> list[FieldError]:
    """What the Go operator's webhook accepts, and no controller can work with."""
    group = view.group
    return [
        *view.malformed,
        *has_roles(group),
        *gang_annotations(group),
        *naming.role_names(group),
        *shared_pod_names(group),
        *missing_templates(group),
        *instance_shapes(group),
        *all_dependency_problems(group),
        *rollout_budgets.oversized(group),
        *conversion_annotations("metadata.annotations", group.metadata.annotations),
    ]


def _template_rules(group: RoleBasedGroup) -> list[FieldError]:
    """Refused in new groups, warned of in others: GRP-61, VAL-21, VAL-22."""
    return [*patterns(group), *role_templates(group), *template_references(group)]


def _spared(settled: Settled, old: RoleBasedGroup) -> Settled:
    """The same with the names of roles that were there before among what is tolerated. NAM-30"""
    kept = {role.name for role in old.roles}
    refused: list[FieldError] = []
    tolerated = [*settled.tolerated]
    for problem in settled.refused:
        (tolerated if problem.check in naming.NAMES and problem.role in kept else refused).append(problem)
    return Settled(tuple(refused), tuple(tolerated))


# -- group sets --------------------------------------------------------------------------------------------------


def judge_set_create(view: SetView, *, deprecated_types_enabled: bool = True) -> Judgement:
    """A new group set: its template must make groups that are accepted."""
    errors: list[FieldError | str] = []
    if not deprecated_types_enabled and (text := deprecated_types(view.child.group, TEMPLATE)):
        errors.append(text)
    return Judgement([*errors, *_set_rules(view), *_set_template_rules(view)], bounded(_set_advice(view)))


def judge_set_update(old: SetView, new: SetView, *, deprecated_types_enabled: bool = True) -> Judgement:
    """A change of a stored group set. Only VAL-4 is a rule of the Go operator here; all others are new."""
    if _only_leaving(old.raw, new.raw):
        return Judgement()
    errors: list[FieldError | str] = []
    if not deprecated_types_enabled and (text := deprecated_types(new.child.group, TEMPLATE)):
        errors.append(text)
    found = _set_rules(new)
    settled = _spared(settle(found, _set_rules(old) if found else ()), old.child.group)
    tolerated = [*settled.tolerated]
    stored = rollout_budgets.Stored(old.child.group, new.child.group)
    budgets = {_inside(problem) for problem in rollout_budgets.rollouts(new.child.group)}
    for problem in settled.refused:
        (tolerated if problem in budgets and stored.tolerates(problem) else errors).append(problem)
    warned = [*tolerated, *_set_template_rules(new)]
    return Judgement(errors, bounded([*map(str, warned), *_set_advice(new)]))


def _set_rules(view: SetView) -> list[FieldError]:
    child = view.child.group
    found = [*rollout_budgets.rollouts(child), *_new_rules(view.child)]
    if dns_label_problem(child.metadata.name):
        # Too long a name of the set is said once, as a warning, not for every name made of it.
        found = [p for p in found if p.check not in {naming.POD_LENGTH, naming.WORKLOAD_SHARED}]
    return [*map(_inside, found), *conversion_annotations("metadata.annotations", view.annotations)]


def _set_template_rules(view: SetView) -> list[FieldError]:
    return [_inside(problem) for problem in _template_rules(view.child.group)]


def _inside(problem: FieldError) -> FieldError:
    """A problem of the child with its path in the set: the template has its annotations without metadata around."""
    return replace(problem, path=TEMPLATE + problem.path.removeprefix("metadata."))


def _set_advice(view: SetView) -> Iterable[str]:
    child = view.child.group.metadata
    if detail := dns_label_problem(child.name):
        yield f'metadata.name: child "{shown(child.name)}" will be refused: {detail}'
    if view.replicas < 0:
        yield f"spec.replicas: {view.replicas} is negative and counts as 0; use 0 or more"
    yield from set_annotation_advice(view.annotations, child.annotations or {})
    for text in group_advice(view.child.group, "annotations"):
        yield f"{TEMPLATE}{text}"
