"""One handler on one informer: what it was told, and what it still has to hear of the past (RT-IN-02, RT-IN-03)."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Protocol

from rbgctl.runtime.feed import YIELD_EVERY, YIELD_SECONDS, Notification, ResourceHandler, added
from rbgctl.runtime.queued_handler import QueuedHandler
from rbgctl.runtime.store import Entry


class HasHandlers(Protocol):
    """What a registration needs of its informer."""

    @property
    def has_synced(self) -> bool: ...

    def remove_handler(self, registration: "Registration") -> None: ...


class Registration:
    """`has_synced`: the handler has heard everything of the first lists (RT-IN-03).

    What existed before the handler came is told in turns of the loop, so that thousands of objects hold nobody up;
    what happens meanwhile is told after that. call: tells the handler, whatever that raises.

    resync: seconds after which it wants to hear of everything again, 0 never. due: whether it hears at present of what
    only repeats what it knows, as it does until the first check (RT-ST-05).
    """

    def __init__(
        self,
        informer: HasHandlers,
        handler: ResourceHandler,
        resync: float,
        *,
        call: Callable[[ResourceHandler, Notification], None],
        monotonic: Callable[[], float],
    ) -> None:
        self.informer = informer
        self.handler = handler
        self.resync = resync
        self.due = True
        self.due_at = monotonic() + resync if resync else float("inf")
        self._call = call
        self._monotonic = monotonic
        self._past: Iterator[Entry] = iter(())
        self._left = 0
        self._later: deque[Notification] = deque()
        self._up_to_date = asyncio.Event()
        self._up_to_date.set()
        self._removed = False

    @property
    def has_synced(self) -> bool:
        handled = not isinstance(self.handler, QueuedHandler) or self.handler.has_heard_initial
        return self.informer.has_synced and self._up_to_date.is_set() and handled

    @property
    def pending(self) -> int:
        """Events that the handler has not handled yet, of those that the informer has."""
        queued = self.handler.pending if isinstance(self.handler, QueuedHandler) else 0
        return self._left + len(self._later) + queued

    async def wait_until_told(self) -> None:
        """Until the handler was told what existed when it came, or was removed."""
        await self._up_to_date.wait()

    def begin(self, stored: Sequence[Entry]) -> None:
        """Tell of what is stored: two hundred objects at once, more of them in turns."""
        if not stored:
            return
        self._past, self._left = iter(stored), len(stored)
        self._up_to_date.clear()
        for entry in islice(self._past, YIELD_EVERY):
            self._tell_past(entry)
        self._go_on_or_end()

    def tell(self, notification: Notification) -> None:
        """Tell of what has just happened, in its turn."""
        if self._up_to_date.is_set():
            self._call(self.handler, notification)
        else:
            self._later.append(notification)

    def end(self) -> None:
        """Tell nothing more."""
        self._removed = True
        self._past, self._left = iter(()), 0
        self._later.clear()
        self._up_to_date.set()

    def _go_on(self) -> None:
        """At most 200 events, or what 5 ms suffice for, whichever is less (RT-QF-11)."""
        ends = self._monotonic() + YIELD_SECONDS
        for _ in range(YIELD_EVERY):
            if self._left:
                self._tell_past(next(self._past))
            elif self._later:
                self._call(self.handler, self._later.popleft())
            else:
                break
            if self._monotonic() >= ends:
                break
        self._go_on_or_end()

    def _tell_past(self, entry: Entry) -> None:
        if not self._removed:
            self._left -= 1
            self._call(self.handler, added(entry, initial=True))

    def _go_on_or_end(self) -> None:
        if self._left or self._later:
            asyncio.get_running_loop().call_soon(self._go_on)
        else:
            self._up_to_date.set()
