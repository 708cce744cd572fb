"""Log lines: JSON for machines, colours for people, always on stderr (RT-TR-10).

A JSON line has the keys `level` (DEBUG, INFO, WARN, ERROR, PANIC), `time` (ISO 8601, UTC), `logger`, `caller`
(directory/file.py:line), `message`, and what the line says besides.

`structlog.get_logger(name)` works anywhere; `configure_logging` decides once per process what becomes of the lines.
Inside a reconcile every line, of whatever logger, carries controller, object and reconcileID (RT-CT-20).
"""

import logging
import sys
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from functools import lru_cache
from pathlib import PurePath
from typing import Any, Final, Literal, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from rbgctl.runtime.tracing import current_ids

Format = Literal["json", "console"]
LEVELS = ("debug", "info", "warning", "error", "critical")
_WRITTEN: Final[Mapping[str, str]] = {"warning": "WARN", "critical": "PANIC", "exception": "ERROR"}
_OURS: Final = (__name__, "structlog", "logging")

_NOTHING: Mapping[str, Any] = {}
_reconcile: ContextVar[Mapping[str, Any]] = ContextVar("reconcile", default=_NOTHING)


def configure_logging(
    level: str = "info",
    format_: Format = "json",
    *,
    stream: TextIO | None = None,
    tracing: bool = False,
    stacktrace_level: str = "",
) -> None:
    """Send all log lines of `level` and above to `stream` (stderr by default).

    tracing: add trace_id and span_id of the current span. stacktrace_level: from here on a line has a stack trace,
    that of its exception or of where it was logged, and below none has; by default only exceptions have theirs.
    Lines of libraries that use `logging` join from warning on. Raises ValueError for an unknown level or format.
    """
    for one in (level, stacktrace_level or level):
        if one not in LEVELS:
            raise ValueError(f"unknown log level {one!r}: one of {', '.join(LEVELS)}")
    if format_ not in {"json", "console"}:
        raise ValueError(f"unknown log format {format_!r}: json or console")
    out = stream if stream is not None else sys.stderr
    threshold = getattr(logging, level.upper())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add_reconcile,
        structlog.processors.add_log_level,
        add_logger,
        add_caller,
    ]
    if stacktrace_level:
        shared.append(_StackTraces(getattr(logging, stacktrace_level.upper())))
    if tracing:
        shared.append(add_trace)
    shared.append(structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"))
    shared.append(structlog.processors.StackInfoRenderer())
    if format_ == "json":
        processors: list[Processor] = [
            *shared,
            structlog.processors.format_exc_info,
            write_level,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(serializer=_json),
        ]
    else:
        processors = [*shared, structlog.dev.ConsoleRenderer(timestamp_key="time", colors=out.isatty())]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        context_class=dict,
        logger_factory=_Loggers(out),
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


class _Loggers:
    """Makes loggers that know the name given to `get_logger`."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __call__(self, name: str = "", *_: Any) -> WrappedLogger:
        logger: WrappedLogger = structlog.PrintLogger(self._out)
        logger.name = name
        return logger


def add_logger(logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Processor: the name of the logger, when it has one."""
    name = getattr(logger, "name", "")
    if name:
        event.setdefault("logger", name)
    return event


def add_caller(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Processor: the place in the source that logs, as directory/file.py:line."""
    if "caller" not in event:
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_OURS):
            frame = frame.f_back
        event["caller"] = _place(frame.f_code.co_filename, frame.f_lineno)
    return event


@lru_cache(maxsize=1024)
def _place(path: str, line: int) -> str:
    return f"{'/'.join(PurePath(path).parts[-2:])}:{line}"


def write_level(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Processor: the level as the Go operator writes it."""
    level = event["level"]
    event["level"] = _WRITTEN.get(level, level.upper())
    return event


class _StackTraces:
    """Processor: stack traces from a level on, none below."""

    def __init__(self, threshold: int) -> None:
        self._threshold = threshold

    def __call__(self, _logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        level = logging.ERROR if method == "exception" else getattr(logging, method.upper(), logging.INFO)
        if level < self._threshold:
            event.pop("exc_info", None)
        elif not event.get("exc_info") and "exception" not in event:
            stack = traceback.extract_stack()
            while len(stack) > 1 and ("/structlog/" in stack[-1].filename or stack[-1].filename == __file__):
                stack.pop()
            event["stacktrace"] = "".join(stack.format()).rstrip()
        return event


def _json(event: EventDict, **_: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class _ToStructlog(logging.Handler):
    """Hands lines of the standard library's logging to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            logger = structlog.get_logger(record.name).bind(caller=_place(record.pathname, record.lineno))
            logger.log(record.levelno, record.getMessage(), exc_info=record.exc_info or None)
        except Exception:  # noqa: BLE001 - a log line must never break the program
            self.handleError(record)
