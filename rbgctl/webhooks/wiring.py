"""Puts the webhooks into a manager: certificates first, then the endpoints, before caches and election (WH-1, MGR-10).

served = await wiring.serve(manager, settings)
await manager.run(stop)
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from rbgctl.api import identity
from rbgctl.machinery.gvk import NN, RawObject
from rbgctl.runtime.manager import Manager
from rbgctl.runtime.webhook import PORT, WebhookOptions, WebhookServer, serve_kind
from rbgctl.webhooks.admission import validators
from rbgctl.webhooks.certificates import controller
from rbgctl.webhooks.certificates.bootstrap import Place, bootstrap
from rbgctl.webhooks.certificates.bundles import CONVERT_PATH, Objects
from rbgctl.webhooks.certificates.follower import Follower
from rbgctl.webhooks.certificates.lifetimes import Lifetimes
from rbgctl.webhooks.conversion import serve_conversion

_log = structlog.get_logger("rbgctl.webhooks")

NAMESPACE_VARIABLE: Final = "POD_NAMESPACE"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """What the flags say about webhooks.

    enabled: False serves nothing and touches no certificate (WH-13). host: empty for all addresses. namespace: of the
    Service and of the Secret. configuration: whose caBundles are kept right. cert_dir: files of the server are written
    there, or read. provided_certificates: tls.crt and tls.key are put there by somebody else, cert-manager for
    instance, who also fills the caBundles; nothing is generated or patched then. url: how the API server reaches this
    process when not through the Service, `https://host:port`; only where a CRD lacks its conversion webhook.
    deprecated_workload_types: False refuses them (DW-7).
    """

    enabled: bool = True
    host: str = ""
    port: int = PORT
    namespace: str = ""
    service: str = identity.WEBHOOK_SERVICE
    secret: str = identity.WEBHOOK_CERT_SECRET
    configuration: str = identity.VALIDATING_WEBHOOK_CONFIGURATION
    cert_dir: Path = Path(identity.WEBHOOK_CERT_DIR)
    provided_certificates: bool = False
    url: str = ""
    deprecated_workload_types: bool = True
    lifetimes: Lifetimes = field(default_factory=Lifetimes)

    @property
    def dns_name(self) -> str:
        """Of the Service, as the API server calls it (CERT-2)."""
        return f"{self.service}.{self.namespace}.svc"

    @property
    def conversion(self) -> RawObject:
        """Client configuration of the conversion webhook, without its caBundle (WH-5)."""
        if self.url:
            return {"url": f"{self.url}{CONVERT_PATH}"}
        return {"service": {"name": self.service, "namespace": self.namespace, "path": CONVERT_PATH}}


def own_namespace(environment: Mapping[str, str] = os.environ) -> str:
    """Of the pod, as its manifest passes it on (CERT-1); empty when it does not."""
    return environment.get(NAMESPACE_VARIABLE, "")


async def serve(manager: Manager, settings: WebhookSettings) -> WebhookServer | None:
    """Make certificates, add server, follower and controller to `manager`; None when webhooks are off.

    Awaited before the manager runs: nothing may be listed before the API server can convert it (MGR-12). Raises
    BootstrapFailed.
    """
    if not settings.enabled:
        return None
    place = _place(settings)
    serving = None
    if settings.provided_certificates:
        _log.info("webhook certificates are provided", directory=str(settings.cert_dir))
    else:
        # Only here does a replica write that may not lead; nothing keeps this client.
        serving = await bootstrap(manager.client(identity.MANAGER_WEBHOOK_CERT, gated=False), place, manager.clock)
    server = manager.serve_webhooks(WebhookOptions(host=settings.host, port=settings.port, cert_dir=settings.cert_dir))
    register(server, manager, deprecated_workload_types=settings.deprecated_workload_types)
    if serving is None:
        return server
    reader = manager.client(identity.MANAGER_WEBHOOK_CERT)
    follower = Follower(reader, place, serving, manager.clock, manager.rng, reload=server.reload)
    declared, follower.on_news = controller.declare(manager, place, follower.wake)
    declared.complete(manager)
    # With the server: it has to renew certificates while caches are still filling.
    manager.add(follower, group="webhook")
    return server


def _place(settings: WebhookSettings) -> Place:
    return Place(
        secret=NN(settings.namespace, settings.secret),
        dns_name=settings.dns_name,
        directory=settings.cert_dir,
        conversion=settings.conversion,
        objects=Objects(configuration=settings.configuration),
        lifetimes=settings.lifetimes,
    )


def register(server: WebhookServer, manager: Manager, *, deprecated_workload_types: bool = True) -> None:
    """The endpoints of WH-1: conversion, and one that validates for each kind of the webhook configuration.

    They read live: webhooks have to answer before caches are filled, and in every namespace.
    """
    serve_conversion(server)
    made = validators(manager.live, deprecated_types_enabled=deprecated_workload_types)
    for gvk, validator in made.items():
        serve_kind(server, gvk, validator=validator)
