"""Label selectors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbgctl.machinery.selectors import LabelSelector, Requirement

KEYS = st.sampled_from(["a", "b", "example.com/c"])
VALUES = st.sampled_from(["", "x", "y", "10", "9"])
REQUIREMENTS = st.one_of(
    st.builds(lambda k, v: Requirement(k, "in", tuple(v)), KEYS, st.sets(VALUES, min_size=1, max_size=3)),
    st.builds(lambda k, v: Requirement(k, "notin", tuple(v)), KEYS, st.sets(VALUES, min_size=1, max_size=3)),
    st.builds(lambda k: Requirement(k, "exists"), KEYS),
    st.builds(lambda k: Requirement(k, "!exists"), KEYS),
    st.builds(lambda k, v: Requirement(k, "gt", (v,)), KEYS, st.sampled_from(["3", "10"])),
)


def oracle(requirement: Requirement, labels: dict[str, str]) -> bool:
    present, value = requirement.key in labels, labels.get(requirement.key, "")
    match requirement.operator:
        case "exists":
            return present
        case "!exists":
            return not present
        case "in":
            return present and value in requirement.values
        case "notin":
            return not present or value not in requirement.values
        case _:
            return present and value.isdigit() and int(value) > int(requirement.values[0])


@given(st.lists(REQUIREMENTS, max_size=4), st.dictionaries(KEYS, VALUES))
def test_matching_is_the_conjunction_of_the_requirements(
    requirements: list[Requirement], labels: dict[str, str]
) -> None:
    """RT-SL-01."""
    assert LabelSelector.of(requirements).matches(labels) == all(oracle(r, labels) for r in requirements)


@given(st.lists(REQUIREMENTS, max_size=4), st.randoms())
def test_text_is_canonical_and_parses_back(requirements: list[Requirement], random: object) -> None:
    """RT-SL-02: equal selectors have equal text, whatever order they were written in."""
    selector = LabelSelector.of(requirements)
    shuffled = list(requirements)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert str(LabelSelector.of(shuffled)) == str(selector)
    assert LabelSelector.parse(str(selector)) == selector


def test_the_canonical_form_sorts_keys_and_values() -> None:
    """RT-SL-02, SFM-23."""
    selector = LabelSelector.from_object(
        {
            "matchLabels": {"z": "1", "a": "2"},
            "matchExpressions": [
                {"key": "m", "operator": "In", "values": ["q", "p"]},
                {"key": "n", "operator": "NotIn", "values": ["q", "p"]},
                {"key": "k", "operator": "Exists"},
                {"key": "l", "operator": "DoesNotExist"},
            ],
        }
    )
    assert str(selector) == "a=2,k,!l,m in (p,q),n notin (p,q),z=1"


def test_a_missing_selector_selects_nothing_and_an_empty_one_everything() -> None:
    """RT-SL-01."""
    assert not LabelSelector.from_object(None).matches({"a": "b"})
    assert LabelSelector.from_object({}).matches({})


@pytest.mark.parametrize("text", ["a in b", "a=b c", "-a", "a" * 64, "a=-x", "x/y/z", "a in (", "/a"])
def test_invalid_text_is_refused_before_any_request(text: str) -> None:
    """RT-SL-03."""
    with pytest.raises(ValueError, match=r"label|selector"):
        LabelSelector.parse(text)


@pytest.mark.parametrize("length", [63, 64])
def test_names_and_values_have_at_most_63_characters(length: int) -> None:
    """RT-SL-03: the prefix of a key is not counted, and has 253 of its own."""
    long, prefix = "a" * length, "p" * 190 + "." + "q" * length
    for text in (long, f"example.com/{long}", f"k={long}", f"k in ({long},b)", f"{prefix[: 253 - 63 + length]}/n"):
        if length == 63:
            assert str(LabelSelector.parse(text))
        else:
            with pytest.raises(ValueError, match="invalid label"):
                LabelSelector.parse(text)


@pytest.mark.parametrize(
    ("text", "value", "matches"),
    [
        ("a>9", "10", True),
        ("a>10", "10", False),
        ("a<10", "9", True),
        ("a>1", "1_0", False),
        ("a>1", "x", False),
        ("a>1", "99999999999999999999", False),
        ("a<1", None, False),
    ],
)
def test_comparisons_are_of_integers_as_the_server_reads_them(text: str, value: str | None, matches: bool) -> None:
    """RT-SL-01: what is no 64-bit integer matches no comparison."""
    labels = {"a": value} if value is not None else {}
    assert LabelSelector.parse(text).matches(labels) is matches


@pytest.mark.parametrize("text", ["a>x", "a>", "a<1_0", "a>99999999999999999999"])
def test_a_comparison_with_something_else_is_refused(text: str) -> None:
    """RT-SL-03."""
    with pytest.raises(ValueError, match="integer"):
        LabelSelector.parse(text)


@pytest.mark.parametrize(
    "expression",
    [
        {"key": "a", "operator": "In", "values": []},
        {"key": "a", "operator": "Exists", "values": ["x"]},
        {"key": "a", "operator": "Gt", "values": ["1"]},
        {"key": "", "operator": "Exists"},
    ],
)
def test_expressions_that_make_no_sense_are_refused(expression: dict[str, object]) -> None:
    """RT-SL-01, RT-SL-03: the API form has no comparisons."""
    with pytest.raises(ValueError, match=r"label|operator"):
        LabelSelector.from_object({"matchExpressions": [expression]})


def test_a_text_may_be_written_loosely() -> None:
    """RT-SL-02."""
    assert str(LabelSelector.parse("b == 1 , a in (y, x),!c, d notin(z)")) == "a in (x,y),b=1,!c,d!=z"
    assert LabelSelector.parse("") == LabelSelector()
