"""Delays between retries."""

import random

import pytest

from rbgctl.runtime.ratelimit import Bucket, FastSlow, ItemExponential, Jittered, MaxOf, WithMaxWait, controller_limiter


def test_delay_doubles_per_failure_up_to_the_cap() -> None:  # RT-RL-01
    limiter: ItemExponential[str] = ItemExponential(0.005, 1000.0)
    delays = [limiter.when("a") for _ in range(20)]
    assert delays[:5] == pytest.approx([0.005, 0.01, 0.02, 0.04, 0.08])
    assert delays[17:] == [pytest.approx(655.36), 1000.0, 1000.0]
    assert sum(delays[:18]) == pytest.approx(1310.715)


def test_ten_thousand_failures_still_give_the_cap() -> None:  # RT-RL-01
    limiter: ItemExponential[str] = ItemExponential()
    for _ in range(10_000):
        delay = limiter.when("a")
    assert delay == 1000.0


def test_a_forgotten_key_starts_over_and_others_do_not() -> None:  # RT-RL-01
    limiter: ItemExponential[str] = ItemExponential()
    limiter.when("a")
    limiter.when("b")
    limiter.when("a")
    assert limiter.num_requeues("a") == 2
    limiter.forget("a")
    assert (limiter.num_requeues("a"), limiter.num_requeues("b")) == (0, 1)
    assert limiter.when("a") == 0.005


def test_bucket_lets_the_burst_through_and_then_builds_debt() -> None:  # RT-RL-02
    now = 0.0
    limiter: Bucket[int] = Bucket(lambda: now, qps=10, burst=100)
    assert [limiter.when(n) for n in range(100)] == [0.0] * 100
    assert [limiter.when(n) for n in range(3)] == pytest.approx([0.1, 0.2, 0.3])
    now = 0.3
    assert limiter.when(0) == pytest.approx(0.1)
    now = 1000.0
    assert [limiter.when(n) for n in range(101)][99:] == pytest.approx([0.0, 0.1])


def test_max_of_asks_and_forgets_every_child() -> None:  # RT-RL-03
    slow: FastSlow[str] = FastSlow(1.0, 10.0, 2)
    exponential: ItemExponential[str] = ItemExponential(0.5)
    limiter = MaxOf(exponential, slow)
    assert [limiter.when("a") for _ in range(3)] == [1.0, 1.0, 10.0]
    assert limiter.num_requeues("a") == 3
    exponential.when("a")
    assert limiter.num_requeues("a") == 4
    slow.when("b")
    assert limiter.num_requeues("b") == 1
    limiter.forget("a")
    assert exponential.num_requeues("a") == slow.num_requeues("a") == 0


def test_slow_after_the_fast_attempts() -> None:  # RT-RL-05
    limiter: FastSlow[str] = FastSlow(0.1, 5.0, 3)
    assert [limiter.when("a") for _ in range(5)] == [0.1, 0.1, 0.1, 5.0, 5.0]


def test_max_wait_caps_any_limiter() -> None:  # RT-RL-06
    limiter: WithMaxWait[str] = WithMaxWait(ItemExponential(1.0), 3.0)
    assert [limiter.when("a") for _ in range(4)] == [1.0, 2.0, 3.0, 3.0]
    assert limiter.num_requeues("a") == 4
    limiter.forget("a")
    assert (limiter.num_requeues("a"), limiter.when("a")) == (0, 1.0)


def test_jitter_stays_within_its_fraction_and_spreads() -> None:
    limiter: Jittered[int] = Jittered(ItemExponential(1.0, 1.0), random.Random(1))
    delays = {limiter.when(n) for n in range(200)}
    assert min(delays) >= 0.9
    assert max(delays) <= 1.1
    assert max(delays) - min(delays) > 0.15


def test_a_failing_key_does_not_delay_others_in_a_controller() -> None:  # RT-RL-04
    limiter = controller_limiter(random.Random(2))
    delays = [limiter.when("noisy") for _ in range(500)]
    assert max(delays) == pytest.approx(1000.0, rel=0.1)
    assert delays[0] == pytest.approx(0.005, rel=0.1)
    assert limiter.when("quiet") <= 0.005 * 1.1
