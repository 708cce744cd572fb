"""RoleBasedGroupWarmup: prepares nodes before a group needs them (KIND-8, WRM-1 … WRM-33)."""

from typing import Annotated, ClassVar, Final

from rbgctl.api import kinds
from rbgctl.api.meta import Condition, ObjectMeta
from rbgctl.api.model import Bool, Int32, Int64, Model, Rule, Schema, StringMap, Timestamp
from rbgctl.machinery.gvk import NN, RawObject

RUNNING: Final = "Running"
PAUSED: Final = "Paused"
COMPLETED: Final = "Completed"
FAILED: Final = "Failed"
"""Values of status.phase; a new warm-up has none. ENUM-2"""

_SOME_ACTION = Rule(
    "has(self.imagePreload) || has(self.customizedAction)",
    "at least one of imagePreload or customizedAction must be specified",
)


class ImagePreload(Model):
    """Pulls images."""

    images: Annotated[list[str] | None, Schema(required=True, min_items=1)] = None
    """Images to pull. (WRM-12)"""
    pull_secrets: Annotated[list[RawObject] | None, Schema(core="LocalObjectReference")] = None
    """Secrets with credentials for their registries. (WRM-13)"""


class CustomizedAction(Model):
    """Runs containers to completion."""

    containers: Annotated[list[RawObject] | None, Schema(required=True, min_items=1, core="Container")] = None
    """The containers. (WRM-14)"""
    volumes: Annotated[list[RawObject] | None, Schema(core="Volume")] = None
    """Volumes that they mount. (WRM-15)"""


class WarmupActions(Model):
    """What is done on a node."""

    crd_rules: ClassVar[tuple[Rule, ...]] = (_SOME_ACTION,)

    customized_action: CustomizedAction | None = None
    """Runs containers to completion. (WRM-14)"""
    image_preload: ImagePreload | None = None
    """Pulls images. (WRM-12)"""


class TargetNodes(WarmupActions):
    """Nodes, by name or by label, and what is done on them."""

    crd_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("has(self.nodeNames) || has(self.nodeSelector)", "either nodeNames or nodeSelector must be specified"),
        Rule("!(has(self.nodeNames) && has(self.nodeSelector))", "nodeNames and nodeSelector are mutually exclusive"),
        _SOME_ACTION,
    )

    node_names: Annotated[list[str] | None, Schema(min_items=1)] = None
    """Names of the nodes. (WRM-10)"""
    node_selector: Annotated[StringMap | None, Schema(min_properties=1)] = None
    """Labels of the nodes. (WRM-11)"""


class TargetRoleBasedGroup(Model):
    """The nodes that the pods of a group are on, and what is done there."""

    name: Annotated[str, Schema(required=True, min_length=1)] = ""
    """Name of a RoleBasedGroup in the same namespace. (WRM-16)"""
    roles: Annotated[dict[str, WarmupActions] | None, Schema(required=True, min_properties=1)] = None
    """By role, what is done on its nodes; other roles are left alone. (WRM-17)"""


class WarmupPolicies(Model):
    """Bounds of the work."""

    crd_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.maxFailedNodes) || has(self.backoffLimitPerNode)",
            "backoffLimitPerNode must be set when maxFailedNodes is specified",
        ),
    )

    backoff_limit_per_node: Annotated[Int32 | None, Schema(minimum=0)] = None
    """Failures on one node that are forgiven; without limit when absent. (WRM-5)"""
    global_timeout_seconds: Annotated[Int64 | None, Schema(minimum=1)] = None
    """Seconds from the start after which the warm-up fails. (WRM-7)"""
    max_failed_nodes: Annotated[Int32 | None, Schema(minimum=0)] = None
    """Failed nodes that are forgiven; any number when absent. (WRM-6)"""
    parallelism: Annotated[Int32 | None, Schema(minimum=1)] = None
    """Pods at the same time; without limit when absent. (WRM-4)"""
    ttl_seconds_after_finished: Annotated[Int32 | None, Schema(minimum=0)] = None
    """Seconds after the end until the warm-up is deleted; never when absent. (WRM-8)"""


class WarmupSpec(Model):
    """What to do on which nodes."""

    crd_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.targetNodes) || has(self.targetRoleBasedGroup)",
            "either targetNodes or targetRoleBasedGroup must be specified",
        ),
        Rule(
            "!(has(self.targetNodes) && has(self.targetRoleBasedGroup))",
            "targetNodes and targetRoleBasedGroup are mutually exclusive",
        ),
    )

    paused: Bool | None = None
    """Makes no further pods; those that exist go on. (WRM-2)"""
    policies: WarmupPolicies | None = None
    """Bounds of the work. (WRM-3)"""
    target_nodes: TargetNodes | None = None
    """Nodes, by name or by label, and what is done on them. (WRM-9)"""
    target_role_based_group: TargetRoleBasedGroup | None = None
    """The nodes of a group, and what is done on them."""
    tolerations: Annotated[list[RawObject] | None, Schema(core="Toleration")] = None
    """Taints that the warm-up pods tolerate. (WRM-18)"""


class WarmupStatus(Model):
    """Observed state of a warm-up. Counts are of nodes and always written, also when 0."""

    active: Annotated[Int32, Schema(required=True)] = 0
    """Nodes that are being worked on. (WRM-32)"""
    completion_time: Timestamp | None = None
    """When it ended. (WRM-30)"""
    conditions: Annotated[list[Condition] | None, Schema(list_type="map", list_map_keys=("type",))] = None
    """Complete, Failed and VolumeConflict. (WRM-33)"""
    desired: Annotated[Int32, Schema(required=True)] = 0
    """Nodes to work on. (WRM-32)"""
    failed: Annotated[Int32, Schema(required=True)] = 0
    """Nodes that failed for good. (WRM-32)"""
    phase: Annotated[str, Schema(required=True)] = ""
    """Running, Paused, Completed, Failed, or empty before the start. (WRM-31)"""
    start_time: Timestamp | None = None
    """When it began. (WRM-30)"""
    succeeded: Annotated[Int32, Schema(required=True)] = 0
    """Nodes that are done. (WRM-32)"""


class RoleBasedGroupWarmup(Model):
    """Pulls images or runs containers on nodes before a group needs them."""

    api_version: str = kinds.API_VERSION
    kind: str = kinds.KIND_WARMUP
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[WarmupSpec, Schema(required=True)] = WarmupSpec()
    """What to do on which nodes."""
    status: WarmupStatus = WarmupStatus()
    """Observed state of the warm-up."""

    @property
    def key(self) -> NN:
        return NN(self.metadata.namespace, self.metadata.name)
