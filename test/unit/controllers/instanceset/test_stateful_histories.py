"""Random histories of a stateful set: what must hold at every step, and where every history must end.

The world is test/unit/controllers/instanceset/world.py: an API server, an instance controller that moves at random,
users that change everything a set allows, pods that break.
"""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.controllers.instanceset.world import NAME, World

from rbgctl.api import labels
from rbgctl.api.v1alpha2.roleinstanceset import RoleInstanceSetSpec
from rbgctl.controllers.instanceset.topology import Budgets, budgets
from rbgctl.machinery.plan import writes

IMAGES = ("web:1", "web:2", "web:3", "broken:1")
COUNTS = st.integers(0, 4)
AMOUNTS = st.one_of(st.integers(0, 3), st.sampled_from(["25%", "50%", "100%"]))

ACTIONS = st.one_of(
    st.tuples(st.just("pass"), st.none()),
    st.tuples(st.just("pass"), st.none()),
    st.tuples(st.just("step"), st.integers(0, 9)),
    st.tuples(st.just("step"), st.integers(0, 9)),
    st.tuples(st.just("step"), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.sampled_from([1, 5, 10])),
    st.tuples(st.just("image"), st.sampled_from(IMAGES)),
    st.tuples(st.just("replicas"), COUNTS),
    st.tuples(st.just("partition"), AMOUNTS),
    st.tuples(st.just("maxSurge"), AMOUNTS),
    st.tuples(st.just("maxUnavailable"), AMOUNTS),
    st.tuples(st.just("paused"), st.booleans()),
    st.tuples(st.just("break"), st.integers(0, 6)),
    st.tuples(st.just("delete"), st.integers(0, 6)),
    st.tuples(st.just("orphan"), st.integers(0, 6)),
)


def wanted(world: World) -> Budgets:
    return budgets(RoleInstanceSetSpec.decode(world.raw["spec"]))


def serving(world: World) -> set[int]:
    return {o for o in world.ordinals() if world.serving(o)}


def revision(world: World, ordinal: int) -> str:
    return world.instances()[f"{NAME}-{ordinal}"]["metadata"]["labels"][labels.CONTROLLER_REVISION_HASH]


def checked_pass(world: World) -> None:
    """One reconcile, and what no reconcile may ever do."""
    before, served = world.uids(), serving(world)
    revisions = {o: revision(world, o) for o in before}
    limits = wanted(world)
    world.pass_()
    assert world.failures == []
    after = world.uids()
    update = world.status.get("updateRevision", "")

    assert len(after) <= max(len(before), limits.replicas + limits.max_surge), "more than replicas + maxSurge"

    lost = {o for o in served if o < limits.replicas and (after.get(o) != before[o] or not world.serving(o))}
    assert not {o for o in lost if o < limits.partition}, "took an instance that the partition protects"
    if lost:
        surge = {o for o in serving(world) if o >= limits.replicas and revision(world, o) == update}
        base = {o for o in serving(world) if o < limits.replicas}
        assert len(base) + len(surge) >= limits.replicas - limits.max_unavailable, "more than maxUnavailable out"

    for ordinal, uid in after.items():
        moved = before.get(ordinal) == uid and revision(world, ordinal) != revisions[ordinal]
        assert not (moved and ordinal < limits.partition), "updated an instance that the partition protects"


def act(world: World, action: str, value: object) -> None:
    names = sorted(world.instances())
    match action:
        case "pass":
            checked_pass(world)
        case "step" if names:
            world.instance_step(names[value % len(names)])
        case "wait":
            world.wait(value)
        case "image":
            world.edit_image(value)
        case "replicas":
            world.edit(replicas=value)
        case "partition" | "maxSurge" | "maxUnavailable" | "paused":
            world.edit(updateStrategy={action: value})
        case "break" if f"{NAME}-{value}" in world.pods:
            world.break_(value)
        case "delete" if f"{NAME}-{value}" in names:
            world.delete("RoleInstance", f"{NAME}-{value}")
        case "orphan" if f"{NAME}-{value}" in names:
            world.change("RoleInstance", f"{NAME}-{value}", {"metadata": {"ownerReferences": None}})


def to_rest(world: World, choices: st.DataObject) -> None:
    """Everything recovers and nobody interferes any more: it must end, and end where the spec says."""
    for _ in range(800):
        if world.dirty:
            checked_pass(world)
            continue
        restless = sorted(n for n in world.instances() if world._would_move(n))
        if restless:
            world.instance_step(choices.draw(st.sampled_from(restless)) if len(restless) > 1 else restless[0])
        elif world.next_look is not None:
            world.wait(max(0.0, (world.next_look - world.now).total_seconds()))
        else:
            break
    else:
        raise AssertionError("the set does not come to rest")
    planned = world.plan()
    assert writes(planned.steps) == []
    assert planned.finally_ is not None
    assert planned.finally_([]) == [], "a set at rest is written to"


def at_goal(world: World) -> None:
    limits, status = wanted(world), world.status
    update = status["updateRevision"]
    assert world.ordinals() == list(range(limits.replicas)), "ordinals are not contiguous at rest"
    assert serving(world) == set(range(limits.replicas))
    behind = [o for o in range(limits.partition, limits.replicas) if revision(world, o) != update]
    assert behind == [], "the rollout stalled"
    if limits.partition == 0:
        assert status["currentRevision"] == update
    image = world.raw["spec"]["roleInstanceTemplate"]["components"][0]["template"]["spec"]["containers"][0]["image"]
    assert {world.images()[o] for o in range(limits.partition, limits.replicas)} <= {image}
    for ordinal in range(limits.replicas):
        instance = world.instances()[f"{NAME}-{ordinal}"]
        pod = instance["spec"]["components"][0]["template"]["metadata"]["labels"]
        assert pod[labels.ROLE_INSTANCE_INDEX] == str(ordinal)
    assert (status["replicas"], status["readyReplicas"], status["availableReplicas"]) == (limits.replicas,) * 3
    assert status["observedGeneration"] == world.raw["metadata"]["generation"]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    parallel=st.booleans(),
    replicas=COUNTS,
    type_=st.sampled_from(["RecreatePod", "InPlaceIfPossible"]),
    min_ready=st.sampled_from([0, 0, 3]),
    actions=st.lists(ACTIONS, max_size=30),
    choices=st.data(),
)
def test_limits_hold_at_every_step_and_every_history_reaches_its_goal(
    parallel, replicas, type_, min_ready, actions, choices
):
    """SFM-3, SFM-9, SFM-13, SFM-14, SFM-15, SFM-18, SFM-21"""
    world = World(replicas=replicas, parallel=parallel, strategy={"type": type_}, minReadySeconds=min_ready)
    world.healthy = lambda image: not image.startswith("broken")
    for action, value in actions:
        act(world, action, value)
    world.healthy = lambda _image: True
    world.edit(updateStrategy={"paused": False})
    to_rest(world, choices)
    at_goal(world)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    parallel=st.booleans(),
    replicas=st.integers(1, 4),
    type_=st.sampled_from(["RecreatePod", "InPlaceIfPossible"]),
    surge=AMOUNTS,
    actions=st.lists(ACTIONS.filter(lambda a: a[0] not in {"partition", "paused"}), max_size=20),
    choices=st.data(),
)
def test_repaired_template_always_gets_through_although_broken_instances_never_recover(
    parallel, replicas, type_, surge, actions, choices
):
    """SFM-4, SFM-15, SFM-21: timers alone must free what is broken"""
    world = World(replicas=replicas, parallel=parallel, strategy={"type": type_, "maxSurge": surge})
    world.healthy = lambda image: not image.startswith("broken")
    for action, value in actions:
        act(world, action, value)
    world.edit_image("web:9")
    to_rest(world, choices)
    at_goal(world)
