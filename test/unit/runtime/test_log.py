"""Log lines."""

import io
import json
import logging
import re
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


def test_json_lines_carry_time_level_logger_caller_message_and_bound_keys() -> None:
    """02 §11.1, Logging: the keys of the Go operator."""
    out = io.StringIO()
    configure_logging("info", "json", stream=out)
    structlog.get_logger("x").bind(controller="c", reconcileID="r").info("hello", object={"name": "a"}, odd={1, 2})
    (line,) = lines(out)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line.pop("time"))
    assert re.fullmatch(r"runtime/test_log\.py:\d+", line.pop("caller"))
    assert line == {
        "level": "INFO",
        "logger": "x",
        "message": "hello",
        "controller": "c",
        "reconcileID": "r",
        "object": {"name": "a"},
        "odd": str({1, 2}),
    }


def test_levels_are_capitals() -> None:
    out = io.StringIO()
    configure_logging("debug", "json", stream=out)
    logger = structlog.get_logger()
    for level in ("debug", "info", "warning", "error", "exception", "critical"):
        getattr(logger, level)("x")
    assert [line["level"] for line in lines(out)] == ["DEBUG", "INFO", "WARN", "ERROR", "ERROR", "PANIC"]
    assert all("logger" not in line for line in lines(out))


def failing(level: str) -> None:
    try:
        raise ValueError("bad")
    except ValueError:
        structlog.get_logger().log(getattr(logging, level.upper()), level, exc_info=True)


@pytest.mark.parametrize(
    ("threshold", "exceptions", "stacks"),
    [
        ("", {"debug", "warning", "error"}, set()),
        ("warning", {"warning", "error"}, {"warning", "error"}),
        ("error", {"error"}, {"error"}),
        ("critical", set(), set()),
    ],
)
def test_stack_traces_begin_at_a_level(threshold: str, exceptions: set[str], stacks: set[str]) -> None:
    """As zap's: at and above it a line shows where it comes from; without one only exceptions do."""
    out = io.StringIO()
    configure_logging("debug", "json", stream=out, stacktrace_level=threshold)
    for level in ("debug", "warning", "error"):
        failing(level)
        getattr(structlog.get_logger(), level)("plain " + level)
    said = lines(out)
    assert {line["message"] for line in said if "ValueError: bad" in line.get("exception", "")} == exceptions
    assert {line["message"] for line in said if "stacktrace" in line} == {f"plain {level}" for level in stacks}
    assert all(
        line["stacktrace"].splitlines()[-2].endswith("test_stack_traces_begin_at_a_level")
        for line in said
        if "stacktrace" in line
    )


def test_levels_below_are_dropped_also_from_loggers_made_before() -> None:
    logger = structlog.get_logger("early")
    out = io.StringIO()
    configure_logging("warning", "json", stream=out)
    logger.info("no")
    logger.warning("yes")
    assert [line["message"] for line in lines(out)] == ["yes"]


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
    assert [(line["message"], line["logger"], line["level"]) for line in lines(out)] == [
        ("careful there", "aiohttp.client", "WARN")
    ]
    assert lines(out)[0]["caller"].startswith("runtime/test_log.py:")


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
