"""The root span of a reconcile: what it was about, why it ran, how it ended (RT-TR-02 to RT-TR-05).

Exists only while tracing is on.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rbgctl.machinery.gvk import GVK, NN
from rbgctl.runtime.causes import CausedQueue
from rbgctl.runtime.reconciler import Result
from rbgctl.runtime.store import Entry
from rbgctl.runtime.tracing import Span, Tracing, Value, from_traceparent
from rbgctl.runtime.write_links import Version

TRACEPARENT = "tracing.k8s.io/traceparent"
"""Annotation by which others may say what led to an object (KEP-5915). Read if its informer keeps it, never written."""


class ReconcileTrace:
    """Makes the spans of one controller. `cached` gives the object of a key, if the cache has it."""

    def __init__(
        self,
        controller: str,
        kind: GVK | None,
        tracing: Tracing,
        cached: Callable[[NN], Entry | None],
        queue: CausedQueue,
    ) -> None:
        self._name = controller
        self._kind = kind
        self._tracing = tracing
        self._cached = cached
        self._queue = queue

    @contextmanager
    def reconcile(self, key: NN, reconcile_id: str, priority: int) -> Iterator[Span]:
        """A span around one run for `key`, linked to the writes of ours that queued it."""
        versions = self._queue.causes(key)
        authors = ((version, self._tracing.writes.author(version)) for version in versions)
        links = {version: author for version, author in authors if author is not None}
        annotated = from_traceparent(self._annotation(key))
        with self._tracing.span(
            f"reconcile {self._name}",
            kind="consumer",
            attributes=lambda: self._attributes(key, reconcile_id, priority),
            links=[*links.values(), *([annotated] if annotated is not None else [])],
            root=True,
        ) as span:
            try:
                yield span
            finally:
                self._link_late(span, [version for version in versions if version not in links])

    def _link_late(self, span: Span, versions: list[Version]) -> None:
        # A watch may be faster than the answer to the write that it shows.
        for version in versions:
            author = self._tracing.writes.author(version)
            if author is not None:
                span.link(author)

    def _annotation(self, key: NN) -> str:
        entry = self._cached(key)
        return dict(entry.header.annotations).get(TRACEPARENT, "") if entry is not None else ""

    def _attributes(self, key: NN, reconcile_id: str, priority: int) -> Mapping[str, Value]:
        found: dict[str, Value] = {
            "k8s.controller.name": self._name,
            "k8s.object.namespace": key.namespace,
            "k8s.object.name": key.name,
            "reconcile.id": reconcile_id,
            "workqueue.priority": priority,
            "workqueue.retries": self._queue.num_requeues(key),
            "workqueue.wait_ms": round(self._queue.waited(key) * 1000),
        }
        if self._kind is not None:
            found["k8s.object.group"] = self._kind.group
            found["k8s.object.kind"] = self._kind.kind
            entry = self._cached(key)
            if entry is not None:
                found["k8s.object.uid"] = entry.header.uid
                found["k8s.object.generation"] = entry.header.generation
        return found


def describe_outcome(span: Span, outcome: str, result: Result, failure: str) -> None:
    """How the reconcile of `span` ended; `failure` is empty for success and for what is part of normal operation."""
    span.set({"reconcile.result": outcome, "reconcile.requeue_after_ms": round(result.requeue_after * 1000)})
    if failure:
        span.fail(failure)
