"""What keeps an instance from its pods until somebody acts is said in its status, and taken back when it is over."""

import pytest
from unit.controllers.instance.test_recreation import RECREATE
from unit.controllers.instance.world import NAME, World, component, pod

from rbgctl.controllers.instance.plan import STRANGER_CHECK
from rbgctl.machinery.gvk import RawObject
from rbgctl.planning.typed_encoding import TypedEncodingError


def stranger(**more: object) -> RawObject:
    found = pod(NAME, uid="stranger", **more)
    found["metadata"]["ownerReferences"] = []
    return found


def test_pods_that_want_one_name_are_told_and_the_first_one_runs() -> None:  # RIN-17
    world = World(component(size=2), role_type="PodTemplate")
    world.to_rest()
    assert list(world.pods()) == [NAME]
    told = world.condition("FailedScale")
    assert (told["status"], told["message"]) == ("True", f"pod web/1 would have the name {NAME}, as web/0 has")
    world.set("RoleInstance", NAME, lambda raw: raw["spec"]["components"][0].update(size=1))
    world.to_rest()
    assert world.condition("FailedScale")["status"] == "False"


def test_a_name_held_by_a_strangers_pod_is_told_and_looked_at_again() -> None:  # RIN-12
    world = World(role_type="PodTemplate")
    world.put(stranger())
    world.pass_()
    assert world.pods()[NAME]["metadata"]["uid"] == "stranger"
    assert world.condition("FailedScale")["message"] == f"the name {NAME} is taken by a pod of another owner"
    assert world.plan().requeue_after == STRANGER_CHECK
    assert world.pass_() == [], "told once"
    world.gone("Pod", NAME)
    world.to_rest()
    assert world.condition("FailedScale")["status"] == "False"
    assert world.condition("RoleInstanceReady")["status"] == "True"
    assert world.plan().requeue_after is None


@pytest.mark.parametrize(
    "found", [pod(NAME, owner="predecessor"), stranger(deleted=True)], ids=["predecessor", "going"]
)
def test_a_pod_that_will_go_by_itself_is_no_trouble(found: RawObject) -> None:  # RIN-1, RIN-12
    world = World(role_type="PodTemplate")
    world.put(found)
    world.pass_()
    assert world.condition("FailedScale") == {}
    assert world.plan().requeue_after is None


@pytest.mark.parametrize("policy", [{}, RECREATE])
def test_a_template_that_is_none_keeps_the_pods_and_is_told(policy: RawObject) -> None:  # REV-2
    world = World(spec=policy)
    world.to_rest()
    before = world.pods()
    good = component()["template"]

    def give(env: object) -> None:
        bad = component()["template"]
        bad["spec"]["containers"][0]["env"] = env
        world.set("RoleInstance", NAME, lambda raw: raw["spec"]["components"][0].update(template=bad))

    give("oops")
    world.pass_()
    assert [type(e) for e in world.failures] == [TypedEncodingError]
    told = world.condition("FailedUpdate")
    assert told["status"] == "True"
    assert "spec.components[0].template.spec.containers[0].env" in told["message"]
    assert world.condition("RoleInstanceReady")["status"] == "True"
    assert world.pods() == before
    assert world.pass_() == [], "told once"
    world.set("RoleInstance", NAME, lambda raw: raw["spec"]["components"][0].update(template=good))
    world.to_rest()
    assert world.condition("FailedUpdate")["status"] == "False"
    assert world.pods() == before
