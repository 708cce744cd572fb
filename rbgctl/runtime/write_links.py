"""Which of our own spans made which version of an object: a map in memory, nothing on the objects (RT-TR-05).

    span of a write --answered uid, resourceVersion--> WriteLinks <--looked up-- event of that version (causes.py)

Controllers reach each other only through objects: many writes may lead to one reconcile, and one write to many. So a
reconcile is linked to the writes that queued it rather than being their child.
"""

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

REMEMBERED_WRITES = 16_384

Version = tuple[str, str]
"""uid and resourceVersion of a state of an object; the version GONE is its end."""

GONE = "gone"


class WriteLinks:
    """The latest `size` traced writes of this process, by the version that each made."""

    def __init__(self, size: int = REMEMBERED_WRITES) -> None:
        self._size = size
        self._spans: OrderedDict[Version, SpanContext] = OrderedDict()

    def __len__(self) -> int:
        return len(self._spans)

    def wrote(self, uid: str, version: str, span: "SpanContext | None") -> None:
        """The write of `span` was answered with this version; nothing is kept of writes that are not traced.

        A write that changes nothing is answered with the version of an earlier one, which stays its author.
        """
        if span is None or not uid or not version or (uid, version) in self._spans:
            return
        self._spans[uid, version] = span
        if len(self._spans) > self._size:
            self._spans.popitem(last=False)

    def author(self, version: Version) -> "SpanContext | None":
        """The span that made the version; None when it was not ours, or is forgotten, or not answered yet."""
        return self._spans.get(version)
