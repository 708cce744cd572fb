"""Waiting for the state of a cluster, and holding it to that state (RT-ET-07).

On watches wherever there is an object to watch: a change is seen when it happens and a state that lasted for a
moment is not missed. `eventually` and `consistently` ask again and again; they are for what cannot be watched.
All raise AssertionError saying what was seen last. Times are seconds.
"""

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeVar, cast

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.client import LiveClient, ObjectList, retry_on_conflict
from rbgctl.runtime.errors import ApiError, NotFound

T = TypeVar("T")
Condition = Callable[[RawObject], bool]


async def wait_for(client: LiveClient, gvk: GVK, key: NN, condition: Condition, *, timeout: float = 60.0) -> RawObject:
    """The object as soon as it exists and `condition` holds for it."""
    return (await history(client, gvk, key, condition, timeout=timeout))[-1]


async def history(
    client: LiveClient, gvk: GVK, key: NN, until: Condition, *, since: str = "", timeout: float = 60.0
) -> list[RawObject]:
    """Every state of an object after resourceVersion `since`, up to the first for which `until` holds.

    Without `since` it begins with the present state. A deletion starts the list over.
    """
    seen: list[RawObject] = []
    try:
        async with asyncio.timeout(timeout), contextlib.aclosing(_events(client, gvk, key, since, timeout)) as events:
            async for kind, obj in events:
                if kind == "DELETED":
                    seen.clear()
                    continue
                seen.append(obj)
                if until(obj):
                    return seen
    except TimeoutError:
        pass
    last = seen[-1] if seen else "it does not exist"
    raise AssertionError(f"{gvk.kind} {key} did not get there within {timeout:g} s; last seen: {last}")


async def wait_gone(client: LiveClient, gvk: GVK, key: NN, *, uid: str = "", timeout: float = 60.0) -> None:
    """Until the object is gone, or has been replaced by one with another uid than `uid`."""
    try:
        found = await client.get(gvk, key)
    except NotFound:
        return
    wanted = uid or found["metadata"]["uid"]
    try:
        since = found["metadata"]["resourceVersion"]
        async with asyncio.timeout(timeout), contextlib.aclosing(_events(client, gvk, key, since, timeout)) as events:
            while found["metadata"]["uid"] == wanted:
                kind, found = await anext(events)
                if kind == "DELETED":
                    return
    except TimeoutError:
        raise AssertionError(f"{gvk.kind} {key} was still there after {timeout:g} s: {found}") from None


async def stays(client: LiveClient, gvk: GVK, key: NN, condition: Condition, *, during: float = 1.0) -> RawObject:
    """Watch an existing object for that long; each of its states must satisfy `condition`. The last one."""
    found = await client.get(gvk, key)
    since = found["metadata"]["resourceVersion"]
    kind = "ADDED"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(during), contextlib.aclosing(_events(client, gvk, key, since, during)) as events:
            while kind != "DELETED" and condition(found):
                kind, found = await anext(events)
    if kind == "DELETED":
        raise AssertionError(f"{gvk.kind} {key} was deleted: {found}")
    if not condition(found):
        raise AssertionError(f"{gvk.kind} {key} did not stay as it was: {found}")
    return found


async def _events(
    client: LiveClient, gvk: GVK, key: NN, since: str, timeout: float
) -> AsyncGenerator[tuple[str, RawObject], None]:
    """Of one object, without end: a watch that the server ends is opened again where it ended."""
    while True:
        watch: AsyncIterator[tuple[str, RawObject]] = client.watch(
            gvk, key.namespace, rv=since, fields=f"metadata.name={key.name}", timeout=timeout
        )
        async with contextlib.aclosing(cast("AsyncGenerator[tuple[str, RawObject], None]", watch)) as events:
            async for kind, obj in events:
                since = obj["metadata"]["resourceVersion"]
                yield kind, obj


async def eventually(
    probe: Callable[[], T | Awaitable[T]],
    holds: Callable[[T], bool] = bool,
    *,
    timeout: float = 10.0,
    interval: float = 0.05,
    retry: tuple[type[Exception], ...] = (ApiError,),
) -> T:
    """Call `probe` until `holds` accepts what it returns. What it raises of `retry` means not yet."""
    ends = time.monotonic() + timeout
    while True:
        failure: Exception | None = None
        try:
            found = await _result(probe)
            if holds(found):
                return found
            last = f"last seen: {found!r}"
        except retry as error:
            failure, last = error, f"last: {type(error).__name__}: {error}"
        if time.monotonic() >= ends:
            raise AssertionError(f"it did not happen within {timeout:g} s; {last}") from failure
        await asyncio.sleep(interval)


async def consistently(
    probe: Callable[[], T | Awaitable[T]],
    holds: Callable[[T], bool] = bool,
    *,
    during: float = 1.0,
    interval: float = 0.05,
) -> T:
    """Call `probe` for that long; `holds` must accept each thing it returns. The last one."""
    began = time.monotonic()
    while True:
        found = await _result(probe)
        spent = time.monotonic() - began
        if not holds(found):
            raise AssertionError(f"it ceased to hold after {spent:.2f} s: {found!r}")
        if spent >= during:
            return found
        await asyncio.sleep(interval)


async def _result(probe: Callable[[], T | Awaitable[T]]) -> T:
    found = probe()
    return await found if inspect.isawaitable(found) else found


async def update(
    client: LiveClient, gvk: GVK, key: NN, change: Callable[[RawObject], None], *, subresource: str = ""
) -> RawObject:
    """Read the object, let `change` edit it in place, and write it; again from the start after a Conflict."""

    async def attempt() -> RawObject:
        obj = await client.get(gvk, key)
        change(obj)
        return await client.update(obj, subresource=subresource)

    return await retry_on_conflict(attempt)


async def update_status(client: LiveClient, gvk: GVK, key: NN, change: Callable[[RawObject], None]) -> RawObject:
    """`update` of the status sub-resource."""
    return await update(client, gvk, key, change, subresource="status")


def object_of(client: LiveClient, gvk: GVK, key: NN) -> Callable[[], Awaitable[RawObject]]:
    """A probe for `eventually` and `consistently`: the object."""
    return lambda: client.get(gvk, key)


def objects_of(client: LiveClient, gvk: GVK, namespace: str) -> Callable[[], Awaitable[list[RawObject]]]:
    """A probe: all objects of the kind in the namespace."""

    async def items() -> list[RawObject]:
        found: ObjectList = await client.list(gvk, namespace)
        return found.items

    return items
