"""What a planner decides: API writes, their order and the events that go with them, as plain values.

A controller's `plan(observed, now)` returns a `Plan`; `rbgctl.runtime.executor` carries it out against an
API server, `rbgctl.simulation` against a model of one, and the CLI prints it. Nothing here does I/O.

Order: `Plan.steps` run one after the other. `InOrder` does the same for a branch, `Together` runs its
branches concurrently. The first failed write ends the branch it stands in (and, unless the branch
belongs to a `Together` or an `InOrder(keep_going=True)`, the rest of that step); what follows a step with a failure is
not begun.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rbgctl.machinery.gvk import GVK, NN, RawObject

Propagation = Literal["Orphan", "Background", "Foreground"]


@dataclass(frozen=True, slots=True)
class UidOf:
    """Stands for a uid that the answer to an earlier write of the same plan brings.

    May be used as the `uid` of an entry in `metadata.ownerReferences`, nowhere else.
    """

    gvk: GVK
    key: NN


@dataclass(frozen=True, slots=True)
class PlannedEvent:
    """A core/v1 Event to record. `regarding` is the object (apiVersion, kind and metadata suffice)."""

    regarding: RawObject
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """What every write has: whom to name as manager, and what to record when it worked or failed.

    `on_failure.message` is completed by the executor with the error's text.
    `component` is the event source component; empty means the controller's own recorder.
    """

    field_manager: str = ""
    on_success: PlannedEvent | None = None
    on_failure: PlannedEvent | None = None
    component: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Create(Write):
    """POST. When the name is taken, the object found live is judged by `accept_existing`.

    Accepted means success (nothing is written); otherwise, or without a judge, AlreadyExists ends the branch.
    """

    obj: RawObject
    accept_existing: Callable[[RawObject], bool] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply(Write):
    """Server-side apply, forced. `subresource` "status" sends to /status.

    `answered` is told of the server's answer, for what a controller remembers between passes.
    `refuse_existing` is asked about the object found live under the name, before anything is sent, for names that may
    be somebody else's: the reason it returns ends the branch; with an empty one the object is taken over. One that
    appears between that look and the apply is asked about too when their fields conflict.
    """

    obj: RawObject
    subresource: str = ""
    refuse_existing: Callable[[RawObject], str] | None = None
    answered: Callable[[RawObject], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MergePatch(Write):
    """JSON merge patch. Preconditions are part of the patch: metadata.resourceVersion (Conflict) and metadata.uid.

    A wrong uid is Invalid; on the status of a custom resource the API server does not look at it.
    """

    gvk: GVK
    key: NN
    patch: dict[str, Any]
    subresource: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategicPatch(Write):
    """Strategic merge patch, built-in kinds only: lists merge by their patch key, conditions by type.

    `missing_ok`: an object that is gone by now needs no patch, which counts as success.
    """

    gvk: GVK
    key: NN
    patch: dict[str, Any]
    subresource: str = ""
    missing_ok: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete(Write):
    """DELETE with preconditions. Gone already counts as success."""

    gvk: GVK
    key: NN
    uid: str | None = None
    resource_version: str | None = None
    propagation: Propagation | None = "Background"
    grace_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class InOrder:
    """Steps one after the other; a failure ends the branch unless `keep_going`."""

    steps: Sequence["Step"]
    keep_going: bool = False


@dataclass(frozen=True, slots=True)
class Together:
    """Branches side by side, at most `limit` at once.

    `slow_start` n runs batches of n, 2n, 4n … and starts no further batch after one with a failure (RIS-3).
    """

    branches: Sequence["Step"]
    limit: int = 16
    slow_start: int | None = None


SingleWrite = Create | Apply | MergePatch | StrategicPatch | Delete
Step = SingleWrite | InOrder | Together


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole outcome of one pass for one key.

    steps: writes in order.
    finally_: writes that run even when a step failed (status, usually), made from the failures so that a
    condition can name them.
    events: recorded when every step succeeded.
    requeue_after: seconds until this key must be looked at again although nothing changes; None = never.
    requeue: ask for a rate-limited retry.
    failure: an error found while deciding, reported and retried with back-off after the steps ran.
    refused: why nothing more can be done until the object changes; reported, and not retried.
    avoided_writes: writes that turned out to be unnecessary, for the metric.
    attributes: facts about the decision for the trace span and the log.
    """

    steps: Sequence[Step] = ()
    finally_: Callable[[Sequence[Exception]], Sequence[Step]] | None = None
    events: Sequence[PlannedEvent] = ()
    requeue_after: float | None = None
    requeue: bool = False
    failure: Exception | None = None
    refused: str = ""
    avoided_writes: int = 0
    attributes: dict[str, str | int | float | bool] = field(default_factory=dict)


def writes(steps: Sequence[Step]) -> list[SingleWrite]:
    """Every single write of `steps`, in the order in which they could run. For previews, counts and tests."""
    found: list[SingleWrite] = []
    for step in steps:
        if isinstance(step, InOrder):
            found += writes(step.steps)
        elif isinstance(step, Together):
            found += writes(step.branches)
        else:
            found.append(step)
    return found
