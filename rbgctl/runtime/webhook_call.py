"""What the webhook server asks of a protocol (admission, conversion): bytes in, bytes out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rbgctl.machinery.gvk import GVK

DEADLINE = 9.0
"""Seconds for one call; the API server gives up after 10 unless configured otherwise (RT-WH-11)."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request. `body` holds at most `body_limit` bytes of it; `seconds`: until the answer must be there."""

    body: bytes
    content_type: str = ""
    seconds: float = DEADLINE


@dataclass(frozen=True, slots=True)
class Answer:
    """`parts` are sent one after the other as the body: a large one need not be put together first."""

    status: int
    parts: Sequence[bytes | memoryview] = ()

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)


class Endpoint(Protocol):
    """A protocol served under a path."""

    @property
    def body_limit(self) -> int | None:
        """Bytes after which reading stops; None for no limit."""
        ...

    def span(self, path: str) -> str:
        """Name of the trace span of a call (RT-TR-02)."""
        ...

    async def __call__(self, call: Call) -> Answer:
        """Answers its own errors and its deadline; what it raises becomes HTTP 500."""
        ...


def admission_path(kind: str, gvk: GVK) -> str:
    """`kind` is mutate or validate: `/validate-apps-v1-deployment`; the core group is empty: `/mutate--v1-pod`."""
    return f"/{kind}-{gvk.group.replace('.', '-')}-{gvk.version}-{gvk.kind.lower()}"


CONVERT_PATH = "/convert"
