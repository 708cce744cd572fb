"""Reading and writing objects of an API server as raw JSON (RT-CL-01..14).

`LiveClient` talks to the server. `CachedClient` reads from the cache, writes through a LiveClient and records a
write fence for the key on whose behalf it writes. Arguments are never changed; answers are new objects.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import orjson

from rbgctl.machinery.canonical_json import escape_html
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.machinery.selectors import LabelSelector
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.errors import ApiError, Conflict, NotFound, TransportError, needs_relist
from rbgctl.runtime.transport import Pool, Response, Transport

PAGE_SIZE = 500

T = TypeVar("T")
Propagation = Literal["Orphan", "Background", "Foreground"]


@dataclass(frozen=True, slots=True)
class Patch:
    """A patch body and its content type."""

    content_type: str
    body: Any

    @classmethod
    def merge(cls, body: Mapping[str, Any]) -> "Patch":
        """JSON merge patch (RFC 7386)."""
        return cls("application/merge-patch+json", body)

    @classmethod
    def strategic(cls, body: Mapping[str, Any]) -> "Patch":
        """Strategic merge patch; built-in kinds only, custom resources answer 415."""
        return cls("application/strategic-merge-patch+json", body)

    @classmethod
    def json(cls, operations: list[dict[str, Any]]) -> "Patch":
        """JSON patch (RFC 6902)."""
        return cls("application/json-patch+json", operations)


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

    async def get(self, gvk: GVK, key: NN, *, subresource: str = "", timeout: float = 60.0) -> RawObject:
        """Raises NotFound and other ApiErrors; ValueError for an incomplete key, before any request."""
        path = await self._path(gvk, key, subresource)
        return _object(await self._call("GET", path, gvk, key, timeout=timeout), "GET")

    async def list(
        self,
        gvk: GVK,
        namespace: str = "",
        *,
        labels: LabelSelector | None = None,
        fields: str = "",
        limit: int = PAGE_SIZE,
    ) -> ObjectList:
        """All matching objects, read in pages; a list that expires in the middle starts over once, unpaged."""
        resource = await self.mapper.resource(gvk)
        params = {"limit": str(limit)} if limit else {}
        if labels is not None:
            params["labelSelector"] = str(labels)
        if fields:
            params["fieldSelector"] = fields
        items: list[RawObject] = []
        while True:
            try:
                answer = await self._call("GET", resource.path(namespace), gvk, NN(namespace, ""), params=params)
            except ApiError as error:
                if "continue" not in params or not needs_relist(error):
                    raise
                params = {k: v for k, v in params.items() if k not in {"limit", "continue"}}
                items = []
                continue
            page = _object(answer, "GET")
            for item in page.get("items") or ():
                items.append({"apiVersion": gvk.api_version, "kind": gvk.kind, **item})
            meta = page.get("metadata") or {}
            if not meta.get("continue"):
                return ObjectList(items, meta.get("resourceVersion") or "")
            params["continue"] = meta["continue"]

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
        return None if answer.get("kind") == "Status" else answer

    async def delete_collection(self, gvk: GVK, namespace: str = "", *, labels: LabelSelector | None = None) -> None:
        resource = await self.mapper.resource(gvk)
        params = {"labelSelector": str(labels)} if labels is not None else {}
        _object(await self._call("DELETE", resource.path(namespace), gvk, NN(namespace, ""), params=params), "DELETE")

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
    ) -> Response:
        answer = await self._transport.request(
            method,
            path,
            params=params,
            body=_encoded(body) if body is not None else None,
            content_type=content_type or ("application/json" if body is not None else None),
            user_agent=self._user_agent,
            gated=self._gated,
            pool=self._pool,
            timeout=timeout,
        )
        if answer.status >= 400:
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
    decoded = orjson.loads(answer.body)
    if not isinstance(decoded, dict):
        raise ApiError.from_response(method, 500, {}, answer.body)
    if decoded.get("kind") == "Status" and decoded.get("status") != "Success":
        raise ApiError.from_status(decoded)
    return decoded


class FenceRecorder(Protocol):
    """What CachedClient needs of a cache beyond reading: see `Cache.record_write`."""

    def record_write(
        self,
        owner: Hashable,
        gvk: GVK,
        key: NN,
        *,
        rv: str = "",
        gone_uid: str = "",
        unknown: bool = False,
        labels: Mapping[str, str] | None = None,
    ) -> None: ...


class CachedReader(Reader, FenceRecorder, Protocol):
    """A cache that can be read and told of writes."""


class CachedClient:
    """Reads from the cache, writes live, and fences what it wrote for `owner` (RT-CA-20, RT-CA-21)."""

    def __init__(self, cache: CachedReader, live: LiveClient, owner: Hashable) -> None:
        self._cache = cache
        self._live = live
        self._owner = owner

    async def get(self, gvk: GVK, key: NN) -> RawObject:
        return await self._cache.get(gvk, key)

    async def list(self, gvk: GVK, namespace: str = "", *, labels: LabelSelector | None = None) -> ObjectList:
        return await self._cache.list(gvk, namespace, labels=labels)

    async def create(self, obj: RawObject, *, field_manager: str = "") -> RawObject:
        return await self._written(GVK.of(obj), NN.of(obj), self._live.create(obj, field_manager=field_manager))

    async def update(self, obj: RawObject, *, subresource: str = "", field_manager: str = "") -> RawObject:
        call = self._live.update(obj, subresource=subresource, field_manager=field_manager)
        return await self._written(GVK.of(obj), NN.of(obj), call)

    async def patch(
        self, gvk: GVK, key: NN, patch: Patch, *, subresource: str = "", field_manager: str = ""
    ) -> RawObject:
        call = self._live.patch(gvk, key, patch, subresource=subresource, field_manager=field_manager)
        return await self._written(gvk, key, call)

    async def apply(
        self, obj: RawObject, *, field_manager: str, force: bool = True, subresource: str = ""
    ) -> RawObject:
        call = self._live.apply(obj, field_manager=field_manager, force=force, subresource=subresource)
        return await self._written(GVK.of(obj), NN.of(obj), call)

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
        try:
            left = await self._live.delete(
                gvk, key, uid=uid, rv=rv, propagation=propagation, grace_seconds=grace_seconds
            )
        except TransportError:
            self._cache.record_write(self._owner, gvk, key, unknown=True)
            raise
        except NotFound:
            if uid:  # somebody else deleted it, and the cache does not show that either
                self._cache.record_write(self._owner, gvk, key, gone_uid=uid)
            raise
        if left is None:
            self._cache.record_write(self._owner, gvk, key, gone_uid=uid or "*")
        else:
            self._record(gvk, left)
        return left

    async def _written(self, gvk: GVK, key: NN, call: Awaitable[RawObject]) -> RawObject:
        try:
            answer = await call
        except TransportError:
            self._cache.record_write(self._owner, gvk, key, unknown=True)
            raise
        self._record(gvk, answer)
        return answer

    def _record(self, gvk: GVK, answer: RawObject) -> None:
        meta = answer["metadata"]
        rv, labels = meta.get("resourceVersion") or "", meta.get("labels") or {}
        self._cache.record_write(self._owner, gvk, NN.of(answer), rv=rv, labels=labels)


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
