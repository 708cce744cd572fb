"""Quantities in Go's spelling (RBG-36, REV-2). test/golden/quantities.tsv holds what resource.Quantity marshals."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbgctl.machinery.quantity import Quantity, canonical_quantity

GOLDEN = Path(__file__).parents[2] / "golden" / "quantities.tsv"
VECTORS = [line.split("\t") for line in GOLDEN.read_text().splitlines()]
SUFFIXES = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "e3", "e-3"]
TEXTS = st.builds(
    lambda sign, number, suffix: f"{sign}{number}{suffix}",
    st.sampled_from(["", "-", "+"]),
    st.from_regex(r"[0-9]{1,22}(\.[0-9]{0,12})?", fullmatch=True),
    st.sampled_from(SUFFIXES),
)


def test_the_vectors_are_there() -> None:
    assert len(VECTORS) == 600


@pytest.mark.parametrize("given_and_go", VECTORS, ids=lambda pair: pair[0])
def test_spelling_equals_go(given_and_go: list[str]) -> None:
    # RBG-36; an empty second column: Go refuses the text
    text, go = given_and_go
    if go:
        assert canonical_quantity(text) == go
    else:
        with pytest.raises(ValueError, match="quantity"):
            canonical_quantity(text)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.5, "500m"), (100000, "100k"), (1, "1"), (2.0, "2"), (1e21, "1e+21"), (1.5e-7, "150e-9"), (-1, "-1")],
)
def test_json_numbers_become_strings(number: float, text: str) -> None:
    # RBG-36: always strings, also when given as numbers
    assert canonical_quantity(number) == text


def test_surrounding_blanks_are_ignored() -> None:
    assert canonical_quantity(" 1024Mi\n") == "1Gi"


@pytest.mark.parametrize("text", ["", " ", "1x", "1.2.3", "Mi1", "0x10", "١", "1 Gi", "1e", "--1", "1e99999999999"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="quantity"):
        canonical_quantity(text)


def test_values_compare_across_spellings() -> None:
    assert len({Quantity.parse(t).value for t in ("1.500", "1500m", "15e-1", "1.5", "0.0015k")}) == 1
    assert Quantity.parse("1Gi").value == Quantity.parse("1073741824").value != Quantity.parse("1G").value


@given(TEXTS)
def test_canonical_form_is_a_fixed_point_with_the_same_value(text: str) -> None:
    once = canonical_quantity(text)
    assert canonical_quantity(once) == once
    assert Quantity.parse(once).value == Quantity.parse(text).value
