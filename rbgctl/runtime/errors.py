"""What can go wrong when talking to an API server, as classes (RT-ER-01..24).

`ApiError` and its subclasses carry the server's Status; `TransportError` means that no answer arrived.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import orjson

from rbgctl.machinery.gvk import GVK


@dataclass(frozen=True, slots=True)
class StatusCause:
    """One entry of details.causes: why and where."""

    reason: str
    message: str
    field: str


class ApiError(Exception):
    """An answer other than success. `status` is the server's Status object, possibly synthesised."""

    default_reason: ClassVar[str] = ""

    def __init__(self, status: Mapping[str, Any]) -> None:
        self.status = status
        super().__init__(self.message or self.reason or f"HTTP {self.code}")

    @property
    def code(self) -> int:
        return int(self.status.get("code") or 0)

    @property
    def reason(self) -> str:
        return str(self.status.get("reason") or "")

    @property
    def message(self) -> str:
        return str(self.status.get("message") or "")

    @property
    def details(self) -> Mapping[str, Any]:
        return self.status.get("details") or {}

    @property
    def causes(self) -> tuple[StatusCause, ...]:
        return tuple(
            StatusCause(c.get("reason", ""), c.get("message", ""), c.get("field", ""))
            for c in self.details.get("causes") or ()
        )

    @property
    def retry_after(self) -> float | None:
        """Seconds after which a retry is suggested, None when it is not (RT-ER-21)."""
        seconds = self.details.get("retryAfterSeconds") or 0
        if isinstance(self, ServerTimeout):
            return float(seconds)
        return float(seconds) if seconds > 0 else None

    @staticmethod
    def from_status(status: Mapping[str, Any]) -> "ApiError":
        """The class that a Status object says: a known reason decides, else the code."""
        reason, code = str(status.get("reason") or ""), int(status.get("code") or 0)
        kind = _BY_REASON.get(reason) or _BY_CODE.get(code) or ApiError
        return kind(status)

    @staticmethod
    def from_response(
        method: str,
        code: int,
        headers: Mapping[str, str],
        body: bytes,
        *,
        gvk: GVK | None = None,
        resource: str = "",
        name: str = "",
    ) -> "ApiError":
        """From an HTTP answer; a body that is no Failure Status is replaced by one made from the code (RT-ER-22)."""
        if body[:1] == b"{":
            with contextlib.suppress(orjson.JSONDecodeError):
                parsed = orjson.loads(body)
                if isinstance(parsed, dict) and parsed.get("kind") == "Status" and parsed.get("status") == "Failure":
                    return ApiError.from_status({**parsed, "code": parsed.get("code") or code})
        kind: type[ApiError] = _BY_CODE.get(code, InternalError if code >= 500 else ApiError)
        if code == 409 and method == "POST":
            kind = AlreadyExists
        text = body[:2048].decode("utf-8", "replace")
        fixed = text if code in {403, 415} and text else _MESSAGES.get(code, _MESSAGES[500] if code >= 500 else "")
        fixed = fixed or "the server responded with the status code but did not return more information"
        details: dict[str, Any] = {
            "name": name,
            "kind": resource or (gvk.kind if gvk else ""),
            "group": gvk.group if gvk else "",
            "causes": [{"reason": "UnexpectedServerResponse", "message": text}],
        }
        header = headers.get("Retry-After", "")
        if header.isdecimal():
            details["retryAfterSeconds"] = int(header)
        where = " ".join(x for x in (method.lower(), resource, name) if x)
        return kind(
            {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "code": code,
                "reason": kind.default_reason,
                "message": f"{fixed} ({where})",
                "details": details,
            }
        )


class BadRequest(ApiError):
    default_reason = "BadRequest"


class Unauthorized(ApiError):
    default_reason = "Unauthorized"


class Forbidden(ApiError):
    default_reason = "Forbidden"

    @property
    def namespace_terminating(self) -> bool:
        """Nothing can be created any more in a namespace that is being deleted."""
        return any(cause.reason == "NamespaceTerminating" for cause in self.causes)


class NotFound(ApiError):
    default_reason = "NotFound"


class MethodNotSupported(ApiError):
    default_reason = "MethodNotAllowed"


class NotAcceptable(ApiError):
    default_reason = "NotAcceptable"


class AlreadyExists(ApiError):
    default_reason = "AlreadyExists"


class Conflict(ApiError):
    default_reason = "Conflict"


class Gone(ApiError):
    default_reason = "Gone"


class Expired(ApiError):
    default_reason = "Expired"


class TooLarge(ApiError):
    default_reason = "RequestEntityTooLarge"


class UnsupportedMediaType(ApiError):
    default_reason = "UnsupportedMediaType"


class Invalid(ApiError):
    default_reason = "Invalid"


class TooManyRequests(ApiError):
    default_reason = "TooManyRequests"


class InternalError(ApiError):
    default_reason = "InternalError"


class ServerTimeout(ApiError):
    default_reason = "ServerTimeout"


class ServiceUnavailable(ApiError):
    default_reason = "ServiceUnavailable"


class RequestTimeout(ApiError):
    """The server gave up (504 Timeout), which it also does for a resourceVersion that it has not reached."""

    default_reason = "Timeout"

    @property
    def too_large_resource_version(self) -> bool:
        return any(c.reason == "ResourceVersionTooLarge" for c in self.causes) or self.message.startswith(
            "Too large resource version"
        )


class StorageReadError(ApiError):
    default_reason = "StorageReadError"


_BY_REASON: dict[str, type[ApiError]] = {
    c.default_reason: c
    for c in (
        BadRequest,
        Unauthorized,
        Forbidden,
        NotFound,
        MethodNotSupported,
        NotAcceptable,
        AlreadyExists,
        Conflict,
        Gone,
        Expired,
        TooLarge,
        UnsupportedMediaType,
        Invalid,
        TooManyRequests,
        InternalError,
        ServerTimeout,
        ServiceUnavailable,
        RequestTimeout,
        StorageReadError,
    )
}

_BY_CODE: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    405: MethodNotSupported,
    406: NotAcceptable,
    409: Conflict,
    410: Gone,
    413: TooLarge,
    415: UnsupportedMediaType,
    422: Invalid,
    429: TooManyRequests,
    500: InternalError,
    503: ServiceUnavailable,
    504: RequestTimeout,
}

_MESSAGES = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    403: "the server does not allow this request",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    406: "the server was unable to respond with a content type that the client supports",
    409: "the server reported a conflict",
    410: "the requested resource is gone",
    413: "the request is too large",
    415: "the server does not support this content type",
    422: "the server rejected our request due to an error in our request",
    429: "the server has received too many requests and has asked us to try again later",
    500: "an error on the server has prevented the request from succeeding",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted",
}

TransportErrorKind = Literal["refused", "reset", "eof", "timeout", "tls", "dns"]


class TransportError(Exception):
    """No answer arrived. A write that ends so has an unknown outcome: reconcile again (RT-CL-21)."""

    def __init__(self, kind: TransportErrorKind, message: str) -> None:
        super().__init__(f"{message} ({kind})")
        self.kind: TransportErrorKind = kind

    @property
    def unsent(self) -> bool:
        """The server has certainly not seen the request."""
        return self.kind in {"refused", "dns", "tls"}


class NotSent(TransportError):
    """The time allowed was over, or would have been, before it was this request's turn: nothing was sent."""

    unsent = True

    def __init__(self, message: str) -> None:
        super().__init__("timeout", message)


class TerminalError(Exception):
    """Retrying cannot help until the object changes; the key is not requeued (RT-CT-21)."""


class LeadershipUncertain(Exception):
    """A write was refused locally because leadership may have been lost (RT-LE-32)."""


class NoKindMatch(Exception):
    """The server does not serve this kind (RT-RM-06)."""

    def __init__(self, gvk: GVK) -> None:
        super().__init__(f'no matches for kind "{gvk.kind}" in version "{gvk.api_version}"')
        self.gvk = gvk


class DiscoveryFailed(Exception):
    """Some group versions could not be read, so that nothing can be said of their kinds (RT-RM-02)."""

    def __init__(self, errors: Mapping[str, Exception]) -> None:
        text = "; ".join(f"{version}: {error}" for version, error in errors.items())
        super().__init__(f"discovery failed for {text}")
        self.errors = errors


def needs_relist(error: BaseException) -> bool:
    """Whether a watch cannot go on from its resource version (RT-ER-11)."""
    return isinstance(error, Gone | Expired)
