"""The 32-bit Fowler-Noll-Vo hashes that name ControllerRevisions (RBG-37, REV-3)."""

from typing import Final

OFFSET: Final = 2166136261
_PRIME: Final = 16777619
_MASK: Final = 0xFFFFFFFF


def fnv1_32(data: bytes, state: int = OFFSET) -> int:
    """FNV-1: multiply, then xor. Pass an earlier result as `state` to go on hashing."""
    for byte in data:
        state = ((state * _PRIME) & _MASK) ^ byte
    return state


def fnv1a_32(data: bytes, state: int = OFFSET) -> int:
    """FNV-1a: xor, then multiply. Pass an earlier result as `state` to go on hashing."""
    for byte in data:
        state = ((state ^ byte) * _PRIME) & _MASK
    return state
