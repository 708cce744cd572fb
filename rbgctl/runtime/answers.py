"""Objects out of the API server's answers."""

import asyncio
from typing import Any

import msgspec
import orjson

from rbgctl.machinery.gvk import GVK, RawObject
from rbgctl.runtime.client_protocols import Form
from rbgctl.runtime.errors import ApiError
from rbgctl.runtime.list_page import ListMeta, list_page
from rbgctl.runtime.transport import Response

DECODE_BYTES = 1 << 16


class MetadataOnly(dict[str, Any]):
    """An object of which no more than metadata was fetched: to write it back would wipe the rest (RT-CL-12)."""


def object_of(answer: Response, method: str) -> RawObject:
    """Raises ApiError for a Status that is no success, and for what is no object at all (RT-ER-24)."""
    try:
        decoded = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        decoded = None
    if not isinstance(decoded, dict):
        raise ApiError.from_response(method, 500, {}, answer.body)
    if decoded.get("kind") == "Status" and decoded.get("status") != "Success":
        raise ApiError.from_status(decoded)
    return decoded


async def read_page(answer: Response, gvk: GVK, items: list[RawObject], *, form: Form = "full") -> ListMeta:
    """Append the objects of a list answer to `items`, stamped with their kind. Raises ApiError for what is no list."""
    try:
        page = list_page(answer.body)
    except msgspec.DecodeError as error:
        raise ApiError.from_response("GET", 500, {}, answer.body, gvk=gvk) from error
    decoded = 0
    for raw in page.items or ():
        slice_ = bytes(raw)
        items.append(stamped(orjson.loads(slice_), gvk, form))
        decoded += len(slice_)
        if decoded > DECODE_BYTES:
            # Nothing may hold the loop for long, least of all a list (RT-MM-06).
            decoded = 0
            await asyncio.sleep(0)
    return page.metadata


def stamped(obj: RawObject, gvk: GVK, form: Form) -> RawObject:
    """With the kind that was asked for: list items carry none, and metadata is answered under a kind of its own."""
    kind = {"apiVersion": gvk.api_version, "kind": gvk.kind}
    return MetadataOnly(obj, **kind) if form == "metadata" else {**obj, **kind}


def lives_on(deleted: RawObject) -> bool:
    """Whether an object that a DELETE was answered with still exists: some kinds are returned as they last were."""
    meta = deleted["metadata"]
    return bool(meta.get("deletionTimestamp") and (meta.get("finalizers") or meta.get("deletionGracePeriodSeconds")))
