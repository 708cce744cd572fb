"""What docs/installation.md says about the oldest Kubernetes holds for the manifests."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

CONFIG = Path(__file__).parents[2] / "config"
FILES = sorted(p for p in CONFIG.rglob("*.yaml") if not p.name.startswith("kustomiz"))
LATER = {"matchConditions", "selectableFields", "optionalOldSelf", "messageExpression", "reason", "fieldPath"}
"""Keys beside CEL rules, in CRD versions and in webhooks that servers of 1.28 may not know."""


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from nodes(item)
    elif isinstance(value, list):
        for item in value:
            yield from nodes(item)


@pytest.mark.parametrize("file", FILES, ids=lambda p: str(p.relative_to(CONFIG)))
def test_nothing_newer_than_the_oldest_is_asked_for(file: Path) -> None:
    obj = yaml.load(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    assert obj["apiVersion"] in {
        "v1",
        "apps/v1",
        "policy/v1",
        "rbac.authorization.k8s.io/v1",
        "apiextensions.k8s.io/v1",
        "admissionregistration.k8s.io/v1",
    }
    for node in nodes(obj):
        for rule in node.get("x-kubernetes-validations") or ():
            assert set(rule) <= {"rule", "message"}
            assert set(re.findall(r"(\w+)\(", rule["rule"])) <= {"has"}
            assert "oldSelf" not in rule["rule"]
    versions = obj["spec"].get("versions", []) if obj["kind"] == "CustomResourceDefinition" else obj.get("webhooks", [])
    assert not [key for version in versions for key in version if key in LATER]
