"""Bringing one object to a wanted state: create it, or change what is there (RT-CU-03, RT-CU-04).

    outcome = await create_or_update(client, {"apiVersion": ..., "metadata": ...}, lambda obj: obj.update(data=...))

`mutate` gets a copy of what is stored (or of the object given, when nothing is) and changes it in place; nothing is
written when it changed nothing. For controllers with several writes per pass there are plans (`executor`).
"""

import copy
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.machinery.merge_patch import json_equal, merge_patch
from rbgctl.runtime.client_protocols import Client
from rbgctl.runtime.errors import NotFound
from rbgctl.runtime.patch import Patch

Mutate = Callable[[RawObject], None]
Operation = Literal["created", "unchanged", "updated", "updatedStatus", "updatedStatusOnly"]


class Outcome(NamedTuple):
    """What was done, and the object as it is now."""

    operation: Operation
    obj: RawObject


async def create_or_update(client: Client, obj: RawObject, mutate: Mutate, *, field_manager: str = "") -> Outcome:
    """Of `obj` only kind, name and namespace count when the object exists already.

    Raises ValueError when `mutate` renames it, Conflict when somebody else was faster, and what the client raises.
    """
    before = await _stored(client, obj)
    if before is None:
        wanted = _mutated(obj, mutate)
        return Outcome("created", await client.create(wanted, field_manager=field_manager))
    after = _mutated(before, mutate)
    if json_equal(before, after):
        return Outcome("unchanged", before)
    return Outcome("updated", await client.update(after, field_manager=field_manager))


async def create_or_patch(client: Client, obj: RawObject, mutate: Mutate, *, field_manager: str = "") -> Outcome:
    """Like `create_or_update` with merge patches that hold no more than the difference.

    What changed in the status goes to the status sub-resource, after the rest: "updatedStatus" when both were
    written, "updatedStatusOnly" for the status alone. A new object is created without its status.
    """
    before = await _stored(client, obj)
    if before is None:
        wanted = _mutated(obj, mutate)
        return Outcome("created", await client.create(wanted, field_manager=field_manager))
    gvk, key = GVK.of(before), NN.of(before)
    after = _mutated(before, mutate)
    answer = before
    operation: Operation = "unchanged"
    main = merge_patch(_without_status(before), _without_status(after))
    status = merge_patch(_status(before), _status(after))
    if main:
        answer = await client.patch(gvk, key, Patch.merge(main), field_manager=field_manager)
        operation = "updated"
    if status:
        answer = await client.patch(gvk, key, Patch.merge(status), subresource="status", field_manager=field_manager)
        operation = "updatedStatus" if main else "updatedStatusOnly"
    return Outcome(operation, answer)


async def _stored(client: Client, obj: RawObject) -> RawObject | None:
    try:
        return await client.get(GVK.of(obj), NN.of(obj))
    except NotFound:
        return None


def _mutated(obj: RawObject, mutate: Mutate) -> RawObject:
    changed = copy.deepcopy(obj)
    mutate(changed)
    if NN.of(changed) != NN.of(obj):
        raise ValueError(f"{GVK.of(obj).kind} {NN.of(obj)} was renamed to {NN.of(changed)} while it was changed")
    return changed


def _status(obj: RawObject) -> dict[str, Any]:
    return {"status": obj["status"]} if "status" in obj else {}


def _without_status(obj: RawObject) -> RawObject:
    return {name: value for name, value in obj.items() if name != "status"}
