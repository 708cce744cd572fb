"""Which events pass."""

import pytest

from rbgctl.machinery.selectors import LabelSelector
from rbgctl.runtime import predicate as p
from rbgctl.runtime.predicate import Event, Predicate
from rbgctl.runtime.store import Entry, Header

# A body that cannot be decoded: predicates may look at headers only (13.9).
BROKEN = b"{"


def entry(**changes: object) -> Entry:
    values: dict[str, object] = {"namespace": "ns", "name": "a", "uid": "u", "rv": "1", "generation": 1, **changes}
    return Entry(Header(**values), BROKEN)  # type: ignore[arg-type]


OLD = entry()
CHANGES = {
    "rv": entry(rv="2"),
    "generation": entry(rv="2", generation=2),
    "labels": entry(rv="2", labels=(("a", "b"),)),
    "annotations": entry(rv="2", annotations=(("a", "b"),)),
    "deletion": entry(rv="2", deletion="2026-01-01T00:00:00Z"),
    "hot": entry(rv="2", hot=("Running",)),
    "nothing": OLD,
}


@pytest.mark.parametrize(
    ("judge", "passes"),
    [
        (p.resource_version_changed, {"rv", "generation", "labels", "annotations", "deletion", "hot"}),  # RT-PR-01
        (p.generation_changed, {"generation"}),  # RT-PR-02
        (p.annotations_changed, {"annotations"}),  # RT-PR-03
        (p.labels_changed, {"labels"}),  # RT-PR-04
        (p.deletion_requested, {"deletion"}),
        (p.hot_changed, {"hot"}),
    ],
)
def test_change_predicates_compare_old_and_new(judge: Predicate, passes: set[str]) -> None:
    assert {name for name, new in CHANGES.items() if judge(Event("update", new, OLD))} == passes
    for verb in ("create", "delete", "generic"):
        assert judge(Event(verb, OLD))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "judge", [p.resource_version_changed, p.generation_changed, p.annotations_changed, p.labels_changed]
)
def test_an_update_without_both_objects_is_refused_and_its_negation_passes(judge: Predicate) -> None:
    for event in (Event("update", OLD, None), Event("update", None, OLD)):
        assert not judge(event)
        assert p.negate(judge)(event)


def test_equal_maps_in_another_order_are_no_change() -> None:  # RT-PR-04
    old = entry(labels=(("a", "1"), ("b", "2")))
    new = entry(rv="2", labels=(("b", "2"), ("a", "1")))
    assert not p.labels_changed(Event("update", new, old))


def test_label_selector_looks_at_the_new_object_only() -> None:  # RT-PR-05, RT-PR-08
    judge = p.matches_labels(LabelSelector.parse("app=x"))
    match, other = entry(labels=(("app", "x"),)), entry(labels=(("app", "y"),))
    assert judge(Event("create", match))
    assert judge(Event("delete", match))
    assert judge(Event("update", match, other))
    assert not judge(Event("update", other, match))
    assert not judge(Event("generic", None))


def test_combinations_stop_at_the_first_answer() -> None:  # RT-PR-06
    asked: list[str] = []

    def says(name: str, answer: bool) -> Predicate:
        def judge(_: Event) -> bool:
            asked.append(name)
            return answer

        return judge

    event = Event("create", OLD)
    assert not p.all_of(says("a", True), says("b", False), says("c", True))(event)
    assert p.any_of(says("d", False), says("e", True), says("f", True))(event)
    assert asked == ["a", "b", "d", "e"]
    assert p.all_of()(event)
    assert not p.any_of()(event)


def test_verbs_without_a_predicate_pass() -> None:  # RT-PR-07
    judge = p.on(update=p.generation_changed, delete=lambda _: False)
    assert judge(Event("create", OLD))
    assert judge(Event("generic", OLD))
    assert not judge(Event("delete", OLD))
    assert not judge(Event("update", OLD, OLD))
