"""Which controllers and namespaces the flags select, and which Lease that takes."""

import pytest
import yaml

from rbgctl import namespaced_rbac, rbac
from rbgctl.api import identity
from rbgctl.api.kinds import RESOURCES
from rbgctl.manager import (
    CONTROLLERS,
    ManagerOptions,
    StartUpError,
    build,
    election_config,
    run,
    runtime_options,
    selected,
)
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.kind_options import only_in
from rbgctl.splitting import lease_name, select_controllers, select_namespaces

KNOWN = ("group", "set", "pod")


@pytest.mark.parametrize(
    ("flag", "chosen"),
    [
        ("*", KNOWN),
        ("group", ("group",)),
        ("pod, group", ("group", "pod")),
        ("*,-set", ("group", "pod")),
        ("-set,*", ("group", "pod")),
        ("*,-group,-pod", ("set",)),
        ("*,set", KNOWN),
        ("set,-pod", ("set",)),
        ("set,set,", ("set",)),
    ],
)
def test_controllers_are_named_all_taken_or_left_out(flag: str, chosen: tuple[str, ...]) -> None:
    assert select_controllers(flag, KNOWN) == chosen


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("gruop", "there is no controller gruop; known are group, set, pod"),
        ("*,-sets", "there is no controller sets; known are group, set, pod"),
        ("set,-set", "set is both wanted and excluded"),
        ("-set", r"--controllers=-set leaves no controller: .* or put \* before exclusions"),
        ("", "leaves no controller"),
        ("*,-group,-set,-pod", "leaves no controller"),
    ],
)
def test_a_selection_that_makes_no_sense_is_refused(flag: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        select_controllers(flag, KNOWN)


def test_controllers_have_the_names_of_their_metrics_and_logs() -> None:
    """RT-ID-06: the names that users give, that metrics and logs show, and that the Go operator has."""
    assert {
        identity.CONTROLLER_GROUP,
        identity.CONTROLLER_SCALING_ADAPTER,
        identity.CONTROLLER_GROUP_SET,
        identity.CONTROLLER_INSTANCE,
        identity.CONTROLLER_INSTANCE_SET,
        identity.CONTROLLER_WARMUP,
        identity.CONTROLLER_WEBHOOK_CERT,
    } == {
        "workloads-rolebasedgroup",
        "workloads-rolebasedgroup-scalingadapter",
        "rbgset-controller",
        "roleinstance",
        "roleinstanceset",
        "rbgwarmup-controller",
        "webhook-cert",
    }
    for name in CONTROLLERS:
        manager = build(ClusterConfig("http://127.0.0.1:1"), ManagerOptions(controllers=name))
        assert [c.name for c in manager.controllers.values()] == [name]
        label = f'controller_runtime_max_concurrent_reconciles{{controller="{name}"}} 10.0'
        assert label in manager.metrics.text().decode()


def test_namespaces() -> None:
    assert select_namespaces("") == ()
    assert select_namespaces("b,a, b") == ("a", "b")
    for bad in ("A", "a/b", "-a", "a" * 64, "*"):
        with pytest.raises(ValueError, match="is no name of a namespace"):
            select_namespaces(bad)


def test_the_whole_work_takes_the_lease_of_the_go_operator_and_a_part_of_it_its_own() -> None:
    assert lease_name(KNOWN, KNOWN, ()) == "rbg-controller"
    assert lease_name(reversed(KNOWN), KNOWN, ()) == "rbg-controller"  # type: ignore[arg-type]
    parts = [
        lease_name(("group",), KNOWN, ()),
        lease_name(("set", "pod"), KNOWN, ()),
        lease_name(KNOWN, KNOWN, ("a",)),
        lease_name(KNOWN, KNOWN, ("a", "b")),
        lease_name(("group",), KNOWN, ("a",)),
    ]
    assert len(set(parts)) == 5
    assert all(p.startswith("rbg-controller-part-") for p in parts)
    assert lease_name(("pod", "set"), KNOWN, ()) == parts[1]
    assert lease_name(KNOWN, KNOWN, ("b", "a", "b")) == parts[3]


def test_flags_reach_the_manager() -> None:
    options = ManagerOptions(
        controllers="roleinstance", namespaces="a,b", shards=3, leader_elect=True, leader_election_namespace="ns"
    )
    assert selected(options) == ("roleinstance",)
    runtime = runtime_options(options)
    assert (runtime.shards, runtime.cache.namespaces) == (3, only_in("a", "b"))
    assert election_config(options).name == lease_name(["roleinstance"], CONTROLLERS, ["a", "b"])
    plain = ManagerOptions(leader_elect=True, leader_election_namespace="ns")
    assert election_config(plain).name == "rbg-controller"
    assert runtime_options(plain).shards == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (ManagerOptions(shards=2), "--shards=2 needs --leader-elect"),
        (ManagerOptions(controllers="x"), "there is no controller x; known are workloads-rolebasedgroup, "),
        (ManagerOptions(namespaces="A"), "'A' is no name of a namespace"),
        (ManagerOptions(kube_api_burst=-1), "--kube-api-burst is -1"),
        (ManagerOptions(log_level="loud"), "loud"),
        (ManagerOptions(), "OTEL_TRACES_SAMPLER_ARG"),
    ],
)
def test_bad_flags_end_the_process_before_it_starts(
    options: ManagerOptions, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an error of one line; whatever ends the manager later is logged as a traceback."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "much" if says.startswith("OTEL") else "1")
    monkeypatch.setattr("uvloop.run", lambda _: pytest.fail("it did start"))
    with pytest.raises((ValueError, StartUpError), match=says):
        run(options)


# ---- rights of a manager that works in some namespaces only ----


def test_roles_grant_the_same_as_the_cluster_role_but_in_their_namespaces() -> None:
    made = namespaced_rbac.objects(("a", "b"))
    roles = {(o["kind"], o["metadata"].get("namespace", "")): o for o in made if "rules" in o}
    assert {("Role", "a"), ("Role", "b"), ("Role", rbac.NAMESPACE)} <= roles.keys()
    assert roles["Role", "a"]["rules"] == roles["Role", "b"]["rules"]
    elsewhere = [r for k, o in roles.items() if k[0] == "ClusterRole" for r in o["rules"]]

    def granted(rules: list[dict[str, list[str]]]) -> set[tuple[str, str, str]]:
        return {
            (g, r, v) for rule in rules for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]
        }

    whole_cluster_only = {"customresourcedefinitions", "tokenreviews", "subjectaccessreviews"}
    # Webhooks serve the whole cluster: a manager of some namespaces has none.
    of_webhooks = {"validatingwebhookconfigurations", "rolebasedgroupscalingadapters", "rolebasedgroupsets"}
    wanted = {g for g in granted(rbac.role()["rules"]) if g[1] not in whole_cluster_only | of_webhooks}
    assert granted([*roles["Role", "a"]["rules"], *elsewhere]) == wanted
    scopes = {(r.gvk.group, r.plural): r.namespaced for r in RESOURCES}
    assert all(scopes.get((g, r.partition("/")[0]), True) for g, r, _ in granted(roles["Role", "a"]["rules"]))


def test_a_manager_of_other_namespaces_may_say_in_its_own_who_leads() -> None:
    """RT-LE-04: events about an election lie where its Lease does."""
    made = namespaced_rbac.objects(("a",))
    own = [o for o in made if o["metadata"].get("namespace") == rbac.NAMESPACE and "rules" in o]
    (events,) = [rule for o in own for rule in o["rules"] if rule["resources"] == ["events"]]
    assert events["verbs"] == ["create", "patch"]
    bound = [o["roleRef"]["name"] for o in made if o["metadata"].get("namespace") == rbac.NAMESPACE and "roleRef" in o]
    assert bound == [o["metadata"]["name"] for o in own]


def test_roles_are_printed_for_kubectl(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["namespaced_rbac", "b,a"])
    assert namespaced_rbac.main() == 0
    assert list(yaml.safe_load_all(capsys.readouterr().out)) == namespaced_rbac.objects(("a", "b"))
    monkeypatch.setattr("sys.argv", ["namespaced_rbac", "A"])
    assert namespaced_rbac.main() == 1
    assert "no name of a namespace" in capsys.readouterr().err
