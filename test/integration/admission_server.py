"""A control plane whose API server calls our conversion and validators over TLS, as a manager would serve them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from rbgctl.api.kinds import RESOURCES
from rbgctl.machinery.gvk import RawObject
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.errors import ApiError
from rbgctl.runtime.metrics import Registry
from rbgctl.runtime.testing.asserts import eventually
from rbgctl.runtime.testing.envtest import EnvTest
from rbgctl.runtime.testing.webhooks import install_webhooks
from rbgctl.runtime.webhook import WebhookOptions, WebhookServer, serve_kind
from rbgctl.webhooks.admission import validators
from rbgctl.webhooks.configuration import ENTRIES, webhook_configuration
from rbgctl.webhooks.conversion import serve_conversion

CRDS = Path(__file__).parents[2] / "config" / "crd" / "bases"


@contextlib.asynccontextmanager
async def admission_server(directory: Path, *, deprecated_types_enabled: bool = True) -> AsyncIterator[EnvTest]:
    """Its own etcd and API server: the CRDs of shared ones would point at webhooks that are gone."""
    async with EnvTest(static=RESOURCES) as env:
        where = await install_webhooks(env, [CRDS, webhook_configuration("rbgs-system")], directory)
        options = WebhookOptions(host=where.host, port=where.port, cert_dir=where.directory)
        server = WebhookServer(options, registry=Registry())
        serve_conversion(server)
        live = env.client()
        table = validators(live, deprecated_types_enabled=deprecated_types_enabled)
        for kind, validator in table.items():
            serve_kind(server, kind, validator=validator)
        serving = asyncio.create_task(server.run())
        try:
            await asyncio.wait_for(server.started(), 10)
            await eventually(lambda: _asked(live), bool)
            yield env
            assert not serving.done()
        finally:
            serving.cancel()
            await asyncio.wait([serving])


async def _asked(client: LiveClient) -> bool:
    """Whether the API server asks us before it stores: it does not at once."""
    refused = 0
    for entry in ENTRIES:
        if entry.advisory:
            continue
        try:
            await client.create(_nothing(entry.kind.api_version, entry.kind.kind), dry_run=True)
        except ApiError as error:
            refused += "denied the request" in error.message
    return refused == len([entry for entry in ENTRIES if not entry.advisory])


def _nothing(api_version: str, kind: str) -> RawObject:
    obj: RawObject = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "probe", "namespace": "default"}}
    return obj | ({"spec": {"groupTemplate": {}}} if kind.endswith("Set") else {})
