"""Pods of two roles never get the same name (NAM-12 to NAM-14)."""

from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbgctl.api import names
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup
from rbgctl.api.validation.pod_names import shared_pod_names

TEMPLATE = {"spec": {"containers": [{"name": "c", "image": "i"}]}}
ALONE = {"standalonePattern": {"template": TEMPLATE}}


def leader_worker(size: int) -> dict[str, Any]:
    return {"leaderWorkerPattern": {"size": size, "template": TEMPLATE}}


def custom(**sizes: int) -> dict[str, Any]:
    components = [{"name": name, "size": size, "template": TEMPLATE} for name, size in sizes.items()]
    return {"customComponentsPattern": {"components": components}}


def found(*roles: dict[str, Any]) -> list[str]:
    group = RoleBasedGroup.decode({"metadata": {"name": "g", "namespace": "n"}, "spec": {"roles": list(roles)}})
    return [str(error) for error in shared_pod_names(group)]


@pytest.mark.parametrize(
    ("one", "other", "pod"),
    [
        ({"name": "a", "replicas": 2, **leader_worker(2)}, {"name": "a-0", "replicas": 2, **ALONE}, "g-a-0-0"),
        ({"name": "a", "replicas": 3, **leader_worker(3)}, {"name": "a-2", "replicas": 1, **ALONE}, "g-a-2-0"),
        ({"name": "a", "replicas": 1, **custom(x=2)}, {"name": "a-0-x", "replicas": 2, **ALONE}, "g-a-0-x-0"),
        ({"name": "a", "replicas": 1, **custom(x=1)}, {"name": "a-0", "replicas": 1, **custom(x=1)}, ""),
        ({"name": "a", "replicas": 2, **leader_worker(2)}, {"name": "a-2", "replicas": 2, **ALONE}, ""),
        ({"name": "a", "replicas": 2, **leader_worker(2)}, {"name": "a-00", "replicas": 2, **ALONE}, ""),
        ({"name": "a", "replicas": 2, **ALONE}, {"name": "a-0", "replicas": 2, **ALONE}, ""),
        ({"name": "a", "replicas": 2, **leader_worker(2)}, {"name": "b-0", "replicas": 2, **ALONE}, ""),
    ],
)
def test_the_role_with_the_longer_name_is_at_fault(one: dict[str, Any], other: dict[str, Any], pod: str) -> None:
    for roles in ((one, other), (other, one)):
        index = roles.index(other)
        text = f'spec.roles[{index}].name: "{other["name"]}" and role "a" both make a pod "{pod}": choose another name'
        assert found(*roles) == ([text] if pod else [])


def test_stateless_instances_have_random_names() -> None:
    stateless = {"annotations": {"rbg.workloads.x-k8s.io/role-instance-pattern": "Stateless"}}
    assert not found({"name": "a", "replicas": 2, **leader_worker(2), **stateless}, {"name": "a-0", **ALONE})


def all_pods(role: dict[str, Any]) -> set[str]:
    pods = set()
    for ordinal in range(role["replicas"]):
        instance = f"g-{role['name']}-{ordinal}"
        if "standalonePattern" in role:
            pods.add(instance)
        elif "leaderWorkerPattern" in role:
            pods |= {f"{instance}-{number}" for number in range(role["leaderWorkerPattern"]["size"])}
        else:
            for part in role["customComponentsPattern"]["components"]:
                pods |= {f"{instance}-{part['name']}-{number}" for number in range(part["size"])}
    return pods


PATTERNS = st.one_of(
    st.just(ALONE),
    st.builds(leader_worker, st.integers(1, 3)),
    st.builds(lambda x, y: custom(**{"x": x, "1": y}), st.integers(1, 2), st.integers(1, 2)),
)
ROLES = st.builds(
    lambda name, replicas, pattern: {"name": name, "replicas": replicas, **pattern},
    st.lists(st.sampled_from(["a", "0", "1", "x"]), min_size=1, max_size=4).map("-".join),
    st.integers(0, 3),
    PATTERNS,
)


@settings(max_examples=500, deadline=None)
@given(one=ROLES, other=ROLES)
def test_it_finds_what_counting_all_pods_finds(one: dict[str, Any], other: dict[str, Any]) -> None:
    if one["name"] == other["name"]:
        return
    assert bool(found(one, other)) == bool(all_pods(one) & all_pods(other))


def test_names_are_those_that_controllers_give() -> None:
    for ordinal, number in product(range(2), range(2)):
        assert names.pod_name(names.stateful_instance_name("g-a", ordinal), "LeaderWorkerSet", "leader", number) in (
            all_pods({"name": "a", "replicas": 2, **leader_worker(2)})
        )
