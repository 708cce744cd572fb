"""Annotations of an object may take 256 KiB together; what up-conversion adds keeps within that."""

from typing import Any

import pytest
from unit.api.conversion.objects import (
    COORDINATION,
    GANG,
    OLD_TOPOLOGY,
    POLICY,
    TOPOLOGY,
    V1,
    V1_DATA,
    V2,
    V2_DATA,
    annotations_of,
    copied,
    group,
    group_set,
)

from rbgctl.api.conversion import convert, convert_and_report
from rbgctl.machinery.gvk import RawObject

LIMIT = 256 << 10
QUEUE = GANG + "-volcano-queue"
RULES = [{"name": "x", "roles": ["r" * 1000]}]
POLICY_FIELD = {"volcanoScheduling": {"queue": "q" * 3000}}


def total(annotations: dict[str, str]) -> int:
    return sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())


def filled(room: int) -> dict[str, str]:
    """Annotations of a user that leave this many bytes."""
    return {"a": "b" * (LIMIT - 1 - room)}


def made(kind: str, annotations: dict[str, str], **spec: Any) -> RawObject:
    return (
        group(V1, annotations=annotations, **spec)
        if kind == "group"
        else group_set(V1, annotations, template={"roles": [], **spec})
    )


@pytest.mark.parametrize("kind", ["group", "set"])
@pytest.mark.parametrize(
    ("room", "written"),
    [
        (0, set()),
        (len(GANG) + 3, set()),
        (len(GANG) + 4, {GANG}),
        (3_500, {GANG, QUEUE}),
        (5_000, {GANG, QUEUE, COORDINATION}),
        (9_000, {GANG, QUEUE, COORDINATION, POLICY}),
    ],
)
def test_derived_annotations_get_what_room_there_is(kind: str, room: int, written: set[str]) -> None:
    """CR-5, CV-7: gang switches first, then coordination; the rest is reported, and no other annotation is touched."""
    own = filled(room)
    hub, problems = convert_and_report(made(kind, own, podGroupPolicy=POLICY_FIELD, coordination=RULES), V2)
    found = annotations_of(hub)
    assert total(found) <= LIMIT
    assert found["a"] == own["a"]
    assert found.keys() - {"a", V1_DATA} == written
    assert {p.annotation for p in problems} - {V1_DATA} == {GANG, QUEUE, COORDINATION, POLICY} - written
    if kind == "set":
        inherited = hub["spec"]["groupTemplate"].get("annotations", {})
        assert inherited.keys() == written - {POLICY}
    # Nothing that is stored can be refused on the way back.
    read = convert(copied(hub), V1)
    assert total(annotations_of(read)) <= LIMIT
    if POLICY in written:
        assert read == made(kind, own, podGroupPolicy=POLICY_FIELD, coordination=RULES)


def test_a_topology_without_room_is_reported() -> None:
    """CR-5, CV-20"""
    own = {OLD_TOPOLOGY: "t" * (LIMIT - len(OLD_TOPOLOGY) - 10)}
    hub, problems = convert_and_report(group(V1, annotations=own), V2)
    assert annotations_of(hub) == own
    assert [p.annotation for p in problems] == [TOPOLOGY]


def test_kept_annotations_give_way_to_fields_that_grew() -> None:
    """CR-5, CV-51: a stored text longer than that of its field, which a v1alpha1 client then left no room for."""
    text = '{"kubeScheduling":{}' + " " * 100_000 + "}"
    read = copied(convert(group(V2, annotations={POLICY: text}), V1))
    assert V2_DATA in annotations_of(read)
    read["spec"]["coordination"] = [{"name": "x", "roles": ["r" * 1000] * 200}]
    hub, problems = convert_and_report(read, V2)
    found = annotations_of(hub)
    assert total(found) <= LIMIT
    assert found.keys() == {POLICY, GANG, COORDINATION}
    assert found[POLICY] == '{"kubeScheduling":{}}'
    assert [p.annotation for p in problems] == [V2_DATA]
