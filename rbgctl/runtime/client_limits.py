"""How much one client may send: requests at once and, with --kube-api-qps, requests a second (RT-CF-20 to RT-CF-23).

Without a rate the API server does the pacing (priority and fairness, Retry-After) and only concurrency is bounded.
With one, every client has a bucket per kind: that is what the Go operator's flags mean, whose clients keep a
connection object, and its limiter, for each kind. Leader election uses neither: a saturated bucket must not cost the
leadership (RT-CF-22).
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rbgctl.machinery.gvk import GVK
from rbgctl.runtime.clock import Clock
from rbgctl.runtime.errors import NotSent

CONCURRENT: Final = 16
"""Requests at once of one controller."""

DEFAULT_BURST: Final = 30
GO_QPS: Final = 5.0
GO_BURST: Final = 10


@dataclass(frozen=True, slots=True)
class RequestRate:
    """`qps` requests a second in the long run, `burst` at once after a pause; both above 0.

    In `of` a 0 stands for what client-go takes: 5 requests a second, 10 at once.
    """

    qps: float
    burst: int

    @classmethod
    def of(cls, qps: float | None, burst: int | None = None) -> "RequestRate | None":
        """What `--kube-api-qps` and `--kube-api-burst` ask for; None is no limit (RT-CF-20, RT-CF-23).

        Unset or negative qps: no limit. 0 is client-go's own default for either, an unset burst the Go operator's.
        Raises ValueError for a negative burst, and for a qps that is no number.
        """
        if burst is not None and burst < 0:
            raise ValueError(f"--kube-api-burst is {burst}: a number of requests is wanted")
        if qps is not None and not math.isfinite(qps):
            raise ValueError(f"--kube-api-qps is {qps}: a number of requests a second is wanted, -1 for no limit")
        if qps is None or qps < 0:
            return None
        return cls(qps or GO_QPS, DEFAULT_BURST if burst is None else burst or GO_BURST)


class RequestBucket:
    """Tokens that come back at `rate.qps` a second, `rate.burst` at most. Whoever finds none reserves the next one.

    Reserved in the order of asking; a reservation that is not used goes back, less what others have reserved since.
    """

    def __init__(self, rate: RequestRate, monotonic: Callable[[], float]) -> None:
        self._rate = rate
        self._monotonic = monotonic
        self._tokens = float(rate.burst)
        self._at = monotonic()
        self._last_turn = self._at

    def reserve(self, within: float) -> float | None:
        """The monotonic time from which the token may be used; None, and nothing taken, if later than in `within` s."""
        now = self._refill()
        tokens = self._tokens - 1.0
        wait = max(0.0, -tokens / self._rate.qps)
        if wait > within:
            return None
        self._tokens = tokens
        self._last_turn = now + wait
        return self._last_turn

    def give_back(self, turn: float) -> None:
        """A reservation for the time `turn` will not be used."""
        self._refill()
        unclaimed = 1.0 - (self._last_turn - turn) * self._rate.qps
        self._tokens = min(self._rate.burst, self._tokens + max(0.0, unclaimed))
        if turn == self._last_turn:
            self._last_turn -= 1.0 / self._rate.qps

    async def take(self, clock: Clock, within: float) -> float:
        """Wait for a token; returns the seconds that took. Raises NotSent at once when `within` seconds are too few."""
        began = clock.monotonic()
        turn = self.reserve(within)
        if turn is None:
            raise NotSent(f"no request before the deadline in {within:.3g} s: client-side rate limit")
        if turn > began:
            try:
                await clock.sleep(turn - began)
            except BaseException:
                self.give_back(turn)
                raise
        return clock.monotonic() - began

    def _refill(self) -> float:
        now = self._monotonic()
        self._tokens = min(self._rate.burst, self._tokens + (now - self._at) * self._rate.qps)
        self._at = now
        return now


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a request needs before it may be sent: one of the client's slots, and a token if there is a bucket."""

    slots: asyncio.Semaphore
    bucket: RequestBucket | None = None


class ClientLimits:
    """The limits of one client. `concurrent`: requests at once; rate: per kind, None for none."""

    def __init__(
        self, monotonic: Callable[[], float], *, concurrent: int = CONCURRENT, rate: RequestRate | None = None
    ) -> None:
        self._monotonic = monotonic
        self._slots = asyncio.Semaphore(concurrent)
        self._rate = rate
        self._allowances: dict[GVK, Allowance] = {}

    def allowance(self, gvk: GVK) -> Allowance:
        """What requests for `gvk` need; the bucket is the kind's own, the slots are those of the client."""
        found = self._allowances.get(gvk)
        if found is None:
            bucket = RequestBucket(self._rate, self._monotonic) if self._rate is not None else None
            found = self._allowances[gvk] = Allowance(self._slots, bucket)
        return found
