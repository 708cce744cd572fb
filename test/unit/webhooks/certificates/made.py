"""Certificates that tests share: a key takes a tenth of a second to make."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

from rbgctl.webhooks.certificates.authority import KeyPair, new_authority, new_leaf
from rbgctl.webhooks.certificates.lifetimes import Lifetimes
from rbgctl.webhooks.certificates.rotation import Bundle

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAME = "rbgs-webhook-service.rbgs-system.svc"
TEN_YEARS = timedelta(days=3650)
LIFETIMES = Lifetimes()


def authority(label: str = "a", *, made: datetime = NOW, lives: timedelta = TEN_YEARS) -> KeyPair:
    """The same one for the same arguments."""
    return _authority(label, made, lives)


@cache
def _authority(label: str, made: datetime, lives: timedelta) -> KeyPair:
    del label
    return new_authority(made, lives)


def leaf(
    label: str = "a",
    *,
    name: str = NAME,
    made: datetime = NOW,
    lives: timedelta = TEN_YEARS,
    by: KeyPair | None = None,
) -> KeyPair:
    """Of `authority(label)`, or of another one."""
    return _leaf(name, made, lives, by or authority(label))


@cache
def _leaf(name: str, made: datetime, lives: timedelta, by: KeyPair) -> KeyPair:
    return new_leaf(by, name, made, lives)


def bundle(label: str = "a", **changes: object) -> Bundle:
    """Everything fresh, with these changes."""
    return replace(Bundle(authority=authority(label), leaf=leaf(label)), **changes)  # type: ignore[arg-type]
