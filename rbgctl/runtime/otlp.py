"""Sends spans to an OTLP receiver as the OTEL_* environment says (RT-TR-06, RT-TR-07, RT-TR-09).

Imports the SDK: import this module only when tracing is on.
"""

import logging
import time
from collections.abc import Callable, Mapping

import opentelemetry.propagate  # noqa: F401 - refuses an unknown name in OTEL_PROPAGATORS now, not with a request
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

DEFAULT_RATIO = 0.05
PROTOCOL = "http/protobuf"
EXPORT_LOG_SECONDS = 60.0
_EXPORT_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._shared_internal",
    "opentelemetry.sdk.trace.export",
)


def provider(env: Mapping[str, str], service: str) -> TracerProvider:
    """A provider that exports in batches from a thread of its own; `service` names it when the environment does not.

    Without OTEL_TRACES_SAMPLER one in twenty traces is kept. Raises ValueError for a ratio that is not a number from 0
    to 1, which the SDK would read as 1, and for a protocol other than HTTP with protobuf. Importing this module raises
    it for a propagator that is not installed.
    """
    _check_protocol(env)
    ratio = _ratio(env)
    resource = Resource.create({} if _names_service(env) else {"service.name": service})
    if env.get("OTEL_TRACES_SAMPLER"):
        made = TracerProvider(resource=resource, shutdown_on_exit=False)
    else:
        sampler = ParentBased(TraceIdRatioBased(DEFAULT_RATIO if ratio is None else ratio))
        made = TracerProvider(resource=resource, sampler=sampler, shutdown_on_exit=False)
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    for name in _EXPORT_LOGGERS:
        logging.getLogger(name).addFilter(_once_per_minute)
    return made


class OncePerMinute(logging.Filter):
    """Lets one line a minute through: an exporter that is down repeats itself with every batch (RT-TR-09)."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._last = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        now = self._monotonic()
        if now - self._last < EXPORT_LOG_SECONDS:
            return False
        self._last = now
        return True


_once_per_minute = OncePerMinute()


def _names_service(env: Mapping[str, str]) -> bool:
    attributes = env.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")
    return bool(env.get("OTEL_SERVICE_NAME")) or any(a.strip().startswith("service.name=") for a in attributes)


def _check_protocol(env: Mapping[str, str]) -> None:
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        found = env.get(name, "").strip()
        if found:
            if found != PROTOCOL:
                raise ValueError(f"{name} is {found!r}: only {PROTOCOL} is supported")
            return  # the one for traces wins


def _ratio(env: Mapping[str, str]) -> float | None:
    text = env.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
    if not text or "ratio" not in (env.get("OTEL_TRACES_SAMPLER") or "traceidratio"):
        return None
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0.0 <= ratio <= 1.0:
        raise ValueError(f"OTEL_TRACES_SAMPLER_ARG is {text!r}: a ratio from 0 to 1 is wanted")
    return ratio
