"""Filling the window and emptying what lies beyond it."""

from unit.controllers.instanceset.test_topology import members

from rbgctl.controllers.instanceset.scale import Scaling, layout, scale


def ordered(text: str, end: int) -> Scaling:
    return scale(layout(members(text), end), parallel=False)


def names(found) -> list[int]:
    return [m.ordinal for m in found]


def test_parallel_fills_every_hole_and_deletes_everything_beyond_at_once():
    """SFM-9"""
    found = scale(layout(members("1n 3n! 5n 6n!"), 5), parallel=True)
    assert (found.create, names(found.delete), found.waiting_for) == ([0, 2, 4], [6, 5], None)


def test_terminating_surplus_is_not_deleted_again():
    """SFM-10"""
    assert names(scale(layout(members("0n 1n~ 2n"), 1), parallel=True).delete) == [2]
    assert names(ordered("0n 1n~ 2n", 1).delete) == [2]


def test_ordered_ready_creates_one_and_waits():
    """SFM-9"""
    assert ordered("0n", 3) == Scaling(create=[1], waiting_for=1)
    assert ordered("0n 1n!", 3) == Scaling(waiting_for=1)


def test_ordered_ready_refills_the_lowest_hole_first():
    """SFM-9"""
    assert ordered("1n 2n", 4).create == [0]


def test_ordered_ready_deletes_nothing_while_the_window_is_not_ready():
    """SFM-9"""
    assert ordered("0n 1n! 2n", 2).delete == ()


def test_ordered_ready_does_not_wait_for_a_ready_instance_that_terminates():
    """SFM-9"""
    assert ordered("0n~ 1n", 3).create == [2]


def test_ordered_ready_deletes_from_the_top_without_waiting_between():
    """SFM-9"""
    found = ordered("0n 1n 2n 3n", 1)
    assert (names(found.delete), found.waiting_for) == ([3, 2, 1], None)


def test_ordered_ready_stops_at_surplus_that_is_unhealthy_unless_it_is_the_lowest_such():
    """SFM-9"""
    assert names(ordered("0n 1n 2n! 3n", 1).delete) == [3, 2, 1]
    blocked = ordered("0n 1n! 2n! 3n", 1)
    assert (names(blocked.delete), blocked.waiting_for) == ([3], 2)


def test_instances_without_an_ordinal_stand_nowhere():
    """SFM-6"""
    found = layout([*members("0n"), members("0n")[0].__class__(ordinal=-1, uid="x")], 1)
    assert (list(found.slots), found.condemned) == ([0], [])
