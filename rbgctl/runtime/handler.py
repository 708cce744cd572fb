"""From events to keys: which objects have to be reconciled because of this one (RT-EH-01 to RT-EH-06).

What only repeats known state (objects of the first list, updates without a new resourceVersion) is queued at low
priority, so that a restart does not hold up what users change meanwhile (RT-PQ-07).
"""

from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from rbgctl.machinery.gvk import NN
from rbgctl.runtime.predicate import Event
from rbgctl.runtime.store import Entry
from rbgctl.runtime.workqueue import PRIORITY_DEFAULT, PRIORITY_LOW, WorkQueue

_log = structlog.get_logger("rbgctl.runtime.handler")


class EventHandler(Protocol):
    """Puts keys into a queue. Called synchronously; must not block."""

    def __call__(self, event: Event, queue: WorkQueue[NN], /) -> None: ...


def priority_of(event: Event) -> int:
    """Low for events that only repeat known state, else the default (RT-PQ-07)."""
    if event.verb == "create" and event.in_initial_list:
        return PRIORITY_LOW
    if event.verb == "update" and event.obj is not None and event.old is not None:
        return PRIORITY_LOW if event.obj.header.rv == event.old.header.rv else PRIORITY_DEFAULT
    return PRIORITY_DEFAULT


def enqueue_object() -> EventHandler:
    """The object itself (RT-EH-01)."""

    def handle(event: Event, queue: WorkQueue[NN]) -> None:
        entry = event.obj or event.old
        if entry is None:
            _log.error("event without an object", verb=event.verb)
            return
        queue.add(entry.header.key, priority=priority_of(event))

    return handle


def enqueue_mapped(mapping: Callable[[Entry], Iterable[NN]]) -> EventHandler:
    """What `mapping` makes of the object, and of the old one too on updates; each key once per event (RT-EH-03)."""

    def handle(event: Event, queue: WorkQueue[NN]) -> None:
        priority = priority_of(event)
        keys = dict.fromkeys(key for entry in (event.old, event.obj) if entry is not None for key in mapping(entry))
        for key in keys:
            queue.add(key, priority=priority)

    return handle


def enqueue_owner(group: str, kind: str, *, namespaced: bool, controller_only: bool = True) -> EventHandler:
    """The owners of the given group and kind, whatever their version; by default only the controller (RT-EH-02).

    namespaced: whether the owners' kind is; owners of a namespaced kind live in the object's namespace.
    """

    def owners(entry: Entry) -> Iterable[NN]:
        header = entry.header
        refs = header.owners
        if controller_only:
            refs = tuple(ref for ref in refs if ref.controller)[:1]
        for ref in refs:
            if ref.api_version.count("/") > 1:
                _log.error("owner reference with an unusable apiVersion", object=str(header.key), found=ref.api_version)
                return
            if ref.kind == kind and ref.group == group:
                yield NN(header.namespace if namespaced else "", ref.name)

    return enqueue_mapped(owners)


def on_events(
    *,
    create: EventHandler | None = None,
    update: EventHandler | None = None,
    delete: EventHandler | None = None,
    generic: EventHandler | None = None,
) -> EventHandler:
    """One handler per verb; verbs without one do nothing (RT-EH-04)."""
    chosen: dict[str, EventHandler | None] = {"create": create, "update": update, "delete": delete, "generic": generic}

    def handle(event: Event, queue: WorkQueue[NN]) -> None:
        handler = chosen[event.verb]
        if handler is not None:
            handler(event, queue)

    return handle
