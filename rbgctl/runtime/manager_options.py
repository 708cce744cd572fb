"""How a manager runs, and what it expects of leader election."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from rbgctl.machinery.gvk import GVK
from rbgctl.runtime.certwatcher import ServingCertificate
from rbgctl.runtime.client_limits import RequestRate
from rbgctl.runtime.kind_options import WATCH_TIMEOUT, CacheDefaults
from rbgctl.runtime.leaderelection import ElectionConfig

GRACEFUL_SHUTDOWN = 30.0
KILL_MARGIN = 5.0

if TYPE_CHECKING:
    from rbgctl.runtime.manager import Manager


class LeaderElector(Protocol):
    """What the manager needs of leader election; `elector_thread.Election` is one."""

    async def run(self, on_started: Callable[[], Awaitable[None]]) -> None:
        """Call `on_started` when elected. Returns when leadership is lost; goes on, if cancelled, until `stop`."""
        ...

    def remaining(self) -> float:
        """Seconds for which writes are safe; zero or less means not leading (RT-LE-32)."""
        ...

    def healthy(self, tolerance: float) -> bool:
        """False for a leader that is `tolerance` seconds past the end of its lease (RT-HZ-08)."""
        ...

    async def stop(self, *, release: bool) -> None:
        """Give leadership up. `release` says that nothing writes any more: others may lead at once."""
        ...

    async def close(self, seconds: float) -> None:
        """Forget the election when all who wrote are gone; `seconds` for what is still to be said about it."""
        ...


def shutdown_budget(termination_grace: float) -> float:
    """Seconds for a graceful stop of a pod that is killed `termination_grace` seconds after SIGTERM (RT-MG-29)."""
    return max(0.0, min(GRACEFUL_SHUTDOWN, termination_grace - KILL_MARGIN))


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerOptions:
    """How a manager runs; addresses are `host:port`, `:port` or "0" for off.

    user_agent: makes the User-Agent from a product name. name: the product of clients that name none.
    graceful_shutdown: seconds for the whole stop, 0 does not wait, negative waits for ever.
    max_concurrent: reconciles at once per controller; concurrency overrides it by `Kind.group`.
    cache_sync_timeout: seconds until kinds that cannot be listed stop the manager.
    watch_timeout: range of the server-side watch timeouts in seconds. compress: ask for gzip (out of cluster).
    rate: client-side limit of requests a second, per client and kind; None leaves pacing to the API server (RT-CF-23).
    cache: in which namespaces and with which options kinds are cached that say nothing themselves, for instance
    `CacheDefaults(namespaces=only_in("a", "b"))`; everywhere by default.
    uncached: kinds that the clients of controllers read live although they are cached.
    metrics_address: "" is the default one, :8080. metrics_secure: TLS and authorised requests only.
    pprof_address: profiles of the process; without a host it listens on localhost only.
    leader_election: the Lease that says which process works, for instance
    `ElectionConfig(namespace=config.namespace, name="my-operator")`; None leads at once and asks nobody.
    elector: makes a leader elector of another sort, instead of `leader_election`.
    leader_tolerance: seconds after its lease at which a leader's /healthz fails, None checks nothing (RT-HZ-08).
    shards: parts into which the keys are divided, each with a Lease of its own; more than one need `leader_election`.
    Raises ValueError when both `leader_election` and `elector` are given.
    """

    name: str = "manager"
    user_agent: Callable[[str], str] = field(default=lambda product: product)
    health_address: str = "0"
    metrics_address: str = "0"
    metrics_secure: bool = True
    metrics_certificate: ServingCertificate | None = None
    pprof_address: str = "0"
    graceful_shutdown: float = GRACEFUL_SHUTDOWN
    max_concurrent: int = 1
    concurrency: Mapping[str, int] = field(default_factory=dict)
    cache_sync_timeout: float = 120.0
    watch_timeout: tuple[float, float] = WATCH_TIMEOUT
    first_list_jitter: float = 1.0
    compress: bool = False
    rate: RequestRate | None = None
    uncached: frozenset[GVK] = frozenset()
    cache: CacheDefaults = field(default_factory=CacheDefaults)
    leader_election: ElectionConfig | None = None
    elector: "Callable[[Manager], LeaderElector] | None" = None
    leader_tolerance: float | None = None
    shards: int = 1

    def __post_init__(self) -> None:
        if self.leader_election is not None and self.elector is not None:
            raise ValueError("leader_election and elector both say how to elect: give one of them")
