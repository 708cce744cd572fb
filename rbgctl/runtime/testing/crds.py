"""CustomResourceDefinitions and webhook configurations as a test control plane needs them."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from rbgctl.machinery.gvk import GVK, RawObject, Resource
from rbgctl.runtime.testing.loopback import LOOPBACK


def load_crds(source: Path | RawObject) -> list[RawObject]:
    """The CRDs of an object, a file or a directory. Raises ValueError when there are none, OSError without a file."""
    if not isinstance(source, Path):
        return [source]
    files = sorted(source.glob("*.yaml")) if source.is_dir() else [source]
    found = [
        d
        for f in files
        for d in yaml.load_all(f.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        if d and d.get("kind") == "CustomResourceDefinition"
    ]
    if not found:
        raise ValueError(f"{source} holds no CustomResourceDefinition")
    return found


def is_established(crd: RawObject) -> bool:
    conditions = {c["type"]: c["status"] for c in (crd.get("status") or {}).get("conditions") or ()}
    return conditions.get("Established") == "True"


def served(crd: RawObject) -> list[Resource]:
    """The REST resource of each served version; of deprecated ones, which warn whoever asks, only if all are."""
    spec = crd["spec"]
    versions = [v for v in spec["versions"] if v["served"]]
    current = [v for v in versions if not v.get("deprecated")]
    return [
        Resource(GVK(spec["group"], v["name"], spec["names"]["kind"]), spec["names"]["plural"], True)
        for v in current or versions
    ]


def with_local_conversion(crd: RawObject) -> RawObject:
    """The CRD with conversion by a webhook under /convert, unless it has a webhook of its own already (RT-ET-04)."""
    conversion = crd["spec"].get("conversion") or {}
    if conversion.get("strategy") == "Webhook":
        return crd
    webhook = {"conversionReviewVersions": ["v1"], "clientConfig": {"service": {"path": "/convert"}}}
    return {**crd, "spec": {**crd["spec"], "conversion": {"strategy": "Webhook", "webhook": webhook}}}


def point_at_local(obj: RawObject, port: int, ca: bytes) -> RawObject:
    """A copy of a webhook configuration or CRD whose clientConfigs call loopback:port, trusting `ca` (RT-ET-05)."""

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {k: _local(v, port, ca) if k == "clientConfig" else walk(v) for k, v in node.items()}
        return [walk(v) for v in node] if isinstance(node, list) else node

    rewritten: RawObject = walk(obj)
    return rewritten


def _local(config: Mapping[str, Any], port: int, ca: bytes) -> dict[str, Any]:
    path = (config.get("service") or {}).get("path") or urlsplit(config.get("url") or "").path
    kept = {k: v for k, v in config.items() if k not in {"service", "caBundle", "url"}}
    return {**kept, "url": f"https://{LOOPBACK}:{port}{path}", "caBundle": base64.b64encode(ca).decode()}
