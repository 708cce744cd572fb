"""Which events are worth a reconcile: functions of headers, without decoding a body (RT-PR-01 to RT-PR-08).

A predicate answers True to let an event through. One that compares old and new cannot judge an update of which one
half is missing: it says False and logs, so that its negation lets such an event through.
"""

from collections.abc import Callable
from typing import Literal

import msgspec
import structlog

from rbgctl.machinery.gvk import NN
from rbgctl.machinery.selectors import LabelSelector
from rbgctl.runtime.store import Entry, Header

_log = structlog.get_logger("rbgctl.runtime.predicate")

Verb = Literal["create", "update", "delete", "generic"]


class Event(msgspec.Struct, frozen=True, gc=False):
    """Something happened to an object.

    old: the previous state, of updates only. in_initial_list: a create that only repeats what a first list showed
    (RT-EH-06). state_unknown: a deletion noticed by absence, `obj` is the last state known (RT-EH-05).
    """

    verb: Verb
    obj: Entry | None
    old: Entry | None = None
    in_initial_list: bool = False
    state_unknown: bool = False

    @property
    def key(self) -> NN | None:
        """Of the object; None when the event has none."""
        return self.obj.header.key if self.obj is not None else None


Predicate = Callable[[Event], bool]


def _on_update(name: str, judge: Callable[[Header, Header], bool]) -> Predicate:
    def predicate(event: Event) -> bool:
        if event.verb != "update":
            return True
        if event.obj is None or event.old is None:
            _log.error("update event without both objects", predicate=name)
            return False
        return judge(event.old.header, event.obj.header)

    predicate.__name__ = name
    return predicate


resource_version_changed: Predicate = _on_update("resource_version_changed", lambda old, new: old.rv != new.rv)
"""Drops updates that repeat a known state, as resyncs and relists send them (RT-PR-01)."""

generation_changed: Predicate = _on_update("generation_changed", lambda old, new: old.generation != new.generation)
"""Drops updates of metadata and status only (RT-PR-02). Kinds without a generation never pass: do not use it there."""

labels_changed: Predicate = _on_update("labels_changed", lambda old, new: dict(old.labels) != dict(new.labels))
"""Drops updates that left the labels alone (RT-PR-04)."""

annotations_changed: Predicate = _on_update(
    "annotations_changed", lambda old, new: dict(old.annotations) != dict(new.annotations)
)
"""Drops updates that left alone the annotations that the kind's informer keeps in headers (RT-PR-03)."""

deletion_requested: Predicate = _on_update("deletion_requested", lambda old, new: old.deletion != new.deletion)
"""Drops updates other than the one that sets the deletionTimestamp."""

hot_changed: Predicate = _on_update("hot_changed", lambda old, new: old.hot != new.hot)
"""Drops updates that left alone the hot fields of the kind (see KindOptions.hot)."""


def matches_labels(selector: LabelSelector) -> Predicate:
    """Objects that match now; an object that leaves the selector is not reported (RT-PR-05, RT-PR-08)."""
    return when(lambda header: selector.matches(dict(header.labels)))


def when(judge: Callable[[Header], bool]) -> Predicate:
    """Asks `judge` about the object of any event, the new one of an update; False when there is none."""

    def predicate(event: Event) -> bool:
        return event.obj is not None and judge(event.obj.header)

    return predicate


def on(
    *,
    create: Predicate | None = None,
    update: Predicate | None = None,
    delete: Predicate | None = None,
    generic: Predicate | None = None,
) -> Predicate:
    """One predicate per verb; verbs without one pass (RT-PR-07)."""
    chosen: dict[str, Predicate | None] = {"create": create, "update": update, "delete": delete, "generic": generic}

    def predicate(event: Event) -> bool:
        judge = chosen[event.verb]
        return judge is None or judge(event)

    return predicate


def all_of(*predicates: Predicate) -> Predicate:
    """True when every one is; asked in order, the first False ends it (RT-PR-06)."""
    return lambda event: all(p(event) for p in predicates)


def any_of(*predicates: Predicate) -> Predicate:
    """True when one is; asked in order, the first True ends it (RT-PR-06)."""
    return lambda event: any(p(event) for p in predicates)


def negate(predicate: Predicate) -> Predicate:
    """The opposite answer."""
    return lambda event: not predicate(event)
