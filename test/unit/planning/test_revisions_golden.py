"""Revisions of the Go operator, recorded on a real cluster: ours have the same bytes, hashes and names.

test/golden/revisions.jsonl has one record a line: what was recorded of groups, sets, instances, their pods' labels and
ControllerRevisions. Of instances with equal components only the first is kept. The pods and instance templates carry
the Go operator's own index label (every instance created in one pass has the last ordinal); hashes are compared on
that recorded input, so the defect plays no part.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rbgctl.machinery.plan import writes
from rbgctl.planning.group_revision import group_content, resolve_group, role_hashes
from rbgctl.planning.instance_revision import instance_content, resolve_instance
from rbgctl.planning.revision_hash import group_hash, revision_hash
from rbgctl.planning.revisions import Content, short_hash
from rbgctl.planning.set_revision import resolve_set, set_content
from rbgctl.planning.typed_encoding import rendered_pod_template

GOLDEN = Path(__file__).parents[2] / "golden" / "revisions.jsonl"
API_VERSION = "workloads.x-k8s.io/v1alpha2"


def _records() -> Iterator[dict[str, Any]]:
    for line in GOLDEN.read_text(encoding="utf-8").strip().split("\n"):
        namespace = json.loads(line)["namespace"]
        yield json.loads(line.replace("<ns>", namespace))


RECORDS = list(_records())


def _each(part: str) -> list[Any]:
    return [
        pytest.param(record, item, id=f"{record['record']}:{item['name']}")
        for record in RECORDS
        for item in record[part]
        if item.get("status", {"updateRevision": "x"}).get("updateRevision")
    ]


def _object(record: dict[str, Any], kind: str, item: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": item["name"], "namespace": record["namespace"], "uid": f"<uid:{kind}/{item['name']}>"},
        "spec": item["spec"],
        "status": item.get("status", {}),
    }


def _stored(record: dict[str, Any], kind: str, name: str) -> list[dict[str, Any]]:
    """The recorded revisions of one owner, as the API server serves them."""
    found = []
    for revision in record["revisions"]:
        meta = dict(revision["metadata"])
        if meta.pop("owner") == [kind, name]:
            meta |= {
                "namespace": record["namespace"],
                "uid": f"uid-of-{meta['name']}",
                "resourceVersion": "7",
                "creationTimestamp": f"2024-01-01T00:00:{revision['revision']:02}Z",
                "ownerReferences": [
                    {
                        "apiVersion": API_VERSION,
                        "kind": kind,
                        "name": name,
                        "uid": f"<uid:{kind}/{name}>",
                        "controller": True,
                        "blockOwnerDeletion": True,
                    }
                ],
            }
            found.append({"apiVersion": "apps/v1", "kind": "ControllerRevision", **revision, "metadata": meta})
    return found


def test_the_records_are_there() -> None:
    counts = {p: sum(len(r[p]) for r in RECORDS) for p in ("groups", "sets", "instances", "pods", "revisions")}
    assert counts == {"groups": 52, "sets": 71, "instances": 94, "pods": 118, "revisions": 114}


@pytest.mark.parametrize(("record", "group"), _each("groups"))
def test_group_data_and_hash(record: dict[str, Any], group: dict[str, Any]) -> None:
    # RBG-34, RBG-35, RBG-36, RBG-37
    newest = max(_stored(record, "RoleBasedGroup", group["name"]), key=lambda r: r["revision"])
    content = group_content(group["spec"])
    assert content.payload == newest["data"]
    digest = group_hash(content.encoded)
    assert newest["metadata"]["labels"]["rbg.workloads.x-k8s.io/group-revision"] == digest
    assert newest["metadata"]["name"] == f"{group['name']}-{digest}-{newest['revision']}"


@pytest.mark.parametrize(("record", "group"), _each("groups"))
def test_role_hashes(record: dict[str, Any], group: dict[str, Any]) -> None:
    # RBG-40: as on the recorded workloads
    ours = role_hashes(group_content(group["spec"]).payload)
    assert {name: ours[name] for name in group["roleHashes"]} == group["roleHashes"]


@pytest.mark.parametrize(("record", "group"), _each("groups"))
def test_group_takeover_writes_nothing(record: dict[str, Any], group: dict[str, Any]) -> None:
    # RBG-38, RBG-43
    resolution = resolve_group(
        _object(record, "RoleBasedGroup", group), _stored(record, "RoleBasedGroup", group["name"])
    )
    assert writes(resolution.steps) == []
    assert resolution.role_hashes.items() >= group["roleHashes"].items()


@pytest.mark.parametrize(("record", "ris"), _each("sets"))
def test_set_revision_name(record: dict[str, Any], ris: dict[str, Any]) -> None:
    # REV-1, REV-2, REV-3, REV-4
    content = set_content(ris["spec"]["roleInstanceTemplate"])
    assert f"{ris['name']}-{revision_hash(content.encoded, 0)}" == ris["status"]["updateRevision"]


@pytest.mark.parametrize(("record", "instance"), _each("instances"))
def test_instance_revision_name(record: dict[str, Any], instance: dict[str, Any]) -> None:
    # REV-1, REV-2, REV-3, REV-4
    content = instance_content(instance["spec"])
    assert f"{instance['name']}-{revision_hash(content.encoded, 0)}" == instance["status"]["updateRevision"]


@pytest.mark.parametrize("record", [pytest.param(r, id=r["record"]) for r in RECORDS if r["pods"]])
def test_pods_carry_the_short_hash_of_their_instance(record: dict[str, Any]) -> None:
    # LBL-21; the value that RoleInstance pods get as controller-revision-hash
    hashes = {i["name"]: revision_hash(instance_content(i["spec"]).encoded, 0) for i in record["instances"]}
    names = {i["name"]: i["status"]["updateRevision"] for i in record["instances"]}
    for pod in record["pods"]:
        assert pod["hash"] == hashes[pod["instance"]] == short_hash(names[pod["instance"]])


@pytest.mark.parametrize("record", [pytest.param(r, id=r["record"]) for r in RECORDS])
def test_stored_data_hashes_to_the_stored_name(record: dict[str, Any]) -> None:
    # RBG-37, REV-3: also of old revisions, whose spec is gone
    for revision in record["revisions"]:
        kind, _ = revision["metadata"]["owner"]
        name, encoded = revision["metadata"]["name"], Content.of(revision["data"], lambda p: p).encoded
        if kind == "RoleBasedGroup":
            assert name.split("-")[-2] == group_hash(encoded)
        else:
            assert short_hash(name) == revision_hash(encoded, 0)


FULL = [r for r in RECORDS if any(rev["metadata"]["owner"][0] == "RoleInstanceSet" for rev in r["revisions"])]


@pytest.mark.parametrize(
    ("record", "ris"), [pytest.param(r, s, id=f"{r['record']}:{s['name']}") for r in FULL for s in r["sets"]]
)
def test_set_takeover_writes_nothing(record: dict[str, Any], ris: dict[str, Any]) -> None:
    # REV-6, D6
    stateless = ris["annotations"].get("rbg.workloads.x-k8s.io/role-instance-pattern") == "Stateless"
    resolution = resolve_set(
        _object(record, "RoleInstanceSet", ris),
        _stored(record, "RoleInstanceSet", ris["name"]),
        stateless=stateless,
        adopt=True,
    )
    assert writes(resolution.steps) == []
    assert resolution.current["metadata"]["name"] == ris["status"]["currentRevision"]
    assert resolution.update["metadata"]["name"] == ris["status"]["updateRevision"]


@pytest.mark.parametrize(
    ("record", "ris"), [pytest.param(r, s, id=f"{r['record']}:{s['name']}") for r in FULL for s in r["sets"]]
)
def test_created_set_revision_equals_the_recorded_one(record: dict[str, Any], ris: dict[str, Any]) -> None:
    # REV-4: labels, annotations, owner and data of a revision made from nothing
    stateless = ris["annotations"].get("rbg.workloads.x-k8s.io/role-instance-pattern") == "Stateless"
    owner = _object(record, "RoleInstanceSet", ris)
    owner["metadata"]["annotations"] = ris["annotations"]
    (create,) = writes(resolve_set(owner, [], stateless=stateless).steps)
    recorded = next(
        r
        for r in _stored(record, "RoleInstanceSet", ris["name"])
        if r["metadata"]["name"] == ris["status"]["updateRevision"]
    )
    obj = create.obj
    assert obj["data"] == recorded["data"]
    assert obj["metadata"]["labels"] == recorded["metadata"]["labels"]
    assert obj["metadata"]["ownerReferences"] == recorded["metadata"]["ownerReferences"]
    assert create.field_manager == ("roleinstanceset" if stateless else "instanceset-manager")


@pytest.mark.parametrize(
    ("record", "instance"),
    [
        pytest.param(r, i, id=f"{r['record']}:{i['name']}")
        for r in FULL
        for i in r["instances"]
        if any(rev["metadata"]["owner"] == ["RoleInstance", i["name"]] for rev in r["revisions"])
    ],
)
def test_instance_takeover_writes_nothing(record: dict[str, Any], instance: dict[str, Any]) -> None:
    # REV-5, REV-6, D6
    resolution = resolve_instance(
        _object(record, "RoleInstance", instance), _stored(record, "RoleInstance", instance["name"])
    )
    assert writes(resolution.steps) == []
    assert resolution.update["metadata"]["name"] == instance["status"]["updateRevision"]


@pytest.mark.parametrize(("record", "ris"), _each("sets"))
def test_templates_in_sets_are_in_rendered_form(record: dict[str, Any], ris: dict[str, Any]) -> None:
    # RBG-141: what the Go operator applied renders to itself
    for component in ris["spec"]["roleInstanceTemplate"]["components"]:
        assert rendered_pod_template(component["template"]) == component["template"]
