"""Names of what the operator makes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbgctl.api import labels, names


def test_group_hash_is_the_sha1_of_namespace_and_name() -> None:  # HF-3
    assert labels.group_hash("default", "nginx-cluster") == "4c81010f509b0ea495e76e1d66ed42ae9b0dc5ef"


def test_short_names_stay_whole() -> None:  # NAM-1 NAM-2 NAM-3 NAM-5 HF-5 HF-6
    assert names.workload_name("storefront", "backend") == "storefront-backend"
    assert names.service_name("storefront", "backend") == "s-storefront-backend"
    assert names.legacy_service_name("storefront", "backend") == "storefront-backend"
    assert names.scaling_adapter_name("a" * 60, "backend") == "a" * 60 + "-backend"


def test_names_that_are_never_cut() -> None:  # NAM-6 NAM-8
    long = "a" * 62
    assert names.child_group_name(long, 12) == f"{long}-12"
    assert names.pod_group_name(long) == long
    assert names.coordinated_policy_name(long) == long
    assert names.config_map_name(long) == long


def test_long_names_are_cut_to_63_without_trailing_dashes() -> None:  # NAM-1 NAM-3
    assert names.workload_name("a" * 61, "-b") == "a" * 61
    assert names.workload_name("a" * 40, "b" * 40) == "a" * 40 + "-" + "b" * 22
    assert names.service_name("a" * 60, "bc") == "s-" + "a" * 60


def test_instances() -> None:  # NAM-10 NAM-11
    assert names.stateful_instance_name("set", 12) == "set-12"
    assert names.parse_instance_name("a-1-20") == ("a-1", 20)
    for foreign in ("set", "set-x", "set-", "7"):
        assert names.instance_ordinal(foreign) == -1
    assert names.stateless_instance_name("set", "bcdfg") == "set-bcdfg"
    assert names.stateless_instance_name("s" * 63, "bcdfg") == "s" * 57 + "-bcdfg"


@given(st.text("ab-1", min_size=1, max_size=20), st.integers(0, 10**6))
def test_ordinals_survive_the_way_through_a_name(instance_set: str, ordinal: int) -> None:  # NAM-10
    name = names.stateful_instance_name(instance_set, ordinal)
    assert names.parse_instance_name(name) == (instance_set, ordinal)


@pytest.mark.parametrize(
    ("role_type", "component", "number", "pod"),
    [
        ("PodTemplate", "backend", 0, "ri"),
        ("Something", "backend", 0, "ri"),
        ("LeaderWorkerSet", "leader", 0, "ri-0"),
        ("LeaderWorkerSet", "worker", 0, "ri-1"),
        ("LeaderWorkerSet", "worker", 2, "ri-3"),
        ("LeaderWorkerSet", "other", 2, "ri-2"),
        ("Components", "db", 1, "ri-db-1"),
        (None, "db", 1, "ri-db-1"),
    ],
)
def test_pods(role_type: str | None, component: str, number: int, pod: str) -> None:  # NAM-12 NAM-13 NAM-14 HF-15
    assert names.pod_name("ri", role_type, component, number) == pod


def test_addresses() -> None:  # NAM-21 NAM-22
    assert names.leader_address("ri", "svc", "ns") == "ri-0.svc.ns"
    assert names.component_address("ri", "db", 2, "svc", "ns") == "ri-db-2.svc.ns.svc.cluster.local"


def test_short_hash_is_what_follows_the_last_dash() -> None:  # HF-61
    assert names.short_hash("storefront-backend-844d797c8f") == "844d797c8f"
    assert names.short_hash("844d797c8f") == "844d797c8f"
