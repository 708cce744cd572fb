"""What holds for every test."""

import asyncio
import inspect
import signal
from collections.abc import Generator

import pytest

# Where the tests run in the background of a shell, SIGINT is ignored, and programs under test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

_OWN_LOOP = pytest.mark.asyncio(loop_scope="function")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Virtual time (looptime) moves on a loop of its own for each test: no other test leaves timers or sockets there.

    A fixture that uses the loop of such a test needs `pytest_asyncio.fixture(loop_scope="function")`.
    """
    for item in items:
        if _has_virtual_time(item):
            item.add_marker(_OWN_LOOP, append=False)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """looptime speeds up the current loop, which is the one that was made last: make it that of the test."""
    if _has_virtual_time(pyfuncitem):
        asyncio.set_event_loop(pyfuncitem.funcargs["_function_scoped_runner"].get_loop())
    return (yield)


def _has_virtual_time(item: pytest.Item) -> bool:
    return (
        isinstance(item, pytest.Function)
        and item.get_closest_marker("looptime") is not None
        and inspect.iscoroutinefunction(item.obj)
    )
