"""Which pod templates a role is made from: its own or a role template, and what patches make of them (03 §13).

    base     template of the role, or the role template it names merged with templateRef.patch
    leader   base merged with leaderTemplatePatch
    worker   base merged with workerTemplatePatch

Every merge works on the typed form of a template (RBG-36), as the Go operator's does, and so does its result: fields
that a pod template does not have are gone.
"""

from collections.abc import Mapping
from typing import Any

from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup, RoleSpec
from rbgctl.machinery.gvk import RawObject
from rbgctl.machinery.merge_keys import POD_TEMPLATE
from rbgctl.machinery.strategic_merge import StrategicMergeError, strategic_merge
from rbgctl.planning.typed_encoding import rendered_pod_template


class TemplateError(ValueError):
    """A role without a usable pod template; the text says which field and why."""


def base_template(group: RoleBasedGroup, role: RoleSpec) -> RawObject:
    """The pod template of a standalone or leader-worker role, typed (RBG-69).

    Raises TemplateError, or TypedEncodingError (both ValueErrors).
    """
    reference = role.template_ref
    if reference is None:
        if role.template is None:
            raise TemplateError(f"role {role.name} has no template or templateRef set")
        return rendered_pod_template(role.template, f"role {role.name}: template")
    named = group.role_template(reference.name)
    if named is None:
        raise TemplateError(f"role {role.name}: template {reference.name!r} not found in spec.roleTemplates")
    template = rendered_pod_template(named.template or {}, f"role template {named.name}")
    return _patched(template, reference.patch, f"role {role.name}: failed to apply templatePatch")


def leader_template(role: RoleSpec, base: RawObject) -> RawObject:
    """The leader's template of a leader-worker role, from its base (RBG-70). Raises as `base_template` does."""
    pattern = role.leader_worker_pattern
    patch = pattern.leader_template_patch if pattern is not None else None
    return _patched(base, patch, f"role {role.name}: leaderTemplatePatch: failed to merge patch")


def worker_template(role: RoleSpec, base: RawObject) -> RawObject:
    """The workers' template of a leader-worker role, from its base (RBG-70). Raises as `base_template` does."""
    pattern = role.leader_worker_pattern
    patch = pattern.worker_template_patch if pattern is not None else None
    return _patched(base, patch, f"role {role.name}: workerTemplatePatch: failed to merge patch")


def _patched(template: RawObject, patch: Mapping[str, Any] | None, what: str) -> RawObject:
    if not patch:
        return template
    try:
        merged = strategic_merge(template, patch, POD_TEMPLATE)
    except StrategicMergeError as error:
        raise TemplateError(f"{what}: {error}") from None
    return rendered_pod_template(merged, what)
