"""Go's flag spellings (02 §11.1)."""

import pytest

from rbgctl.cli.go_flags import rewrite

SWITCHES = {"metrics-secure", "zap-devel"}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["-kubeconfig", "x"], ["--kubeconfig", "x"]),
        (["--metrics-secure=false"], ["--no-metrics-secure"]),
        (["-metrics-secure=F"], ["--no-metrics-secure"]),
        (["--zap-devel=1"], ["--zap-devel"]),
        (["--zap-devel"], ["--zap-devel"]),
        (["-n", "ns"], ["-n", "ns"]),
        (["--zap-log-level=debug"], ["--zap-log-level=debug"]),
        (["a", "--", "-x=false"], ["a", "--", "-x=false"]),
    ],
)
def test_spellings_become_double_dash_flags(given: list[str], wanted: list[str]) -> None:
    assert rewrite(given, SWITCHES) == wanted


def test_a_switch_with_another_value_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="metrics-secure"):
        rewrite(["--metrics-secure=maybe"], SWITCHES)
