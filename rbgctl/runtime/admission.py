"""AdmissionReview, v1 and v1beta1: what may be written, and defaults for it (RT-WH-05 to RT-WH-09).

    request bytes -> review decoded, objects kept raw -> handler(AdmissionRequest) -> AdmissionResponse -> bytes

The API server always gets HTTP 200: the verdict, and every error of ours, is inside the review. `Validating` and
`Defaulting` turn a `Validator` or `Defaulter` of one kind into a handler; `AdmissionEndpoint` serves any handler.
Handlers deny by raising `Denied`, or an ApiError that is passed on as it is. Anything else they raise is a bug:
answered with code 500, counted, logged.
"""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, Protocol, TypeVar

import jsonpatch
import msgspec
import orjson
import structlog
from prometheus_client import Counter

from rbgctl.machinery.gvk import GVK, RawObject
from rbgctl.runtime.errors import ApiError, TransportError
from rbgctl.runtime.webhook_call import Answer, Call

_log = structlog.get_logger("rbgctl.runtime.admission")

MAX_BODY: Final = 7 * 1024 * 1024
JSON: Final = "application/json"
V1: Final = "admission.k8s.io/v1"
_VERSIONS: Final = frozenset({V1, "admission.k8s.io/v1beta1"})
_KIND: Final = "AdmissionReview"

PatchOperation = Mapping[str, Any]
T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class Denied(Exception):
    """The write is refused; the text is what the user reads."""


class BadReview(ValueError):
    """A request that cannot be understood; answered with `code`."""

    def __init__(self, text: str, code: int = 400) -> None:
        super().__init__(text)
        self.code = code


# -- what handlers see -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionRequest:
    """`kind` is what the webhook was registered for, `request_kind` what the client wrote. `raw` holds all fields
    but the objects, which are decoded when asked for.
    """

    uid: str
    operation: str
    kind: GVK
    request_kind: GVK
    sub_resource: str
    namespace: str
    name: str
    user: str
    dry_run: bool
    raw: RawObject = field(repr=False)
    raw_object: bytes = field(repr=False)
    raw_old_object: bytes = field(repr=False)

    def object(self) -> RawObject:
        """As it would be stored. Raises BadReview when there is none or it is no object."""
        return _object(self.raw_object)

    def old_object(self) -> RawObject:
        """As it is stored now. Raises BadReview when there is none or it is no object."""
        return _object(self.raw_old_object)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionResponse:
    """`status` is a Kubernetes Status, completed with code (and for denials reason) when it has none."""

    allowed: bool
    status: Mapping[str, Any] = field(default_factory=dict)
    patch: Sequence[PatchOperation] = ()
    warnings: Sequence[str] = ()
    audit_annotations: Mapping[str, str] = field(default_factory=dict)


def allowed(warnings: Sequence[str] = ()) -> AdmissionResponse:
    return AdmissionResponse(allowed=True, warnings=warnings)


def denied(message: str, warnings: Sequence[str] = ()) -> AdmissionResponse:
    """403 with reason Forbidden."""
    status = {"code": 403, "reason": "Forbidden", "message": message}
    return AdmissionResponse(allowed=False, status=status, warnings=warnings)


def failed(code: int, message: str) -> AdmissionResponse:
    """An error of the server itself: code and message, no reason."""
    return AdmissionResponse(allowed=False, status={"code": code, "message": message})


def refused(error: Exception, warnings: Sequence[str] = ()) -> AdmissionResponse:
    """The answer to an error that a handler may raise: the Status of an ApiError as it is, else 403 and its text."""
    if isinstance(error, ApiError):
        return AdmissionResponse(allowed=False, status=error.status, warnings=warnings)
    return denied(str(error), warnings)


AdmissionHandler = Callable[[AdmissionRequest], Awaitable[AdmissionResponse]]


# -- validators and defaulters of one kind -----------------------------------------------------------------------


class Codec(Protocol[T]):
    """How objects become what a Validator or Defaulter works on. `decode` raises ValueError for what it cannot."""

    def decode(self, obj: RawObject) -> T: ...
    def encode(self, value: T) -> RawObject: ...


class Raw:
    """Objects as they are."""

    def decode(self, obj: RawObject) -> RawObject:
        return obj

    def encode(self, value: RawObject) -> RawObject:
        return value


RAW: Final = Raw()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of a validator. An error refuses the write: an ApiError as it is, others as 403. Warnings are shown anyway."""

    error: Exception | None = None
    warnings: Sequence[str] = ()


OK: Final = Verdict()


class Validator(Protocol[T_contra]):
    """Judges writes. Raising Denied or an ApiError refuses them too."""

    async def validate_create(self, request: AdmissionRequest, new: T_contra) -> Verdict: ...
    async def validate_update(self, request: AdmissionRequest, old: T_contra, new: T_contra) -> Verdict: ...
    async def validate_delete(self, request: AdmissionRequest, old: T_contra) -> Verdict: ...


class Defaulter(Protocol[T_contra]):
    """Fills in defaults by changing `new`. Raising Denied or an ApiError refuses the write."""

    async def default(self, request: AdmissionRequest, new: T_contra) -> None: ...


class Validating(Generic[T]):
    """A Validator as a handler (RT-WH-09)."""

    def __init__(self, validator: Validator[T], codec: Codec[T]) -> None:
        self._validator = validator
        self._codec = codec

    async def __call__(self, request: AdmissionRequest) -> AdmissionResponse:
        validator = self._validator
        match request.operation:
            case "CREATE":
                verdict = await validator.validate_create(request, _decoded(self._codec, request.object()))
            case "UPDATE":
                new = _decoded(self._codec, request.object())
                verdict = await validator.validate_update(request, _decoded(self._codec, request.old_object()), new)
            case "DELETE":
                verdict = await validator.validate_delete(request, _decoded(self._codec, request.old_object()))
            case "CONNECT":
                verdict = OK
            case unknown:
                raise BadReview(f'unknown operation "{unknown}"')
        return refused(verdict.error, verdict.warnings) if verdict.error is not None else allowed(verdict.warnings)


class Defaulting(Generic[T]):
    """A Defaulter as a handler that answers with a JSON patch (RT-WH-08)."""

    def __init__(self, defaulter: Defaulter[T], codec: Codec[T]) -> None:
        self._defaulter = defaulter
        self._codec = codec

    async def __call__(self, request: AdmissionRequest) -> AdmissionResponse:
        if request.operation == "DELETE":
            return allowed()
        raw = request.object()
        value = _decoded(self._codec, request.object())
        await self._defaulter.default(request, value)
        untouched = self._codec.encode(_decoded(self._codec, request.object()))
        patch = patch_without_losses(raw, self._codec.encode(value), untouched)
        return AdmissionResponse(allowed=True, patch=patch)


def patch_without_losses(raw: RawObject, changed: RawObject, untouched: RawObject) -> list[PatchOperation]:
    """The JSON patch from `raw` to `changed`, without those removals that decoding and encoding alone cause.

    `untouched` is `raw` decoded and encoded again: what a codec does not know or leaves out when empty stays.
    """
    lost = {op["path"] for op in _difference(raw, untouched) if op["op"] == "remove"} if untouched != raw else set()
    return [op for op in _difference(raw, changed) if not (op["op"] == "remove" and op["path"] in lost)]


def _difference(before: RawObject, after: RawObject) -> list[PatchOperation]:
    # Unoptimised: a removal stays a removal instead of becoming one half of a move, which could not be dropped.
    return list(jsonpatch.JsonPatch.from_diff(before, after, optimization=False))


def _decoded(codec: Codec[T], obj: RawObject) -> T:
    try:
        return codec.decode(obj)
    except ValueError as error:
        raise BadReview(str(error)) from error


def _object(raw: bytes) -> RawObject:
    if raw in {b"", b"null"}:
        raise BadReview("there is no content to decode")
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadReview(f"the object cannot be decoded: {error}") from error
    if not isinstance(found, dict):
        raise BadReview(f"the object is a JSON {type(found).__name__}, an object is wanted")
    return found


# -- the wire ----------------------------------------------------------------------------------------------------


class _Review(msgspec.Struct, rename="camel"):
    api_version: str = ""
    kind: str = ""
    request: msgspec.Raw = msgspec.Raw(b"null")


class _Kind(msgspec.Struct):
    group: str = ""
    version: str = ""
    kind: str = ""

    @property
    def gvk(self) -> GVK:
        return GVK(self.group, self.version, self.kind)


class _User(msgspec.Struct):
    username: str = ""


class _Request(msgspec.Struct, rename="camel"):
    uid: str = ""
    operation: str = ""
    kind: _Kind = msgspec.field(default_factory=_Kind)
    request_kind: _Kind | None = None
    sub_resource: str = ""
    namespace: str = ""
    name: str = ""
    user_info: _User = msgspec.field(default_factory=_User)
    dry_run: bool | None = None
    object: msgspec.Raw = msgspec.Raw(b"")
    old_object: msgspec.Raw = msgspec.Raw(b"")


_REVIEW = msgspec.json.Decoder(_Review)
_REQUEST = msgspec.json.Decoder(_Request)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OBJECTS = frozenset({"object", "oldObject"})


@dataclass(frozen=True, slots=True)
class Envelope:
    """What every answer repeats of the request."""

    api_version: str = V1
    kind: str = _KIND
    uid: str = ""


def decode_review(call: Call) -> tuple[Envelope, AdmissionRequest]:
    """Raises BadReview; checks body, size and content type in this order (RT-WH-05)."""
    if not call.body:
        raise BadReview("request body is empty")
    if len(call.body) >= MAX_BODY:
        raise BadReview(f"request entity is too large; limit is {MAX_BODY} bytes", 413)
    if call.content_type != JSON:
        raise BadReview(f"contentType={call.content_type}, expected {JSON}")
    try:
        review = _REVIEW.decode(call.body)
        envelope = Envelope(review.api_version or V1, review.kind or _KIND)
        if envelope.api_version not in _VERSIONS or envelope.kind != _KIND:
            raise BadReview(f'no kind "{envelope.kind}" is known in version "{envelope.api_version}"')
        if bytes(review.request) == b"null":
            raise BadReview("got an empty request")
        request = _REQUEST.decode(review.request)
        raw = {k: orjson.loads(memoryview(v)) for k, v in _FIELDS.decode(review.request).items() if k not in _OBJECTS}
    except (msgspec.MsgspecError, orjson.JSONDecodeError, RecursionError) as error:
        raise BadReview(f"the review cannot be decoded: {error}") from error
    return replace(envelope, uid=request.uid), AdmissionRequest(
        uid=request.uid,
        operation=request.operation,
        kind=request.kind.gvk,
        request_kind=(request.request_kind or request.kind).gvk,
        sub_resource=request.sub_resource,
        namespace=request.namespace,
        name=request.name,
        user=request.user_info.username,
        dry_run=bool(request.dry_run),
        raw=raw,
        raw_object=bytes(request.object),
        raw_old_object=bytes(request.old_object),
    )


def encode_review(envelope: Envelope, response: AdmissionResponse) -> bytes:
    """The answer; `status.code` is never missing (RT-WH-06)."""
    default = {"code": 200} if response.allowed else {"code": 403, "reason": "Forbidden"}
    status = {**response.status} if response.status.get("code") else {**response.status, **default}
    answer: dict[str, Any] = {"uid": envelope.uid, "allowed": response.allowed, "status": status}
    if response.patch:
        answer["patch"] = base64.b64encode(orjson.dumps(response.patch)).decode()
        answer["patchType"] = "JSONPatch"
    if response.warnings:
        answer["warnings"] = list(response.warnings)
    if response.audit_annotations:
        answer["auditAnnotations"] = dict(response.audit_annotations)
    return orjson.dumps({"apiVersion": envelope.api_version, "kind": envelope.kind, "response": answer})


class AdmissionEndpoint:
    """Serves one handler. `panics` counts what handlers raise by mistake."""

    body_limit: int | None = MAX_BODY

    def __init__(self, handler: AdmissionHandler, panics: Counter | None = None) -> None:
        self._handler = handler
        self._panics = panics

    def span(self, path: str) -> str:
        return f"admission {path}"

    async def __call__(self, call: Call) -> Answer:
        envelope = Envelope()
        try:
            envelope, request = decode_review(call)
            response = await self._respond(request, call.seconds)
        except BadReview as error:
            response = failed(error.code, str(error))
        try:
            return Answer(200, (encode_review(envelope, response),))
        except TypeError as error:
            # The handler put something into its answer that JSON does not have (RT-WH-07).
            if self._panics is not None:
                self._panics.inc()
            _log.exception("answer of an admission handler cannot be encoded")
            return Answer(200, (encode_review(envelope, failed(500, f"panic: {error} [recovered]")),))

    async def _respond(self, request: AdmissionRequest, seconds: float) -> AdmissionResponse:
        deadline = asyncio.timeout(seconds)
        try:
            async with deadline:
                return await self._handler(request)
        except (BadReview, asyncio.CancelledError):
            raise
        except (Denied, ApiError, TransportError) as error:
            return refused(error)
        except Exception as error:  # noqa: BLE001 - answered, counted and logged
            if isinstance(error, TimeoutError) and deadline.expired():
                return failed(504, f"the webhook did not answer within {seconds:g} s")
            if self._panics is not None:
                self._panics.inc()
            _log.exception("admission handler failed", operation=request.operation, kind=str(request.kind))
            return failed(500, f"panic: {error} [recovered]")
