"""The objects of config/ that call webhooks, pointed at a port of this machine: no Service routes to a test."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from unit.runtime.standby import Standby

from rbgctl.api.kinds import RESOURCES
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.manager import Manager, ManagerOptions
from rbgctl.runtime.served_kinds import CRD
from rbgctl.runtime.testing.asserts import update
from rbgctl.runtime.testing.crds import load_crds
from rbgctl.runtime.testing.envtest import EnvTest
from rbgctl.runtime.testing.loopback import free_port
from rbgctl.runtime.webhook import WebhookServer
from rbgctl.webhooks import wiring
from rbgctl.webhooks.certificates.bundles import CONFIGURATION, CONVERTED
from rbgctl.webhooks.certificates.lifetimes import Lifetimes
from rbgctl.webhooks.certificates.secret import SECRET
from rbgctl.webhooks.configuration import webhook_configuration
from rbgctl.webhooks.wiring import WebhookSettings

CRDS = Path(__file__).parents[2] / "config" / "crd" / "bases"
CONFIGURATION_KEY = NN("", "rbgs-validating-webhook-configuration")


def with_open_schemas(crd: RawObject) -> RawObject:
    """The CRD as far as webhooks are concerned. With whole schemas each change of a caBundle costs the API server
    seconds on a busy machine, in which certificates that live for seconds expire.
    """
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [{**version, "schema": schema} for version in crd["spec"]["versions"]]
    return {**crd, "spec": {**crd["spec"], "versions": versions}}


def local(obj: RawObject, port: int) -> RawObject:
    """A copy whose client configurations name a URL, without a caBundle: the managed certificates have to fill it."""

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {k: at_port(v) if k == "clientConfig" else walk(v) for k, v in node.items()}
        return [walk(v) for v in node] if isinstance(node, list) else node

    def at_port(config: dict[str, Any]) -> dict[str, Any]:
        path = config["service"]["path"] if "service" in config else urlsplit(config["url"]).path
        return {"url": f"https://localhost:{port}{path}"}

    copied: RawObject = walk(obj)
    return copied


@dataclass
class Installation:
    """Our CRDs and webhook configuration on a control plane, their webhooks at `port`."""

    env: EnvTest
    client: LiveClient
    namespace: str
    port: int = field(default_factory=free_port)
    whole_schemas: bool = False

    @property
    def secret_key(self) -> NN:
        return NN(self.namespace, "rbgs-webhook-cert")

    async def install(self) -> None:
        """From nothing: earlier certificates are forgotten."""
        with contextlib.suppress(Exception):
            await self.client.delete(SECRET, self.secret_key)
        shape = (lambda crd: crd) if self.whole_schemas else with_open_schemas
        await self.env.install_crds([local(shape(crd), self.port) for crd in load_crds(CRDS)])
        for name in CONVERTED:
            await self._reset(CRD, NN("", name))
        await self.client.apply(self.configuration(), field_manager="envtest")
        await self._reset(CONFIGURATION, CONFIGURATION_KEY)

    async def _reset(self, gvk: GVK, key: NN) -> None:
        """An apply leaves alone what others have written."""
        await update(self.client, gvk, key, lambda obj: obj.update(local(obj, self.port)))

    def configuration(self) -> RawObject:
        return local(webhook_configuration(self.namespace), self.port)

    async def point_at(self, port: int) -> None:
        """Another replica's port from now on; caBundles stay."""
        self.port = port

        def change(obj: RawObject) -> None:
            for config in client_configs(obj):
                config["url"] = f"https://localhost:{port}{urlsplit(config['url']).path}"

        for gvk, key in self.objects():
            await update(self.client, gvk, key, change)

    def objects(self) -> list[tuple[GVK, NN]]:
        return [*((CRD, NN("", name)) for name in CONVERTED), (CONFIGURATION, CONFIGURATION_KEY)]

    async def bundles(self) -> list[bytes]:
        """Every caBundle that there is."""
        found = [await self.client.get(gvk, key) for gvk, key in self.objects()]
        return [base64.b64decode(c.get("caBundle") or "") for obj in found for c in client_configs(obj)]

    async def versions(self) -> list[str]:
        """resourceVersions of the Secret and of all that trusts it."""
        keys = [*self.objects(), (SECRET, self.secret_key)]
        return [(await self.client.get(gvk, key))["metadata"]["resourceVersion"] for gvk, key in keys]

    async def secret(self) -> dict[str, bytes]:
        data = (await self.client.get(SECRET, self.secret_key))["data"]
        return {k: base64.b64decode(v) for k, v in data.items()}


def client_configs(obj: RawObject) -> list[dict[str, Any]]:
    if obj["kind"] == CRD.kind:
        webhook = (obj["spec"].get("conversion") or {}).get("webhook")
        return [webhook["clientConfig"]] if webhook else []
    return [w["clientConfig"] for w in obj["webhooks"]]


@dataclass
class Running:
    """A manager with webhooks."""

    manager: Manager
    server: WebhookServer
    directory: Path
    task: "asyncio.Task[None]"
    stop: asyncio.Event


@contextlib.asynccontextmanager
async def replica(
    installation: Installation,
    directory: Path,
    *,
    leads: bool = True,
    port: int | None = None,
    lifetimes: Lifetimes | None = None,
    kinds: tuple[GVK, ...] = (),
    health: str = "0",
    config: ClusterConfig | None = None,
) -> AsyncIterator[Running]:
    """A manager that serves webhooks and caches `kinds`, from its start until the end of the block; as admin unless a
    config is given.
    """
    options = ManagerOptions(
        user_agent=lambda product: f"{product}/v0 (test)",
        first_list_jitter=0.0,
        watch_timeout=(5.0, 6.0),
        health_address=health,
        graceful_shutdown=5.0,
        elector=None if leads else lambda _: Standby(),
    )
    manager = Manager(config or installation.env.config, options, resources=RESOURCES)
    for gvk in kinds:
        manager.need(gvk)
    settings = WebhookSettings(
        host="localhost",
        port=port or installation.port,
        namespace=installation.namespace,
        cert_dir=directory,
        url=f"https://localhost:{installation.port}",
        lifetimes=lifetimes or Lifetimes(),
    )
    try:
        server = await wiring.serve(manager, settings)
        assert server is not None
        stop = asyncio.Event()
        task = asyncio.create_task(manager.run(stop))
        started = asyncio.create_task(server.started())
        await asyncio.wait({task, started}, return_when=asyncio.FIRST_COMPLETED, timeout=30)
        if task.done():
            task.result()
        try:
            yield Running(manager, server, directory, task, stop)
        finally:
            started.cancel()
            stop.set()
            await task
    finally:
        await manager.transport.close()
