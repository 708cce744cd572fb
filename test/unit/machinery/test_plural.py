"""Plurals of kinds."""

import pytest

from rbgctl.machinery.plural import guess_plural


@pytest.mark.parametrize(
    ("kind", "plural"),
    [
        ("Pod", "pods"),
        ("RoleBasedGroup", "rolebasedgroups"),
        ("Ingress", "ingresses"),
        ("NetworkPolicy", "networkpolicies"),
        ("Endpoints", "endpoints"),
        ("Gateway", "gatewaies"),
    ],
)
def test_a_plural_is_guessed_from_the_last_letter(kind: str, plural: str) -> None:
    """RT-RM-05: in lower case; wrong guesses included, since others guess the same."""
    assert guess_plural(kind) == plural
