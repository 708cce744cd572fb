"""How long a reflector waits between attempts to reach the API server."""

import random

from rbgctl.runtime.clock import Clock

START, CAP, RESET = 0.8, 30.0, 120.0


class Backoff:
    """0.8 s doubling to 30 s, each with 0-100 % jitter; starts over after two quiet minutes (RT-RF-01)."""

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._next = START
        self._last = float("-inf")

    def step(self) -> float:
        """Seconds to wait now."""
        now = self._clock.monotonic()
        if now - self._last >= RESET:
            self._next = START
        self._last = now
        delay, self._next = self._next, min(self._next * 2, CAP)
        return delay * (1 + self._rng.random())
