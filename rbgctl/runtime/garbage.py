"""Keeps Python's cyclic garbage collector away from full caches (RT-MM-06).

A collection visits every container that is alive; while caches fill, it would do so again and again for nothing, and
each time hold up the loop. Entries themselves are invisible to it (RT-MM-04), what refers to them is not.
"""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """No collection inside. At the end there is one, and all that is alive then is left out of later ones.

    Does nothing when the collector is switched off: whoever did that takes care of it.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
    gc.collect()
    gc.freeze()


def unfreeze() -> None:
    """Let collections see everything again: what was frozen is about to become garbage."""
    gc.unfreeze()
