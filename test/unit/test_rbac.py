"""The RBAC objects that ship are the ones that tests and the playground run under."""

from pathlib import Path

from rbgctl import manifests, rbac
from rbgctl.machinery.gvk import RawObject
from rbgctl.runtime.rbac import PolicyRule, cluster_role, merged


def resources_of(role: RawObject) -> dict[str, set[str]]:
    """Verbs by group/resource."""
    found: dict[str, set[str]] = {}
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                found.setdefault(f"{group}/{resource}", set()).update(rule["verbs"])
    return found


def test_config_holds_exactly_what_the_code_generates() -> None:
    assert manifests.drift() == []


def test_drift_names_the_file(tmp_path: Path) -> None:
    for path, text in manifests.rendered().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert manifests.drift(tmp_path) == []
    (tmp_path / "rbac/base/role.yaml").write_text("rules: []")
    (tmp_path / "rbac/base/stray.yaml").write_text("")
    (tmp_path / "webhook/manifests.yaml").unlink()
    assert [line.removeprefix(f"{tmp_path}/").partition(":")[0] for line in manifests.drift(tmp_path)] == [
        "rbac/base/stray.yaml",
        "rbac/base/role.yaml",
        "webhook/manifests.yaml",
    ]


def test_names_and_bindings() -> None:
    """RBAC-1, RES-5, RES-13."""
    by_name = {(o["kind"], o["metadata"]["name"]): o for o in rbac.objects()}
    account = by_name["ServiceAccount", "rbgs-controller-sa"]
    assert account["metadata"]["namespace"] == "rbgs-system"
    subjects = [{"kind": "ServiceAccount", "name": "rbgs-controller-sa", "namespace": "rbgs-system"}]
    for kind, name, role_kind, role in (
        ("ClusterRoleBinding", "rbgs-controller-rolebinding", "ClusterRole", "rbgs-controller-role"),
        ("RoleBinding", "rbgs-controller-secret-rolebinding", "Role", "rbgs-controller-secret-role"),
        ("RoleBinding", "rbgs-leader-election-rolebinding", "Role", "rbgs-leader-election-role"),
    ):
        bound = by_name[kind, name]
        assert bound["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role}
        assert bound["subjects"] == subjects
        assert by_name[role_kind, role]["metadata"].get("namespace") == bound["metadata"].get("namespace")


def test_the_secret_role_is_exactly_what_certificates_need() -> None:
    """RBAC-4: nothing broader, and Secrets nowhere else."""
    assert rbac.secret_role()["rules"] == [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "verbs": ["get", "update"],
            "resourceNames": ["rbgs-webhook-cert"],
        },
    ]
    others = [o for o in rbac.objects() if o["kind"] in {"Role", "ClusterRole"} and o != rbac.secret_role()]
    assert len(others) == 3
    assert not any("secrets" in rule.get("resources", ()) for role in others for rule in role["rules"])


def test_readers_of_metrics_can_be_checked_and_allowed() -> None:
    """RBAC-5: both reviews, and a role to bind to a scraper."""
    granted = resources_of(rbac.role())
    assert granted["authentication.k8s.io/tokenreviews"] == {"create"}
    assert granted["authorization.k8s.io/subjectaccessreviews"] == {"create"}
    reader = rbac.metrics_reader()
    assert (reader["kind"], reader["metadata"]["name"]) == ("ClusterRole", "rbgs-metrics-reader")
    assert reader["rules"] == [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]


CRUD = {"create", "delete", "get", "list", "patch", "update", "watch"}
READ = {"get", "list", "watch"}
STATUS = {"get", "patch", "update"}
OURS = "workloads.x-k8s.io"
GO = {
    **dict.fromkeys(("/configmaps", "/events", "/pods", "/services"), CRUD),
    "/nodes": READ,
    "/pods/status": STATUS,
    "admissionregistration.k8s.io/validatingwebhookconfigurations": {*READ, "patch"},
    "apiextensions.k8s.io/customresourcedefinitions": {*READ, "patch"},
    **dict.fromkeys(("apps/controllerrevisions", "apps/deployments", "apps/statefulsets"), CRUD),
    **dict.fromkeys(("scheduling.volcano.sh/podgroups", "scheduling.x-k8s.io/podgroups"), CRUD),
    f"{OURS}/clusterengineruntimeprofiles": {*READ, "patch", "update"},
    **{
        f"{OURS}/{plural}": CRUD
        for plural in (
            "coordinatedpolicies",
            "rolebasedgroups",
            "rolebasedgroupscalingadapters",
            "rolebasedgroupsets",
            "rolebasedgroupwarmups",
            "roleinstances",
            "roleinstancesets",
        )
    },
    **{f"{OURS}/{plural}/status": STATUS for plural in ("rolebasedgroups", "roleinstances", "roleinstancesets")},
    **{
        f"{OURS}/{plural}/finalizers": {"update"} for plural in ("rolebasedgroups", "roleinstances", "roleinstancesets")
    },
}
"""The rules of the Go operator's ClusterRole that we may need too (RBAC-2)."""
MORE = {"authentication.k8s.io/tokenreviews": {"create"}, "authorization.k8s.io/subjectaccessreviews": {"create"}}


def test_the_cluster_role_never_exceeds_that_of_the_go_operator() -> None:
    """RBAC-2, RBAC-5: less than there, and the two reviews that are missing there. RBAC-6: no Leases, no old kinds."""
    granted = resources_of(rbac.role())
    allowed = {**GO, **MORE}
    assert {
        what: verbs - allowed.get(what, set()) for what, verbs in granted.items() if verbs - allowed.get(what, set())
    } == {}
    assert f"{OURS}/rolebasedgroups" in granted
    named = [r["resourceNames"] for r in rbac.role()["rules"] if set(r["resources"]) & NAMED]
    assert named
    assert all(named)


NAMED = {"customresourcedefinitions", "validatingwebhookconfigurations"}
"""Granted by name only."""


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
