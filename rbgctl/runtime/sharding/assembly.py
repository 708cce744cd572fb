"""Puts together what a manager needs to share the work with others: elections on their thread, membership, events."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from rbgctl.machinery.gvk import RawObject
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.elector_thread import USER_AGENT_SUFFIX, ElectorThread
from rbgctl.runtime.events import Broadcaster
from rbgctl.runtime.leaderelection import ElectionConfig
from rbgctl.runtime.manager_options import LeaderElector
from rbgctl.runtime.sharding.elector import DRAIN_SECONDS, ShardedElector
from rbgctl.runtime.sharding.leases import SHARDS_LABEL, lease_name
from rbgctl.runtime.sharding.membership import Membership
from rbgctl.runtime.transport import Pool

if TYPE_CHECKING:
    from rbgctl.runtime.manager import Manager


class ThreadElections:
    """The elections of shards on one `ElectorThread`, which stays when there are none for a while."""

    def __init__(self, thread: ElectorThread, config: ElectionConfig, shards: int) -> None:
        thread.stay()
        self._thread = thread
        self._config = replace(config, labels={**config.labels, SHARDS_LABEL: str(shards)})

    def of(self, shard: int, lease: RawObject | None, seconds: float) -> LeaderElector:
        """The election of one shard, see `elector.Elections`."""
        election = self._thread.election(replace(self._config, name=lease_name(self._config.name, shard)))
        if lease is not None:
            election.seen(lease, seconds)
        return election

    async def end(self, seconds: float) -> None:
        """End the thread."""
        await self._thread.end(seconds)


def sharing(
    thread: "Callable[[Manager], ElectorThread]", config: ElectionConfig, *, drain_seconds: float = DRAIN_SECONDS
) -> "Callable[[Manager], LeaderElector]":
    """What `ManagerOptions.elector` is when the work is divided. config: of the election for shard 0, whose Lease
    gives all others their names. The manager's options say into how many shards.
    """

    def make(manager: "Manager") -> LeaderElector:
        shards = manager.shards
        if shards is None:
            raise ValueError("the manager does not divide the work: set ManagerOptions.shards")
        agent = manager.options.user_agent(manager.options.name) + USER_AGENT_SUFFIX
        api = LiveClient(manager.transport, manager.mapper, user_agent=agent, gated=False, pool=Pool.LEASE)
        membership = Membership(
            api, config.namespace, config.name, config.identity, shards.count, clock=manager.clock, seconds=config.lease
        )
        return ShardedElector(
            shards,
            membership,
            ThreadElections(thread(manager), config, shards.count),
            manager.transport.writes,
            base=config.name,
            identity=config.identity,
            clock=manager.clock,
            rng=manager.rng,
            retry=config.retry,
            request_timeout=config.request_timeout,
            drain_seconds=drain_seconds,
            events=Broadcaster(manager.ungated, clock=manager.clock, rng=manager.rng),
        )

    return make
