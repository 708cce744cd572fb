"""The three shapes an instance of a role can have (GRP-40 … GRP-58)."""

from typing import Annotated, ClassVar, Final

from rbgctl.api.model import Int32, Model, Rule, Schema
from rbgctl.api.v1alpha2.component import Component
from rbgctl.api.v1alpha2.restart_policy import RestartPolicyConfig, StoredRestartPolicy
from rbgctl.machinery.gvk import RawObject

DNS_LABEL: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
SELECT_ALL: Final = "All"
SELECT_LEADER_ONLY: Final = "LeaderOnly"

_ONE_TEMPLATE = (
    Rule("!(has(self.template) && has(self.templateRef))", "template and templateRef are mutually exclusive"),
)


class TemplateRef(Model):
    """Refers to one of the group's role templates, with changes."""

    name: Annotated[str, Schema(required=True, min_length=1, max_length=63, pattern=DNS_LABEL)] = ""
    """Name in spec.roleTemplates. (GRP-42)"""
    patch: Annotated[RawObject | None, Schema(schemaless=True)] = None
    """Strategic merge patch over that template; none means no changes. (GRP-43)"""


class StandalonePattern(Model):
    """One pod per instance."""

    crd_rules: ClassVar[tuple[Rule, ...]] = _ONE_TEMPLATE

    template: Annotated[RawObject | None, Schema(core="PodTemplateSpec")] = None
    """Pod template. (GRP-40)"""
    template_ref: TemplateRef | None = None
    """Use a role template instead. (GRP-41)"""


class LeaderWorkerPattern(Model):
    """One leader and size - 1 workers per instance."""

    crd_rules: ClassVar[tuple[Rule, ...]] = _ONE_TEMPLATE

    leader_template_patch: Annotated[RawObject | None, Schema(schemaless=True)] = None
    """Strategic merge patch for the leader's pod template. (GRP-45)"""
    restart_policy: StoredRestartPolicy = None
    """Deprecated: use restartPolicyConfig. (GRP-48)"""
    restart_policy_config: RestartPolicyConfig | None = None
    """What happens to the instance when one of its pods restarts. (GRP-49)"""
    shared_service_selection: Annotated[str | None, Schema(enum=(SELECT_ALL, SELECT_LEADER_ONLY))] = None
    """Which pods the role's headless Service selects: All or LeaderOnly. (GRP-47)"""
    size: Annotated[Int32 | None, Schema(default=1)] = None
    """Pods per instance, leader included. (GRP-44)"""
    template: Annotated[RawObject | None, Schema(core="PodTemplateSpec")] = None
    """Pod template of leader and workers. (GRP-40)"""
    template_ref: TemplateRef | None = None
    """Use a role template instead. (GRP-41)"""
    worker_template_patch: Annotated[RawObject | None, Schema(schemaless=True)] = None
    """Strategic merge patch for the workers' pod template. (GRP-46)"""


class CustomComponentsPattern(Model):
    """Several components of different templates per instance."""

    components: list[Component] | None = None
    """The components; their names must differ. (GRP-53)"""
    restart_policy: StoredRestartPolicy = None
    """Deprecated: use restartPolicyConfig. (GRP-48)"""
    restart_policy_config: RestartPolicyConfig | None = None
    """What happens to the instance when one of its pods restarts. (GRP-49)"""
