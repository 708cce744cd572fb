"""Clocks for tests: one that follows the (virtual) time of the event loop, one that moves when told to."""

import pytest

from rbgctl.runtime.testing.clocks import START, LoopClock, ManualClock

__all__ = ["START", "LoopClock", "ManualClock"]


@pytest.fixture
def loop_clock() -> LoopClock:
    return LoopClock()


@pytest.fixture
def manual_clock() -> ManualClock:
    return ManualClock()
