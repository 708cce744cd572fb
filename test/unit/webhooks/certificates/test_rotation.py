"""Which step is due, and a whole life of certificates in virtual time."""

import random
from dataclasses import replace
from datetime import timedelta

import pytest
from unit.webhooks.certificates.made import LIFETIMES, NAME, NOW, authority, bundle, leaf

from rbgctl.webhooks.certificates.authority import KeyPair, ends, fault_of_leaf
from rbgctl.webhooks.certificates.follower import SOON
from rbgctl.webhooks.certificates.lifetimes import ONE_YEAR, SIX_MONTHS, Lifetimes
from rbgctl.webhooks.certificates.rotation import Bundle, Step, carry_out, decide, first

SHORT = Lifetimes(authority=timedelta(minutes=90), leaf=timedelta(minutes=60))
FIVE_YEARS = Lifetimes(authority=timedelta(days=1825), leaf=timedelta(days=400))


def test_fresh_certificates_are_kept_until_a_third_of_their_lifetime_is_left() -> None:
    """CERT-4, CERT-13."""
    found = decide(bundle(), NAME, NOW, LIFETIMES)
    assert found.step is Step.KEEP
    assert found.look_again == timedelta(days=3650) * 2 / 3
    due = decide(bundle(), NAME, NOW + found.look_again + timedelta(minutes=1), LIFETIMES)
    assert due.step is Step.ANNOUNCE


@pytest.mark.parametrize(
    ("left", "step"), [(SIX_MONTHS + timedelta(days=1), Step.KEEP), (timedelta(days=182), Step.RENEW)]
)
def test_a_leaf_with_less_than_six_months_left_is_renewed_by_the_same_authority(left: timedelta, step: Step) -> None:
    """CERT-4, CERT-5: a third of this lifetime would be less."""
    old = bundle(
        authority=authority(lives=FIVE_YEARS.authority), leaf=leaf(by=authority(lives=FIVE_YEARS.authority), lives=left)
    )
    assert FIVE_YEARS.leaf / 3 < timedelta(days=182)
    assert decide(old, NAME, NOW, FIVE_YEARS).step is step
    new = carry_out(Step.RENEW, old, NAME, NOW, FIVE_YEARS)
    assert new == replace(old, leaf=new.leaf)
    assert ends(new.leaf.certificate) == NOW + FIVE_YEARS.leaf
    assert decide(new, NAME, NOW, FIVE_YEARS).step is Step.KEEP


@pytest.mark.parametrize(
    ("left", "step"), [(ONE_YEAR + timedelta(days=1), Step.KEEP), (timedelta(days=364), Step.ANNOUNCE)]
)
def test_an_authority_with_less_than_a_year_left_is_followed_by_another_one(left: timedelta, step: Step) -> None:
    """CERT-5: it signs nothing any more."""
    lifetimes = Lifetimes(authority=timedelta(days=800), leaf=timedelta(days=90))
    old = authority("old", lives=left)
    assert decide(bundle(authority=old, leaf=leaf(by=old, lives=timedelta(days=90))), NAME, NOW, lifetimes).step is step


@pytest.mark.parametrize(
    "broken",
    [
        bundle(leaf=KeyPair(b"", b"")),
        bundle(leaf=leaf("b")),
        bundle(leaf=KeyPair(leaf().certificate, leaf("b").key)),
        bundle(leaf=leaf(name="rbgs-webhook-service.elsewhere.svc")),
        bundle(leaf=leaf(lives=timedelta(hours=1))),
        bundle(authority=authority("b")),
        bundle(authority=KeyPair(b"", b""), leaf=KeyPair(b"", b"")),
    ],
)
def test_what_cannot_be_used_is_replaced_at_once(broken: Bundle) -> None:
    """CERT-4, CERT-5: the authority is used again when it can be, and is trusted for a while in any case."""
    now = NOW + timedelta(days=1)
    assert decide(broken, NAME, now, LIFETIMES).step is Step.REPLACE
    foreign = authority("installed").certificate
    new = carry_out(Step.REPLACE, broken, NAME, now, LIFETIMES, installed=(foreign,))
    assert decide(new, NAME, now, LIFETIMES).step is Step.KEEP
    usable = broken.authority in (authority(), authority("b"))
    assert (new.authority == broken.authority) is usable
    assert new.trusted == (new.authority.certificate, foreign)


def test_the_authority_that_was_announced_takes_over_when_the_current_one_is_lost() -> None:
    broken = bundle(authority=KeyPair(b"", b""), next_authority=authority("b"))
    assert carry_out(Step.REPLACE, broken, NAME, NOW, LIFETIMES).authority == authority("b")


def test_a_lost_key_of_the_authority_does_not_touch_the_leaf() -> None:
    """CERT-13: what is served stays trusted, the next authority comes in order."""
    broken = bundle(authority=KeyPair(authority().certificate, b"lost"))
    assert decide(broken, NAME, NOW, LIFETIMES).step is Step.ANNOUNCE
    assert carry_out(Step.ANNOUNCE, broken, NAME, NOW, LIFETIMES).leaf == broken.leaf


def test_an_authority_is_changed_in_four_steps_and_what_is_served_is_trusted_in_each() -> None:
    """CERT-13: announced and trusted, then used, then the old one is dropped."""
    now = NOW + timedelta(minutes=61)
    lives = {"lives": SHORT.authority}
    old = bundle(authority=authority("s", **lives), leaf=leaf(by=authority("s", **lives), lives=timedelta(hours=2)))
    assert decide(old, NAME, now, SHORT).step is Step.ANNOUNCE
    announced = carry_out(Step.ANNOUNCE, old, NAME, now, SHORT)
    following = announced.next_authority
    assert following is not None
    assert (announced.leaf, announced.authority) == (old.leaf, old.authority)
    assert announced.trusted == (old.authority.certificate, following.certificate)
    assert announced.ca_bundle == old.authority.certificate + following.certificate

    for seconds in (None, 0.0, SHORT.settle - 1):
        waiting = decide(announced, NAME, now, SHORT, trusted_for=seconds)
        assert (waiting.step, waiting.look_again.total_seconds()) == (Step.KEEP, SHORT.settle - (seconds or 0.0))
    assert decide(announced, NAME, now, SHORT, trusted_for=SHORT.settle).step is Step.SWITCH

    switched = carry_out(Step.SWITCH, announced, NAME, now, SHORT)
    assert switched.authority == following
    assert not fault_of_leaf(switched.leaf, following.certificate, NAME, now)
    assert switched.trusted == (following.certificate, old.authority.certificate)
    for seconds in (None, SHORT.overlap - 1):
        assert decide(switched, NAME, now, SHORT, replaced_for=seconds).step is Step.KEEP
    assert decide(switched, NAME, now, SHORT, replaced_for=SHORT.overlap).step is Step.RETIRE

    retired = carry_out(Step.RETIRE, switched, NAME, now, SHORT)
    assert retired.trusted == (following.certificate,)
    assert retired.ca_bundle == following.certificate
    assert (retired.leaf, retired.authority) == (switched.leaf, switched.authority)
    assert decide(retired, NAME, now, SHORT).step is Step.KEEP


def test_a_leaf_is_renewed_although_the_next_authority_finds_no_trust() -> None:
    """CERT-13: a webhook configuration that cannot be patched must not end in an expired certificate."""
    lives = {"lives": SHORT.authority}
    own = authority("s", **lives)
    waiting = bundle(authority=own, leaf=leaf(by=own, lives=SHORT.leaf), next_authority=authority("t", **lives))
    early, late = NOW + SHORT.leaf - SHORT.leaf_margin, NOW + SHORT.leaf - SHORT.leaf_margin / 4
    assert decide(waiting, NAME, early, SHORT).step is Step.KEEP
    assert decide(waiting, NAME, late, SHORT).step is Step.RENEW


def test_a_leaf_that_ends_with_its_authority_is_not_renewed_over_and_over() -> None:
    """CERT-13: the next authority brings the next leaf, in time."""
    lifetimes = Lifetimes(authority=timedelta(days=400), leaf=timedelta(days=3650))
    made = first(NAME, NOW, lifetimes)
    assert ends(made.leaf.certificate) == ends(made.authority.certificate)
    found = decide(made, NAME, NOW, lifetimes)
    assert (found.step, found.look_again) == (Step.KEEP, lifetimes.authority - lifetimes.authority_margin)
    due = NOW + found.look_again + timedelta(minutes=1)
    assert decide(made, NAME, due, lifetimes).step is Step.ANNOUNCE
    announced = carry_out(Step.ANNOUNCE, made, NAME, due, lifetimes)
    assert decide(announced, NAME, due, lifetimes, trusted_for=lifetimes.settle).step is Step.SWITCH


def test_an_announced_authority_that_is_no_good_is_dropped() -> None:
    odd = bundle(next_authority=KeyPair(authority("b").certificate, b""))
    assert decide(odd, NAME, NOW, LIFETIMES, trusted_for=1e9).step is Step.RETIRE
    assert carry_out(Step.RETIRE, odd, NAME, NOW, LIFETIMES) == bundle()


def test_without_a_secret_everything_is_made_and_what_is_trusted_stays_so() -> None:
    # CERT-3, CERT-5
    made = first(
        NAME, NOW, LIFETIMES, installed=(authority("b").certificate, authority("x", lives=timedelta(0, 5)).certificate)
    )
    assert decide(made, NAME, NOW, LIFETIMES).step is Step.KEEP
    assert made.trusted[1] == authority("b").certificate
    late = first(
        NAME, NOW + timedelta(days=1), LIFETIMES, installed=(authority("x", lives=timedelta(0, 5)).certificate,)
    )
    assert len(late.trusted) == 1


def test_with_one_authority_the_bundle_is_what_the_secret_says_to_the_byte() -> None:
    # CERT-9: another spelling would be rewritten by a Go operator, and then by us
    odd = KeyPair(authority().certificate.replace(b"\n", b"\r\n"), authority().key)
    assert bundle(authority=odd).ca_bundle == odd.certificate


@pytest.mark.parametrize("lives", [timedelta(seconds=1), timedelta(0)])
def test_lifetimes_too_short_to_renew_are_refused(lives: timedelta) -> None:
    with pytest.raises(ValueError, match="2 s is the least"):
        Lifetimes(leaf=lives)


@pytest.mark.parametrize("leaf_days", [1 / 5760, 1, 30, 183, 365, 3650])
@pytest.mark.parametrize("authority_days", [1 / 2880, 2, 60, 800, 3650])
def test_a_rotation_always_fits_into_what_is_left(leaf_days: float, authority_days: float) -> None:
    """CERT-13: announce, settle, switch and every replica's next look end before the old certificates do."""
    it = Lifetimes(authority=timedelta(days=authority_days), leaf=timedelta(days=leaf_days))
    least = min(it.leaf_margin, it.authority_margin).total_seconds()
    follows = 1.2 * (it.poll + min(it.poll, SOON)) + it.settle
    assert it.resync + it.settle + it.retry + follows < least
    assert it.overlap > follows + it.poll
    # A fresh certificate is not due.
    assert it.leaf_margin < it.leaf
    assert it.authority_margin < it.authority


class World:
    """A leader, replicas that follow now and then, and caBundles: in virtual time, whatever the interleaving."""

    def __init__(self, seed: int, lifetimes: Lifetimes) -> None:
        self.rng = random.Random(seed)
        self.lifetimes = lifetimes
        self.now = NOW
        self.secret = first(NAME, NOW, lifetimes)
        self.bundles = [set(self.secret.trusted) for _ in range(3)]
        self.serving = [self.secret] * 3
        self.next_look = [0.0] * 3
        self.trusted_since: float | None = None
        self.replaced: tuple[object, float] = ((), 0.0)
        self.steps: list[Step] = []

    @property
    def seconds(self) -> float:
        return (self.now - NOW).total_seconds()

    def lead(self) -> None:
        following = self.secret.next_authority
        if self.replaced[0] != self.secret.previous:
            self.replaced = self.secret.previous, self.seconds
        decision = decide(
            self.secret,
            NAME,
            self.now,
            self.lifetimes,
            trusted_for=self.seconds - self.trusted_since if following and self.trusted_since is not None else None,
            replaced_for=self.seconds - self.replaced[1],
        )
        if decision.step is not Step.KEEP:
            self.steps.append(decision.step)
            self.secret = carry_out(decision.step, self.secret, NAME, self.now, self.lifetimes)
            if self.rng.random() < 0.2:
                return  # the leader died before it published
        for index in range(3):
            self.bundles[index] = set(self.secret.trusted)
        if self.secret.next_authority is None:
            self.trusted_since = None
        elif self.trusted_since is None:
            self.trusted_since = self.seconds

    def follow(self, index: int) -> None:
        self.next_look[index] = self.seconds + self.lifetimes.poll * self.rng.uniform(0.8, 1.2)
        if all(self.secret.authority.certificate in b for b in self.bundles):
            self.serving[index] = self.secret

    def check(self) -> None:
        for serving in self.serving:
            assert not fault_of_leaf(serving.leaf, serving.authority.certificate, NAME, self.now)
            for trusted in self.bundles:
                assert serving.authority.certificate in trusted, f"after {self.steps}"


@pytest.mark.parametrize("seed", range(3))
def test_no_replica_ever_serves_what_is_not_trusted(seed: int) -> None:
    """CERT-13: three generations of authorities and their leaves, a leader that sometimes dies half-way."""
    world = World(seed, SHORT)
    while world.seconds < 4 * 3600:
        world.lead()
        world.check()
        for index in range(3):
            if world.seconds >= world.next_look[index]:
                world.follow(index)
                world.check()
        world.now += timedelta(seconds=world.rng.uniform(5, 25))
    assert world.steps.count(Step.SWITCH) >= 3
    assert world.steps.count(Step.RETIRE) >= 3
    assert Step.REPLACE not in world.steps
