"""The shards that this process leads, as its workers see them.

    absent --open--> open --drain--> draining --close--> absent

A worker takes a key only while its shard is open. A reconcile runs with its shard as `write_scope`, which tasks started
by it inherit; that is how the write gate knows whose lease has to hold (RT-LE-32). Draining lets the running reconciles
of one shard end, while the others go on.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from rbgctl.runtime.deadline import Deadline
from rbgctl.runtime.writes_under_way import write_scope

CANCEL_GRACE = 5.0


class ShardStuck(Exception):
    """Reconciles of a shard went on although they were cancelled: it cannot be handed over safely."""


@dataclass(slots=True)
class _Led:
    remaining: Callable[[], float]
    draining: bool = False
    running: set[Deadline] = field(default_factory=set)
    idle: asyncio.Event = field(default_factory=asyncio.Event)


Listener = Callable[[int], Awaitable[None]]


class Shards:
    """`count` shards, of which this process leads some. Use it from one event loop."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._led: dict[int, _Led] = {}
        self._on_open: list[Listener] = []
        self._on_close: list[Listener] = []

    async def subscribe(self, *, opened: Listener, closed: Listener) -> None:
        """`opened` is told of a shard once its keys may be worked on, and at once of those that are open; `closed`
        when none of its keys is worked on any more, before its lease is given away.
        """
        self._on_open.append(opened)
        self._on_close.append(closed)
        for shard in self.open_shards:
            await opened(shard)

    @property
    def open_shards(self) -> tuple[int, ...]:
        """Those whose keys are worked on, sorted."""
        return tuple(sorted(s for s, led in self._led.items() if not led.draining))

    def serves(self, shard: int) -> bool:
        """Whether keys of this shard may be taken."""
        led = self._led.get(shard)
        return led is not None and not led.draining

    def remaining(self) -> float:
        """Seconds for which writes of the caller are safe (RT-LE-32): those of a reconcile while its own shard is
        led, others, such as events, while any is.
        """
        shard = write_scope.get()
        if shard is None:
            return max((led.remaining() for led in self._led.values()), default=0.0)
        led = self._led.get(shard)
        return led.remaining() if led is not None else 0.0

    @contextlib.contextmanager
    def working(self, shard: int, deadline: Deadline) -> Iterator[None]:
        """Around a reconcile of a key of an open shard. `deadline` is moved forward when the shard is drained."""
        led = self._led[shard]
        led.running.add(deadline)
        token = write_scope.set(shard)
        try:
            yield
        finally:
            write_scope.reset(token)
            led.running.discard(deadline)
            if not led.running:
                led.idle.set()

    # -- what leader election does ----------------------------------------------------------------------------

    async def open(self, shard: int, remaining: Callable[[], float]) -> None:
        """The shard is led now, for as long as `remaining` is above zero. An open or draining one stays as it is."""
        if shard in self._led:
            return
        self._led[shard] = _Led(remaining)
        for listener in self._on_open:
            await listener(shard)

    async def drain(self, shard: int, seconds: float) -> None:
        """Take no more keys of the shard, let what runs end within `seconds` and cancel it then; shut its gate.

        Raises ShardStuck when cancelled reconciles do not end either: the lease must not be released then.
        """
        led = self._led.get(shard)
        if led is None:
            return
        led.draining = True
        ends = asyncio.get_running_loop().time() + seconds
        for deadline in led.running:
            when = deadline.when()
            if when is None or when > ends:
                deadline.reschedule(ends)
        try:
            async with asyncio.timeout(seconds + CANCEL_GRACE):
                while led.running:
                    led.idle.clear()
                    await led.idle.wait()
        except TimeoutError:
            raise ShardStuck(
                f"{len(led.running)} reconciles of shard {shard} did not end {CANCEL_GRACE:g} s after being cancelled"
            ) from None
        # Meanwhile everything may have been shut.
        self._led.pop(shard, None)
        for listener in self._on_close:
            await listener(shard)

    def hurry(self, shard: int) -> None:
        """Cancel now what still runs of a shard that is being drained: somebody else works on its keys already."""
        led = self._led.get(shard)
        now = asyncio.get_running_loop().time()
        for deadline in led.running if led is not None else ():
            if not deadline.expired():
                deadline.reschedule(now)

    def shut(self) -> None:
        """Serve nothing and let nothing be written any more, for good: the process ends."""
        self._led.clear()
