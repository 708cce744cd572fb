"""docs/api-additions.md against the models and constants: nothing unnamed, nothing that is not there."""

import inspect
import re
from pathlib import Path

from unit.api.crd_fields import FIELDS
from unit.api.test_crd_fields import table

from rbgctl.api import annotations, conditions

PAGE = (Path(__file__).parents[3] / "docs" / "api-additions.md").read_text(encoding="utf-8")


def sections() -> dict[str, list[list[str]]]:
    found = {}
    for part in PAGE.split("\n## ")[1:]:
        title, _, body = part.partition("\n")
        lines = [line for line in body.splitlines() if line.startswith("|")][2:]
        found[title] = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return found


def test_every_added_field_is_in_the_table() -> None:
    documented = set()
    kind = ""
    for row in sections()["Fields"]:
        kind = row[0] or kind
        paths = re.findall(r"`([^`]+)`", row[1])
        # A row about an item may name its siblings in the text.
        beside = [f"{paths[0].rpartition('.')[0]}.{name}" for name in re.findall(r"`(\w+)`", row[4])]
        documented |= {(kind, path) for path in (*paths, *(beside if "beside it" in row[4] else ()))}
        if "restartWindow" in paths[0]:
            documented |= {(kind, f"{paths[0]}.{name}") for name in re.findall(r"`(\w+)`", row[4])}
    added = {
        (kind, path)
        for (kind, version), text in FIELDS.items()
        if version == "v1alpha2"
        for path, _, rules in table(text)
        if "addition" in rules
    }
    assert documented == added


def test_additions_of_the_deprecated_version_are_those_of_the_adapter() -> None:  # A1-2
    assert {
        (kind, path)
        for (kind, version), text in FIELDS.items()
        if version == "v1alpha1"
        for path, _, rules in table(text)
        if "addition" in rules
    } == {("RoleBasedGroupScalingAdapter", "status.conditions")}


def test_added_annotations_are_constants() -> None:
    source = inspect.getsource(annotations).partition("# -- not known to the Go operator")[2]
    names = set(re.findall(r"^([A-Z0-9_]+): Final = (?:CONVERSION_)?PREFIX", source, re.MULTILINE))
    constants = {getattr(annotations, name) for name in names}
    documented = {
        key.replace("P/", annotations.PREFIX)
        for row in sections()["Annotations and finalizers"]
        for key in re.findall(r"`([^`]+)`", row[0])
    }
    assert documented - constants == {"workloads.x-k8s.io/warmup-name", "workloads.x-k8s.io/node-name"}
    assert constants <= documented


def test_added_condition_types_are_constants() -> None:
    documented = {name for row in sections()["Condition types"] for name in re.findall(r"`(\w+)`", row[1])}
    assert documented == {
        conditions.PROGRESSING,
        conditions.FAILED_UPDATE,
        conditions.RESTART_LIMIT_REACHED,
        conditions.SCALE_DOWN_HELD,
        conditions.POLICY_ACCEPTED,
        conditions.POLICY_HOLDING,
        conditions.WARMUP_TARGET_FOUND,
    }
