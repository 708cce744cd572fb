"""Reading your own writes: what is remembered of them, and when it is met."""

from hypothesis import given
from hypothesis import strategies as st

from rbgctl.machinery.gvk import GVK, NN
from rbgctl.runtime.fence import MAX_AGE, Fence, Fences

POD = (GVK("", "v1", "Pod"), NN("ns", "a"))
OTHER = (GVK("", "v1", "Pod"), NN("ns", "b"))


def fence(rv: str = "", gone_uid: str = "", *, unknown: bool = False) -> Fence:
    return Fence(rv=rv, gone_uid=gone_uid, unknown=unknown)


def merged(*writes: dict[str, object]) -> Fence:
    found = Fence()
    for write in writes:
        found.merge(**{"rv": "", "gone_uid": "", "unknown": False, "at": 0.0, **write})  # type: ignore[arg-type]
    return found


def test_a_write_is_seen_by_what_was_applied_or_by_the_object_itself() -> None:
    """RT-CA-20."""
    assert not fence("10").met("9", "u", "8")
    assert fence("10").met("10", "", "")
    assert fence("10").met("9", "u", "12")
    assert fence("10").met("100", "u", "8")


def test_a_deletion_is_seen_when_the_object_is_absent_or_another() -> None:
    """RT-CA-20."""
    assert not fence(gone_uid="u").met("99", "u", "5")
    assert fence(gone_uid="u").met("1", "", "")
    assert fence(gone_uid="u").met("1", "v", "5")
    assert not fence(gone_uid="*").met("1", "v", "5")


def test_a_deletion_after_a_creation_that_was_not_seen_needs_both() -> None:
    """RT-CA-21."""
    both = merged({"rv": "10"}, {"gone_uid": "u"})
    assert not both.met("9", "", "")
    assert not both.met("10", "u", "10")
    assert both.met("11", "", "")


def test_a_creation_after_a_deletion_implies_it() -> None:
    """RT-CA-21."""
    again = merged({"gone_uid": "*"}, {"rv": "20"})
    assert again.met("20", "new", "20")
    assert not again.met("19", "", "")


@given(st.permutations(["3", "20", "100"]))
def test_the_highest_version_stays_in_whatever_order_answers_came(order: list[str]) -> None:
    """RT-CA-21."""
    assert merged(*({"rv": rv} for rv in order)).rv == "100"


def test_an_unknown_outcome_or_version_can_only_be_read_live() -> None:
    """RT-CA-21."""
    for unclear in (fence(unknown=True), fence("abc"), merged({"rv": "1"}, {"unknown": True})):
        assert unclear.needs_live_read
        assert not unclear.met("999", "u", "999")


def test_fences_belong_to_the_key_that_wrote() -> None:
    """RT-CA-20: other keys never wait."""
    fences = Fences()
    fences.record("a", POD, rv="1", gone_uid="", unknown=False, at=0.0)
    fences.record("a", OTHER, rv="2", gone_uid="", unknown=False, at=0.0)
    assert set(fences.pending("a", 1.0)) == {POD, OTHER}
    assert fences.pending("b", 1.0) == {}
    fences.drop("a", POD)
    assert set(fences.pending("a", 1.0)) == {OTHER}


def test_a_fence_is_given_up_after_five_minutes() -> None:
    """RT-CA-21: the server may have been restored from a backup."""
    fences = Fences()
    fences.record("a", POD, rv="1", gone_uid="", unknown=False, at=0.0)
    assert fences.pending("a", MAX_AGE)
    assert not fences.pending("a", MAX_AGE + 1)
    assert len(fences) == 0


def test_keys_that_never_come_back_are_forgotten() -> None:
    """RT-CA-21."""
    fences = Fences()
    for number in range(1000):
        fences.record(number, POD, rv="1", gone_uid="", unknown=False, at=float(number))
    assert len(fences) <= 2 * MAX_AGE + 1
