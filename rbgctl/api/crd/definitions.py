"""The CRDs: which kinds and versions there are, and what surrounds their schemas (KIND-1 … KIND-10, COL-*)."""

from dataclasses import dataclass
from typing import Any, Final, Literal

from rbgctl.api import kinds
from rbgctl.api.crd.schema import root_schema
from rbgctl.api.model import Model
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup
from rbgctl.api.v1alpha2.roleinstance import RoleInstance
from rbgctl.api.v1alpha2.roleinstanceset import RoleInstanceSet
from rbgctl.machinery.gvk import GVK, RawObject


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; those with a priority above 0 are shown with -o wide only."""

    name: str
    type: str
    json_path: str
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Scale:
    """Paths of the scale subresource. API-21"""

    replicas: str
    status_replicas: str
    selector: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of a kind. A deprecated one names its successor in `deprecation_warning` (API-20)."""

    name: str
    model: type[Model]
    columns: tuple[Column, ...] = ()
    scale: Scale | None = None
    storage: bool = False
    deprecation_warning: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A kind with all its versions. No kind has categories (API-20)."""

    kind: str
    short_name: str
    versions: tuple[Version, ...]
    scope: Literal["Namespaced", "Cluster"] = "Namespaced"
    conversion: RawObject | None = None

    @property
    def plural(self) -> str:
        return kinds.resource(GVK(kinds.GROUP, self.versions[-1].name, self.kind)).plural

    @property
    def name(self) -> str:
        """Name of the CRD object."""
        return f"{self.plural}.{kinds.GROUP}"


AGE: Final = Column("AGE", "date", ".metadata.creationTimestamp")

SET_COLUMNS: Final = (
    Column("DESIRED", "integer", ".spec.replicas"),
    Column("UPDATED", "integer", ".status.updatedReplicas"),
    Column("UPDATED_READY", "integer", ".status.updatedReadyReplicas"),
    Column("READY", "integer", ".status.readyReplicas"),
    Column("TOTAL", "integer", ".status.replicas"),
    AGE,
    Column("SELECTOR", "string", ".status.labelSelector", 1),
)
"""COL-5, COL-10"""


def ready_columns(condition: str) -> tuple[Column, ...]:
    """READY, from the status of a condition, and AGE. COL-1, COL-6"""
    return (Column("READY", "string", f".status.conditions[?(@.type=='{condition}')].status"), AGE)


DEFINITIONS: Final = (
    Definition(
        kind=kinds.KIND_GROUP,
        short_name="rbg",
        versions=(
            Version(
                name=kinds.V1ALPHA2,
                model=RoleBasedGroup,
                columns=ready_columns("Ready"),
                storage=True,
            ),
        ),
    ),
    Definition(
        kind=kinds.KIND_INSTANCE_SET,
        short_name="ris",
        versions=(
            Version(
                name=kinds.V1ALPHA2,
                model=RoleInstanceSet,
                columns=SET_COLUMNS,
                scale=Scale(".spec.replicas", ".status.replicas", ".status.labelSelector"),
                storage=True,
            ),
        ),
    ),
    Definition(
        kind=kinds.KIND_INSTANCE,
        short_name="rins",
        versions=(
            Version(
                name=kinds.V1ALPHA2,
                model=RoleInstance,
                columns=ready_columns("RoleInstanceReady"),
                storage=True,
            ),
        ),
    ),
)


def manifest(definition: Definition) -> RawObject:
    """The CustomResourceDefinition object."""
    spec: dict[str, Any] = {
        "group": kinds.GROUP,
        "names": {
            "kind": definition.kind,
            "listKind": f"{definition.kind}List",
            "plural": definition.plural,
            "singular": definition.kind.lower(),
            "shortNames": [definition.short_name],
        },
        "scope": definition.scope,
        "versions": [_version(version) for version in definition.versions],
    }
    if definition.conversion is not None:
        spec["conversion"] = definition.conversion
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": definition.name},
        "spec": spec,
    }


def _version(version: Version) -> dict[str, Any]:
    subresources: dict[str, Any] = {"status": {}}
    if version.scale is not None:
        subresources["scale"] = {
            "specReplicasPath": version.scale.replicas,
            "statusReplicasPath": version.scale.status_replicas,
        }
        if version.scale.selector:
            subresources["scale"]["labelSelectorPath"] = version.scale.selector
    body: dict[str, Any] = {
        "name": version.name,
        "served": True,
        "storage": version.storage,
        "schema": {"openAPIV3Schema": root_schema(version.model)},
        "subresources": subresources,
        "additionalPrinterColumns": [_column(column) for column in version.columns],
    }
    if version.deprecation_warning:
        body |= {"deprecated": True, "deprecationWarning": version.deprecation_warning}
    return body


def _column(column: Column) -> dict[str, Any]:
    body: dict[str, Any] = {"name": column.name, "type": column.type, "jsonPath": column.json_path}
    if column.priority:
        body["priority"] = column.priority
    return body
