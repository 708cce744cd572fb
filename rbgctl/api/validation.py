"""What is wrong with a v1alpha2 RoleBasedGroup beyond what its schema can say.

The group controller refuses to act on what `pre_check` finds (RBG-30); admission uses the same functions to
refuse or to warn. Every function returns problems as values and looks at the object only. A problem names
the field, what was found there and what would work.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rbgctl.api import annotations, events, names
from rbgctl.api.v1alpha2 import defaults
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup, RoleSpec
from rbgctl.api.v1alpha2.workload_type import SUPPORTED, is_stateful, workload_type
from rbgctl.machinery.dns_label import dns_label_problem
from rbgctl.machinery.int_or_string import scaled


@dataclass(frozen=True, slots=True)
class FieldError:
    """One problem: JSON path of the field, what was found, what would work; role when it concerns one."""

    path: str
    message: str
    role: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


@dataclass(frozen=True, slots=True)
class PreCheckFailure:
    """Why a group is not reconciled at all. `prefix` stands in the returned error, not in the event."""

    reason: str
    prefix: str
    errors: Sequence[FieldError]

    @property
    def event_message(self) -> str:
        """Text of the Warning event."""
        return aggregate(self.errors)

    def __str__(self) -> str:
        return f"{self.prefix}{aggregate(self.errors)}"


def aggregate(errors: Iterable[object]) -> str:
    """One text for several problems: distinct texts in order, in brackets if there are several. VAL-9"""
    texts = list(dict.fromkeys(str(error) for error in errors))
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def pre_check(group: RoleBasedGroup) -> PreCheckFailure | None:
    """The first failing group of checks in the order of RBG-30; None: the group can be reconciled."""
    if errors := gang_annotations(group):
        return PreCheckFailure(events.INVALID_GANG_SCHEDULING_ANNOTATIONS, "", errors)
    if errors := role_templates(group):
        return PreCheckFailure(events.INVALID_ROLE_TEMPLATES, "invalid role templates: ", errors)
    if errors := template_references(group):
        return PreCheckFailure(events.INVALID_TEMPLATE_REF, "invalid template references: ", errors)
    if errors := workload_types(group):
        return PreCheckFailure(events.FAILED_RECONCILE_WORKLOAD, "invalid role workload declarations: ", errors)
    return None


def gang_annotations(group: RoleBasedGroup) -> list[FieldError]:
    """Gang scheduling of the whole group and of single instances exclude each other. VLD-20, RBG-30.1"""
    asked = (annotations.GROUP_GANG_SCHEDULING, annotations.ROLE_INSTANCE_GANG_SCHEDULING)
    if any(group.metadata.annotation(key) != annotations.TRUE for key in asked):
        return []
    return [
        FieldError(
            "metadata.annotations",
            f'"{asked[0]}" and "{asked[1]}" are mutually exclusive and both are "true":'
            " keep the first on the group, or set the second on single roles",
        )
    ]


def role_templates(group: RoleBasedGroup) -> list[FieldError]:
    """Names that are missing, malformed or taken, and templates without containers. VLD-21, RBG-30.2"""
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, entry in enumerate(group.role_templates):
        path = f"spec.roleTemplates[{index}]"
        if not entry.name:
            errors.append(FieldError(f"{path}.name", "must not be empty"))
            continue
        if detail := dns_label_problem(entry.name):
            errors.append(FieldError(f"{path}.name", f'"{entry.name}" is not a valid DNS label: {detail}'))
        if entry.name in seen:
            errors.append(FieldError(path, f'duplicate template name "{entry.name}"'))
        seen.add(entry.name)
        if not ((entry.template or {}).get("spec") or {}).get("containers"):
            errors.append(FieldError(f"{path}.template.spec.containers", "must have at least one container"))
    return errors


def template_references(group: RoleBasedGroup) -> list[FieldError]:
    """References that cannot be followed, at most one problem per role. VLD-22, RBG-30.3

    A reference without patch is fine: it changes nothing (VLD-23).
    """
    errors: list[FieldError] = []
    known = {entry.name for entry in group.role_templates}
    for index, role in enumerate(group.roles):
        if role.template_ref is None:
            continue
        path = f"spec.roles[{index}]"
        kind = workload_type(role.annotations).kind
        if role.template is not None:
            found = FieldError(path, "templateRef and template are mutually exclusive, only one can be set", role.name)
        elif kind == "InstanceSet":
            found = FieldError(f"{path}.templateRef", "not supported for InstanceSet workloads", role.name)
        elif kind == "LeaderWorkerSet":
            found = FieldError(
                f"{path}.templateRef",
                "not supported for LeaderWorkerSet workloads (use RoleInstanceSet with LeaderWorkerPattern instead)",
                role.name,
            )
        elif role.template_ref.name not in known:
            found = FieldError(
                f"{path}.templateRef.name",
                f'template "{role.template_ref.name}" not found in spec.roleTemplates',
                role.name,
            )
        else:
            continue
        errors.append(found)
    return errors


def workload_types(group: RoleBasedGroup) -> list[FieldError]:
    """Roles that ask for a kind of workload nobody reconciles. VLD-24, RBG-30.4"""
    errors: list[FieldError] = []
    for role in group.roles:
        asked = workload_type(role.annotations)
        if not asked.supported:
            errors.append(
                FieldError(
                    f"role {role.name}",
                    f"unsupported workload type: {asked.text}; supported: {', '.join(sorted(SUPPORTED))}",
                    role.name,
                )
            )
    return errors


def dependencies(group: RoleBasedGroup) -> list[FieldError]:
    """Dependencies on roles that do not exist, and cycles. VLD-25, RBG-64

    Unknown names are reported first; cycles only when all names are known.
    """
    known = {role.name: role for role in group.roles}
    unknown = [
        FieldError(
            f"spec.roles[{index}].dependencies",
            f"role [{role.name}] with dependency role [{name}] not found in rbg",
            role.name,
        )
        for index, role in enumerate(group.roles)
        for name in role.dependencies or ()
        if name not in known
    ]
    if unknown:
        return unknown
    left = {name: set(role.dependencies or ()) for name, role in known.items()}
    while free := {name for name, wanted in left.items() if not wanted & left.keys()}:
        left = {name: wanted for name, wanted in left.items() if name not in free}
    if not left:
        return []
    name = _on_a_cycle(left)
    index = [role.name for role in group.roles].index(name)
    return [
        FieldError(
            f"spec.roles[{index}].dependencies",
            f"failed to sort roles by dependency order: cycle detected for role '{name}'",
            name,
        )
    ]


def _on_a_cycle(left: dict[str, set[str]]) -> str:
    # Every role that is left leads to a cycle, but may not stand on one: walk until a role comes again.
    name = min(left)
    seen: set[str] = set()
    while name not in seen:
        seen.add(name)
        name = min(left[name] & left.keys())
    return name


def group_name(group: RoleBasedGroup) -> FieldError | None:
    """A group's name is a label value of everything it makes, its revisions included; the CRD admits 253. RBG-9"""
    name = group.metadata.name
    if len(name) <= names.MAX_NAME:
        return None
    detail = f'"{name}" has {len(name)} characters, a label value has at most {names.MAX_NAME}: use a shorter name'
    return FieldError("metadata.name", detail)


def role_names(group: RoleBasedGroup) -> list[FieldError]:
    """Role names that are taken, malformed or too long for the names and label keys made of them. NAM-30"""
    errors: list[FieldError] = []
    taken = Counter(role.name for role in group.roles)
    workloads = Counter(names.workload_name(group.metadata.name, role) for role in taken)
    for index, role in enumerate(group.roles):
        path = f"spec.roles[{index}].name"
        workload = names.workload_name(group.metadata.name, role.name)
        if taken[role.name] > 1:
            errors.append(FieldError(path, f'duplicate role name "{role.name}"', role.name))
        if len(role.name) > names.MAX_ROLE_NAME:
            errors.append(
                FieldError(
                    path,
                    f'"{role.name}" has {len(role.name)} characters, at most {names.MAX_ROLE_NAME} fit into'
                    " the label key that carries its revision",
                    role.name,
                )
            )
        elif detail := dns_label_problem(role.name):
            errors.append(FieldError(path, f'"{role.name}" is not a valid DNS label: {detail}', role.name))
        if workloads[workload] > 1:
            errors.append(
                FieldError(
                    path,
                    f'"{role.name}" shares the workload name "{workload}" with another role after cutting to'
                    f" {names.MAX_NAME} characters: use a shorter group or role name",
                    role.name,
                )
            )
        longest = longest_pod_name(group.metadata.name, role)
        if len(longest) > names.MAX_NAME:
            errors.append(
                FieldError(
                    path,
                    f'"{role.name}" leads to pod name "{longest}" of {len(longest)} characters, a host name'
                    f" has at most {names.MAX_NAME}: use a shorter group or role name",
                    role.name,
                )
            )
    return errors


def longest_pod_name(group: str, role: RoleSpec) -> str:
    """The longest name among the pods of a role run by a RoleInstanceSet; empty for other workloads. NAM-10 ff."""
    if not workload_type(role.annotations).is_role_instance_set:
        return ""
    workload = names.workload_name(group, role.name)
    if is_stateful(role.annotations):
        instance = names.stateful_instance_name(workload, max(defaults.role_replicas(role) - 1, 0))
    else:
        instance = names.stateless_instance_name(workload, "x" * names.ID_LENGTH)
    if role.standalone_pattern is not None:
        return instance
    if role.leader_worker_pattern is not None:
        return f"{instance}-{max(defaults.leader_worker_size(role.leader_worker_pattern) - 1, 0)}"
    parts = role.custom_components_pattern.components if role.custom_components_pattern else None
    pods = (f"{instance}-{c.name}-{max(defaults.component_size(c) - 1, 0)}" for c in parts or ())
    return max(pods, key=len, default=instance)


def patterns(group: RoleBasedGroup) -> list[FieldError]:
    """Roles that do not say exactly one shape. GRP-61"""
    errors: list[FieldError] = []
    for index, role in enumerate(group.roles):
        given = {
            "standalonePattern": role.standalone_pattern,
            "leaderWorkerPattern": role.leader_worker_pattern,
            "customComponentsPattern": role.custom_components_pattern,
        }
        found = [name for name, pattern in given.items() if pattern is not None]
        if len(found) != 1:
            errors.append(
                FieldError(
                    f"spec.roles[{index}]",
                    f"has {', '.join(found) or 'no pattern'}; exactly one of {', '.join(given)} is needed",
                    role.name,
                )
            )
    return errors


def rollouts(group: RoleBasedGroup) -> list[FieldError]:
    """Update budgets and partitions that cannot work. VLD-2, VLD-3; roles with 0 replicas are not checked."""
    errors: list[FieldError] = []
    for index, role in enumerate(group.roles):
        rolling = role.rollout_strategy.rolling_update if role.rollout_strategy else None
        if rolling is None or not role.replicas:
            continue
        path = f"spec.roles[{index}].rolloutStrategy.rollingUpdate"
        errors += [FieldError(p, m, role.name) for p, m in _rollout(path, role, role.replicas)]
    return errors


def _rollout(path: str, role: RoleSpec, replicas: int) -> list[tuple[str, str]]:
    rollout = defaults.role_rollout(role)
    found: list[tuple[str, str]] = []
    values = {
        "maxSurge": rollout.max_surge,
        "maxUnavailable": rollout.max_unavailable,
        "partition": rollout.partition,
    }
    counts: dict[str, int] = {}
    for field, value in values.items():
        try:
            counts[field] = scaled(value, replicas, round_up=True)
        except ValueError:
            found.append((f"{path}.{field}", f'invalid value "{value}", use a number or a percentage'))
    if "maxSurge" in counts and "maxUnavailable" in counts:
        unavailable, surge = defaults.budgets(rollout.max_unavailable, rollout.max_surge, replicas)
        if unavailable == 0 and surge == 0:
            found.append((path, "maxSurge and maxUnavailable cannot both be 0"))
    if counts.get("partition", 0) >= replicas:
        found.append((f"{path}.partition", f"{rollout.partition} must be less than replicas {replicas}"))
    return found
