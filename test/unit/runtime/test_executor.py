"""Carrying out plans: order, concurrency, what ends what, events."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import structlog

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.machinery.plan import (
    Apply,
    Create,
    Delete,
    InOrder,
    MergePatch,
    Plan,
    PlannedEvent,
    Step,
    StrategicPatch,
    Together,
    UidOf,
)
from rbgctl.runtime.client import Patch
from rbgctl.runtime.controller import Context, Result
from rbgctl.runtime.errors import AlreadyExists, Conflict, NotFound
from rbgctl.runtime.executor import NAME_TAKEN_SECONDS, PlanFailed, execute

KIND = GVK("g", "v1", "Kind")
Reply = Callable[[], RawObject | None]


@dataclass
class Wire:
    """Stands where a client's requests leave the process: notes them and replies as the test says."""

    sent: list[tuple[str, str]] = field(default_factory=list)
    bodies: dict[str, RawObject] = field(default_factory=dict)
    options: list[dict[str, Any]] = field(default_factory=list)
    failing: dict[str, Exception] = field(default_factory=dict)
    conflicting: set[str] = field(default_factory=set)
    at_once: int = 0
    most_at_once: int = 0
    held: asyncio.Event | None = None

    def saw(self, obj: RawObject) -> None:
        self.sent.append(("saw", obj["metadata"]["name"]))

    async def _send(self, verb: str, name: str, **options: Any) -> None:
        self.sent.append((verb, name))
        self.options.append({k: v for k, v in options.items() if v})
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await (self.held.wait() if self.held is not None else asyncio.sleep(0))
        finally:
            self.at_once -= 1
        if name in self.failing:
            raise self.failing[name]

    async def create(self, obj: RawObject, **options: Any) -> RawObject:
        name = obj["metadata"]["name"]
        self.bodies[name] = obj
        await self._send("create", name, **options)
        return {**obj, "metadata": {**obj["metadata"], "uid": f"uid-of-{name}"}}

    async def apply(self, obj: RawObject, **options: Any) -> RawObject:
        name = obj["metadata"]["name"]
        self.bodies[name] = obj
        await self._send("apply", name, **options)
        if name in self.conflicting and not options["force"]:
            raise Conflict({"message": "conflict with another manager"})
        return {**obj, "metadata": {**obj["metadata"], "uid": f"uid-of-{name}"}}

    async def patch(self, gvk: GVK, key: NN, patch: Patch, **options: Any) -> RawObject:
        await self._send("patch", key.name, type=patch.content_type, body=patch.body, **options)
        return obj(key.name)

    async def delete(self, gvk: GVK, key: NN, **options: Any) -> None:
        await self._send("delete", key.name, **options)


@dataclass
class Live:
    """Finds what the test put there; `appears`: from the second look on."""

    found: RawObject = field(default_factory=dict)
    appears: RawObject = field(default_factory=dict)
    looks: int = 0

    async def get(self, gvk: GVK, key: NN) -> RawObject:
        self.looks += 1
        found = self.appears if self.appears and self.looks > 1 else self.found
        if not found:
            raise NotFound({})
        return found


@dataclass
class Noted:
    """Events, each with the component that reported it."""

    component: str
    events: list[tuple[str, str, str, str]]

    def event(self, regarding: RawObject, kind: str, reason: str, message: str) -> None:
        self.events.append((self.component, kind, reason, message))


@dataclass
class World:
    client: Wire = field(default_factory=Wire)
    live: Live = field(default_factory=Live)
    events: list[tuple[str, str, str, str]] = field(default_factory=list)
    avoided: list[int] = field(default_factory=list)
    log: Any = field(default_factory=structlog.get_logger)

    def recorder_for(self, component: str) -> Noted:
        return Noted(component, self.events)

    def avoided_writes(self, count: int) -> None:
        self.avoided.append(count)

    async def run(self, *steps: Step, **plan: Any) -> Result:
        return await execute(cast("Context", self), Plan(steps=steps, **plan))

    @property
    def names(self) -> list[str]:
        return [name for _, name in self.client.sent]


@pytest.fixture
def world() -> World:
    return World()


def obj(name: str, **meta: Any) -> RawObject:
    return {"apiVersion": "g/v1", "kind": "Kind", "metadata": {"name": name, "namespace": "ns", **meta}}


def create(name: str, **options: Any) -> Create:
    return Create(obj=obj(name), **options)


def says(reason: str, message: str = "") -> PlannedEvent:
    return PlannedEvent(obj("x"), "Normal", reason, message)


async def test_each_write_is_sent_as_planned(world: World) -> None:
    key = NN("ns", "k")
    await world.run(
        Create(obj=obj("a"), field_manager="m"),
        Apply(obj=obj("b"), field_manager="m", subresource="status"),
        MergePatch(gvk=KIND, key=key, patch={"x": 1}, subresource="status", field_manager="m"),
        StrategicPatch(gvk=KIND, key=key, patch={"y": 1}),
        Delete(gvk=KIND, key=key, uid="u", resource_version="7", grace_seconds=3, propagation="Foreground"),
    )
    assert world.client.sent == [("create", "a"), ("apply", "b"), ("patch", "k"), ("patch", "k"), ("delete", "k")]
    assert world.client.options == [
        {"field_manager": "m"},
        {"field_manager": "m", "force": True, "subresource": "status"},
        {"type": "application/merge-patch+json", "body": {"x": 1}, "subresource": "status", "field_manager": "m"},
        {"type": "application/strategic-merge-patch+json", "body": {"y": 1}},
        {"uid": "u", "rv": "7", "propagation": "Foreground", "grace_seconds": 3},
    ]


async def test_a_failure_ends_what_is_behind_it(world: World) -> None:
    world.client.failing["b"] = Conflict({"message": "no"})
    with pytest.raises(Conflict):
        await world.run(create("a"), create("b"), create("c"))
    assert world.names == ["a", "b"]


async def test_a_failure_in_a_nested_order_ends_the_outer_one(world: World) -> None:
    world.client.failing["b"] = Conflict({})
    with pytest.raises(Conflict):
        await world.run(InOrder([create("a"), create("b"), create("never")]), create("never"))
    assert world.names == ["a", "b"]


async def test_an_order_that_keeps_going_tries_all_its_steps_but_is_a_failure_for_what_follows(world: World) -> None:
    world.client.failing |= {"a": Conflict({"message": "one"}), "c": Conflict({"message": "two"})}
    with pytest.raises(PlanFailed, match="one; two") as failed:
        await world.run(InOrder([create("a"), create("b"), create("c")], keep_going=True), create("never"))
    assert world.names == ["a", "b", "c"]
    assert [str(e) for e in failed.value.errors] == ["one", "two"]


async def test_branches_run_side_by_side_and_end_alone(world: World) -> None:
    world.client.failing["a1"] = Conflict({})
    branches = [InOrder([create(f"{b}1"), create(f"{b}2")]) for b in "abc"]
    with pytest.raises(Conflict):
        await world.run(Together(branches), create("never"))
    assert sorted(world.names) == ["a1", "b1", "b2", "c1", "c2"]
    assert world.client.most_at_once == 3


async def test_no_more_branches_run_at_once_than_allowed(world: World) -> None:
    await world.run(Together([create(str(n)) for n in range(20)], limit=4))
    assert len(world.names) == 20
    assert world.client.most_at_once == 4


@pytest.mark.parametrize(("fails", "sent"), [(None, 12), ("0", 1), ("1", 3), ("4", 7), ("8", 12)])
async def test_a_slow_start_doubles_its_batches_until_one_fails(world: World, fails: str | None, sent: int) -> None:
    """RIS-3: batches of 1, 2, 4 and the rest."""
    if fails is not None:
        world.client.failing[fails] = Conflict({})
    step = Together([create(str(n)) for n in range(12)], slow_start=1)
    if fails is None:
        await world.run(step)
    else:
        with pytest.raises(Conflict):
            await world.run(step)
    assert sorted(map(int, world.names)) == list(range(sent))


async def test_nothing_to_do_together_is_fine(world: World) -> None:
    await world.run(Together([]), Together([], slow_start=1), create("a"))
    assert world.names == ["a"]


async def test_an_owner_made_by_the_same_plan_is_referred_to_by_its_uid(world: World) -> None:
    owner = {"kind": "Kind", "name": "owner", "uid": UidOf(KIND, NN("ns", "owner"))}
    other = {"kind": "Kind", "name": "other", "uid": "known"}
    child = obj("child", ownerReferences=[owner, other])
    await world.run(create("owner"), Together([Create(obj=child), Apply(obj=obj("twin", ownerReferences=[owner]))]))
    assert [o["uid"] for o in world.client.bodies["child"]["metadata"]["ownerReferences"]] == ["uid-of-owner", "known"]
    assert world.client.bodies["twin"]["metadata"]["ownerReferences"][0]["uid"] == "uid-of-owner"
    assert child["metadata"]["ownerReferences"][0]["uid"] == UidOf(KIND, NN("ns", "owner")), "the plan was changed"


async def test_an_owner_that_no_write_brought_is_named(world: World) -> None:
    owner = {"uid": UidOf(KIND, NN("ns", "owner"))}
    with pytest.raises(LookupError, match="no earlier write of this plan brought the uid of Kind ns/owner"):
        await world.run(Create(obj=obj("child", ownerReferences=[owner])))
    assert world.client.sent == []


async def test_a_taken_name_is_judged_by_what_is_found_there(world: World) -> None:
    world.client.failing["a"] = AlreadyExists({})
    world.live.found = obj("a", uid="found", labels={"mine": "yes"})
    owner = {"uid": UidOf(KIND, NN("ns", "a"))}
    accepted = create(
        "a", accept_existing=lambda o: o["metadata"]["labels"]["mine"] == "yes", on_success=says("Created")
    )
    await world.run(accepted, Create(obj=obj("child", ownerReferences=[owner])))
    assert world.events == []
    assert world.client.bodies["child"]["metadata"]["ownerReferences"] == [{"uid": "found"}]
    for step in (create("a", accept_existing=lambda _: False), create("a")):
        with pytest.raises(AlreadyExists):
            await world.run(step)


async def test_what_is_gone_already_counts_as_deleted_without_an_event(world: World) -> None:
    world.client.failing["a"] = NotFound({})
    await world.run(Delete(gvk=KIND, key=NN("ns", "a"), on_success=says("Deleted")), create("next"))
    assert world.names == ["a", "next"]
    assert world.events == []


@pytest.mark.parametrize(("missing_ok", "sent"), [(True, 2), (False, 1)])
async def test_a_patch_of_something_gone_fails_unless_that_is_expected(
    world: World, missing_ok: bool, sent: int
) -> None:
    world.client.failing["a"] = NotFound({"message": "gone"})
    patch = StrategicPatch(gvk=KIND, key=NN("ns", "a"), patch={}, missing_ok=missing_ok)
    if missing_ok:
        await world.run(patch, create("next"))
    else:
        with pytest.raises(NotFound):
            await world.run(patch, create("next"))
    assert len(world.names) == sent


async def test_events_say_what_happened_under_the_component_asked_for(world: World) -> None:
    world.client.failing |= {"b": Conflict({"message": "no"}), "c": Conflict({"message": "no"})}
    steps = [
        create("a", on_success=says("Made", "made a"), on_failure=says("Failed"), component="special"),
        create("b", on_success=says("Made"), on_failure=says("Failed", "cannot make b")),
        create("c", on_failure=says("Failed")),
    ]
    with pytest.raises(PlanFailed):
        await world.run(InOrder(steps, keep_going=True), events=[says("AllDone")])
    assert world.events == [
        ("special", "Normal", "Made", "made a"),
        ("", "Normal", "Failed", "cannot make b: no"),
        ("", "Normal", "Failed", "no"),
    ]


async def test_closing_events_follow_when_everything_succeeded(world: World) -> None:
    await world.run(create("a", on_success=says("Made")), events=[says("AllDone", "!")])
    assert [e[2] for e in world.events] == ["Made", "AllDone"]


async def test_the_status_is_written_even_after_a_failure_and_knows_of_it(world: World) -> None:
    world.client.failing |= {"a": Conflict({"message": "first"}), "status": Conflict({"message": "second"})}
    seen: list[str] = []

    def status(errors: Sequence[Exception]) -> Sequence[Step]:
        seen.extend(str(e) for e in errors)
        return [create("status"), create("never")]

    with pytest.raises(PlanFailed, match="first; second"):
        await world.run(create("a"), create("never"), finally_=status)
    assert seen == ["first"]
    assert world.names == ["a", "status"]
    world.client.failing.clear()
    seen.clear()
    await world.run(finally_=status)
    assert seen == []


async def test_an_answer_is_passed_on_to_the_planner_that_asked_for_it(world: World) -> None:
    answers: list[RawObject] = []
    await world.run(Apply(obj=obj("a"), field_manager="m", answered=answers.append))
    assert answers[0]["metadata"]["uid"] == "uid-of-a"


async def test_the_plans_own_failure_is_raised_after_its_writes(world: World) -> None:
    with pytest.raises(ValueError, match="undecided"):
        await world.run(create("a"), failure=ValueError("undecided"), requeue_after=5.0)
    assert world.names == ["a"]
    world.client.failing["a"] = Conflict({"message": "no"})
    with pytest.raises(PlanFailed, match="no; undecided"):
        await world.run(create("a"), failure=ValueError("undecided"))


async def test_the_result_is_the_requeue_asked_for(world: World) -> None:
    assert await world.run(requeue_after=2.5, avoided_writes=3) == Result(requeue_after=2.5)
    assert await world.run(requeue=True) == Result(requeue=True)
    assert await world.run() == Result()
    assert world.avoided == [3]


async def test_a_cancelled_plan_stops_its_writes(world: World) -> None:
    world.client.held = asyncio.Event()
    task = asyncio.create_task(world.run(Together([create("a"), create("b")]), create("never"), finally_=lambda _: []))
    for _ in range(5):  # enough turns of the loop for both branches to be sent
        await asyncio.sleep(0)
    assert world.client.at_once == 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.client.at_once == 0
    assert world.names == ["a", "b"]


async def test_a_name_that_is_taken_by_others_is_left_to_them_and_looked_at_again(world: World) -> None:
    world.live.found = obj("theirs")
    asked: list[RawObject] = []

    def refuse(existing: RawObject) -> str:
        asked.append(existing)
        return "not ours"

    result = await world.run(
        Together(
            [
                Apply(obj=obj("a"), refuse_existing=refuse, on_failure=PlannedEvent(obj("x"), "Warning", "Taken", "")),
                Apply(obj=obj("b")),
            ]
        )
    )
    assert asked == [obj("theirs")]
    assert world.names == ["b"]
    assert world.events == [("", "Warning", "Taken", "not ours")]
    assert result == Result(requeue_after=NAME_TAKEN_SECONDS)


async def test_what_may_be_taken_over_is_applied(world: World) -> None:
    world.live.found = obj("ours")
    await world.run(Apply(obj=obj("a"), refuse_existing=lambda _: ""))
    assert world.names == ["a"]
    assert world.client.options == [{"force": True}]


async def test_a_free_name_is_taken_without_force_and_with_no_second_look(world: World) -> None:
    await world.run(Apply(obj=obj("a"), refuse_existing=lambda _: "never asked"))
    assert world.client.options == [{}]
    assert world.live.looks == 1


@pytest.mark.parametrize("reason", ["", "not ours"])
async def test_what_appears_between_the_look_and_the_apply_is_judged_as_well(world: World, reason: str) -> None:
    world.client.conflicting = {"a"}
    world.live.appears = obj("a", labels={"made": "since"})
    asked: list[RawObject] = []

    def refuse(existing: RawObject) -> str:
        asked.append(existing)
        return reason

    result = await world.run(Apply(obj=obj("a"), refuse_existing=refuse))
    assert asked == [world.live.appears]
    assert world.client.options == ([{}] if reason else [{}, {"force": True}])
    assert result.requeue_after == (NAME_TAKEN_SECONDS if reason else 0.0)


async def test_what_has_gone_again_when_it_is_looked_at_is_left_to_the_next_pass(world: World) -> None:
    world.client.conflicting = {"a"}
    with pytest.raises(Conflict):
        await world.run(Apply(obj=obj("a"), refuse_existing=lambda _: ""))
    assert world.client.options == [{}]


async def test_another_failure_beside_a_taken_name_is_retried_as_ever(world: World) -> None:
    world.client.failing["b"] = Conflict({})
    world.live.found = obj("theirs")
    taken = Apply(obj=obj("a"), refuse_existing=lambda _: "not ours")
    with pytest.raises(PlanFailed, match="not ours"):
        await world.run(Together([taken, Apply(obj=obj("b"))]))
