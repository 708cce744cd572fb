"""How long something has been the case, as far as one process has seen."""

from rbgctl.runtime.clock import Clock


class Since:
    """Since when the same thing has been the case, on a monotonic clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._what: object = None
        self._began = 0.0

    def __call__(self, what: object, *, anew: bool = False) -> float | None:
        """Seconds for which `what` has been seen without a break; None for nothing."""
        if anew or what != self._what:
            self._what, self._began = what, self._clock.monotonic()
        return self._clock.monotonic() - self._began if what else None
