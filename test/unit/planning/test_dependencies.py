"""Order of roles and readiness of dependencies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbgctl.planning.dependencies import levels, unready


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ({"a": ["b"], "b": ["c"], "c": []}, [["c"], ["b"], ["a"]]),
        ({"c": [], "b": [], "a": []}, [["a", "b", "c"]]),
        ({"a": ["c"], "b": ["c"], "c": []}, [["c"], ["a", "b"]]),
        ({}, []),
    ],
)
def test_levels_follow_dependencies_and_sort_names_inside(
    graph: dict[str, list[str]], expected: list[list[str]]
) -> None:
    """RBG-64."""
    assert levels(graph) == expected


def test_a_cycle_is_an_error() -> None:
    """RBG-64."""
    with pytest.raises(ValueError, match="cycle"):
        levels({"a": ["b"], "b": ["a"]})


@given(st.dictionaries(st.integers(0, 8), st.sets(st.integers(0, 8), max_size=4), max_size=9))
def test_every_role_stands_behind_all_of_its_dependencies(raw: dict[int, set[int]]) -> None:
    """RBG-64: for any acyclic graph."""
    graph = {str(n): sorted(str(d) for d in wanted if d < n and d in raw) for n, wanted in raw.items()}
    found = levels(graph)
    place = {name: level for level, names in enumerate(found) for name in names}
    assert sorted(place) == sorted(graph)
    for name, wanted in graph.items():
        assert place[name] == 1 + max((place[w] for w in wanted), default=-1)


def workload(replicas: int | None, ready: int, *, generation: int = 1, observed: int = 1) -> dict[str, object]:
    return {
        "metadata": {"generation": generation},
        "spec": {} if replicas is None else {"replicas": replicas},
        "status": {"readyReplicas": ready, "observedGeneration": observed},
    }


def test_ready_means_all_wanted_instances_are_ready() -> None:
    """RBG-66."""
    assert unready("a", workload(2, 2), started=False) is None
    assert str(unready("a", workload(2, 1), started=False)) == "a (1/2 ready)"
    assert unready("a", workload(None, 1), started=False) is None


def test_a_missing_workload_is_not_ready_rather_than_an_error() -> None:
    """RBG-65."""
    assert str(unready("a", None, started=True)) == "a (not created)"


def test_a_dependency_without_replicas_is_ready_at_once() -> None:
    """RBG-66."""
    assert unready("a", {"metadata": {"generation": 1}, "spec": {"replicas": 0}}, started=False) is None


def test_a_status_about_an_older_spec_holds_up_only_roles_that_have_not_started() -> None:
    """RBG-66."""
    stale = workload(2, 2, generation=3, observed=2)
    assert unready("a", stale, started=False) is not None
    assert unready("a", stale, started=True) is None
