"""Rights that nothing needs, from an audit log."""

import json
from pathlib import Path
from typing import Any

import pytest

from rbgctl.runtime.rbac import PolicyRule
from rbgctl.runtime.testing.rights import Right, Use, rights_used, unused_rights

RULES = [
    PolicyRule("", "pods", ("get", "list")),
    PolicyRule("", "pods/status", ("patch",)),
    PolicyRule("apps", "deployments", ("create", "patch")),
    PolicyRule("", "secrets", ("get",), ("one", "two")),
]


def entry(verb: str, resource: str, *, user: str = "me", code: int = 200, **ref: Any) -> str:
    described = {"resource": resource, **ref}
    event = {"user": {"username": user}, "verb": verb, "objectRef": described, "responseStatus": {"code": code}}
    return json.dumps(event) + "\n"


def unused(tmp_path: Path, *lines: str, offset: int = 0) -> list[str]:
    log = tmp_path / "audit.log"
    log.write_text("".join(lines))
    return [str(right) for right in unused_rights(RULES, rights_used(log, "me", offset))]


ALL = [
    "get pods",
    "list pods",
    "patch pods/status",
    "get secrets (one, two)",
    "create deployments.apps",
    "patch deployments.apps",
]
PATCH = {"apiGroup": "apps", "name": "d"}


@pytest.mark.parametrize(
    ("line", "needed"),
    [
        (entry("get", "pods", name="a"), {"get pods"}),
        (entry("list", "pods"), {"list pods"}),
        (entry("get", "pods", name="a", code=404), {"get pods"}),
        (entry("get", "pods", name="a", code=403), set()),
        (entry("get", "pods", name="a", user="other"), set()),
        (entry("get", "pods", name="a", apiGroup="metrics.k8s.io"), set()),
        (entry("patch", "pods", name="a", subresource="status"), {"patch pods/status"}),
        (entry("patch", "pods", name="a"), set()),
        (entry("get", "secrets", name="two"), {"get secrets (one, two)"}),
        (entry("get", "secrets", name="three"), set()),
        (entry("patch", "deployments", **PATCH), {"patch deployments.apps"}),
        (entry("patch", "deployments", code=201, **PATCH), {"create deployments.apps", "patch deployments.apps"}),
        (entry("get", "pods", name="a").rstrip(), set()),
        (json.dumps({"user": {}, "verb": "get", "requestURI": "/readyz"}) + "\n", set()),
    ],
)
def test_a_request_needs_the_right_that_allows_it(tmp_path: Path, line: str, needed: set[str]) -> None:
    assert unused(tmp_path, line) == sorted(set(ALL) - needed, key=ALL.index)


def test_what_came_before_does_not_count(tmp_path: Path) -> None:
    before = entry("get", "pods", name="a")
    assert "get pods" in unused(tmp_path, before, entry("list", "pods"), offset=len(before))
    assert rights_used(tmp_path / "audit.log", "me") == {Use("", "pods", "get", "a"), Use("", "pods", "list")}


def test_rights_are_sorted_by_what_they_are_about() -> None:
    assert unused_rights([PolicyRule("b", "x", ("get",)), PolicyRule("a", "y", ("watch", "get"))], ()) == [
        Right("a", "y", "get"),
        Right("a", "y", "watch"),
        Right("b", "x", "get"),
    ]
