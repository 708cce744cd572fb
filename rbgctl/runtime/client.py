"""Reading and writing objects of an API server as raw JSON (RT-CL-01..14).

Arguments are never changed; answers are new objects. See `cached_client` for the client that controllers use.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.machinery.selectors import LabelSelector
from rbgctl.runtime.answers import lives_on, object_of, read_page, stamped
from rbgctl.runtime.client_limits import ClientLimits
from rbgctl.runtime.client_protocols import (
    Client,
    FieldValidation,
    Form,
    ObjectList,
    Propagation,
    Reader,
    VersionMatch,
    Writer,
)
from rbgctl.runtime.conflict_retry import retry_on_conflict
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.errors import ApiError, needs_relist
from rbgctl.runtime.patch import Patch
from rbgctl.runtime.request_bodies import delete_options, encoded, named, written
from rbgctl.runtime.transport import Pool, Response, Transport

__all__ = [
    "Client",
    "FieldValidation",
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
METADATA = "application/json;as=PartialObjectMetadata{list};g=meta.k8s.io;v=v1,application/json"
APPLY = "application/apply-patch+yaml"


class LiveClient:
    """A Client that asks the server for everything. Lists are paged internally.

    `user_agent` names the controller: the API server records its first token as the manager of plain writes
    (RT-ID-04), so a `field_manager` of that name is not sent again (RT-ID-05). `gated=False` is for what every replica
    may write (Leases, election events). limits: of this client alone, see `client_limits`; None for none.
    """

    def __init__(
        self,
        transport: Transport,
        mapper: RestMapper,
        *,
        user_agent: str = "rbgctl",
        gated: bool = True,
        pool: Pool = Pool.UNARY,
        limits: ClientLimits | None = None,
    ) -> None:
        self._transport = transport
        self.mapper = mapper
        self._user_agent = user_agent
        self._gated = gated
        self._pool = pool
        self._limits = limits
        self._manager = user_agent.partition("/")[0]

    async def get(
        self, gvk: GVK, key: NN, *, subresource: str = "", rv: str = "", form: Form = "full", timeout: float = 60.0
    ) -> RawObject:
        """Raises NotFound and other ApiErrors; ValueError for an incomplete key, before any request.

        rv: the answer may be older than the newest state, but not than this ("0": as old as the server likes).
        form: "metadata" fetches no more than metadata.
        """
        path = await self._path(gvk, key, subresource)
        params = {"resourceVersion": rv} if rv else {}
        found = object_of(await self._call("GET", path, gvk, key, params=params, form=form, timeout=timeout), "GET")
        return stamped(found, gvk, form) if form == "metadata" else found

    async def list(
        self,
        gvk: GVK,
        namespace: str = "",
        *,
        labels: LabelSelector | None = None,
        fields: str = "",
        limit: int = PAGE_SIZE,
        rv: str = "",
        match: VersionMatch | None = None,
        form: Form = "full",
    ) -> ObjectList:
        """All matching objects, read in pages of `limit` (0: one page); a list that expires in the middle starts over
        once, unpaged. A selector that matches nothing is not asked for.

        rv, match: how old the answer may be (RT-RV-02, RT-RV-03); by default it is the newest state.
        """
        resource = await self.mapper.resource(gvk)
        params = {"limit": str(limit)} if limit else {}
        if rv:
            params["resourceVersion"] = rv
        if match is not None:
            params["resourceVersionMatch"] = match
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
            meta = await read_page(answer, gvk, items, form=form)
            if not meta.continue_:
                return ObjectList(items, meta.resource_version)
            # The token names its snapshot; a version beside it is refused (RT-RV-04).
            params = {k: v for k, v in params.items() if not k.startswith("resourceVersion")}
            params["continue"] = meta.continue_

    async def create(
        self,
        obj: RawObject,
        *,
        field_manager: str = "",
        dry_run: bool = False,
        field_validation: FieldValidation | None = None,
    ) -> RawObject:
        """The object as stored; `metadata.generateName` may stand for a name."""
        gvk, key = written(obj)
        resource = await self.mapper.resource(gvk)
        if resource.namespaced and not key.namespace:
            raise ValueError(f"{gvk.kind} {key.name}: a namespace is required")
        params = self._params(field_manager, dry_run, field_validation)
        answer = await self._call("POST", resource.path(key.namespace), gvk, key, params=params, body=obj)
        return object_of(answer, "POST")

    async def create_subresource(
        self,
        gvk: GVK,
        key: NN,
        subresource: str,
        body: RawObject,
        *,
        field_manager: str = "",
        dry_run: bool = False,
    ) -> RawObject:
        """POST to a sub-resource: token, eviction, binding. A body without name and namespace gets those of `key`."""
        path = await self._path(gvk, key, subresource)
        params = self._params(field_manager, dry_run)
        return object_of(await self._call("POST", path, gvk, key, params=params, body=named(body, key)), "POST")

    async def update(
        self,
        obj: RawObject,
        *,
        subresource: str = "",
        field_manager: str = "",
        dry_run: bool = False,
        field_validation: FieldValidation | None = None,
    ) -> RawObject:
        """PUT the whole object; with its resourceVersion, Conflict says that somebody else was faster."""
        gvk, key = written(obj)
        path = await self._path(gvk, key, subresource)
        params = self._params(field_manager, dry_run, field_validation)
        return object_of(await self._call("PUT", path, gvk, key, params=params, body=obj), "PUT")

    async def update_subresource(
        self,
        gvk: GVK,
        key: NN,
        subresource: str,
        body: RawObject,
        *,
        field_manager: str = "",
        dry_run: bool = False,
    ) -> RawObject:
        """PUT a body of another kind than the parent's: a Scale. Name and namespace as in `create_subresource`."""
        path = await self._path(gvk, key, subresource)
        params = self._params(field_manager, dry_run)
        return object_of(await self._call("PUT", path, gvk, key, params=params, body=named(body, key)), "PUT")

    async def patch(
        self,
        gvk: GVK,
        key: NN,
        patch: Patch,
        *,
        subresource: str = "",
        field_manager: str = "",
        dry_run: bool = False,
        field_validation: FieldValidation | None = None,
    ) -> RawObject:
        path = await self._path(gvk, key, subresource)
        params = self._params(field_manager, dry_run, field_validation)
        answer = await self._call(
            "PATCH", path, gvk, key, params=params, body=patch.body, content_type=patch.content_type
        )
        return object_of(answer, "PATCH")

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
        gvk, key = written(obj)
        params = {"fieldManager": field_manager, **self._params("", dry_run, "Strict" if strict else None)}
        if force:
            params["force"] = "true"
        path = await self._path(gvk, key, subresource)
        answer = await self._call("PATCH", path, gvk, key, params=params, body=obj, content_type=APPLY)
        return object_of(answer, "PATCH")

    async def delete(
        self,
        gvk: GVK,
        key: NN,
        *,
        uid: str | None = None,
        rv: str | None = None,
        propagation: Propagation | None = None,
        grace_seconds: int | None = None,
        dry_run: bool = False,
    ) -> RawObject | None:
        """The object when it lives on (finalizers, grace), None when it is gone. A failed precondition is Conflict."""
        preconditions = {k: v for k, v in (("uid", uid), ("resourceVersion", rv)) if v}
        options = delete_options(propagation, grace_seconds, dry_run, preconditions)
        path = await self._path(gvk, key, "")
        answer = object_of(await self._call("DELETE", path, gvk, key, body=options), "DELETE")
        return answer if answer.get("kind") != "Status" and lives_on(answer) else None

    async def delete_collection(
        self,
        gvk: GVK,
        namespace: str = "",
        *,
        labels: LabelSelector | None = None,
        fields: str = "",
        propagation: Propagation | None = None,
        grace_seconds: int | None = None,
        dry_run: bool = False,
    ) -> None:
        """Delete all that match; nothing for a selector that matches nothing."""
        resource = await self.mapper.resource(gvk)
        params = {"fieldSelector": fields} if fields else {}
        if labels is not None:
            if labels.nothing:
                return
            params["labelSelector"] = str(labels)
        options = delete_options(propagation, grace_seconds, dry_run)
        path = resource.path(namespace)
        object_of(await self._call("DELETE", path, gvk, NN(namespace, ""), params=params, body=options), "DELETE")

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
            if labels.nothing:
                return
            params["labelSelector"] = str(labels)
        async with self._transport.stream(
            resource.path(namespace),
            params,
            idle_timeout=timeout + 5,
            total_timeout=timeout + 5,
            user_agent=self._user_agent,
            allowance=self._limits.allowance(gvk) if self._limits is not None else None,
        ) as stream:
            if stream.status != 200:
                raise ApiError.from_response("GET", stream.status, stream.headers, await stream.body(), gvk=gvk)
            async for lines in stream.batches():
                for line in lines:
                    event = orjson.loads(line)
                    if event["type"] == "ERROR":
                        raise ApiError.from_status(event["object"])
                    yield event["type"], event["object"]

    def _params(
        self, field_manager: str, dry_run: bool = False, field_validation: FieldValidation | None = None
    ) -> dict[str, str]:
        params = {}
        if field_manager and field_manager != self._manager:
            params["fieldManager"] = field_manager
        if dry_run:
            params["dryRun"] = "All"
        if field_validation is not None:
            params["fieldValidation"] = field_validation
        return params

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
                body=encoded(body) if body is not None else None,
                content_type=content_type or ("application/json" if body is not None else None),
                accept="application/json" if form == "full" else METADATA.format(list="List" if is_list else ""),
                user_agent=self._user_agent,
                gated=self._gated,
                pool=self._pool,
                timeout=timeout,
                allowance=self._limits.allowance(gvk) if self._limits is not None else None,
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
