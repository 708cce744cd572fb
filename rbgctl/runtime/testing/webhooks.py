"""Webhook configurations and CRDs whose webhooks are served by the test itself (RT-ET-05)."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from rbgctl.machinery.gvk import RawObject
from rbgctl.runtime.testing.crds import with_local_conversion
from rbgctl.runtime.testing.envtest import EnvTest
from rbgctl.runtime.testing.loopback import LOOPBACK, free_port

CRD_KIND = "CustomResourceDefinition"
CONFIGURATIONS = frozenset({"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"})


@dataclass(frozen=True, slots=True)
class LocalWebhooks:
    """Where the server has to listen, and the directory with its tls.crt and tls.key."""

    host: str
    port: int
    directory: Path


async def install_webhooks(
    env: EnvTest, sources: Iterable[Path | RawObject], directory: Path, *, port: int = 0
) -> LocalWebhooks:
    """Point webhook configurations and the conversion of CRDs at a server on loopback, and apply them.

    sources: objects, YAML files or directories of them; other kinds in files are left out. directory: gets a serving
    certificate. port: 0 picks a free one. A CRD with several versions gets conversion by webhook if it has none.
    Raises ValueError when there is nothing to install. When the API server begins to call cannot be watched.
    """
    env.local_webhook(directory)
    chosen = port or free_port()
    found = [obj for source in sources for obj in _objects(source)]
    crds = [
        env.point_at_local(with_local_conversion(obj) if len(obj["spec"]["versions"]) > 1 else obj, chosen)
        for obj in found
        if obj["kind"] == CRD_KIND
    ]
    configurations = [env.point_at_local(obj, chosen) for obj in found if obj["kind"] in CONFIGURATIONS]
    if not crds and not configurations:
        raise ValueError("no webhook configuration and no CustomResourceDefinition to install")
    await env.install_crds(crds)
    client = env.client()
    await asyncio.gather(*(client.apply(obj, field_manager="envtest") for obj in configurations))
    return LocalWebhooks(LOOPBACK, chosen, directory)


def _objects(source: Path | RawObject) -> list[RawObject]:
    if not isinstance(source, Path):
        return [source]
    files = sorted(source.glob("*.yaml")) if source.is_dir() else [source]
    wanted = CONFIGURATIONS | {CRD_KIND}
    return [o for file in files for o in yaml.safe_load_all(file.read_text()) if o and o.get("kind") in wanted]
