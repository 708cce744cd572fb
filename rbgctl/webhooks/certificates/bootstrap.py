"""Certificates before anything else starts, on every replica (CERT-1 to CERT-8, MGR-10).

    Secret read or made -> files written -> the API server told to trust -> only then may the server start

Replicas that start together race for the Secret, and whoever loses uses what the winner wrote. None of them takes
anybody's trust away, so a replica that starts in the middle of a rotation does not disturb it.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from rbgctl.machinery.gvk import NN, RawObject
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.clock import Clock
from rbgctl.runtime.errors import AlreadyExists, ApiError, Conflict, TransportError
from rbgctl.webhooks.certificates import rotation
from rbgctl.webhooks.certificates.bundles import Objects, Trust
from rbgctl.webhooks.certificates.files import write_files
from rbgctl.webhooks.certificates.lifetimes import Lifetimes
from rbgctl.webhooks.certificates.publication import NotPublished, Publisher, installed
from rbgctl.webhooks.certificates.rotation import Bundle, Step
from rbgctl.webhooks.certificates.secret import SecretStore, Stored

_log = structlog.get_logger("rbgctl.webhooks.certificates")

DEADLINE: Final = 30.0
"""Seconds for all of it."""


class BootstrapFailed(Exception):
    """There are no certificates to serve with; the text is one line that says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Whose certificates, and where they are. directory: for the server's files.

    conversion: client configuration for CRDs that lack one, without its caBundle.
    """

    secret: NN
    dns_name: str
    directory: Path
    conversion: RawObject
    objects: Objects = field(default_factory=Objects)
    lifetimes: Lifetimes = field(default_factory=Lifetimes)


async def bootstrap(client: LiveClient, place: Place, clock: Clock) -> Bundle:
    """The certificates to serve with, in files and trusted. Raises BootstrapFailed.

    client: one that may write on a replica that does not lead.
    """
    if not place.secret.namespace:
        _log.warning("POD_NAMESPACE is not set: the Secret with the webhook certificates cannot be found")
        raise BootstrapFailed("POD_NAMESPACE is not set: it says where the Secret with the webhook certificates is")
    store = SecretStore(client, client, place.secret)
    try:
        async with asyncio.timeout(DEADLINE):
            bundle = await _settled(store, client, place, clock)
            write_files(place.directory, bundle)
            trust = Trust(bundle.trusted, bundle.ca_bundle, keeps_others=True)
            await Publisher(client, client, place.objects, clock).publish(trust)
    except TimeoutError:
        raise BootstrapFailed(f"webhook certificates: not ready after {DEADLINE:g} s") from None
    except NotPublished as error:
        raise BootstrapFailed(f"the API server cannot be made to trust the webhook certificates: {error}") from error
    except (ApiError, TransportError, OSError) as error:
        raise BootstrapFailed(f"webhook certificates (Secret {place.secret}): {error}") from error
    return bundle


async def _settled(store: SecretStore, client: LiveClient, place: Place, clock: Clock) -> Bundle:
    """What the Secret holds once it is good enough for now. Raises ApiError and TransportError."""
    while True:
        stored = await store.load()
        try:
            return (await improved(store, stored, client, place, clock)).bundle
        except (AlreadyExists, Conflict):
            _log.info("another replica wrote the certificates first", secret=str(store.key))


async def improved(
    store: SecretStore,
    stored: Stored | None,
    client: LiveClient,
    place: Place,
    clock: Clock,
    *,
    trusted_for: float | None = None,
    replaced_for: float | None = None,
    others: tuple[bytes, ...] = (),
) -> Stored:
    """The Secret after the step that is due, see `rotation.decide`. Raises ApiError and TransportError.

    others: certificates that are trusted now; those that the Secret does not know are kept in it for a while.
    """
    name, lifetimes = place.dns_name, place.lifetimes
    if stored is None:
        trusted = await installed(client, place.objects)
        bundle = await asyncio.to_thread(rotation.first, name, clock.now(), lifetimes, installed=trusted)
        _log.info("webhook certificates made", secret=str(store.key))
        return await store.save(bundle, None)
    found = rotation.adopted(stored.bundle, others, clock.now())
    decision = rotation.decide(found, name, clock.now(), lifetimes, trusted_for=trusted_for, replaced_for=replaced_for)
    if decision.step is Step.KEEP and stored.tidy and found == stored.bundle:
        return stored
    if found != stored.bundle:
        _log.info("authorities that the Secret does not know stay trusted for a while", secret=str(store.key))
    trusted = await installed(client, place.objects) if decision.step is Step.REPLACE else ()
    bundle = await asyncio.to_thread(
        rotation.carry_out, decision.step, found, name, clock.now(), lifetimes, installed=trusted
    )
    saved = await store.save(bundle, stored)
    _log.info("webhook certificates changed", step=decision.step, why=decision.why, secret=str(store.key))
    return saved


def jittered(seconds: float, rng: random.Random) -> float:
    """Up to a fifth more or less: replicas do not look all at once."""
    return seconds * rng.uniform(0.8, 1.2)


Wake = Callable[[], None]
