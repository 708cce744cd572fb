"""Log lines: JSON for machines, colours for people, always on stderr (RT-TR-10).

`structlog.get_logger(name)` works anywhere; `configure_logging` decides once per process what becomes of the lines.
Inside a reconcile every line, of whatever logger, carries controller, object and reconcileID (RT-CT-20).
"""

import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Literal, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from rbgctl.runtime.tracing import current_ids

Format = Literal["json", "console"]
LEVELS = ("debug", "info", "warning", "error")

_NOTHING: Mapping[str, Any] = {}
_reconcile: ContextVar[Mapping[str, Any]] = ContextVar("reconcile", default=_NOTHING)


def configure_logging(
    level: str = "info", format_: Format = "json", *, stream: TextIO | None = None, tracing: bool = False
) -> None:
    """Send all log lines of `level` and above to `stream` (stderr by default).

    tracing: add trace_id and span_id of the current span. Lines of libraries that use `logging` join from warning on.
    Raises ValueError for an unknown level or format.
    """
    if level not in LEVELS:
        raise ValueError(f"unknown log level {level!r}: one of {', '.join(LEVELS)}")
    if format_ not in {"json", "console"}:
        raise ValueError(f"unknown log format {format_!r}: json or console")
    out = stream if stream is not None else sys.stderr
    threshold = getattr(logging, level.upper())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add_reconcile,
        structlog.processors.add_log_level,
    ]
    if tracing:
        shared.append(add_trace)
    shared.append(structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"))
    shared.append(structlog.processors.StackInfoRenderer())
    if format_ == "json":
        processors: list[Processor] = [
            *shared,
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("msg"),
            structlog.processors.JSONRenderer(serializer=_json),
        ]
    else:
        processors = [*shared, structlog.dev.ConsoleRenderer(timestamp_key="ts", colors=out.isatty())]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        context_class=dict,
        logger_factory=structlog.PrintLoggerFactory(out),
        # Modules make their loggers at import time, tests reconfigure: nobody may keep an old configuration.
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [_ToStructlog()]
    root.setLevel(max(threshold, logging.WARNING))


class SeldomLog:
    """A logger with `keys` that is made when something is logged: one is needed hundreds of times a second, not used.

    Has all methods of a logger of structlog.
    """

    __slots__ = ("_keys", "_name")

    def __init__(self, name: str, keys: Mapping[str, Any]) -> None:
        self._name = name
        self._keys = keys

    def __getattr__(self, method: str) -> Any:
        return getattr(structlog.get_logger(self._name, **self._keys), method)


class ReconcileKeys:
    """`with ReconcileKeys(keys):` Lines logged inside, also by tasks started inside, carry `keys`."""

    __slots__ = ("_keys", "_token")

    def __init__(self, keys: Mapping[str, Any]) -> None:
        self._keys = keys

    def __enter__(self) -> None:
        self._token = _reconcile.set(self._keys)

    def __exit__(self, *_: object) -> None:
        _reconcile.reset(self._token)


def add_reconcile(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Processor: the keys of the reconcile that runs, if any; what the line says itself wins."""
    for key, value in _reconcile.get().items():
        event.setdefault(key, value)
    return event


def add_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Processor: ids of the current span, if any."""
    ids = current_ids()
    if ids is not None:
        event["trace_id"], event["span_id"] = ids
    return event


def _json(event: EventDict, **_: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class _ToStructlog(logging.Handler):
    """Hands lines of the standard library's logging to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            logger = structlog.get_logger().bind(logger=record.name)
            logger.log(record.levelno, record.getMessage(), exc_info=record.exc_info or None)
        except Exception:  # noqa: BLE001 - a log line must never break the program
            self.handleError(record)
