"""How a controller runs and what it needs of its surroundings."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from rbgctl.machinery.gvk import GVK, NN
from rbgctl.runtime.cache import Cache
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.clock import Clock, SystemClock
from rbgctl.runtime.events import Recorder
from rbgctl.runtime.metrics import Registry
from rbgctl.runtime.ratelimit import RateLimiter
from rbgctl.runtime.sharding.assignment import ShardKey, own_key
from rbgctl.runtime.sharding.led_shards import Shards
from rbgctl.runtime.tracing import Tracing

RECONCILE_TIMEOUT = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerOptions:
    """How a controller runs.

    max_concurrent: reconciles at once; None takes the manager's setting for the kind (RT-BL-07).
    cache_sync_timeout: seconds until sources that do not sync fail the controller; None takes the manager's setting.
    recover: treat defects (see BUGS) as errors of the key; False lets them stop the manager.
    reconcile_timeout: seconds after which a reconcile is cancelled and retried; None waits for ever.
    needs_leader: run only while elected. warmup: fill the queue before that already (RT-CT-16).
    limiter: delays of retries, 5 ms doubling to 1000 s by default.
    shard_key: which keys belong together when several managers share the work; each key for itself by default.
    forgets: told of the keys of a shard that another manager takes over, to drop what is remembered of them.
    """

    max_concurrent: int | None = None
    cache_sync_timeout: float | None = None
    recover: bool = True
    reconcile_timeout: float | None = RECONCILE_TIMEOUT
    needs_leader: bool = True
    warmup: bool = True
    limiter: RateLimiter[NN] | None = None
    shard_key: ShardKey = own_key
    forgets: Callable[[NN], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerSupport:
    """What a manager lends to its controllers. `live` already names the controller's User-Agent.

    shards: those that the process leads, when the work is shared.
    uncached: kinds that their clients read live although they are cached (RT-CL-30).
    """

    cache: Cache
    live: LiveClient
    recorders: Callable[[str], Recorder]
    registry: Registry
    uncached: frozenset[GVK] = frozenset()
    tracing: Tracing = field(default_factory=Tracing)
    clock: Clock = field(default_factory=SystemClock)
    rng: random.Random = field(default_factory=random.Random)
    shards: Shards | None = None
