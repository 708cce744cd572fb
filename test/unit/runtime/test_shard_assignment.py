"""Which shard a key is in, and who leads which shard."""

from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbgctl.machinery.gvk import NN
from rbgctl.runtime.sharding.assignment import assign, by_label, own_key, shard_of
from rbgctl.runtime.store import Header

MEMBERS = st.sets(st.sampled_from(["a", "b", "c", "d", "e", "f"]))


@st.composite
def situations(draw: st.DrawFn) -> tuple[set[str], dict[int, str], int]:
    shards = draw(st.integers(1, 12))
    holder = st.sampled_from(["a", "b", "c", "d", "gone"])
    return draw(MEMBERS), draw(st.dictionaries(st.integers(0, shards - 1), holder)), shards


# ---- shard of a key ----


@pytest.mark.parametrize(
    ("key", "of_3", "of_16", "of_256"),
    [
        ("", 1, 4, 20),
        ("default/shop", 0, 11, 59),
        ("default/shop-1", 1, 0, 192),
        ("team-a/llama", 1, 1, 145),
        ("team-b/llama", 1, 0, 192),
        ("kube-system/x", 0, 4, 212),
        ("über/größe", 1, 6, 246),
    ],
)
def test_the_hash_never_changes(key: str, of_3: int, of_16: int, of_256: int) -> None:
    """Managers of different releases share the work: these numbers are part of what they agree on."""
    assert (shard_of(key, 3), shard_of(key, 16), shard_of(key, 256)) == (of_3, of_16, of_256)


@given(st.text(), st.integers(1, 300))
def test_every_key_is_in_exactly_one_shard(key: str, shards: int) -> None:
    assert 0 <= shard_of(key, shards) < shards
    assert shard_of(key, 1) == 0


def test_keys_spread_evenly() -> None:
    found = Counter(shard_of(f"namespace-{n % 7}/group-{n}", 5) for n in range(5000))
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert max(found.values()) < 1.15 * 1000


def test_keys_with_the_same_label_go_together_and_others_by_themselves() -> None:
    shard_key = by_label("example.org/group")

    def header(name: str, **labels: str) -> Header:
        return Header(namespace="ns", name=name, uid="u", rv="1", labels=tuple(labels.items()))

    labelled = Header(namespace="ns", name="x-0", uid="u", rv="1", labels=(("example.org/group", "x"),))
    assert shard_key(NN("ns", "x-0"), labelled) == "ns/x" == own_key(NN("ns", "x"), None)
    assert shard_key(NN("ns", "x-0"), header("x-0", other="x")) == "ns/x-0"
    assert shard_key(NN("ns", "x-0"), None) == "ns/x-0"


# ---- owner of a shard ----


@given(situations())
def test_every_shard_has_a_member_as_owner_and_shares_differ_by_one_at_most(
    situation: tuple[set[str], dict[int, str], int],
) -> None:
    members, holders, shards = situation
    owners = assign(members, holders, shards)
    assert len(owners) == shards
    if not members:
        assert set(owners) == {""}
        return
    sizes = Counter(dict.fromkeys(members, 0))
    sizes.update(owners)
    assert sizes.keys() == members
    assert max(sizes.values()) - min(sizes.values()) <= 1


@given(situations())
def test_all_managers_come_to_the_same_answer_and_stay_with_it(
    situation: tuple[set[str], dict[int, str], int],
) -> None:
    members, holders, shards = situation
    owners = assign(sorted(members), holders, shards)
    assert assign(sorted(members, reverse=True), dict(reversed(holders.items())), shards) == owners
    assert assign(members, dict(enumerate(owners)), shards) == owners


@given(st.sets(st.sampled_from(["a", "b", "c"]), min_size=1), st.data())
def test_as_few_shards_move_as_a_fair_share_allows(members: set[str], data: st.DataObject) -> None:
    """Compared with every possible fair assignment."""
    shards = data.draw(st.integers(1, 6))
    holder = st.sampled_from(["a", "b", "c", "gone"])
    holders = data.draw(st.dictionaries(st.integers(0, shards - 1), holder))

    def moved(owners: tuple[str, ...]) -> int:
        return sum(holders.get(s) in members and holders[s] != owner for s, owner in enumerate(owners))

    low, extra = divmod(shards, len(members))
    fair = sorted([low] * (len(members) - extra) + [low + 1] * extra)
    possible = (p for p in product(sorted(members), repeat=shards) if sorted(p.count(m) for m in members) == fair)
    assert moved(assign(members, holders, shards)) == min(map(moved, possible))


def test_a_newcomer_gets_its_share_and_the_others_keep_theirs() -> None:
    assert assign({"a", "b", "c", "d"}, {0: "a", 1: "b", 2: "c"}, 3) == ("a", "b", "c")
    assert assign({"a", "b"}, {0: "a", 1: "a", 2: "a", 3: "a"}, 4) == ("a", "a", "b", "b")
    assert assign({"b", "c"}, {0: "a", 1: "b", 2: "c"}, 3) == ("b", "b", "c")
