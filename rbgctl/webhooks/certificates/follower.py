"""Every replica serves what the Secret says (CERT-13): looks at it now and then, and needs no more than `get`.

A leaf of another authority is adopted only once every caBundle has been seen to trust that for a while, the time in
which API servers learn of it: whatever the order in which things were written, no review ever meets a certificate that
the API server does not know. A leaf that is of no use any more is given up for any other.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Final

import structlog

from rbgctl.runtime.client import Reader
from rbgctl.runtime.clock import Clock
from rbgctl.runtime.config import ConfigError
from rbgctl.runtime.errors import ApiError, TransportError
from rbgctl.webhooks.certificates.authority import fault_of_leaf
from rbgctl.webhooks.certificates.bootstrap import Place, Wake, jittered
from rbgctl.webhooks.certificates.files import write_files
from rbgctl.webhooks.certificates.publication import trusted_everywhere
from rbgctl.webhooks.certificates.rotation import Bundle
from rbgctl.webhooks.certificates.secret import load
from rbgctl.webhooks.certificates.since import Since

_log = structlog.get_logger("rbgctl.webhooks.certificates")

SOON: Final = 5.0
"""Seconds until a leaf that nobody trusts yet is looked at again, at most."""


class Follower:
    """A runnable; it reads only. serving: what this replica serves with. reload: tells the server of changed files.

    on_news: called when the Secret is not as it was last time: the leader then has something to look at.
    """

    needs_leader = False

    def __init__(
        self,
        reader: Reader,
        place: Place,
        serving: Bundle,
        clock: Clock,
        rng: random.Random,
        *,
        reload: Callable[[], object],
        on_news: Wake = lambda: None,
    ) -> None:
        self.serving = serving
        self._reader = reader
        self._place = place
        self._clock = clock
        self._rng = rng
        self._reload = reload
        self.on_news = on_news
        self._seen: Bundle | None = serving
        self._trusted = Since(clock)
        self._woken = asyncio.Event()

    def __str__(self) -> str:
        return "webhook certificate follower"

    def wake(self) -> None:
        """Look now."""
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        period = self._place.lifetimes.poll
        while True:
            pause = jittered(period, self._rng)
            await self._sleep(pause)
            try:
                up_to_date = await self.look()
            except (ApiError, TransportError, ConfigError, OSError) as error:
                _log.warning("cannot follow the webhook certificates", error=str(error))
                period = min(self._place.lifetimes.poll, self._place.lifetimes.retry)
            else:
                period = self._place.lifetimes.poll if up_to_date else min(self._place.lifetimes.poll, SOON)

    async def look(self) -> bool:
        """Whether this replica now serves what the Secret says. Raises ApiError, TransportError and OSError."""
        stored = await load(self._reader, self._place.secret)
        found = stored.bundle if stored is not None else None
        if found != self._seen or stored is None or not stored.tidy:
            self._seen = found
            self.on_news()
        if found is None:
            _log.warning("the Secret with the webhook certificates is gone", secret=str(self._place.secret))
            self._trusted(None)
            return False
        if found.leaf == self.serving.leaf:
            self.serving = found
            self._trusted(None)
            return True
        fault = fault_of_leaf(found.leaf, found.authority.certificate, self._place.dns_name, self._clock.now())
        if fault:
            _log.warning("the Secret holds no good certificate", secret=str(self._place.secret), why=fault)
            self._trusted(None)
            return False
        if not await self._may_serve(found):
            _log.info("a new certificate waits until it is trusted")
            return False
        write_files(self._place.directory, found)
        self.serving = found
        self._reload()
        return True

    async def _may_serve(self, found: Bundle) -> bool:
        """Whether the API servers know its authority by now. Raises ApiError and TransportError."""
        authority, serving = found.authority.certificate, self.serving
        useless = fault_of_leaf(serving.leaf, serving.authority.certificate, self._place.dns_name, self._clock.now())
        if useless or authority == serving.authority.certificate:
            return True
        trusted = await trusted_everywhere(self._reader, self._place.objects, authority)
        seconds = self._trusted(authority if trusted else None)
        return seconds is not None and seconds >= self._place.lifetimes.settle

    async def _sleep(self, seconds: float) -> None:
        """That long, or until woken."""
        sleeping = asyncio.ensure_future(self._clock.sleep(seconds))
        waking = asyncio.ensure_future(self._woken.wait())
        try:
            await asyncio.wait({sleeping, waking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            waking.cancel()
        self._woken.clear()
