"""The member Lease of a manager, and the look at the Leases of all (see `leases`)."""

import contextlib
from collections.abc import Iterable
from typing import Protocol

import structlog

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.client import ObjectList, Propagation
from rbgctl.runtime.clock import Clock
from rbgctl.runtime.errors import AlreadyExists, ApiError, Conflict, NotFound
from rbgctl.runtime.lease_record import LEASE, LeaseRecord, micro_time
from rbgctl.runtime.sharding.leases import MEMBER_LABEL, SHARDS_LABEL, member_name

_log = structlog.get_logger("rbgctl.runtime.sharding")


class LeaseApi(Protocol):
    """Requests about objects; a `LiveClient` that is not gated is one."""

    async def get(self, gvk: GVK, key: NN) -> RawObject: ...

    async def list(self, gvk: GVK, namespace: str = "") -> ObjectList: ...

    async def create(self, obj: RawObject) -> RawObject: ...

    async def update(self, obj: RawObject) -> RawObject: ...

    async def delete(
        self,
        gvk: GVK,
        key: NN,
        *,
        uid: str | None = None,
        rv: str | None = None,
        propagation: Propagation | None = None,
    ) -> RawObject | None: ...


class Membership:
    """Of one manager. seconds: after so long without renewal the others take its place for empty."""

    def __init__(
        self, api: LeaseApi, namespace: str, base: str, identity: str, shards: int, *, clock: Clock, seconds: float
    ) -> None:
        self._api = api
        self._key = NN(namespace, member_name(base, identity))
        self._identity = identity
        self._labels = {MEMBER_LABEL: base, SHARDS_LABEL: str(shards)}
        self._clock = clock
        self._seconds = seconds
        self._lease: RawObject | None = None

    @property
    def namespace(self) -> str:
        """Of all the Leases."""
        return self._key.namespace

    async def renew(self) -> None:
        """Create or renew the member Lease. Raises ApiError and TransportError."""
        if self._lease is None:
            fresh: RawObject = {"metadata": {"namespace": self._key.namespace, "name": self._key.name}}
            try:
                self._lease = await self._api.create(self._claimed(fresh))
                return
            except AlreadyExists:
                # Ours, from a request whose answer was lost: identities are unique (RT-LE-16).
                self._lease = await self._api.get(LEASE, self._key)
        known, self._lease = self._lease, None
        # Deleted or changed by somebody meanwhile: the next renewal starts over.
        with contextlib.suppress(Conflict, NotFound):
            self._lease = await self._api.update(self._claimed(known))

    def _claimed(self, lease: RawObject) -> RawObject:
        record = LeaseRecord.of(lease).claimed(self._identity, int(self._seconds), micro_time(self._clock.now()))
        return record.written_to(lease, self._labels)

    async def look(self) -> list[RawObject]:
        """All Leases of the namespace as they are now, not as a cache remembers them."""
        return (await self._api.list(LEASE, self._key.namespace)).items

    async def bury(self, expired: Iterable[RawObject]) -> None:
        """Delete member Leases of managers that are gone, unless one came back meanwhile."""
        for lease in expired:
            meta = lease["metadata"]
            if meta["name"] == self._key.name:
                continue
            try:
                await self._api.delete(LEASE, NN.of(lease), uid=meta["uid"], rv=meta["resourceVersion"])
            except (NotFound, Conflict):
                continue
            _log.info("deleted the Lease of a member that is gone", member=LeaseRecord.of(lease).holder)

    async def leave(self) -> None:
        """Delete the own member Lease, so that the others need not wait until it expires."""
        try:
            await self._api.delete(LEASE, self._key)
        except NotFound:
            return
        except ApiError as error:
            _log.warning("own member Lease not deleted", error=str(error))
