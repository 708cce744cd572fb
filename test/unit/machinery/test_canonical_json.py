"""Canonical JSON: the bytes Go writes (RBG-35, REV-1, REV-2)."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbgctl.machinery.canonical_json import canonical_json, escape_html, go_float

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def test_keys_are_sorted_and_nothing_is_padded() -> None:
    # HSH-6
    assert canonical_json({"b": [1, {"d": None, "c": True}], "a": ""}) == b'{"a":"","b":[1,{"c":true,"d":null}]}'


def test_html_and_line_separators_are_escaped_and_the_rest_is_utf8() -> None:
    # HSH-6, RBG-35
    assert canonical_json({"<&>": "a && b 2>&1 \u2028\u2029 é \x7f\x01"}) == (
        b'{"\\u003c\\u0026\\u003e":"a \\u0026\\u0026 b 2\\u003e\\u00261 \\u2028\\u2029 \xc3\xa9 \x7f\\u0001"}'
    )


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1.0, "1"),
        (-1.5, "-1.5"),
        (0.000001, "0.000001"),
        (0.0000001, "1e-7"),
        (0.00001234, "0.00001234"),
        (123456789.125, "123456789.125"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (-2.5e-9, "-2.5e-9"),
        (5e-324, "5e-324"),
        (0.0, "0"),
        (-0.0, "-0"),
    ],
)
def test_floats_are_printed_as_go_prints_them(number: float, text: str) -> None:
    # HSH-6, RBG-35: exponent form only from 1e21 and below 1e-6
    assert go_float(number) == text
    assert canonical_json([number]) == f"[{text}]".encode()


def test_integers_are_exact_up_to_2_53_and_rounded_beyond() -> None:
    # RBG-35
    assert canonical_json([2**53, 2**53 + 1, 2**62 + 3, 10**25]) == (
        b"[9007199254740992,9007199254740992,4611686018427388000,1e+25]"
    )


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="not a JSON number"):
        canonical_json(float("nan"))
    with pytest.raises(TypeError):
        canonical_json({"a": object()})


@given(JSON)
def test_canonical_text_is_a_fixed_point(value: object) -> None:
    # Read back, -0 is the integer 0, which has no sign.
    value = orjson.loads(canonical_json(value))
    once = canonical_json(value)
    assert canonical_json(orjson.loads(once)) == once


@given(JSON)
def test_escaping_changes_no_meaning(value: object) -> None:
    encoded = orjson.dumps(value)
    assert orjson.loads(escape_html(encoded)) == orjson.loads(encoded)
