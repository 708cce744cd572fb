"""How long a failed key waits before it is tried again.

A limiter turns "this key failed once more" into a delay in seconds. Limiters are plain state machines: no timers,
no loop; the clock and the random source are given. The default for controllers is exponential per key with jitter:
a bucket shared by all keys, as client-go has it, would make one failing key delay the retries of unrelated ones.
"""

import random
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)
K_contra = TypeVar("K_contra", bound=Hashable, contravariant=True)

BASE_DELAY = 0.005
MAX_DELAY = 1000.0
JITTER = 0.1


class RateLimiter(Protocol[K_contra]):
    """Decides the delay of retries, per key."""

    def when(self, key: K_contra) -> float:
        """Seconds until `key` may be tried again; every call counts as one more failure of the key."""
        ...

    def forget(self, key: K_contra) -> None:
        """The key succeeded (or is given up): its next failure is its first."""
        ...

    def num_requeues(self, key: K_contra) -> int:
        """Failures of the key since it was last forgotten."""
        ...


class ItemExponential(Generic[K]):
    """base * 2^n seconds for the n-th failure of a key, n from 0, never above `maximum` (RT-RL-01)."""

    def __init__(self, base: float = BASE_DELAY, maximum: float = MAX_DELAY) -> None:
        self._base = base
        self._maximum = maximum
        self._failures: dict[K, int] = {}

    def when(self, key: K) -> float:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        # 2.0**n overflows a float long after the cap is reached.
        return min(self._base * 2.0 ** min(failures, 512), self._maximum)

    def forget(self, key: K) -> None:
        self._failures.pop(key, None)

    def num_requeues(self, key: K) -> int:
        return self._failures.get(key, 0)


class FastSlow(Generic[K]):
    """`fast` seconds for the first `fast_attempts` failures of a key, `slow` seconds afterwards (RT-RL-05)."""

    def __init__(self, fast: float, slow: float, fast_attempts: int) -> None:
        self._fast = fast
        self._slow = slow
        self._fast_attempts = fast_attempts
        self._failures: dict[K, int] = {}

    def when(self, key: K) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        return self._fast if failures <= self._fast_attempts else self._slow

    def forget(self, key: K) -> None:
        self._failures.pop(key, None)

    def num_requeues(self, key: K) -> int:
        return self._failures.get(key, 0)


class Bucket(Generic[K]):
    """One token bucket for all keys: `qps` tokens a second, at most `burst` saved up (RT-RL-02).

    Every call reserves a token and returns the wait for it. Reservations are never given back, so a storm builds debt.
    """

    def __init__(self, monotonic: Callable[[], float], qps: float = 10.0, burst: int = 100) -> None:
        self._monotonic = monotonic
        self._qps = qps
        self._burst = burst
        self._tokens = float(burst)
        self._at = monotonic()

    def when(self, key: K) -> float:
        del key
        now = self._monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._qps) - 1.0
        self._at = now
        return max(0.0, -self._tokens / self._qps)

    def forget(self, key: K) -> None:
        """Tokens belong to nobody: nothing to forget."""

    def num_requeues(self, key: K) -> int:
        del key
        return 0


class MaxOf(Generic[K]):
    """The longest delay any child asks for; `forget` reaches every child (RT-RL-03)."""

    def __init__(self, *children: RateLimiter[K]) -> None:
        self._children = children

    def when(self, key: K) -> float:
        # A list, because each child has to count the failure.
        return max([child.when(key) for child in self._children], default=0.0)

    def forget(self, key: K) -> None:
        for child in self._children:
            child.forget(key)

    def num_requeues(self, key: K) -> int:
        return max((child.num_requeues(key) for child in self._children), default=0)


class WithMaxWait(Generic[K]):
    """Caps the delay of another limiter at `maximum` seconds (RT-RL-06)."""

    def __init__(self, limiter: RateLimiter[K], maximum: float) -> None:
        self._limiter = limiter
        self._maximum = maximum

    def when(self, key: K) -> float:
        return min(self._limiter.when(key), self._maximum)

    def forget(self, key: K) -> None:
        self._limiter.forget(key)

    def num_requeues(self, key: K) -> int:
        return self._limiter.num_requeues(key)


class Jittered(Generic[K]):
    """Spreads the delays of another limiter by up to `fraction` either way, so that keys failing together part."""

    def __init__(self, limiter: RateLimiter[K], rng: random.Random, fraction: float = JITTER) -> None:
        self._limiter = limiter
        self._rng = rng
        self._fraction = fraction

    def when(self, key: K) -> float:
        return self._limiter.when(key) * self._rng.uniform(1.0 - self._fraction, 1.0 + self._fraction)

    def forget(self, key: K) -> None:
        self._limiter.forget(key)

    def num_requeues(self, key: K) -> int:
        return self._limiter.num_requeues(key)


def controller_limiter(rng: random.Random) -> RateLimiter[K]:
    """What controllers use unless told otherwise: 5 ms doubling to 1000 s per key, each delay ±10 % (RT-RL-04)."""
    exponential: ItemExponential[K] = ItemExponential()
    return Jittered(exponential, rng)
