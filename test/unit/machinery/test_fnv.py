"""FNV-1 and FNV-1a, 32 bit: the published values and those of the specification."""

import pytest

from rbgctl.machinery.fnv import fnv1_32, fnv1a_32


@pytest.mark.parametrize(
    ("data", "fnv1", "fnv1a"),
    [(b"", 0x811C9DC5, 0x811C9DC5), (b"a", 0x050C5D7E, 0xE40C292C), (b"foobar", 0x31F0B262, 0xBF9CF968)],
)
def test_published_values(data: bytes, fnv1: int, fnv1a: int) -> None:
    assert (fnv1_32(data), fnv1a_32(data)) == (fnv1, fnv1a)


def test_values_of_revision_data() -> None:
    # HSH-7, REV-3
    assert fnv1a_32(b'{"name":"a","replicas":null}') == 2948862173
    assert fnv1_32(b'{"spec":{}}0') == 1575608152
    assert fnv1_32(b'{"spec":{"roleInstanceTemplate":{"$patch":"replace","components":[]}}}0') == 3712189745


def test_hashing_goes_on_from_an_earlier_state() -> None:
    assert fnv1_32(b"bar", fnv1_32(b"foo")) == fnv1_32(b"foobar")
    assert fnv1a_32(b"bar", fnv1a_32(b"foo")) == fnv1a_32(b"foobar")
