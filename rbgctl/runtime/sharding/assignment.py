"""Which part of the work a key belongs to, and which manager does which part. Pure: no I/O, no clock.

    shard  =  first 8 bytes of SHA-256(shard key), as a big-endian number, modulo the number of shards

A *shard key* is any text; keys that must be handled by the same process (a group and all that is made for it) share
one. The hash is part of what managers agree on: every release computes the same shard, or two of them would work on
one object.

`assign` gives every shard an owner. With m members and s shards each gets s // m or one more, a shard stays where it
is unless its holder has more than its share, and as few shards move as that allows: the one-more goes to those who
hold the most already.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping

from rbgctl.machinery.gvk import NN
from rbgctl.runtime.store import Header

ShardKey = Callable[[NN, Header | None], str]
"""The shard key of a controller's key; the header is the last known one, None for an object never seen. Must not
depend on anything else: all managers have to come to the same answer."""


def own_key(key: NN, header: Header | None) -> str:
    """The default: `namespace/name` of the object itself."""
    return f"{key.namespace}/{key.name}"


def by_label(label: str) -> ShardKey:
    """`namespace/<value of the label>`, so that objects which carry the same value go together; without it, the
    object's own key.
    """

    def shard_key(key: NN, header: Header | None) -> str:
        value = header.label(label) if header is not None else ""
        return f"{key.namespace}/{value}" if value else own_key(key, header)

    return shard_key


def shard_of(shard_key: str, shards: int) -> int:
    """A number from 0 to `shards` - 1, the same on every machine and in every release."""
    return int.from_bytes(hashlib.sha256(shard_key.encode()).digest()[:8], "big") % shards


def assign(members: Collection[str], holders: Mapping[int, str], shards: int) -> tuple[str, ...]:
    """The owner of every shard; empty texts when there are no members.

    holders: who holds a shard now; a holder that is no member counts as nobody. Same arguments, same answer, and the
    answer as `holders` gives the answer again.
    """
    if not members:
        return ("",) * shards
    held = {m: [s for s in range(shards) if holders.get(s) == m] for m in sorted(set(members))}
    share, extra = divmod(shards, len(held))
    by_load = sorted(held, key=lambda m: (-len(held[m]), m))
    room = {m: share + (rank < extra) for rank, m in enumerate(by_load)}
    owners = [""] * shards
    for member, mine in held.items():
        for shard in mine[: room[member]]:
            owners[shard] = member
            room[member] -= 1
    for shard in range(shards):
        if not owners[shard]:
            taker = max(held, key=lambda m: room[m])
            owners[shard] = taker
            room[taker] -= 1
    return tuple(owners)
