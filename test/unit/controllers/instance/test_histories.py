"""Random histories of one instance: what must hold at every step, and where every history must end.

The world is world.py: an API server, kubelets that move at random, users that change the spec, pods that break, and
passes that look at an old state.
"""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.controllers.instance.world import NAME, World, component

from rbgctl.api import labels
from rbgctl.api.v1alpha2.defaults import component_size
from rbgctl.api.v1alpha2.roleinstance import RoleInstance
from rbgctl.controllers.instance.pods import slots
from rbgctl.machinery.gvk import RawObject
from rbgctl.machinery.plan import Create, Delete
from rbgctl.planning.instance_revision import resolve_instance
from rbgctl.planning.revisions import short_hash

PODS = st.integers(0, 7)
ACTIONS = st.one_of(
    st.tuples(st.just("pass"), st.just(0)),
    st.tuples(st.just("pass"), st.just(0)),
    st.tuples(st.just("kubelet"), PODS),
    st.tuples(st.just("kubelet"), PODS),
    st.tuples(st.just("kubelet"), PODS),
    st.tuples(st.just("fail"), PODS),
    st.tuples(st.just("crash"), PODS),
    st.tuples(st.just("delete"), PODS),
    st.tuples(st.just("relabel"), PODS),
    st.tuples(st.just("image"), st.integers(1, 3)),
    st.tuples(st.just("size"), st.integers(0, 3)),
    st.tuples(st.just("component"), st.just(0)),
    st.tuples(st.just("look"), st.just(0)),
    st.tuples(st.just("stale pass"), st.just(0)),
    st.tuples(st.just("break API"), st.integers(0, 2)),
)


def change_spec(world: World, what: str, value: int) -> None:
    def change(raw: RawObject) -> None:
        components = raw["spec"]["components"]
        match what:
            case "image":
                components[0]["template"]["spec"]["containers"][0]["image"] = f"web:{value}"
            case "size":
                components[0]["size"] = value
            case "component" if len(components) > 2:
                components.pop()
            case "component":
                components.append(component(f"extra{len(components)}"))

    world.set("RoleInstance", NAME, change)


def checked_pass(world: World) -> None:
    """One reconcile on a fresh view: it touches nothing that is as it should be, and never deletes and creates."""
    before = world.observe()
    sizes = {c.name: component_size(c) for c in before.instance.components}
    kept = {p.uid: p for p in before.pods if p.active and p.id < sizes.get(p.component, 0)}
    log = len(world.log)
    world.pass_()
    pods = [w for w in world.log[log:] if isinstance(w, Create | Delete) and _kind(w) == "Pod"]
    assert not (any(isinstance(w, Create) for w in pods) and any(isinstance(w, Delete) for w in pods))
    update = short_hash(resolve_instance(before.raw, before.revisions).update)
    for write in pods:
        if isinstance(write, Delete) and write.uid in kept:
            assert kept[write.uid].hash != update


def _kind(write: Create | Delete) -> str:
    return str(write.obj["kind"]) if isinstance(write, Create) else write.gvk.kind


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTIONS, max_size=40), st.sampled_from(["Components", "LeaderWorkerSet"]))
def test_every_history_ends_with_the_wanted_pods_serving_and_nothing_left_to_write(
    actions: list[tuple[str, int]], role_type: str
) -> None:
    # RIN-6, RIN-7, RIN-12, RIN-19, RIN-20, RDY-4, STA-2, STA-7
    # A leader-worker instance is always a leader and its workers: other components would want the same names.
    others = [component("leader")] if role_type == labels.ROLE_TYPE_LEADER_WORKER_SET else [component("b")]
    world = World(component("worker", 2), *others, role_type=role_type)
    seen = world.observe()
    broken = 0
    world.fail = lambda _: broken > 0 and (len(world.log) + broken) % 2 == 0
    for what, value in actions:
        names = list(world.pods())
        name = names[value % len(names)] if names else ""
        match what:
            case "pass":
                checked_pass(world)
            case "look":
                seen = world.observe()
            case "stale pass":
                world.pass_(seen)
                world.dirty = True
            case "break API":
                broken = value
            case "component" if role_type == labels.ROLE_TYPE_LEADER_WORKER_SET:
                continue
            case "image" | "size" | "component":
                change_spec(world, what, value)
            case _ if not name:
                continue
            case "kubelet":
                world.kubelet(name)
            case "fail":
                world.fail_pod(name)
            case "crash":
                world.conditions(name, ContainersReady="False", Ready="False")
            case "delete":
                world.delete_pod(name)
            case "relabel":
                lost = {labels.CONTROLLER_REVISION_HASH: "lost"}
                world.set("Pod", name, lambda p, lost=lost: p["metadata"]["labels"].update(lost))
    broken = 0
    world.to_rest()

    view = RoleInstance.decode(world.raw)
    wanted = {slot.name for slot in slots(view)}
    assert set(world.pods()) == wanted
    images = {c.name: (c.template or {})["spec"]["containers"][0]["image"] for c in view.components}
    for found in world.pods().values():
        own = found["metadata"]["labels"][labels.COMPONENT_NAME]
        assert found["spec"]["containers"][0]["image"] == images[own]
        assert {c["type"]: c["status"] for c in found["status"]["conditions"]}["Ready"] == "True"
    status = view.status
    assert status.observed_generation == view.metadata.generation
    assert status.current_revision == status.update_revision
    assert sum(c.ready_replicas for c in status.component_statuses or ()) == len(wanted)
    ready = status.condition("RoleInstanceReady")
    assert ready is not None
    assert ready.status == "True"
    failed = [c for c in status.conditions or () if c.type in {"FailedScale", "FailedUpdate"}]
    assert all(c.status == "False" for c in failed)
