"""From answers to exceptions."""

import orjson
import pytest

from rbgctl.runtime import errors
from rbgctl.runtime.errors import ApiError

ROWS = [
    ("BadRequest", 400, errors.BadRequest),
    ("Unauthorized", 401, errors.Unauthorized),
    ("Forbidden", 403, errors.Forbidden),
    ("NotFound", 404, errors.NotFound),
    ("MethodNotAllowed", 405, errors.MethodNotSupported),
    ("NotAcceptable", 406, errors.NotAcceptable),
    ("AlreadyExists", 409, errors.AlreadyExists),
    ("Conflict", 409, errors.Conflict),
    ("Gone", 410, errors.Gone),
    ("Expired", 410, errors.Expired),
    ("RequestEntityTooLarge", 413, errors.TooLarge),
    ("UnsupportedMediaType", 415, errors.UnsupportedMediaType),
    ("Invalid", 422, errors.Invalid),
    ("TooManyRequests", 429, errors.TooManyRequests),
    ("InternalError", 500, errors.InternalError),
    ("ServerTimeout", 500, errors.ServerTimeout),
    ("ServiceUnavailable", 503, errors.ServiceUnavailable),
    ("Timeout", 504, errors.RequestTimeout),
    ("StorageReadError", 500, errors.StorageReadError),
]


@pytest.mark.parametrize(("reason", "code", "kind"), ROWS)
def test_a_known_reason_decides_the_class(reason: str, code: int, kind: type[ApiError]) -> None:
    """RT-ER-02..20."""
    status = {"kind": "Status", "status": "Failure", "reason": reason, "code": 599, "message": "m"}
    error = ApiError.from_response("GET", code, {}, orjson.dumps(status))
    assert type(error) is kind
    assert str(error) == "m"


@pytest.mark.parametrize("reason", ["", "Teapot"])
def test_with_an_unknown_reason_the_code_decides(reason: str) -> None:
    """RT-ER-24; AlreadyExists, Expired, ServerTimeout and StorageReadError need their reason."""
    found = {code: type(ApiError.from_status({"reason": reason, "code": code})) for _, code, _ in ROWS}
    assert found[409] is errors.Conflict
    assert found[410] is errors.Gone
    assert found[500] is errors.InternalError
    assert found[429] is errors.TooManyRequests


def test_an_answer_that_is_no_status_is_made_one_from_its_code() -> None:
    """RT-ER-22."""
    post = ApiError.from_response("POST", 409, {}, b"<html>", resource="pods", name="a")
    put = ApiError.from_response("PUT", 409, {}, b"<html>")
    busy = ApiError.from_response("GET", 429, {"Retry-After": "7"}, b"slow down")
    huge = ApiError.from_response("GET", 500, {}, b"x" * 5000)
    assert (type(post), type(put), type(busy)) == (errors.AlreadyExists, errors.Conflict, errors.TooManyRequests)
    assert busy.retry_after == 7
    assert len(huge.causes[0].message) == 2048
    assert post.details["kind"] == "pods"
    assert "(post pods a)" in str(post)


def test_a_success_status_is_no_failure_status() -> None:
    """RT-ER-24: a Status body wins only when it says Failure."""
    body = orjson.dumps({"kind": "Status", "status": "Success", "reason": "NotFound"})
    assert type(ApiError.from_response("GET", 503, {}, body)) is errors.ServiceUnavailable


def test_a_retry_is_suggested_by_seconds_or_by_server_timeout() -> None:
    """RT-ER-21."""
    assert errors.ServerTimeout({}).retry_after == 0
    assert errors.InternalError({}).retry_after is None
    assert errors.InternalError({"details": {"retryAfterSeconds": 3}}).retry_after == 3


def test_too_large_resource_version_is_told_by_cause_or_text() -> None:
    """RT-RV-06."""
    cause = {"details": {"causes": [{"reason": "ResourceVersionTooLarge"}]}}
    assert errors.RequestTimeout(cause).too_large_resource_version
    assert errors.RequestTimeout({"message": "Too large resource version: 9"}).too_large_resource_version
    assert not errors.RequestTimeout({"message": "other"}).too_large_resource_version


@pytest.mark.parametrize(("code", "reason"), [(502, "InternalError"), (599, "InternalError"), (418, ""), (302, "")])
def test_codes_without_a_class_are_errors_of_the_server_or_have_no_reason(code: int, reason: str) -> None:
    """RT-ER-22."""
    error = ApiError.from_response("GET", code, {}, b"text")
    assert (error.code, error.reason) == (code, reason)
    assert isinstance(error, errors.InternalError) == (code >= 500)
    assert str(error)


@pytest.mark.parametrize("code", [403, 415])
def test_the_body_is_the_message_where_it_explains_more(code: int) -> None:
    """RT-ER-22."""
    assert str(ApiError.from_response("GET", code, {}, b"user x cannot", resource="pods")) == "user x cannot (get pods)"
