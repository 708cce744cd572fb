"""What becomes of a key after its reconcile (RT-CT-21, RT-CT-23).

error, terminal   no more, until the object changes
error             again with back-off
requeue_after     forget failures, again after that time
requeue           again with back-off, failures are kept
nothing of these  forget failures
"""

from typing import Any

from rbgctl.machinery.gvk import NN
from rbgctl.runtime.errors import AlreadyExists, ApiError, Conflict, Forbidden, LeadershipUncertain, TerminalError
from rbgctl.runtime.metrics import ControllerMetrics
from rbgctl.runtime.reconciler import Result
from rbgctl.runtime.workqueue import WorkQueue


class Outcomes:
    """Carries the table out for one controller."""

    def __init__(self, queue: WorkQueue[NN], metrics: ControllerMetrics) -> None:
        self._queue = queue
        self._metrics = metrics

    def settle(self, key: NN, priority: int, result: Result, error: Exception | None, log: Any) -> str:
        """What becomes of the key, first match wins (RT-CT-21). Returns the `result` label, which is counted."""
        outcome = self._settle(key, priority, result, error, log)
        self._metrics.ended(outcome)
        return outcome

    def _settle(self, key: NN, priority: int, result: Result, error: Exception | None, log: Any) -> str:
        queue = self._queue
        again = priority if result.priority is None else result.priority
        if error is not None:
            self._metrics.errors.inc()
            if isinstance(error, TerminalError):
                self._metrics.terminal_errors.inc()
                log.error("reconcile failed and will not be retried", error=failure_text(error))
                return "error"
            self._log_error(error, log)
            queue.add(key, rate_limited=True, priority=priority)
            return "error"
        if result.requeue_after > 0:
            queue.forget(key)
            queue.add(key, after=result.requeue_after, priority=again)
            return "requeue_after"
        if result.requeue:
            queue.add(key, rate_limited=True, priority=again)
            return "requeue"
        queue.forget(key)
        return "success"

    def _log_error(self, error: Exception, log: Any) -> None:
        if not is_routine(error):
            log.error("reconcile failed", error=failure_text(error), error_type=type(error).__name__)
            return
        if isinstance(error, Conflict):
            self._metrics.conflict(str(error.details.get("kind") or ""))
        log.info("reconcile will be retried", reason=failure_text(error))


def is_routine(error: BaseException) -> bool:
    """Part of normal operation, retried (RT-CT-23): somebody else was faster, leadership is in doubt, or the namespace
    goes away (RT-ER-04).
    """
    several = getattr(error, "errors", None)
    if isinstance(several, tuple) and several:
        return all(isinstance(e, BaseException) and is_routine(e) for e in several)
    terminating = isinstance(error, Forbidden) and error.namespace_terminating
    return terminating or isinstance(error, Conflict | AlreadyExists | LeadershipUncertain)


def failure_text(error: BaseException) -> str:
    """What a log line or a span says of it."""
    return error.message if isinstance(error, ApiError) and error.message else str(error) or type(error).__name__
