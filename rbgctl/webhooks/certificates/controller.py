"""Controller `webhook-cert`: the leader renews certificates and repairs who trusts them (CERT-12 to CERT-15).

watches   the two CRDs and the webhook configuration, each by its name, metadata only; the Secret is polled
pass      Secret -> what is due -> caBundles; the same whatever the key, and always from the Secret, never from memory

Whom the API server trusts although the Secret does not know them, goes into the Secret first: somebody may have put
another Secret there, and replicas that have not seen it yet still serve under the old authority.


What a pass remembers is only since when something has been so: a new leader waits once more.
"""

from collections.abc import Callable
from typing import Final

from rbgctl.api import identity
from rbgctl.machinery.gvk import GVK, NN
from rbgctl.runtime.builder import Builder
from rbgctl.runtime.clock import Clock
from rbgctl.runtime.controller import Context, ControllerOptions, Result
from rbgctl.runtime.errors import AlreadyExists, ApiError, Conflict, TransportError
from rbgctl.runtime.handler import EventHandler, enqueue_mapped, enqueue_object
from rbgctl.runtime.manager import Manager
from rbgctl.runtime.named_source import NamedObjectSource
from rbgctl.runtime.predicate import on
from rbgctl.runtime.workqueue import WorkQueue
from rbgctl.webhooks.certificates import rotation
from rbgctl.webhooks.certificates.bootstrap import Place, Wake, improved
from rbgctl.webhooks.certificates.bundles import CONFIGURATION, Trust
from rbgctl.webhooks.certificates.publication import NotPublished, Publisher, installed
from rbgctl.webhooks.certificates.rotation import Bundle
from rbgctl.webhooks.certificates.secret import SecretStore, Stored
from rbgctl.webhooks.certificates.since import Since

SYNC_KEY: Final = NN("", "webhook-cert-sync")
"""For everything that is no event of a CRD."""

TOO_SOON: Final = 0.5
"""Seconds until another try after somebody else has written the Secret."""


class Nudge:
    """A source that others press; also once at the start, whatever exists (RT-EH-07)."""

    def __init__(self) -> None:
        self._queue: WorkQueue[NN] | None = None

    def __str__(self) -> str:
        return "webhook certificates"

    def press(self) -> None:
        if self._queue is not None:
            self._queue.add(SYNC_KEY)

    async def start(self, queue: WorkQueue[NN]) -> None:
        self._queue = queue
        self.press()

    async def wait_for_sync(self) -> None:
        """There is nothing to wait for."""

    def stop(self) -> None:
        self._queue = None

    def replay(self) -> None:
        self.press()


class CertificateReconciler:
    """See the module. wake_follower: called when the Secret was changed, for this process to follow at once."""

    def __init__(self, place: Place, clock: Clock, wake_follower: Wake) -> None:
        self._place = place
        self._trusted = Since(clock)
        self._replaced = Since(clock)
        self._wake_follower = wake_follower

    async def reconcile(self, ctx: Context) -> Result:
        try:
            return await self._pass(ctx)
        except (AlreadyExists, Conflict):
            return Result(requeue_after=min(TOO_SOON, self._place.lifetimes.retry))
        except (ApiError, TransportError, NotPublished) as error:
            ctx.log.error("webhook certificates are not in order", error=str(error))
            return Result(requeue_after=self._place.lifetimes.retry)

    async def _pass(self, ctx: Context) -> Result:
        place, lifetimes = self._place, self._place.lifetimes
        store = SecretStore(ctx.live, ctx.live, place.secret)
        publisher = Publisher(ctx.live, ctx.live, place.objects, ctx.clock, conversion=place.conversion)
        found = await store.load()
        others = await self._trusted_now(ctx)
        stored = await self._improved(ctx, store, found, None, None, others or ())
        if others is None:
            # What is not known must not be lost: this time trust is only added.
            await publisher.publish(_trust(stored.bundle, keeps_others=True))
            return Result(requeue_after=lifetimes.retry)
        changed = await publisher.publish(_trust(stored.bundle))
        following = stored.bundle.next_authority
        trusted_for = self._trusted(following and following.certificate, anew=bool(changed))
        replaced_for = self._replaced(stored.bundle.previous)
        then = await self._improved(ctx, store, stored, trusted_for, replaced_for)
        if then.bundle.trusted != stored.bundle.trusted:
            await publisher.publish(_trust(then.bundle))
            self._replaced(then.bundle.previous)
        decision = rotation.decide(
            then.bundle,
            place.dns_name,
            ctx.now(),
            lifetimes,
            trusted_for=trusted_for if then.bundle.next_authority == following else None,
            replaced_for=self._replaced(then.bundle.previous),
        )
        return Result(requeue_after=min(max(decision.look_again.total_seconds(), lifetimes.retry), lifetimes.resync))

    async def _trusted_now(self, ctx: Context) -> tuple[bytes, ...] | None:
        """All certificates in the caBundles; None when some cannot be read: the others are repaired all the same."""
        try:
            return await installed(ctx.live, self._place.objects)
        except (ApiError, TransportError) as error:
            ctx.log.info("not every caBundle can be read", error=str(error))
            return None

    async def _improved(
        self,
        ctx: Context,
        store: SecretStore,
        stored: Stored | None,
        trusted_for: float | None,
        replaced_for: float | None,
        others: tuple[bytes, ...] = (),
    ) -> Stored:
        after = await improved(
            store,
            stored,
            ctx.live,
            self._place,
            ctx.clock,
            trusted_for=trusted_for,
            replaced_for=replaced_for,
            others=others,
        )
        if after is not stored:
            self._wake_follower()
        return after


def _trust(bundle: Bundle, *, keeps_others: bool = False) -> Trust:
    return Trust(bundle.trusted, bundle.ca_bundle, keeps_others=keeps_others)


def declare(manager: Manager, place: Place, wake_follower: Wake) -> tuple[Builder, Wake]:
    """The controller, and what makes it look at the Secret."""
    nudge = Nudge()
    reconciler = CertificateReconciler(place, manager.clock, wake_follower)
    builder = (
        Builder()
        .named(identity.CONTROLLER_WEBHOOK_CERT)
        .watches_raw_source(lambda: nudge)
        .with_options(ControllerOptions(max_concurrent=1))
        .acts_as(identity.MANAGER_WEBHOOK_CERT)
        .sharded_by(lambda _key, _header: str(SYNC_KEY))
        .reconciles_with(reconciler.reconcile)
    )
    for gvk, key in place.objects:
        handler: EventHandler = enqueue_mapped(lambda _: [SYNC_KEY]) if gvk == CONFIGURATION else enqueue_object()
        builder.watches_raw_source(_source(manager, gvk, key, handler))
    return builder, nudge.press


def _source(manager: Manager, gvk: GVK, key: NN, handler: EventHandler) -> Callable[[], NamedObjectSource]:
    return lambda: NamedObjectSource(manager, gvk, key.name, handler, [on(delete=lambda _: False)])
