"""The RBAC objects that ship are the ones that tests and the playground run under."""

from pathlib import Path

import yaml

from rbgctl import rbac
from rbgctl.runtime.rbac import PolicyRule, cluster_role, merged

CONFIG = Path(__file__).parents[2] / "config" / "rbac"


def test_config_rbac_holds_exactly_what_the_code_generates() -> None:
    names = yaml.safe_load((CONFIG / "kustomization.yaml").read_text())["resources"]
    assert [yaml.safe_load((CONFIG / name).read_text()) for name in names] == rbac.objects()


def test_rules_on_one_resource_are_united_and_sorted() -> None:
    rules = [
        PolicyRule("", "pods", ("watch", "get")),
        PolicyRule("", "pods", ("create",)),
        PolicyRule("a", "x", ("get",)),
    ]
    assert merged(rules) == [PolicyRule("", "pods", ("create", "get", "watch")), PolicyRule("a", "x", ("get",))]


def test_a_role_never_grants_wildcards() -> None:
    """Least privilege: every verb was declared by a controller."""
    for rule in rbac.role()["rules"]:
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]


def test_named_objects_become_resource_names() -> None:
    role = cluster_role("r", [PolicyRule("", "secrets", ("get",), ("one",))])
    assert role["rules"] == [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["one"]}]
