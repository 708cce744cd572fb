"""CustomResourceDefinitions, made from the models; `make manifests` writes them to config/crd.

`definitions` says which kinds there are and what surrounds their schemas, `schema` turns a model into an
OpenAPI schema, `core_v1` supplies the pod template schema that is embedded (`bounding` refreshes it) and
`__main__` writes the files.
"""

from rbgctl.api.crd.definitions import DEFINITIONS, manifest
from rbgctl.machinery.gvk import RawObject

__all__ = ["manifests"]


def manifests() -> list[RawObject]:
    """Every CRD as a JSON object, ready to be applied."""
    return [manifest(definition) for definition in DEFINITIONS]
