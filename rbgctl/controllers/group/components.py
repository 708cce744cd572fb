"""What one instance of a role consists of: a table from the role's pattern to components (RBG-86).

    pattern             role-type         components
    standalonePattern   PodTemplate       one, named like the role
    leaderWorkerPattern LeaderWorkerSet   leader ×1, worker × (size - 1); a worker ×0 is listed too
    customComponents    Components        as given

The first pattern that a role has counts. `component-size` on the pods of leaders and workers is the size of the whole
instance, elsewhere that of the component.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rbgctl.api import labels
from rbgctl.api.v1alpha2.component import Component
from rbgctl.api.v1alpha2.defaults import component_size, leader_worker_size, shared_service_selection
from rbgctl.api.v1alpha2.patterns import SELECT_ALL, CustomComponentsPattern, LeaderWorkerPattern
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup, RoleSpec
from rbgctl.api.v1alpha2.workload_type import is_stateful
from rbgctl.machinery.gvk import RawObject
from rbgctl.planning.env_injection import leader_worker_env
from rbgctl.planning.pod_template import TemplateContext, instance_pod_template
from rbgctl.planning.role_templates import TemplateError, base_template, leader_template, worker_template
from rbgctl.planning.typed_encoding import rendered_pod_template


@dataclass(frozen=True, slots=True)
class Shape:
    """Value of label role-type on the workload, and the components as they are sent."""

    role_type: str
    components: list[dict[str, Any]]


def shape_of(group: RoleBasedGroup, role: RoleSpec, service: str) -> Shape:
    """The shape of the role's instances. `service`: effective headless Service of the role.

    Raises TemplateError or TypedEncodingError (both ValueErrors) when the role has no usable template.
    """
    maker = _Maker(group, role, service)
    if role.standalone_pattern is not None:
        return Shape(labels.ROLE_TYPE_POD_TEMPLATE, [maker.standalone()])
    if role.leader_worker_pattern is not None:
        return Shape(labels.ROLE_TYPE_LEADER_WORKER_SET, maker.leader_and_workers(role.leader_worker_pattern))
    if role.custom_components_pattern is not None:
        return Shape(labels.ROLE_TYPE_COMPONENTS, maker.custom(role.custom_components_pattern))
    raise TemplateError(f"no valid pattern found for role {role.name}")


@dataclass(frozen=True, slots=True)
class _Maker:
    group: RoleBasedGroup
    role: RoleSpec
    service: str

    def standalone(self) -> dict[str, Any]:
        template = base_template(self.group, self.role)
        return self._component(self.role.name, 1, self.service, template, {labels.COMPONENT_SIZE: "1"})

    def leader_and_workers(self, pattern: LeaderWorkerPattern) -> list[dict[str, Any]]:
        base = base_template(self.group, self.role)
        size = leader_worker_size(pattern)
        shared = self.service if shared_service_selection(self.role) == SELECT_ALL else ""
        return [
            self._member(labels.COMPONENT_LEADER, 1, size, self.service, leader_template(self.role, base)),
            self._member(labels.COMPONENT_WORKER, max(size - 1, 0), size, shared, worker_template(self.role, base)),
        ]

    def custom(self, pattern: CustomComponentsPattern) -> list[dict[str, Any]]:
        return [self._custom(component) for component in pattern.components or ()]

    def _custom(self, given: Component) -> dict[str, Any]:
        size = component_size(given)
        made = self._component(
            given.name,
            size,
            given.service_name or self.service,
            self._with_metadata(given),
            {labels.COMPONENT_SIZE: str(size)},
        )
        copied = {"labels": given.labels, "annotations": given.annotations}
        return {**made, **{key: dict(value) for key, value in copied.items() if value}}

    def _member(self, name: str, count: int, size: int, service: str, template: RawObject) -> dict[str, Any]:
        own = {labels.COMPONENT_NAME: name, labels.COMPONENT_SIZE: str(size)}
        return self._component(name, count, service, template, own, leader_worker=True)

    def _component(
        self,
        name: str,
        size: int,
        service: str,
        template: RawObject,
        own: Mapping[str, str],
        *,
        leader_worker: bool = False,
    ) -> dict[str, Any]:
        meta, role = self.group.metadata, self.role
        context = TemplateContext(
            group=meta.name,
            role=role.name,
            stateful=is_stateful(role.annotations),
            labels={**labels.common(meta.namespace, meta.name, role.name), **own},
            env=leader_worker_env(self.service, meta.namespace) if leader_worker else (),
        )
        return {
            "name": name,
            "size": size,
            **({"serviceName": service} if service else {}),
            "template": instance_pod_template(template, context),
        }

    def _with_metadata(self, given: Component) -> RawObject:
        """The component's template with the component's labels and annotations over its own."""
        template = given.template or {}
        more = {"labels": given.labels, "annotations": given.annotations}
        if not any(more.values()):
            return template
        typed = rendered_pod_template(template, f"role {self.role.name}: component {given.name}: template")
        meta = typed["metadata"]
        meta.update({key: {**(meta.get(key) or {}), **added} for key, added in more.items() if added})
        return typed
