"""Log lines."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider

from rbgctl.runtime.log import configure_logging
from rbgctl.runtime.tracing import Tracing


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_json_lines_carry_time_level_message_and_bound_keys() -> None:
    out = io.StringIO()
    configure_logging("info", "json", stream=out)
    structlog.get_logger("x").bind(controller="c", reconcileID="r").info("hello", object={"name": "a"}, odd={1, 2})
    (line,) = lines(out)
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "info",
        "msg": "hello",
        "controller": "c",
        "reconcileID": "r",
        "object": {"name": "a"},
        "odd": str({1, 2}),
    }


def test_levels_below_are_dropped_also_from_loggers_made_before() -> None:
    logger = structlog.get_logger("early")
    out = io.StringIO()
    configure_logging("warning", "json", stream=out)
    logger.info("no")
    logger.warning("yes")
    assert [line["msg"] for line in lines(out)] == ["yes"]


def test_trace_and_span_id_are_added_inside_a_span() -> None:  # RT-TR-10
    out = io.StringIO()
    configure_logging("info", "json", stream=out, tracing=True)
    log = structlog.get_logger()
    with Tracing(TracerProvider()).span("a"):
        log.info("inside")
    log.info("outside")
    inside, outside = lines(out)
    assert (len(inside["trace_id"]), len(inside["span_id"])) == (32, 16)
    assert "trace_id" not in outside


def test_exceptions_are_part_of_the_line() -> None:
    out = io.StringIO()
    configure_logging("info", "json", stream=out)
    try:
        raise ValueError("bad")
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = lines(out)
    assert "ValueError: bad" in line["exception"]


def test_warnings_of_libraries_join() -> None:
    out = io.StringIO()
    configure_logging("debug", "json", stream=out)
    logging.getLogger("aiohttp.client").warning("careful %s", "there")
    logging.getLogger("aiohttp.client").info("chatter")
    assert [(line["msg"], line["logger"], line["level"]) for line in lines(out)] == [
        ("careful there", "aiohttp.client", "warning")
    ]


def test_console_is_for_people() -> None:
    out = io.StringIO()
    configure_logging("info", "console", stream=out)
    structlog.get_logger().info("hello", n=1)
    assert "hello" in out.getvalue()
    assert "n=1" in out.getvalue()
    assert "\x1b" not in out.getvalue()  # not a terminal


@pytest.mark.parametrize(
    ("level", "format_", "text"),
    [("loud", "json", "unknown log level 'loud': one of debug"), ("info", "xml", "unknown log format 'xml'")],
)
def test_unknown_settings_say_what_would_work(level: str, format_: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        configure_logging(level, format_)
