"""Where the pods of a role come from: role templates, references to them, inline templates (VLD-21 to VLD-23)."""

from collections.abc import Iterator, Mapping
from typing import Any

from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup, RoleSpec
from rbgctl.api.v1alpha2.workload_type import workload_type
from rbgctl.api.validation.problem import FieldError
from rbgctl.machinery.dns_label import dns_label_problem

NO_CONTAINER = "must have at least one container"


def role_templates(group: RoleBasedGroup) -> list[FieldError]:
    """Names that are missing, malformed or taken, and templates without containers. VLD-21, RBG-30.2"""
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, entry in enumerate(group.role_templates):
        path = f"spec.roleTemplates[{index}]"
        name = entry.name
        if not name:
            errors.append(FieldError(f"{path}.name", "must not be empty", check="template name missing"))
            continue
        if detail := dns_label_problem(name):
            text = f'"{name}" is not a valid DNS label: {detail}'
            errors.append(FieldError(f"{path}.name", text, check="template name", value=name))
        if name in seen:
            errors.append(
                FieldError(path, f'duplicate template name "{name}"', check="template name taken", value=name)
            )
        seen.add(name)
        if not containers(entry.template):
            where = f"{path}.template.spec.containers"
            errors.append(FieldError(where, NO_CONTAINER, check="template containers", value=name))
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
        name = role.template_ref.name
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
        elif name not in known:
            found = FieldError(
                f"{path}.templateRef.name", f'template "{name}" not found in spec.roleTemplates', role.name
            )
        else:
            continue
        errors.append(FieldError(found.path, found.message, role.name, check="template reference", value=found.message))
    return errors


def missing_templates(group: RoleBasedGroup) -> list[FieldError]:
    """Roles whose pods nothing describes, which no workload can be made for (RBG-30, last line of its group 3)."""
    return [problem for index, role in enumerate(group.roles) for problem in _missing(f"spec.roles[{index}]", role)]


def _missing(path: str, role: RoleSpec) -> Iterator[FieldError]:
    name = "standalonePattern" if role.standalone_pattern is not None else "leaderWorkerPattern"
    if role.templated_pattern is not None:
        where = f"{path}.{name}"
        if role.template_ref is not None:
            return
        if role.template is None:
            text = "has no pod template: set template, or templateRef to one of spec.roleTemplates"
            yield FieldError(where, text, role.name, "pod template missing")
        elif not containers(role.template) and not _patched_in(role):
            yield FieldError(f"{where}.template.spec.containers", NO_CONTAINER, role.name, "pod containers")
        return
    parts = role.custom_components_pattern.components if role.custom_components_pattern else None
    for index, part in enumerate(parts or ()):
        where = f"{path}.customComponentsPattern.components[{index}].template.spec.containers"
        found = containers(part.template)
        if not found:
            yield FieldError(where, NO_CONTAINER, role.name, "pod containers", part.name)
        for at, container in enumerate(found):
            if not isinstance(container, Mapping) or not container.get("name"):
                text = "must not be empty: a container needs a name"
                yield FieldError(f"{where}[{at}].name", text, role.name, "container name", part.name)


def _patched_in(role: RoleSpec) -> bool:
    """Whether leader and workers get containers from their patches."""
    pattern = role.leader_worker_pattern
    if role.standalone_pattern is not None or pattern is None:
        return False
    return bool(containers(pattern.leader_template_patch)) and (
        (pattern.size or 1) < 2 or bool(containers(pattern.worker_template_patch))
    )


def containers(template: Any) -> list[Any]:
    """spec.containers of a pod template of any shape; empty when there is no such list."""
    spec = template.get("spec") if isinstance(template, Mapping) else None
    found = spec.get("containers") if isinstance(spec, Mapping) else None
    return found if isinstance(found, list) else []


def container_names(group: RoleBasedGroup, role: RoleSpec) -> set[str]:
    """Names of all containers that the role's own templates and patches name."""
    sources: list[Any] = [role.template]
    if role.template_ref is not None:
        entry = group.role_template(role.template_ref.name)
        sources += [entry.template if entry else None, role.template_ref.patch]
    if role.leader_worker_pattern is not None:
        sources += [role.leader_worker_pattern.leader_template_patch, role.leader_worker_pattern.worker_template_patch]
    if role.custom_components_pattern is not None:
        sources += [part.template for part in role.custom_components_pattern.components or ()]
    return {str(c.get("name")) for source in sources for c in containers(source) if isinstance(c, Mapping)}
