"""What has to be done about certificates now: one step at a time, so that what is served is always trusted (CERT-13).

    keep       nothing is due
    renew      another leaf of the same authority
    announce   another authority is made and trusted beside the current one; nothing is signed with it yet
    switch     it has been trusted everywhere long enough: it signs the leaf now, the old one stays trusted
    retire     every replica has had time to follow: the old authority is trusted no longer
    replace    what is there cannot be used at all: a new leaf at once, of a new authority where that is the trouble

Between two steps the state is in the Secret only. It always holds one authority and one leaf that fit together, as the
Go operator expects them; the next and the previous authority are kept beside them, under keys that it does not know.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from rbgctl.webhooks.certificates.authority import (
    KeyPair,
    ends,
    fault_of_authority,
    fault_of_leaf,
    is_named_as_ours,
    new_authority,
    new_leaf,
    split,
    unexpired,
)
from rbgctl.webhooks.certificates.lifetimes import Lifetimes

MOST_PREVIOUS: Final = 16
"""Authorities that are taken over from caBundles, so that whoever fills these cannot fill the Secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """All that the Secret holds. previous: certificates of authorities that were replaced."""

    authority: KeyPair
    leaf: KeyPair
    next_authority: KeyPair | None = None
    previous: tuple[bytes, ...] = ()

    @property
    def trusted(self) -> tuple[bytes, ...]:
        """Certificates that every caBundle has to hold, the current authority first."""
        following = split(self.next_authority.certificate) if self.next_authority is not None else ()
        return tuple(dict.fromkeys((*split(self.authority.certificate), *following, *self.previous)))

    @property
    def ca_bundle(self) -> bytes:
        """As PEM; with nothing but the current authority exactly as the Secret has it."""
        trusted = self.trusted
        return b"".join(trusted) if len(trusted) > 1 else self.authority.certificate


class Step(StrEnum):
    """See the module."""

    KEEP = "keep"
    RENEW = "renew"
    ANNOUNCE = "announce"
    SWITCH = "switch"
    RETIRE = "retire"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class Decision:
    """why: for the log. look_again: until something may be due."""

    step: Step
    why: str = ""
    look_again: timedelta = field(default=timedelta())


def decide(
    bundle: Bundle,
    dns_name: str,
    now: datetime,
    lifetimes: Lifetimes,
    *,
    trusted_for: float | None = None,
    replaced_for: float | None = None,
) -> Decision:
    """The next step for these certificates.

    trusted_for: seconds since the next authority has been in every caBundle, None while it is not. replaced_for:
    seconds since the previous ones are known to be replaced. Who does not follow that over time, gives neither, and
    then nothing is switched or retired.
    """
    fault = fault_of_leaf(bundle.leaf, bundle.authority.certificate, dns_name, now)
    if fault:
        return Decision(Step.REPLACE, fault)
    leaf_ends, authority_ends = ends(bundle.leaf.certificate), ends(bundle.authority.certificate)
    following = bundle.next_authority
    if following is not None and not fault_of_authority(following, now + lifetimes.authority_margin):
        settled = trusted_for is not None and trusted_for >= lifetimes.settle
        if settled:
            return Decision(Step.SWITCH, "the next authority is trusted everywhere")
        if leaf_ends - now < lifetimes.leaf_margin / 2 and authority_ends > leaf_ends:
            return Decision(Step.RENEW, f"the leaf ends on {leaf_ends} and the next authority is not trusted yet")
        return Decision(Step.KEEP, look_again=timedelta(seconds=lifetimes.settle - (trusted_for or 0.0)))
    fault = fault_of_authority(bundle.authority, now + lifetimes.authority_margin)
    if fault:
        return Decision(Step.ANNOUNCE, fault)
    # One that ends with its authority cannot be bettered; another authority comes in time.
    can_be_renewed = leaf_ends < authority_ends
    if can_be_renewed and leaf_ends < now + lifetimes.leaf_margin:
        return Decision(Step.RENEW, f"the serving certificate is good until {leaf_ends:%Y-%m-%dT%H:%M:%SZ} only")
    due = authority_ends - lifetimes.authority_margin - now
    if can_be_renewed:
        due = min(due, leaf_ends - lifetimes.leaf_margin - now)
    if bundle.next_authority is not None:
        return Decision(Step.RETIRE, "the next authority cannot be used")
    if bundle.previous:
        left = lifetimes.overlap - (replaced_for or 0.0)
        if replaced_for is not None and left <= 0:
            return Decision(Step.RETIRE, "every replica has another certificate by now")
        due = min(due, timedelta(seconds=left))
    return Decision(Step.KEEP, look_again=due)


def first(dns_name: str, now: datetime, lifetimes: Lifetimes, *, installed: tuple[bytes, ...] = ()) -> Bundle:
    """Where there is no Secret. installed: certificates in the caBundles, which others may be served under still."""
    authority = new_authority(now, lifetimes.authority)
    leaf = new_leaf(authority, dns_name, now, lifetimes.leaf)
    return Bundle(authority=authority, leaf=leaf, previous=unexpired(installed, now))


def adopted(bundle: Bundle, installed: tuple[bytes, ...], now: datetime) -> Bundle:
    """With authorities that are trusted though the bundle knows nothing of them: replicas may serve under them still.

    They are previous ones from now on, and leave like these. Only those with the name of our authorities: what else
    somebody wrote into a caBundle goes at once, and gets into no other (CERT-9, CERT-10).
    """
    known = bundle.trusted
    strangers = [c for c in unexpired(installed, now) if c not in known and is_named_as_ours(c)]
    room = max(0, MOST_PREVIOUS - len(bundle.previous))
    return replace(bundle, previous=(*bundle.previous, *strangers[:room])) if strangers[:room] else bundle


def carry_out(
    step: Step,
    bundle: Bundle,
    dns_name: str,
    now: datetime,
    lifetimes: Lifetimes,
    *,
    installed: tuple[bytes, ...] = (),
) -> Bundle:
    """The bundle after the step; a fraction of a second of work. `installed` as in `first`, for a replacement."""
    match step:
        case Step.KEEP:
            return bundle
        case Step.RENEW:
            return replace(bundle, leaf=new_leaf(bundle.authority, dns_name, now, lifetimes.leaf))
        case Step.ANNOUNCE:
            return replace(bundle, next_authority=new_authority(now, lifetimes.authority))
        case Step.SWITCH:
            return _switched(bundle, dns_name, now, lifetimes)
        case Step.RETIRE:
            kept = () if bundle.next_authority is None else bundle.previous
            return replace(bundle, previous=kept, next_authority=None)
        case Step.REPLACE:
            return _replaced(bundle, dns_name, now, lifetimes, installed)


def _switched(bundle: Bundle, dns_name: str, now: datetime, lifetimes: Lifetimes) -> Bundle:
    following = bundle.next_authority
    if following is None:
        raise ValueError("there is no next authority to switch to")
    return Bundle(
        authority=following,
        leaf=new_leaf(following, dns_name, now, lifetimes.leaf),
        previous=_others((*split(bundle.authority.certificate), *bundle.previous), following, now),
    )


def _replaced(
    bundle: Bundle, dns_name: str, now: datetime, lifetimes: Lifetimes, installed: tuple[bytes, ...]
) -> Bundle:
    """A leaf of the authority that is there, else of the one that is announced, else of a new one."""
    ready = now + lifetimes.authority_margin
    known = (a for a in (bundle.authority, bundle.next_authority) if a is not None)
    authority = next((a for a in known if not fault_of_authority(a, ready)), None)
    if authority is None:
        authority = new_authority(now, lifetimes.authority)
    following = bundle.next_authority if authority is bundle.authority else None
    trusted = (*split(bundle.authority.certificate), *bundle.previous, *installed)
    return Bundle(
        authority=authority,
        leaf=new_leaf(authority, dns_name, now, lifetimes.leaf),
        next_authority=following,
        previous=_others(trusted, authority, now),
    )


def _others(certificates: tuple[bytes, ...], authority: KeyPair, now: datetime) -> tuple[bytes, ...]:
    own = split(authority.certificate)
    return tuple(c for c in dict.fromkeys(unexpired(certificates, now)) if c not in own)
