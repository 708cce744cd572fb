"""Reading and writing objects of an API server as raw JSON (RT-CL-01..14).

Arguments are never changed; answers are new objects. See `cached_client` for the client that controllers use.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import msgspec
import orjson

from rbgctl.machinery.canonical_json import escape_html
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.machinery.selectors import LabelSelector
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.errors import ApiError, Conflict, needs_relist
from rbgctl.runtime.list_page import ListMeta, list_page
from rbgctl.runtime.patch import Patch
from rbgctl.runtime.transport import Pool, Response, Transport

__all__ = [
    "Client",
    "Form",
    "LiveClient",
    "ObjectList",
    "Patch",
    "Propagation",
    "Reader",
    "Writer",
    "retry_on_conflict",
]

PAGE_SIZE = 500
DECODE_BYTES = 1 << 16
METADATA = "application/json;as=PartialObjectMetadata{list};g=meta.k8s.io;v=v1,application/json"

T = TypeVar("T")
Form = Literal["full", "metadata"]
Propagation = Literal["Orphan", "Background", "Foreground"]


@dataclass(frozen=True, slots=True)
class ObjectList:
    """The items of a list and the resourceVersion of the collection (empty when read from a cache)."""

    items: list[RawObject]
    resource_version: str = ""


class Reader(Protocol):
    """Reads objects, from a cache or live."""

    async def get(self, gvk: GVK, key: NN) -> RawObject: ...

    async def list(self, gvk: GVK, namespace: str = "", *, labels: LabelSelector | None = None) -> ObjectList: ...


class Writer(Protocol):
    """Writes objects."""

    async def create(self, obj: RawObject, *, field_manager: str = "") -> RawObject: ...

    async def update(self, obj: RawObject, *, subresource: str = "", field_manager: str = "") -> RawObject: ...

    async def patch(
        self, gvk: GVK, key: NN, patch: Patch, *, subresource: str = "", field_manager: str = ""
    ) -> RawObject: ...

    async def apply(
        self, obj: RawObject, *, field_manager: str, force: bool = True, subresource: str = ""
    ) -> RawObject: ...

    async def delete(
        self,
        gvk: GVK,
        key: NN,
        *,
        uid: str | None = None,
        rv: str | None = None,
        propagation: Propagation | None = None,
        grace_seconds: int | None = None,
    ) -> RawObject | None: ...


class Client(Reader, Writer, Protocol):
    """Both."""


class LiveClient:
    """A Client that asks the server for everything. Lists are paged internally.

    `user_agent` names the controller: the API server records its first token as the manager of plain writes
    (RT-ID-04, RT-ID-05). `gated=False` is for what every replica may write (Leases, election events).
    """

    def __init__(
        self,
        transport: Transport,
        mapper: RestMapper,
        *,
        user_agent: str = "rbgctl",
        gated: bool = True,
        pool: Pool = Pool.UNARY,
    ) -> None:
        self._transport = transport
        self.mapper = mapper
        self._user_agent = user_agent
        self._gated = gated
        self._pool = pool

    async def get(
        self, gvk: GVK, key: NN, *, subresource: str = "", rv: str = "", form: Form = "full", timeout: float = 60.0
    ) -> RawObject:
        """Raises NotFound and other ApiErrors; ValueError for an incomplete key, before any request.

        rv: the answer may be older than the newest state, but not than this ("0": as old as the server likes).
        form: "metadata" fetches no more than metadata.
        """
        path = await self._path(gvk, key, subresource)
        params = {"resourceVersion": rv} if rv else {}
        found = _object(await self._call("GET", path, gvk, key, params=params, form=form, timeout=timeout), "GET")
        return {**found, "apiVersion": gvk.api_version, "kind": gvk.kind} if form == "metadata" else found

    async def list(
        self,
        gvk: GVK,
        namespace: str = "",
        *,
        labels: LabelSelector | None = None,
        fields: str = "",
        limit: int = PAGE_SIZE,
        form: Form = "full",
    ) -> ObjectList:
        """All matching objects, read in pages of `limit` (0: one page); a list that expires in the middle starts over
        once, unpaged. A selector that matches nothing is not asked for.
        """
        resource = await self.mapper.resource(gvk)
        params = {"limit": str(limit)} if limit else {}
        if labels is not None:
            if labels.nothing:
                return ObjectList([])
            params["labelSelector"] = str(labels)
        if fields:
            params["fieldSelector"] = fields
        items: list[RawObject] = []
        path, collection = resource.path(namespace), NN(namespace, "")
        while True:
            try:
                answer = await self._call("GET", path, gvk, collection, params=params, form=form, is_list=True)
            except ApiError as error:
                if "continue" not in params or not needs_relist(error):
                    raise
                params = {k: v for k, v in params.items() if k not in {"limit", "continue"}}
                items = []
                continue
            meta = await _read_page(answer, gvk, items)
            if not meta.continue_:
                return ObjectList(items, meta.resource_version)
            params["continue"] = meta.continue_

    async def create(self, obj: RawObject, *, field_manager: str = "", dry_run: bool = False) -> RawObject:
        gvk, key = GVK.of(obj), NN.of(obj)
        resource = await self.mapper.resource(gvk)
        if resource.namespaced and not key.namespace:
            raise ValueError(f"{gvk.kind} {key.name}: a namespace is required")
        params = _params(field_manager, dry_run=dry_run)
        answer = await self._call("POST", resource.path(key.namespace), gvk, key, params=params, body=obj)
        return _object(answer, "POST")

    async def create_subresource(self, gvk: GVK, key: NN, subresource: str, body: RawObject) -> RawObject:
        """POST to a sub-resource: token, eviction, binding. A body without name and namespace gets those of `key`."""
        path = await self._path(gvk, key, subresource)
        parent = {"name": key.name, **({"namespace": key.namespace} if key.namespace else {})}
        named = {**body, "metadata": {**parent, **(body.get("metadata") or {})}}
        return _object(await self._call("POST", path, gvk, key, body=named), "POST")

    async def update(self, obj: RawObject, *, subresource: str = "", field_manager: str = "") -> RawObject:
        gvk, key = GVK.of(obj), NN.of(obj)
        path = await self._path(gvk, key, subresource)
        return _object(await self._call("PUT", path, gvk, key, params=_params(field_manager), body=obj), "PUT")

    async def patch(
        self, gvk: GVK, key: NN, patch: Patch, *, subresource: str = "", field_manager: str = ""
    ) -> RawObject:
        path = await self._path(gvk, key, subresource)
        answer = await self._call(
            "PATCH", path, gvk, key, params=_params(field_manager), body=patch.body, content_type=patch.content_type
        )
        return _object(answer, "PATCH")

    async def apply(
        self,
        obj: RawObject,
        *,
        field_manager: str,
        force: bool = True,
        subresource: str = "",
        dry_run: bool = False,
        strict: bool = False,
    ) -> RawObject:
        """Server-side apply: creates the object if absent. Raises Conflict naming the other managers unless forced.

        `strict` makes the server refuse unknown and duplicate fields instead of dropping them.
        """
        if not field_manager:
            raise ValueError("server-side apply needs a field manager")
        gvk, key = GVK.of(obj), NN.of(obj)
        params = _params(field_manager, dry_run=dry_run)
        if force:
            params["force"] = "true"
        if strict:
            params["fieldValidation"] = "Strict"
        path = await self._path(gvk, key, subresource)
        answer = await self._call(
            "PATCH", path, gvk, key, params=params, body=obj, content_type="application/apply-patch+yaml"
        )
        return _object(answer, "PATCH")

    async def delete(
        self,
        gvk: GVK,
        key: NN,
        *,
        uid: str | None = None,
        rv: str | None = None,
        propagation: Propagation | None = None,
        grace_seconds: int | None = None,
    ) -> RawObject | None:
        """The object when it lives on (finalizers, grace), None when it is gone. A failed precondition is Conflict."""
        options: RawObject = {"kind": "DeleteOptions", "apiVersion": "v1"}
        preconditions = {k: v for k, v in (("uid", uid), ("resourceVersion", rv)) if v}
        if preconditions:
            options["preconditions"] = preconditions
        if propagation:
            options["propagationPolicy"] = propagation
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        path = await self._path(gvk, key, "")
        answer = _object(await self._call("DELETE", path, gvk, key, body=options), "DELETE")
        return answer if answer.get("kind") != "Status" and _lives_on(answer) else None

    async def delete_collection(
        self,
        gvk: GVK,
        namespace: str = "",
        *,
        labels: LabelSelector | None = None,
        fields: str = "",
        propagation: Propagation | None = None,
    ) -> None:
        """Delete all that match; nothing for a selector that matches nothing."""
        resource = await self.mapper.resource(gvk)
        params = {"fieldSelector": fields} if fields else {}
        if labels is not None:
            if labels.nothing:
                return
            params["labelSelector"] = str(labels)
        options: RawObject = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if propagation:
            options["propagationPolicy"] = propagation
        path = resource.path(namespace)
        _object(await self._call("DELETE", path, gvk, NN(namespace, ""), params=params, body=options), "DELETE")

    async def get_scale(self, gvk: GVK, key: NN) -> RawObject:
        return await self.get(gvk, key, subresource="scale")

    async def set_scale(self, gvk: GVK, key: NN, replicas: int) -> RawObject:
        return await self.patch(gvk, key, Patch.merge({"spec": {"replicas": replicas}}), subresource="scale")

    async def watch(
        self,
        gvk: GVK,
        namespace: str = "",
        *,
        rv: str = "",
        fields: str = "",
        labels: LabelSelector | None = None,
        timeout: float = 300.0,
    ) -> AsyncIterator[tuple[str, RawObject]]:
        """One watch request: (type, object) pairs until the server ends it. For tools and tests; controllers use
        informers. Without `rv` it starts with ADDED events of everything there is. Raises ApiError for ERROR events.
        """
        resource = await self.mapper.resource(gvk)
        params = {"watch": "1", "timeoutSeconds": str(max(int(timeout), 1))}
        if rv:
            params["resourceVersion"] = rv
        if fields:
            params["fieldSelector"] = fields
        if labels is not None:
            params["labelSelector"] = str(labels)
        async with self._transport.stream(
            resource.path(namespace),
            params,
            idle_timeout=timeout + 5,
            total_timeout=timeout + 5,
            user_agent=self._user_agent,
        ) as stream:
            if stream.status != 200:
                raise ApiError.from_response("GET", stream.status, stream.headers, await stream.body(), gvk=gvk)
            async for lines in stream.batches():
                for line in lines:
                    event = orjson.loads(line)
                    if event["type"] == "ERROR":
                        raise ApiError.from_status(event["object"])
                    yield event["type"], event["object"]

    async def _path(self, gvk: GVK, key: NN, subresource: str) -> str:
        resource = await self.mapper.resource(gvk)
        if not key.name:
            raise ValueError(f"{gvk.kind}: a name is required")
        if resource.namespaced and not key.namespace:
            raise ValueError(f"{gvk.kind} {key.name}: a namespace is required")
        return resource.path(key.namespace, key.name, subresource)

    async def _call(
        self,
        method: str,
        path: str,
        gvk: GVK,
        key: NN,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str | None = None,
        timeout: float = 60.0,
        form: Form = "full",
        is_list: bool = False,
    ) -> Response:
        with self._transport.tracing.request(method, path, params, content_type, self._user_agent):
            answer = await self._transport.request(
                method,
                path,
                params=params,
                body=_encoded(body) if body is not None else None,
                content_type=content_type or ("application/json" if body is not None else None),
                accept="application/json" if form == "full" else METADATA.format(list="List" if is_list else ""),
                user_agent=self._user_agent,
                gated=self._gated,
                pool=self._pool,
                timeout=timeout,
            )
        if not 200 <= answer.status < 300:
            resource = self.mapper.known(gvk)
            raise ApiError.from_response(
                method,
                answer.status,
                answer.headers,
                answer.body,
                gvk=gvk,
                resource=resource.plural if resource else gvk.kind,
                name=key.name,
            )
        return answer


def _encoded(body: Any) -> bytes:
    # Go escapes these characters in what it sends, and the API server stores raw extensions (ControllerRevision data)
    # byte by byte: a patch would otherwise look like a change of immutable data.
    return escape_html(orjson.dumps(body))


def _params(field_manager: str, *, dry_run: bool = False) -> dict[str, str]:
    params = {"fieldManager": field_manager} if field_manager else {}
    if dry_run:
        params["dryRun"] = "All"
    return params


def _object(answer: Response, method: str) -> RawObject:
    try:
        decoded = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        decoded = None
    if not isinstance(decoded, dict):
        raise ApiError.from_response(method, 500, {}, answer.body)
    if decoded.get("kind") == "Status" and decoded.get("status") != "Success":
        raise ApiError.from_status(decoded)
    return decoded


async def _read_page(answer: Response, gvk: GVK, items: list[RawObject]) -> ListMeta:
    try:
        page = list_page(answer.body)
    except msgspec.DecodeError as error:
        raise ApiError.from_response("GET", 500, {}, answer.body, gvk=gvk) from error
    decoded = 0
    for raw in page.items or ():
        slice_ = bytes(raw)
        items.append({**orjson.loads(slice_), "apiVersion": gvk.api_version, "kind": gvk.kind})
        decoded += len(slice_)
        if decoded > DECODE_BYTES:
            # Nothing may hold the loop for long, least of all a list (RT-MM-06).
            decoded = 0
            await asyncio.sleep(0)
    return page.metadata


def _lives_on(deleted: RawObject) -> bool:
    """Whether an object that a DELETE was answered with still exists: some kinds are returned as they last were."""
    meta = deleted["metadata"]
    return bool(meta.get("deletionTimestamp") and (meta.get("finalizers") or meta.get("deletionGracePeriodSeconds")))


async def retry_on_conflict(
    fn: Callable[[], Awaitable[T]],
    *,
    steps: int = 5,
    base: float = 0.01,
    factor: float = 1.0,
    jitter: float = 0.1,
    rng: random.Random | None = None,
) -> T:
    """Call `fn` again while it raises Conflict, at most `steps` times, sleeping base·factorⁿ seconds in between."""
    rng = rng or random.Random()
    for step in range(steps - 1):
        try:
            return await fn()
        except Conflict:
            await asyncio.sleep(base * factor**step * (1 + jitter * rng.random()))
    return await fn()
