"""How the data of a ControllerRevision becomes the short hash in its name and labels (RBG-37, REV-3, HSH-1).

Results are kept: the same data is hashed in every pass, and byte-wise hashing is slow in Python.
"""

from functools import lru_cache
from typing import Final

from rbgctl.machinery.fnv import OFFSET, fnv1_32, fnv1a_32

_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"


def safe_encode(text: str) -> str:
    """`text` in an alphabet without vowels and look-alikes: each character's code modulo 27 (HSH-1)."""
    return "".join(_ALPHABET[ord(char) % len(_ALPHABET)] for char in text)


@lru_cache(maxsize=512)
def revision_hash(encoded: bytes, collision_count: int) -> str:
    """Hash of set and instance revisions: FNV-1 over the data and the decimal collision count (REV-3)."""
    return safe_encode(str(fnv1_32(str(collision_count).encode(), fnv1_32(encoded))))


@lru_cache(maxsize=512)
def group_hash(*encoded: bytes) -> str:
    """Hash of group revisions and of roles: FNV-1a over the given bytes, one after the other (RBG-37, RBG-40)."""
    state = OFFSET
    for part in encoded:
        state = fnv1a_32(part, state)
    return safe_encode(str(state))
