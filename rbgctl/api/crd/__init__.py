"""CustomResourceDefinitions, made from the models; `make manifests` writes them to config/crd.

`definitions` says which kinds there are and what surrounds their schemas, `schema` turns a model into an
OpenAPI schema, `core_v1` supplies the pod template schema that is embedded (`bounding` refreshes it) and
`__main__` writes the files.
"""

from rbgctl.api.crd.definitions import DEFINITIONS, manifest
from rbgctl.machinery.gvk import RawObject

__all__ = ["manifests"]


def manifests(*, additions: bool = True, legacy: bool = True) -> list[RawObject]:
    """Every CRD as a JSON object, ready to be applied.

    additions: False for the Go operator's shape. legacy: False leaves out the kinds that nothing reconciles (API-22).

    RoleBasedGroup and RoleBasedGroupSet convert by a webhook behind a Service. Where none runs, v1alpha2 works and
    v1alpha1 is refused; to serve it, point the CRDs at a webhook's url (`EnvTest.point_at_local`).
    """
    return [manifest(d, additions=additions) for d in DEFINITIONS if legacy or d.reconciled]
