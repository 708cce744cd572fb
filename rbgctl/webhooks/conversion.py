"""What the API server calls under /convert: rbgctl.api.conversion with a metric and a log (CV-7, CR-7)."""

from typing import Final

import structlog
from prometheus_client import Counter

from rbgctl.api import kinds
from rbgctl.api.conversion import NotConvertible, Problem, convert_and_report
from rbgctl.machinery.gvk import NN, RawObject
from rbgctl.runtime.conversion_review import ConversionError
from rbgctl.runtime.metrics import Registry
from rbgctl.runtime.webhook import WebhookServer

_log = structlog.get_logger("rbgctl.webhooks.conversion")

CONVERTED: Final = (
    kinds.ROLE_BASED_GROUP,
    kinds.ROLE_BASED_GROUP_SET,
    kinds.SCALING_ADAPTER,
    kinds.ENGINE_RUNTIME_PROFILE,
)
"""Kinds that are served in two versions. The CRDs of the last two ask for no webhook, but would get an answer. A1-2"""
REMEMBERED: Final = 1000
"""Problems that were logged already, so that each list does not log them again."""


class Conversion:
    """A `Converter` for all our kinds. Problems of an object are counted each time and logged once."""

    def __init__(self, registry: Registry) -> None:
        self._problems = Counter(
            "rbg_conversion_problems_total",
            "Conversions that could not read or write an annotation",
            ["annotation"],
            registry=registry.collectors,
        )
        self._logged: dict[tuple[str, NN, Problem], None] = {}

    def __call__(self, obj: RawObject, desired: str) -> RawObject:
        try:
            converted, problems = convert_and_report(obj, desired)
        except NotConvertible as error:
            raise ConversionError(str(error)) from None
        for problem in problems:
            self._report(obj, problem)
        return converted

    def _report(self, obj: RawObject, problem: Problem) -> None:
        self._problems.labels(problem.annotation).inc()
        key = str(obj["kind"]), NN.of(obj), problem
        if key in self._logged:
            return
        if len(self._logged) >= REMEMBERED:
            del self._logged[next(iter(self._logged))]
        self._logged[key] = None
        _log.warning("annotation left aside by conversion", kind=key[0], object=str(key[1]), problem=str(problem))


def serve_conversion(server: WebhookServer) -> None:
    """Register the conversion of our kinds with a server that is not running yet."""
    conversion = Conversion(server.registry)
    for gvk in CONVERTED:
        server.convert(gvk, conversion)
