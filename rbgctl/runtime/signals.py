"""Stop signals of the process (RT-MG-28)."""

import asyncio
import os
import signal
import weakref

import structlog

_log = structlog.get_logger("rbgctl.runtime.signals")

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_installed: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()


def stop_on_signals(stop: asyncio.Event | None = None) -> asyncio.Event:
    """The event that SIGTERM and SIGINT set; a second signal ends the process at once with status 1.

    Raises RuntimeError when called twice for one loop.
    """
    loop = asyncio.get_running_loop()
    if loop in _installed:
        raise RuntimeError("signal handlers are installed already")
    _installed.add(loop)
    event = stop if stop is not None else asyncio.Event()

    def received(number: signal.Signals) -> None:
        if event.is_set():
            _log.warning("second signal: leaving at once", signal=number.name)
            os._exit(1)
        _log.info("stopping", signal=number.name)
        event.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, received, number)
    return event
