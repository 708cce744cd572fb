"""ConversionReview: objects of one version of a kind into another (RT-WH-10, CR-1 to CR-9).

One review carries a whole page of a list, so it is never decoded at once: the body is cut into raw objects, and
objects are decoded, converted and encoded one by one. After 50 of them, 64 KiB of them or 5 ms the event loop gets its
turn. An object that already has the wanted version is passed on without being decoded. What is nested too deeply for a
decoder reaches the converter as an opaque fragment (`deep_json`).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson
import structlog
from prometheus_client import Counter

from rbgctl.machinery.gvk import RawObject
from rbgctl.runtime.clock import Clock, SystemClock
from rbgctl.runtime.deep_json import Parts, fold, unfold
from rbgctl.runtime.webhook_call import Answer, Call

_log = structlog.get_logger("rbgctl.runtime.conversion_review")

Converter = Callable[[RawObject, str], RawObject]
"""Pure: an object and the wanted apiVersion to the converted object. Raises ConversionError."""

OBJECTS_PER_TURN = 50
BYTES_PER_TURN = 64 << 10
SECONDS_PER_TURN = 0.005
PANIC = "internal error occurred during conversion"


class ConversionError(ValueError):
    """An object that cannot be converted; the text is shown to the user."""


class _TooDeep(Exception):
    """The object must be folded first."""


class _Identity(msgspec.Struct, rename="camel"):
    api_version: str = ""
    kind: str = ""


class _Request(msgspec.Struct, rename="camel"):
    uid: str = ""
    desired_api_version: str = msgspec.field(default="", name="desiredAPIVersion")
    objects: list[msgspec.Raw] | None = None


class _Review(msgspec.Struct, rename="camel"):
    api_version: str = ""
    kind: str = ""
    request: _Request | None = None


_REVIEW = msgspec.json.Decoder(_Review)
_IDENTITY = msgspec.json.Decoder(_Identity)


@dataclass(slots=True)
class _Turn:
    """What was done since the event loop last had its turn."""

    clock: Clock
    objects: int = 0
    size: int = 0
    began: float = 0.0

    def is_over(self, more: int) -> bool:
        """Whether the loop's turn has come before an object of `more` bytes is decoded."""
        if not self.objects:
            return False
        too_much = self.objects >= OBJECTS_PER_TURN or self.size + more > BYTES_PER_TURN
        return too_much or self.clock.monotonic() - self.began >= SECONDS_PER_TURN

    def begin(self) -> None:
        self.objects = self.size = 0
        self.began = self.clock.monotonic()


class Converters:
    """The converters of several kinds as one: that of the object's group and kind is called."""

    def __init__(self) -> None:
        self._by_kind: dict[tuple[str, str], Converter] = {}

    def add(self, group: str, kind: str, converter: Converter) -> None:
        """For all versions of a kind. Raises ValueError when it has another one."""
        if self._by_kind.setdefault((group, kind), converter) != converter:
            raise ValueError(f"{kind}{f'.{group}' if group else ''} has a converter already")

    def __call__(self, obj: RawObject, desired: str) -> RawObject:
        group, kind = str(obj.get("apiVersion") or "").rpartition("/")[0], str(obj.get("kind") or "")
        converter = self._by_kind.get((group, kind))
        if converter is None:
            raise ConversionError(f"there is no conversion of {obj.get('apiVersion')}, Kind={kind}")
        return converter(obj, desired)


class ConversionEndpoint:
    """Serves one converter. `panics` counts what it raises by mistake."""

    body_limit: int | None = None

    def __init__(self, converter: Converter, panics: Counter | None = None, clock: Clock | None = None) -> None:
        self._converter = converter
        self._panics = panics
        self._clock = clock or SystemClock()

    def span(self, path: str) -> str:
        return "convert"

    async def __call__(self, call: Call) -> Answer:
        parts: Parts = {}
        try:
            try:
                review = _REVIEW.decode(call.body)
            except RecursionError:
                body, parts = await fold(call.body)
                review = _REVIEW.decode(body)
        except (msgspec.MsgspecError, RecursionError) as error:
            _log.error("conversion review cannot be decoded", error=str(error))
            return Answer(400)
        request = review.request
        if request is None:
            _log.error("conversion review without a request")
            return Answer(400)
        deadline = asyncio.timeout(call.seconds)
        try:
            async with deadline:
                converted = await self._convert(request, parts)
        except ConversionError as error:
            return _failure(review, request, str(error))
        except Exception as error:  # noqa: BLE001 - answered, counted and logged
            if isinstance(error, TimeoutError) and deadline.expired():
                return _failure(review, request, f"the conversion took longer than {call.seconds:g} s")
            if self._panics is not None:
                self._panics.inc()
            _log.exception("converter failed", desired=request.desired_api_version)
            return _failure(review, request, PANIC)
        head = _head(review, request, {"status": "Success"})
        return Answer(200, (head, b',"convertedObjects":[', *converted, b"]}}"))

    async def _convert(self, request: _Request, parts: Parts) -> list[bytes | memoryview]:
        """The converted objects, with commas between them. Raises ConversionError for the first that cannot be."""
        done: list[Any] = []
        turn = _Turn(self._clock)
        turn.begin()
        for raw in request.objects or ():
            size = len(memoryview(raw))
            if turn.is_over(size):
                await asyncio.sleep(0)
                turn.begin()
            if done:
                done.append(b",")
            text = memoryview(raw)
            try:
                done.append(self._convert_one(text, request.desired_api_version, parts))
            except _TooDeep:
                done.append(self._convert_one(*await _folded(text, request.desired_api_version)))
            turn.objects += 1
            turn.size += size
        return done

    def _convert_one(self, text: bytes | memoryview, desired: str, parts: Parts) -> bytes | memoryview:
        """Raises _TooDeep, unless parts have been cut out already."""
        try:
            before = _IDENTITY.decode(text)
            if before.api_version == desired and not parts:
                return text
            obj = orjson.loads(text)
        except (msgspec.MsgspecError, orjson.JSONDecodeError, RecursionError) as error:
            if not parts and "recursion" in f"{type(error).__name__} {error}".lower():
                raise _TooDeep from None
            raise ConversionError(f"an object cannot be decoded: {error}") from error
        if parts:
            obj = unfold(obj, parts)
        after = obj if before.api_version == desired else self._converter(obj, desired)
        found = after.get("apiVersion"), after.get("kind")
        if found != (desired, before.kind):
            # The API server would refuse it with less detail.
            raise ConversionError(
                f"conversion of {before.api_version}, Kind={before.kind} to {desired} gave {found[0]}, Kind={found[1]}"
            )
        try:
            return orjson.dumps(after)
        except orjson.JSONEncodeError as error:
            if not parts and "recursion" in str(error).lower():
                raise _TooDeep from None
            raise


async def _folded(text: memoryview, desired: str) -> tuple[bytes, str, Parts]:
    folded, parts = await fold(text)
    return folded, desired, parts


def _failure(review: _Review, request: _Request, text: str) -> Answer:
    head = _head(review, request, {"status": "Failure", "message": text})
    return Answer(200, (head, b',"convertedObjects":[]}}'))


def _head(review: _Review, request: _Request, result: RawObject) -> bytes:
    """The answer up to the result, two objects still open."""
    response = {"uid": request.uid, "result": result}
    whole = orjson.dumps({"apiVersion": review.api_version, "kind": review.kind, "response": response})
    return whole[:-2]
