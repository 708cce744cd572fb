"""Repeating a read-modify-write that lost a race (RT-CL-23)."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from rbgctl.runtime.clock import Clock, SystemClock
from rbgctl.runtime.errors import Conflict

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Steps:
    """`steps` attempts in all; before attempt n+1 a wait of base·factorⁿ seconds, up to `jitter` of it longer."""

    steps: int = 5
    base: float = 0.01
    factor: float = 1.0
    jitter: float = 0.1


DEFAULT_RETRY: Final = Steps()
"""For writers that rarely meet."""

DEFAULT_BACKOFF: Final = Steps(steps=4, factor=5.0)
"""For objects that several controllers keep writing."""


async def retry_on_conflict(
    fn: Callable[[], Awaitable[T]],
    steps: Steps = DEFAULT_RETRY,
    *,
    clock: Clock | None = None,
    rng: random.Random | None = None,
) -> T:
    """Call `fn` again while it raises Conflict; the last Conflict is raised when the steps run out."""
    clock, rng = clock or SystemClock(), rng or random.Random()
    for step in range(steps.steps - 1):
        try:
            return await fn()
        except Conflict:
            await clock.sleep(steps.base * steps.factor**step * (1 + steps.jitter * rng.random()))
    return await fn()
