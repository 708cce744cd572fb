"""Makes `core_v1.json` from the OpenAPI document that an API server publishes (API-08).

    python -m rbgctl.api.crd.bounding SOURCE

where SOURCE is the body of `/openapi/v3/api/v1`, as a file. What a server publishes is more than what
belongs into a CRD: `bound` reduces it to types, required fields, integer formats and list and map types of
one Kubernetes release. Anything else (defaults, enumerations, fields of newer releases) would change what is
stored, and with it revision hashes.
"""

import argparse
import json
from pathlib import Path
from typing import Any, Final

from rbgctl.api.crd.core_v1 import INT_OR_STRING, SNAPSHOT

PINNED_RELEASE: Final = "1.34"
"""The release whose fields the embedded schemas have."""
NEWER_THAN_PINNED: Final = {
    "PodSpec": ("schedulingGroup",),
    "PodCertificateProjection": ("userAnnotations",),
}
"""Fields that later releases added. Extend when the source is newer than 1.36."""
ROOTS: Final = ("PodTemplateSpec",)

DEFAULTS: Final[dict[str, dict[str, Any]]] = {
    "AzureDiskVolumeSource": {"fsType": "ext4", "readOnly": False},
    "ConfigMapEnvSource": {"name": ""},
    "ConfigMapKeySelector": {"name": ""},
    "ConfigMapProjection": {"name": ""},
    "ConfigMapVolumeSource": {"name": ""},
    "ContainerPort": {"protocol": "TCP"},
    "FileKeySelector": {"optional": False},
    "GRPCAction": {"service": ""},
    "ISCSIVolumeSource": {"iscsiInterface": "default"},
    "LocalObjectReference": {"name": ""},
    "RBDVolumeSource": {"keyring": "/etc/ceph/keyring", "pool": "rbd", "user": "admin"},
    "ScaleIOVolumeSource": {"fsType": "xfs", "storageMode": "ThinProvisioned"},
    "SecretEnvSource": {"name": ""},
    "SecretKeySelector": {"name": ""},
    "SecretProjection": {"name": ""},
}
"""The only defaults that embedded types have. API-08"""

QUANTITY: Final[dict[str, Any]] = {
    **INT_OR_STRING,
    "pattern": (
        r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))"
        r"(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
    ),
}
_STRING_MAP: Final[dict[str, Any]] = {"type": "object", "additionalProperties": {"type": "string"}}
EMBEDDED_METADATA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "annotations": _STRING_MAP,
        "finalizers": {"type": "array", "items": {"type": "string"}},
        "labels": _STRING_MAP,
        "name": {"type": "string"},
        "namespace": {"type": "string"},
    },
}
_SPECIAL: Final = {"Quantity": QUANTITY, "IntOrString": INT_OR_STRING, "ObjectMeta": EMBEDDED_METADATA}
_KEPT: Final = frozenset(
    {"type", "required", "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type"}
)
_KEPT_FORMATS: Final = frozenset({"int32", "int64"})


def bound(openapi: dict[str, Any]) -> dict[str, Any]:
    """The snapshot made of an OpenAPI v3 document of group core/v1."""
    published: dict[str, Any] = openapi["components"]["schemas"]
    by_short_name = {name.rpartition(".")[2]: schema for name, schema in published.items() if _wanted(name)}
    schemas: dict[str, Any] = {}
    pending = list(ROOTS)
    while pending:
        name = pending.pop()
        if name not in schemas:
            schemas[name], refers_to = _bound_type(name, by_short_name[name])
            pending += refers_to
    return {
        "release": PINNED_RELEASE,
        "source": openapi.get("info", {}).get("version", ""),
        "schemas": dict(sorted(schemas.items())),
    }


def _wanted(name: str) -> bool:
    return name.startswith(("io.k8s.api.core.v1.", "io.k8s.apimachinery.pkg."))


def _bound_type(name: str, published: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    if name in _SPECIAL:
        return _SPECIAL[name], []
    newer = NEWER_THAN_PINNED.get(name, ())
    properties = {k: v for k, v in published.get("properties", {}).items() if k not in newer}
    refers_to: list[str] = []
    schema = _bound_node(published | {"properties": properties}, refers_to)
    for field, default in DEFAULTS.get(name, {}).items():
        schema["properties"][field]["default"] = default
    return schema, refers_to


def _bound_node(published: dict[str, Any], refers_to: list[str]) -> dict[str, Any]:
    node = {key: value for key, value in published.items() if key in _KEPT}
    if published.get("format") in _KEPT_FORMATS:
        node["format"] = published["format"]
    for branch in (published, *published.get("allOf", ())):
        if "$ref" in branch:
            node["$ref"] = branch["$ref"].rpartition(".")[2]
            refers_to.append(node["$ref"])
    for key in ("items", "additionalProperties"):
        if isinstance(published.get(key), dict):
            node[key] = _bound_node(published[key], refers_to)
    if "properties" in published:
        node["properties"] = {k: _bound_node(v, refers_to) for k, v in published["properties"].items()}
    return node


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", type=Path, help="the body of /openapi/v3/api/v1 of an API server")
    source: Path = parser.parse_args().source
    snapshot = bound(json.loads(source.read_text(encoding="utf-8")))
    target = Path(__file__).with_name(SNAPSHOT)
    target.write_text(json.dumps(snapshot, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
