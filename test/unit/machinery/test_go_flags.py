"""Command lines as Go reads them (02 §11.1)."""

import math
from collections.abc import Sequence

import pytest

from rbgctl.machinery.go_flags import Flag, HelpWanted, UsageError, parse, usage

FLAGS = (
    Flag(name="name", kind="string", default="x", usage="a name"),
    Flag(name="n", kind="int", default="3", usage="how many"),
    Flag(name="qps", kind="float", default="20", usage="how often"),
    Flag(name="wait", kind="duration", default="2m0s", usage="how long"),
    Flag(name="on", kind="bool", default="false", usage="a switch"),
    Flag(name="colour", kind="string", default="", usage="red or blue", accepts=lambda t: t in {"red", "blue"}),
)

READ = [
    (["-name", "a"], {"name": "a"}, ()),
    (["--name", "a"], {"name": "a"}, ()),
    (["-name=a"], {"name": "a"}, ()),
    (["--name=a=b"], {"name": "a=b"}, ()),
    (["--name="], {"name": ""}, ()),
    (["--name", "-n"], {"name": "-n"}, ()),
    (["--name=a", "-name=b"], {"name": "b"}, ()),
    (["-on"], {"on": True}, ()),
    (["--on=false"], {"on": False}, ()),
    (["--on=F"], {"on": False}, ()),
    (["--on=1"], {"on": True}, ()),
    (["--on", "false", "-n=1"], {"on": True}, ("false", "-n=1")),
    (["-n", "7"], {"n": 7}, ()),
    (["-n=-7"], {"n": -7}, ()),
    (["-n=0x10"], {"n": 16}, ()),
    (["-n=010"], {"n": 8}, ()),
    (["-n=0b11"], {"n": 3}, ()),
    (["-qps=2.5"], {"qps": 2.5}, ()),
    (["-qps", "-1"], {"qps": -1.0}, ()),
    (["-qps=1e2"], {"qps": 100.0}, ()),
    *[
        ([f"-n={text}"], {"n": number}, ())
        for text, number in (
            ("30_000", 30000),
            ("-9223372036854775808", -(1 << 63)),
            ("9223372036854775807", (1 << 63) - 1),
            ("-0x8000000000000000", -(1 << 63)),
            ("0_7", 7),
            ("0o_7", 7),
            ("0x_f", 15),
            ("0B1_0", 2),
            ("00", 0),
            ("0", 0),
            ("-0", 0),
            ("+5", 5),
        )
    ],
    *[
        ([f"-qps={text}"], {"qps": number}, ())
        for text, number in (
            ("1_0", 10.0),
            ("0x1p-2", 0.25),
            ("-0X1P+2", -4.0),
            ("0x_1.8p1", 3.0),
            ("0x.8p0", 0.5),
            ("0x1.p3", 8.0),
            ("0x_1_2.3_4_5p+1_2", 74565.0),
            ("1_23.50_0_0e+1_2", 1.235e14),
            ("0x1p-1080", 0.0),
            ("08.5", 8.5),
            ("1.", 1.0),
            ("+Infinity", math.inf),
        )
    ],
    (["-wait=2m0s"], {"wait": 120.0}, ()),
    (["-wait", "1h1m1s"], {"wait": 3661.0}, ()),
    (["-wait=300ms"], {"wait": 0.3}, ()),
    (["-colour=red"], {"colour": "red"}, ()),
    ([], {}, ()),
    (["-n=1", "--", "-n=2"], {"n": 1}, ("-n=2",)),
    (["-n=1", "-", "-n=2"], {"n": 1}, ("-", "-n=2")),
    (["word", "-n=2"], {}, ("word", "-n=2")),
]


@pytest.mark.parametrize(("given", "values", "rest"), READ, ids=[" ".join(g) or "nothing" for g, _, _ in READ])
def test_what_go_reads(given: Sequence[str], values: dict[str, object], rest: tuple[str, ...]) -> None:
    line = parse(given, FLAGS)
    assert (dict(line.given), line.rest) == (values, rest)


REFUSED = [
    (["-other"], "flag provided but not defined: -other"),
    (["--no-on"], "flag provided but not defined: -no-on"),
    (["--nam=a"], "flag provided but not defined: -nam"),
    (["---name=a"], "bad flag syntax: ---name=a"),
    (["-=a"], "bad flag syntax: -=a"),
    (["-name"], "flag needs an argument: -name"),
    (["-on=maybe"], 'invalid value "maybe" for flag -on: want true or false'),
    (["-n=1.5"], 'invalid value "1.5" for flag -n'),
    (["-n=08"], 'invalid value "08" for flag -n'),
    (["-n= 1"], 'invalid value " 1" for flag -n'),
    *[
        ([f"-n={text}"], f'invalid value "{text}" for flag -n')
        for text in ("9223372036854775808", "-9223372036854775809", "1__0", "_1", "1_", "0_", "0_8", "0b2", "0x", "٣")
    ],
    *[
        ([f"-qps={text}"], f'invalid value "{text}" for flag -qps')
        for text in ("1_.0", "._1", "1__0", "_1", "1_", "0x1.8", "0xp1", "0x1_p1", "0x1p_1", "0b1", "+nan", "٣")
    ],
    *[
        ([f"-qps={text}"], f'invalid value "{text}" for flag -qps')  # more than a float64 holds
        for text in ("1e400", "-1e400", "0x1p1024")
    ],
    (["-wait=٣s"], 'invalid value "٣s" for flag -wait'),
    (["-wait=5"], 'invalid value "5" for flag -wait: want a duration like'),
    (["-colour=green"], 'invalid value "green" for flag -colour'),
]


@pytest.mark.parametrize(("given", "text"), REFUSED, ids=[g[0] for g, _ in REFUSED])
def test_what_go_refuses(given: Sequence[str], text: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(given, FLAGS)
    assert str(refused.value).startswith(text)


@pytest.mark.parametrize("word", ["-h", "--help", "-help", "--h=true"])
def test_help_is_no_flag_but_a_wish(word: str) -> None:
    with pytest.raises(HelpWanted):
        parse(["-n=1", word, "-other"], FLAGS)


def test_usage_lists_every_flag_with_its_default() -> None:
    text = usage("program", FLAGS)
    assert text.splitlines()[:5] == [
        "Usage of program:",
        "  -colour string",
        "    \tred or blue",
        "  -n int",
        "    \thow many (default 3)",
    ]
    assert '    \ta name (default "x")' in text.splitlines()
    assert "  -on\n    \ta switch\n" in text
