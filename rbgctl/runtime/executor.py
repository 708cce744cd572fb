"""Carries out a `Plan`: the one place where controllers write to the API server.

It decides nothing. Writes run in the order the plan gives, with bounded concurrency; an unexpected answer ends
the branch it came from and reaches the next observe() through the raised error. Every write goes through the
controller's client, which records the write fence for the key (RT-CA-20).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.machinery.plan import (
    Apply,
    Create,
    Delete,
    InOrder,
    MergePatch,
    Plan,
    PlannedEvent,
    SingleWrite,
    Step,
    StrategicPatch,
    Together,
    UidOf,
)
from rbgctl.runtime.client import Patch
from rbgctl.runtime.errors import AlreadyExists, Conflict, NotFound, TerminalError
from rbgctl.runtime.fairness import checkpoint
from rbgctl.runtime.reconciler import Result

if TYPE_CHECKING:
    from rbgctl.runtime.reconciler import Context

NAME_TAKEN_SECONDS = 30.0

Observed = TypeVar("Observed")


class PlanFailed(Exception):
    """Several writes of one plan failed; `errors` holds them in the order in which they ended."""

    def __init__(self, errors: Sequence[Exception]) -> None:
        super().__init__("; ".join(str(e) for e in errors))
        self.errors = tuple(errors)


class NotOurs(Exception):
    """The name of an object to apply is taken by one that must not be overwritten; the text says by what."""


async def observe_plan_execute(
    ctx: "Context", observing: Awaitable[Observed | None], plan: Callable[[Observed], Plan]
) -> Result:
    """One pass of a controller, each phase in a trace span of its own. Nothing is decided when `observing` gives None.

    Raises what `observing`, `plan` and `execute` raise.
    """
    with ctx.step("observe"):
        observed = await observing
    if observed is None:
        return Result()
    await checkpoint()
    with ctx.step("plan"):
        planned = plan(observed)
    await checkpoint()
    ctx.span.set(planned.attributes)
    with ctx.step("execute"):
        return await execute(ctx, planned)


async def execute(ctx: "Context", plan: Plan) -> Result:
    """Carry out `plan` for the key of `ctx`.

    Returns the requeue the plan asks for. Raises the only error, or PlanFailed for several: writes that failed
    (in the steps or in `finally_`) and the plan's own `failure`; without any, TerminalError for a plan that `refused`.
    When nothing went wrong but names taken by others, those are looked at again after NAME_TAKEN_SECONDS: what is not
    ours need not be in any cache, so that no watch would tell when it goes.
    """
    run = _Run(ctx)
    await run.steps(plan.steps)
    if not run.errors:
        for event in plan.events:
            run.record(event)
    if plan.finally_ is not None:
        await run.steps(plan.finally_(tuple(run.errors)))
    if plan.avoided_writes:
        ctx.avoided_writes(plan.avoided_writes)
    errors = [*run.errors, *([plan.failure] if plan.failure else [])]
    if errors and all(isinstance(error, NotOurs) for error in errors):
        ctx.log.warning("names are taken by others", objects="; ".join(map(str, errors)))
        return Result(requeue_after=NAME_TAKEN_SECONDS)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise PlanFailed(errors)
    if plan.refused:
        raise TerminalError(plan.refused)
    return Result(requeue_after=plan.requeue_after or 0.0, requeue=plan.requeue)


class _Run:
    def __init__(self, ctx: "Context") -> None:
        self.ctx = ctx
        self.errors: list[Exception] = []
        self._uids: dict[tuple[GVK, NN], str] = {}

    async def steps(self, steps: Sequence[Step], *, keep_going: bool = False) -> bool:
        done = True
        for step in steps:
            if not await self._step(step):
                done = False
                if not keep_going:
                    break
        return done

    async def _step(self, step: Step) -> bool:
        if isinstance(step, InOrder):
            return await self.steps(step.steps, keep_going=step.keep_going)
        if isinstance(step, Together):
            return await self._together(step)
        return await self._single(step)

    async def _together(self, step: Together) -> bool:
        rest = list(step.branches)
        size = step.slow_start or len(rest)
        done = True
        while rest and done:
            batch, rest = rest[:size], rest[size:]
            gate = asyncio.Semaphore(step.limit)

            async def branch(one: Step, gate: asyncio.Semaphore = gate) -> bool:
                async with gate:
                    return await self._step(one)

            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(branch(one)) for one in batch]
            done = all(task.result() for task in tasks)
            size *= 2
        return done

    async def _single(self, write: SingleWrite) -> bool:
        try:
            changed = await self._send(write)
        except Exception as error:  # noqa: BLE001 - every failure is reported by execute()
            self.errors.append(error)
            if write.on_failure is not None:
                text = f"{write.on_failure.message}: {error}" if write.on_failure.message else str(error)
                self.record(write.on_failure, component=write.component, message=text)
            return False
        if changed and write.on_success is not None:
            self.record(write.on_success, component=write.component)
        return True

    async def _send(self, write: SingleWrite) -> bool:
        """Send one write; False when it turned out that nothing had to be done."""
        client = self.ctx.client
        manager = write.field_manager
        match write:
            case Create():
                obj = self._with_uids(write.obj)
                try:
                    answer = await client.create(obj, field_manager=manager)
                except AlreadyExists:
                    if write.accept_existing is None:
                        raise
                    existing = await self.ctx.live.get(GVK.of(obj), NN.of(obj))
                    if not write.accept_existing(existing):
                        raise
                    client.saw(existing)
                    self._remember(existing)
                    return False
                self._remember(answer)
            case Apply():
                obj = self._with_uids(write.obj)
                answer = await self._apply(write, obj)
                self._remember(answer)
                if write.answered is not None:
                    write.answered(answer)
            case MergePatch():
                await client.patch(
                    write.gvk,
                    write.key,
                    Patch.merge(write.patch),
                    subresource=write.subresource,
                    field_manager=manager,
                )
            case StrategicPatch():
                try:
                    await client.patch(
                        write.gvk,
                        write.key,
                        Patch.strategic(write.patch),
                        subresource=write.subresource,
                        field_manager=manager,
                    )
                except NotFound:
                    if not write.missing_ok:
                        raise
                    return False
            case Delete():
                try:
                    await client.delete(
                        write.gvk,
                        write.key,
                        uid=write.uid,
                        rv=write.resource_version,
                        propagation=write.propagation,
                        grace_seconds=write.grace_seconds,
                    )
                except NotFound:
                    return False
        return True

    async def _apply(self, write: Apply, obj: RawObject) -> RawObject:
        """Forced, but not over what may be somebody else's: neither what is there now nor what appears meanwhile."""
        send = partial(self.ctx.client.apply, obj, field_manager=write.field_manager, subresource=write.subresource)
        refuse = write.refuse_existing
        if refuse is None or await self._exists(obj, refuse):
            return await send(force=True)
        try:
            return await send(force=False)
        except Conflict:
            # Somebody has made it since, and wants other values than we: look whose it is.
            if not await self._exists(obj, refuse):
                raise
        return await send(force=True)

    async def _exists(self, obj: RawObject, refuse: Callable[[RawObject], str]) -> bool:
        """Raises NotOurs when `refuse` has a reason against what exists."""
        try:
            existing = await self.ctx.live.get(GVK.of(obj), NN.of(obj))
        except NotFound:
            return False
        reason = refuse(existing)
        if reason:
            raise NotOurs(reason)
        return True

    def record(self, event: PlannedEvent, *, component: str = "", message: str = "") -> None:
        self.ctx.recorder_for(component).event(event.regarding, event.type, event.reason, message or event.message)

    def _remember(self, obj: RawObject) -> None:
        uid = (obj.get("metadata") or {}).get("uid")
        if uid:
            self._uids[GVK.of(obj), NN.of(obj)] = uid

    def _with_uids(self, obj: RawObject) -> RawObject:
        owners = (obj.get("metadata") or {}).get("ownerReferences") or ()
        if not any(isinstance(o.get("uid"), UidOf) for o in owners):
            return obj
        return {**obj, "metadata": {**obj["metadata"], "ownerReferences": [self._resolved(o) for o in owners]}}

    def _resolved(self, owner: dict[str, Any]) -> dict[str, Any]:
        uid = owner.get("uid")
        if not isinstance(uid, UidOf):
            return owner
        known = self._uids.get((uid.gvk, uid.key))
        if known is None:
            raise LookupError(f"no earlier write of this plan brought the uid of {uid.gvk.kind} {uid.key}")
        return {**owner, "uid": known}
