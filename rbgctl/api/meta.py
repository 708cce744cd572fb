"""Shapes of meta/v1 and core/v1 that the models embed."""

from typing import Annotated, Any, ClassVar, Final, Literal

from rbgctl.api.model import Bool, Int32, Int64, IntOrString, Model, Schema, StringMap, Timestamp

CONDITION_TYPE_PATTERN: Final = (
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
)
CONDITION_REASON_PATTERN: Final = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"


class OwnerReference(Model):
    """Names the object that this one belongs to."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: Bool | None = None
    block_owner_deletion: Bool | None = None


class ObjectMeta(Model):
    """Metadata of an object, as far as anything here reads it; the rest is kept unread."""

    name: str = ""
    generate_name: str | None = None
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: Int64 = 0
    labels: StringMap | None = None
    annotations: StringMap | None = None
    owner_references: list[OwnerReference] | None = None
    finalizers: list[str] | None = None
    creation_timestamp: Timestamp | None = None
    deletion_timestamp: Timestamp | None = None
    deletion_grace_period_seconds: Int64 | None = None
    managed_fields: list[dict[str, Any]] | None = None

    def label(self, key: str) -> str:
        """Value of a label, empty when it is absent."""
        return (self.labels or {}).get(key, "")

    def annotation(self, key: str) -> str:
        """Value of an annotation, empty when it is absent."""
        return (self.annotations or {}).get(key, "")

    @property
    def controller_ref(self) -> OwnerReference | None:
        """The owner reference with controller=true."""
        return next((o for o in self.owner_references or () if o.controller), None)


class Condition(Model):
    """metav1.Condition, on kinds whose conditions are a map list by type (GRP-71)."""

    last_transition_time: Annotated[Timestamp, Schema(required=True)] = ""
    """When the status last changed."""
    message: Annotated[str, Schema(required=True, max_length=32768)] = ""
    """Details for people; may be empty."""
    observed_generation: Annotated[Int64 | None, Schema(minimum=0)] = None
    """Generation of the object that the condition was computed from."""
    reason: Annotated[str, Schema(required=True, min_length=1, max_length=1024, pattern=CONDITION_REASON_PATTERN)] = ""
    """Why the status is what it is, one CamelCase word."""
    status: Annotated[str, Schema(required=True, enum=("True", "False", "Unknown"))] = ""
    """True, False or Unknown."""
    type: Annotated[str, Schema(required=True, max_length=316, pattern=CONDITION_TYPE_PATTERN)] = ""
    """What the condition is about."""


class LooseCondition(Model):
    """Condition of RoleInstanceSets and RoleInstances: only type and status are required (SET-35, RI-21)."""

    last_transition_time: Timestamp | None = None
    """When the status last changed."""
    message: str | None = None
    """Details for people."""
    reason: str | None = None
    """Why the status is what it is, one CamelCase word."""
    status: Annotated[str, Schema(required=True)] = ""
    """True, False or Unknown."""
    type: Annotated[str, Schema(required=True)] = ""
    """What the condition is about."""


class LabelSelectorRequirement(Model):
    """One expression of a label selector."""

    key: Annotated[str, Schema(required=True)] = ""
    """Label key."""
    operator: Annotated[str, Schema(required=True)] = ""
    """In, NotIn, Exists or DoesNotExist."""
    values: Annotated[list[str] | None, Schema(list_type="atomic")] = None
    """Values for In and NotIn, empty for the others."""


class LabelSelector(Model):
    """Selects objects by label; all given requirements must hold."""

    crd_map_type: ClassVar[Literal["", "atomic"]] = "atomic"

    match_expressions: Annotated[list[LabelSelectorRequirement] | None, Schema(list_type="atomic")] = None
    """Expressions that must all hold."""
    match_labels: StringMap | None = None
    """Labels that must all be present with these values."""


class ServicePort(Model):
    """core/v1 ServicePort (GRP-27)."""

    app_protocol: str | None = None
    """Application protocol."""
    name: str | None = None
    """Name of the port."""
    node_port: Int32 | None = None
    """Port on each node."""
    port: Annotated[Int32, Schema(required=True)] = 0
    """Port number."""
    protocol: Annotated[str | None, Schema(default="TCP")] = None
    """TCP, UDP or SCTP."""
    target_port: IntOrString | None = None
    """Number or name of the container port."""
