"""What the playground installs before it starts the operator."""

from rbgctl.api.crd import manifests
from rbgctl.api.kinds import KIND_GROUP
from rbgctl.playground.play import in_turn


def test_what_the_operator_and_the_example_need_comes_first_and_nothing_is_left_out() -> None:
    crds = manifests(legacy=False)
    first, others = in_turn(crds, [{"kind": KIND_GROUP}, {"kind": "CoordinatedPolicy"}, {"kind": "ConfigMap"}])
    kinds = {c["spec"]["names"]["kind"] for c in first}
    assert kinds >= {KIND_GROUP, "RoleInstanceSet", "RoleInstance", "ClusterEngineRuntimeProfile", "CoordinatedPolicy"}
    assert "RoleBasedGroupSet" in {c["spec"]["names"]["kind"] for c in others}
    assert sorted(c["metadata"]["name"] for c in (*first, *others)) == sorted(c["metadata"]["name"] for c in crds)
