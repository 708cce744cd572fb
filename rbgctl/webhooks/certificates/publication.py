"""Puts the wanted caBundles into the cluster, and looks whether they are there (CERT-8, CERT-11)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import structlog

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.client import Reader, Writer
from rbgctl.runtime.clock import Clock
from rbgctl.runtime.errors import ApiError, NotFound, TransportError
from rbgctl.runtime.patch import Patch
from rbgctl.webhooks.certificates.authority import split
from rbgctl.webhooks.certificates.bundles import CONFIGURATION, Objects, Trust, ca_bundles, patch_for, trusts

_log = structlog.get_logger("rbgctl.webhooks.certificates")

DELAYS: Final = (0.5, 1.0, 2.0, 4.0)
"""Seconds between the attempts for one object (CERT-11)."""


class NotPublished(Exception):
    """Some objects do not trust our certificates; the text names each and says why."""


class Publisher:
    """Patches the objects. conversion: client configuration for CRDs that convert by none (CERT-14)."""

    def __init__(
        self, reader: Reader, writer: Writer, objects: Objects, clock: Clock, *, conversion: RawObject | None = None
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._objects = objects
        self._clock = clock
        self._conversion = conversion

    async def publish(self, trust: Trust) -> int:
        """Make all objects trust; how many had to be changed. Up to five attempts each, the CRDs before the
        configuration, which is left alone when one of them fails. Raises NotPublished.
        """
        changed = 0
        for is_last in (False, True):
            stage = [o for o in self._objects if (o[0] == CONFIGURATION) == is_last]
            results = await asyncio.gather(*(self._persist(gvk, key, trust) for gvk, key in stage))
            failures = [r for r in results if isinstance(r, str)]
            if failures:
                raise NotPublished("; ".join(failures))
            changed += sum(r for r in results if isinstance(r, bool))
        return changed

    async def _persist(self, gvk: GVK, key: NN, trust: Trust) -> bool | str:
        """Whether it had to be changed, or why it cannot be."""
        for delay in (*DELAYS, None):
            try:
                return await self._attempt(gvk, key, trust)
            except (ApiError, TransportError) as error:
                if delay is None:
                    return f"{gvk.kind} {key.name}: {error}"
                _log.info("caBundle not written yet", kind=gvk.kind, name=key.name, error=str(error))
                await self._clock.sleep(delay)
        raise AssertionError("unreachable")

    async def _attempt(self, gvk: GVK, key: NN, trust: Trust) -> bool:
        obj = await self._reader.get(gvk, key)
        operations = patch_for(obj, trust, self._clock.now(), self._conversion)
        if not operations:
            if not ca_bundles(obj):
                _log.info("no webhook to trust, left as it is", kind=gvk.kind, name=key.name)
            return False
        await self._writer.patch(gvk, key, Patch.json(operations))
        _log.info("caBundle written", kind=gvk.kind, name=key.name, certificates=len(trust.wanted))
        return True


async def trusted_everywhere(reader: Reader, objects: Objects, authority: bytes) -> bool:
    """Whether no webhook would refuse what this authority signed. Raises ApiError and TransportError."""
    return all([trusts(obj, authority) async for obj in _live(reader, objects)])


async def installed(reader: Reader, objects: Objects) -> tuple[bytes, ...]:
    """All certificates in the caBundles. Raises ApiError and TransportError."""
    bundles = [bundle async for obj in _live(reader, objects) for bundle in ca_bundles(obj)]
    return split(b"\n".join(bundles))


async def _live(reader: Reader, objects: Objects) -> AsyncIterator[RawObject]:
    for gvk, key in objects:
        try:
            yield await reader.get(gvk, key)
        except NotFound:
            continue  # nobody calls us because of it
