"""Short hashes of revisions (RBG-37, REV-3, HSH-1, HSH-7)."""

import pytest

from rbgctl.planning.revision_hash import group_hash, revision_hash, safe_encode

EMPTY = b'{"spec":{"roleInstanceTemplate":{"$patch":"replace","components":[]}}}'
ONE = (
    b'{"spec":{"roleInstanceTemplate":{"$patch":"replace","components":[{"name":"main","size":1,"template":'
    b'{"metadata":{},"spec":{"containers":[{"image":"nginx:1.25","name":"c","resources":{}}]}}}]}}}'
)
INSTANCE = (
    b'{"spec":{"$setElementOrder/components":[{"name":"main"}],"components":[{"name":"main","serviceName":null,'
    b'"template":{"$patch":"replace","metadata":{},"spec":{"containers":[{"image":"nginx:1.25","name":"c",'
    b'"resources":{}}]}}}]}}'
)


def test_digits_are_mapped() -> None:
    # HSH-1
    assert safe_encode("0123456789") == "456789bcdf"


@pytest.mark.parametrize(
    ("data", "collision_count", "expected"),
    [
        (EMPTY, 0, "7c565dfc89"),
        (EMPTY, 1, "7c565dfc88"),
        (ONE, 0, "86984c75c5"),
        (INSTANCE, 0, "f477bb964"),
        (b'{"spec":{}}', 0, "59c9b4d596"),
    ],
)
def test_set_and_instance_hashes(data: bytes, collision_count: int, expected: str) -> None:
    # REV-3 and its vectors: FNV-1 over the data and the collision count
    assert revision_hash(data, collision_count) == expected


def test_group_hash() -> None:
    # HSH-7: FNV-1a
    assert group_hash(b'{"name":"a","replicas":null}') == "6f8ddb65c7"


def test_group_hash_runs_over_all_parts() -> None:
    # RBG-40: role and template in the same running hash
    assert group_hash(b'{"name":"a",', b'"replicas":null}') == "6f8ddb65c7"
