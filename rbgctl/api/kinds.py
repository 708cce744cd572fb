"""Kinds of group workloads.x-k8s.io and how each is reached over REST (KIND-1 … KIND-10)."""

from typing import Final

from rbgctl.machinery.gvk import GVK, Resource

GROUP: Final = "workloads.x-k8s.io"
V1ALPHA1: Final = "v1alpha1"
V1ALPHA2: Final = "v1alpha2"
API_VERSION: Final = f"{GROUP}/{V1ALPHA2}"
"""What every object that we write carries: the storage version. API-01"""
API_VERSION_V1ALPHA1: Final = f"{GROUP}/{V1ALPHA1}"
"""Deprecated, still served for some kinds. API-01, A1-1"""

KIND_GROUP: Final = "RoleBasedGroup"
KIND_GROUP_SET: Final = "RoleBasedGroupSet"
KIND_SCALING_ADAPTER: Final = "RoleBasedGroupScalingAdapter"
KIND_INSTANCE_SET: Final = "RoleInstanceSet"
KIND_INSTANCE: Final = "RoleInstance"
KIND_COORDINATED_POLICY: Final = "CoordinatedPolicy"
KIND_ENGINE_RUNTIME_PROFILE: Final = "ClusterEngineRuntimeProfile"
KIND_WARMUP: Final = "RoleBasedGroupWarmup"
KIND_LEGACY_INSTANCE: Final = "Instance"
KIND_LEGACY_INSTANCE_SET: Final = "InstanceSet"
"""v1alpha1 only, stored but no longer reconciled. KIND-9, KIND-10, API-22"""

ROLE_BASED_GROUP: Final = GVK(GROUP, V1ALPHA2, KIND_GROUP)
ROLE_BASED_GROUP_SET: Final = GVK(GROUP, V1ALPHA2, KIND_GROUP_SET)
SCALING_ADAPTER: Final = GVK(GROUP, V1ALPHA2, KIND_SCALING_ADAPTER)
ROLE_INSTANCE_SET: Final = GVK(GROUP, V1ALPHA2, KIND_INSTANCE_SET)
ROLE_INSTANCE: Final = GVK(GROUP, V1ALPHA2, KIND_INSTANCE)
COORDINATED_POLICY: Final = GVK(GROUP, V1ALPHA2, KIND_COORDINATED_POLICY)
ENGINE_RUNTIME_PROFILE: Final = GVK(GROUP, V1ALPHA2, KIND_ENGINE_RUNTIME_PROFILE)
WARMUP: Final = GVK(GROUP, V1ALPHA2, KIND_WARMUP)

_BOTH = (V1ALPHA1, V1ALPHA2)
_NEW = (V1ALPHA2,)
_OLD = (V1ALPHA1,)

# kind, plural, namespaced, served versions
_TABLE: Final = (
    (KIND_GROUP, "rolebasedgroups", True, _BOTH),
    (KIND_GROUP_SET, "rolebasedgroupsets", True, _BOTH),
    (KIND_SCALING_ADAPTER, "rolebasedgroupscalingadapters", True, _BOTH),
    (KIND_INSTANCE_SET, "roleinstancesets", True, _NEW),
    (KIND_INSTANCE, "roleinstances", True, _NEW),
    (KIND_COORDINATED_POLICY, "coordinatedpolicies", True, _NEW),
    (KIND_ENGINE_RUNTIME_PROFILE, "clusterengineruntimeprofiles", False, _BOTH),
    (KIND_WARMUP, "rolebasedgroupwarmups", True, _NEW),
    (KIND_LEGACY_INSTANCE, "instances", True, _OLD),
    (KIND_LEGACY_INSTANCE_SET, "instancesets", True, _OLD),
)

RESOURCES: Final[tuple[Resource, ...]] = tuple(
    Resource(GVK(GROUP, version, kind), plural, namespaced)
    for kind, plural, namespaced, versions in _TABLE
    for version in versions
)
"""Every kind in every version, for the RestMapper: no discovery is needed for our own kinds."""


def resource(gvk: GVK) -> Resource:
    """The REST resource of one of our kinds. Raises KeyError for any other."""
    return _BY_GVK[gvk]


_BY_GVK: Final = {r.gvk: r for r in RESOURCES}
