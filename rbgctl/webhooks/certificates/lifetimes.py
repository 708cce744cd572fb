"""How long certificates live, and every period that follows from that.

A certificate is renewed when less than a third of its lifetime is left; one that lives a year or more also when less
than six months are (CERT-4), an authority of two years or more when less than a year is (CERT-5). Short lifetimes
shorten all periods with them, so that a rotation always ends long before anything expires.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

TEN_YEARS: Final = timedelta(days=3650)
SIX_MONTHS: Final = timedelta(days=184)
ONE_YEAR: Final = timedelta(days=366)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """authority, leaf: how long a new certificate is good for. Raises ValueError for less than two seconds."""

    authority: timedelta = TEN_YEARS
    leaf: timedelta = TEN_YEARS

    def __post_init__(self) -> None:
        for name, value in (("authority", self.authority), ("leaf", self.leaf)):
            if value < timedelta(seconds=2):
                raise ValueError(f"a certificate that lives {value.total_seconds():g} s ({name}): 2 s is the least")

    @property
    def leaf_margin(self) -> timedelta:
        """What has to be left of a serving certificate."""
        return _margin(self.leaf, SIX_MONTHS)

    @property
    def authority_margin(self) -> timedelta:
        """What has to be left of an authority that signs another certificate."""
        return _margin(self.authority, ONE_YEAR)

    @property
    def shortest(self) -> timedelta:
        return min(self.leaf, self.authority)

    @property
    def poll(self) -> float:
        """Seconds between two looks of a replica at the Secret; before jitter."""
        return min(180.0, self.shortest.total_seconds() / 60)

    @property
    def settle(self) -> float:
        """Seconds that API servers get to learn of a new caBundle before anything is served that needs it.

        The leader waits that long before it signs with a new authority, each replica before it serves under one.
        """
        return min(30.0, self.shortest.total_seconds() / 20)

    @property
    def overlap(self) -> float:
        """Seconds for which a replaced authority stays trusted: every replica has followed the Secret by then."""
        return min(3600.0, self.shortest.total_seconds() / 8)

    @property
    def resync(self) -> float:
        """Seconds after which all is looked at again although nothing is due (CERT-12)."""
        return min(600.0, self.shortest.total_seconds() / 6)

    @property
    def retry(self) -> float:
        """Seconds after a failed pass (CERT-12)."""
        return min(30.0, self.shortest.total_seconds() / 60)


def _margin(lifetime: timedelta, least: timedelta) -> timedelta:
    return max(lifetime / 3, least if lifetime >= 2 * least else timedelta())
