"""How the instance controller finds what belongs to an instance."""

import orjson
from unit.controllers.instance.world import NAME, instance, pod

from rbgctl.api import labels
from rbgctl.controllers.instance.observe import PODS, REVISIONS
from rbgctl.machinery.gvk import GVK, RawObject
from rbgctl.machinery.owner_references import controller_reference
from rbgctl.runtime.store import EntryDecoder, Header


def header(raw: RawObject) -> Header:
    return EntryDecoder(GVK.of(raw)).entry(orjson.dumps(raw)).header


def test_pods_are_indexed_by_the_uid_of_their_owner() -> None:
    """RES-10: under a name that tools know; labels play no part."""
    owned = pod(f"{NAME}-web-0")
    owned["metadata"]["ownerReferences"] = [controller_reference(instance())]
    owned["metadata"]["labels"] = {}
    (found,) = PODS.indexes.items()
    assert found[0] == "ownerRefUID"
    assert list(found[1](header(owned))) == [instance()["metadata"]["uid"]]
    owned["metadata"]["ownerReferences"] = []
    assert list(found[1](header(owned))) == []


def test_revisions_are_indexed_by_the_instance_they_name() -> None:
    """HF-60: the selector is a real one; those of other instances and of none are not looked at."""
    (index,) = REVISIONS.indexes.values()
    raw: RawObject = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {"name": "x", "namespace": "ns", "labels": {labels.ROLE_INSTANCE_NAME: NAME}},
    }
    assert list(index(header(raw))) == [f"ns/{NAME}"]
    raw["metadata"]["labels"] = {labels.GROUP_NAME: NAME}
    assert list(index(header(raw))) == []
