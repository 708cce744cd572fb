"""The CRDs: which kinds and versions there are, and what surrounds their schemas (KIND-1 … KIND-10, COL-*)."""

from dataclasses import dataclass
from typing import Any, Final, Literal

from rbgctl.api import identity, kinds
from rbgctl.api.crd.schema import root_schema
from rbgctl.api.model import Model
from rbgctl.api.v1alpha1 import engineruntimeprofile, instance, instanceset, rolebasedgroup, rolebasedgroupset
from rbgctl.api.v1alpha1 import scalingadapter as old_adapter
from rbgctl.api.v1alpha2.coordinatedpolicy import CoordinatedPolicy
from rbgctl.api.v1alpha2.engineruntimeprofile import ClusterEngineRuntimeProfile
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup
from rbgctl.api.v1alpha2.rolebasedgroupset import RoleBasedGroupSet
from rbgctl.api.v1alpha2.roleinstance import RoleInstance
from rbgctl.api.v1alpha2.roleinstanceset import RoleInstanceSet
from rbgctl.api.v1alpha2.scalingadapter import RoleBasedGroupScalingAdapter
from rbgctl.api.v1alpha2.warmup import RoleBasedGroupWarmup
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
    versions: tuple[Version, ...]
    short_name: str = ""
    scope: Literal["Namespaced", "Cluster"] = "Namespaced"
    conversion: RawObject | None = None
    reconciled: bool = True
    """False for kinds that only old clusters need; kustomize leaves them out. API-22"""

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


def _deprecated(kind: str, successor: str = "") -> str:
    old, new = f"{kinds.API_VERSION_V1ALPHA1} {kind}", f"{kinds.API_VERSION} {successor or kind}"
    return f"{old} is deprecated; use {new}"


BY_WEBHOOK: Final[RawObject] = {
    "strategy": "Webhook",
    "webhook": {
        "conversionReviewVersions": ["v1"],
        "clientConfig": {
            "service": {"name": identity.WEBHOOK_SERVICE, "namespace": identity.NAMESPACE, "path": "/convert"}
        },
    },
}
"""The manager adds the caBundle when it runs (WH-5).

Without a webhook behind it v1alpha1 is refused, which is better than stored under the wrong field names (A1-3).
"""
BY_NAME: Final[RawObject] = {"strategy": "None"}
"""Only apiVersion differs between versions. A1-2"""

ADAPTER_SCALE: Final = Scale(".spec.replicas", ".status.replicas", ".status.selector")
SET_SCALE: Final = Scale(".spec.replicas", ".status.replicas", ".status.labelSelector")
GROUP_SET_SCALE: Final = Scale(".spec.replicas", ".status.replicas")

ADAPTER_COLUMNS: Final = (
    Column("PHASE", "string", ".status.phase"),
    Column("REPLICAS", "integer", ".status.replicas"),
)
"""COL-3, COL-4"""
WARMUP_COLUMNS: Final = (
    Column("PHASE", "string", ".status.phase"),
    Column("DESIRED", "integer", ".status.desired"),
    Column("SUCCEEDED", "integer", ".status.succeeded"),
    Column("FAILED", "integer", ".status.failed"),
    AGE,
)
"""COL-8, WU-27"""


def group_set_columns(desired: str) -> tuple[Column, ...]:
    """DESIRED, READY and AGE. v1alpha1 shows what is observed as desired, v1alpha2 what is asked for. COL-2"""
    return (Column("DESIRED", "string", desired), Column("READY", "string", ".status.readyReplicas"), AGE)


DEFINITIONS: Final = (
    Definition(
        kind=kinds.KIND_GROUP,
        short_name="rbg",
        conversion=BY_WEBHOOK,
        versions=(
            Version(
                name=kinds.V1ALPHA1,
                model=rolebasedgroup.RoleBasedGroup,
                columns=ready_columns("Ready"),
                deprecation_warning=_deprecated(kinds.KIND_GROUP),
            ),
            Version(name=kinds.V1ALPHA2, model=RoleBasedGroup, columns=ready_columns("Ready"), storage=True),
        ),
    ),
    Definition(
        kind=kinds.KIND_GROUP_SET,
        short_name="rbgs",
        conversion=BY_WEBHOOK,
        versions=(
            Version(
                name=kinds.V1ALPHA1,
                model=rolebasedgroupset.RoleBasedGroupSet,
                columns=group_set_columns(".status.replicas"),
                scale=GROUP_SET_SCALE,
                deprecation_warning=_deprecated(kinds.KIND_GROUP_SET),
            ),
            Version(
                name=kinds.V1ALPHA2,
                model=RoleBasedGroupSet,
                columns=group_set_columns(".spec.replicas"),
                scale=GROUP_SET_SCALE,
                storage=True,
            ),
        ),
    ),
    Definition(
        kind=kinds.KIND_SCALING_ADAPTER,
        short_name="rbgsa",
        conversion=BY_NAME,
        versions=(
            Version(
                name=kinds.V1ALPHA1,
                model=old_adapter.RoleBasedGroupScalingAdapter,
                columns=(*ADAPTER_COLUMNS, AGE),
                scale=ADAPTER_SCALE,
                deprecation_warning=_deprecated(kinds.KIND_SCALING_ADAPTER),
            ),
            Version(
                name=kinds.V1ALPHA2,
                model=RoleBasedGroupScalingAdapter,
                columns=(*ADAPTER_COLUMNS, Column("READY_REPLICAS", "integer", ".status.readyReplicas"), AGE),
                scale=ADAPTER_SCALE,
                storage=True,
            ),
        ),
    ),
    Definition(
        kind=kinds.KIND_INSTANCE_SET,
        short_name="ris",
        versions=(
            Version(name=kinds.V1ALPHA2, model=RoleInstanceSet, columns=SET_COLUMNS, scale=SET_SCALE, storage=True),
        ),
    ),
    Definition(
        kind=kinds.KIND_INSTANCE,
        short_name="rins",
        versions=(
            Version(name=kinds.V1ALPHA2, model=RoleInstance, columns=ready_columns("RoleInstanceReady"), storage=True),
        ),
    ),
    Definition(
        kind=kinds.KIND_COORDINATED_POLICY,
        short_name="cpolicy",
        versions=(Version(name=kinds.V1ALPHA2, model=CoordinatedPolicy, columns=(AGE,), storage=True),),
    ),
    Definition(
        kind=kinds.KIND_ENGINE_RUNTIME_PROFILE,
        scope="Cluster",
        conversion=BY_NAME,
        versions=(
            Version(
                name=kinds.V1ALPHA1,
                model=engineruntimeprofile.ClusterEngineRuntimeProfile,
                deprecation_warning=_deprecated(kinds.KIND_ENGINE_RUNTIME_PROFILE),
            ),
            Version(name=kinds.V1ALPHA2, model=ClusterEngineRuntimeProfile, storage=True),
        ),
    ),
    Definition(
        kind=kinds.KIND_WARMUP,
        short_name="rbgwarmup",
        versions=(Version(name=kinds.V1ALPHA2, model=RoleBasedGroupWarmup, columns=WARMUP_COLUMNS, storage=True),),
    ),
    Definition(
        kind=kinds.KIND_LEGACY_INSTANCE,
        short_name="ins",
        reconciled=False,
        versions=(
            Version(
                name=kinds.V1ALPHA1,
                model=instance.Instance,
                columns=ready_columns("InstanceReady"),
                storage=True,
                deprecation_warning=_deprecated(kinds.KIND_LEGACY_INSTANCE, kinds.KIND_INSTANCE),
            ),
        ),
    ),
    Definition(
        kind=kinds.KIND_LEGACY_INSTANCE_SET,
        short_name="is",
        reconciled=False,
        versions=(
            Version(
                name=kinds.V1ALPHA1,
                model=instanceset.InstanceSet,
                columns=SET_COLUMNS,
                scale=SET_SCALE,
                storage=True,
                deprecation_warning=_deprecated(kinds.KIND_LEGACY_INSTANCE_SET, kinds.KIND_INSTANCE_SET),
            ),
        ),
    ),
)


def manifest(definition: Definition, *, additions: bool = True) -> RawObject:
    """The CustomResourceDefinition object; without `additions` its schemas have the Go operator's fields only."""
    names: dict[str, Any] = {
        "kind": definition.kind,
        "listKind": f"{definition.kind}List",
        "plural": definition.plural,
        "singular": definition.kind.lower(),
    }
    if definition.short_name:
        names["shortNames"] = [definition.short_name]
    spec: dict[str, Any] = {
        "group": kinds.GROUP,
        "names": names,
        "scope": definition.scope,
        "versions": [_version(version, additions) for version in definition.versions],
    }
    if definition.conversion is not None:
        spec["conversion"] = definition.conversion
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": definition.name},
        "spec": spec,
    }


def _version(version: Version, additions: bool) -> dict[str, Any]:
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
        "schema": {"openAPIV3Schema": root_schema(version.model, additions=additions)},
        "subresources": subresources,
    }
    if version.columns:
        body["additionalPrinterColumns"] = [_column(column) for column in version.columns]
    if version.deprecation_warning:
        body |= {"deprecated": True, "deprecationWarning": version.deprecation_warning}
    return body


def _column(column: Column) -> dict[str, Any]:
    body: dict[str, Any] = {"name": column.name, "type": column.type, "jsonPath": column.json_path}
    if column.priority:
        body["priority"] = column.priority
    return body
