"""From the flags of `rbgctl manager` to its election: Lease, identity, durations (RT-ID-01 to RT-ID-03)."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rbgctl import manager as composition
from rbgctl import rbac
from rbgctl.cli.main import app
from rbgctl.manager import ManagerOptions, StartUpError, build, election_config
from rbgctl.runtime import config as cluster_config
from rbgctl.runtime.config import ClusterConfig


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which a pod finds its service account."""
    monkeypatch.setattr(cluster_config, "SERVICE_ACCOUNT", tmp_path)
    return tmp_path


def test_the_lease_is_that_of_the_go_operator_in_the_pods_own_namespace(pod: Path) -> None:  # MGR-1, RT-ID-01
    (pod / "namespace").write_text("rbgs-system")
    config = election_config(ManagerOptions())
    assert (config.namespace, config.name) == ("rbgs-system", "rbg-controller")


def test_the_namespace_is_taken_as_the_file_has_it(pod: Path) -> None:  # RT-ID-01
    (pod / "namespace").write_text("rbgs-system\n")
    assert election_config(ManagerOptions()).namespace == "rbgs-system\n"


def test_a_namespace_that_is_given_wins(pod: Path) -> None:
    (pod / "namespace").write_text("rbgs-system")
    assert election_config(ManagerOptions(leader_election_namespace="other")).namespace == "other"


def test_without_pod_and_without_namespace_the_start_fails_and_names_the_flag(pod: Path) -> None:  # RT-ID-01
    with pytest.raises(StartUpError, match=r"no pod .*: set --leader-election-namespace"):
        election_config(ManagerOptions())


def test_every_start_has_an_identity_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:  # MGR-1, RT-ID-02, RT-LE-16
    monkeypatch.setattr("socket.gethostname", lambda: "rbgs-controller-manager-7d4f")
    options = ManagerOptions(leader_election_namespace="ns")
    first, second = election_config(options).identity, election_config(options).identity
    assert first != second
    assert first.startswith("rbgs-controller-manager-7d4f_")
    assert len(first.partition("_")[2]) == 36


def options_of(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> ManagerOptions:
    """What the command line makes of its arguments."""
    seen: list[ManagerOptions] = []

    def run(options: ManagerOptions) -> int:
        seen.append(options)
        return 0

    monkeypatch.setattr(composition, "run", run)
    result = CliRunner().invoke(app, ["manager", *arguments])
    assert result.exit_code == 0, result.output
    return seen[0]


def test_election_is_off_unless_asked_for_and_has_the_durations_of_the_go_operator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # MGR-1, RT-ID-03
    assert options_of(monkeypatch, "-leader-elect=false").leader_elect is False
    assert options_of(monkeypatch).leader_elect is False
    asked = options_of(monkeypatch, "--leader-elect", "--leader-election-namespace=ns")
    assert asked.leader_elect is True
    config = election_config(asked)
    assert (config.lease, config.renew, config.retry) == (15.0, 10.0, 2.0)
    # Upstream keeps the lease at a clean end; giving it back is understood by its replicas (RT-LE-34).
    assert config.release_on_stop


def test_durations_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    given = options_of(
        monkeypatch,
        "--leader-election-namespace=ns",
        "--leader-election-lease-duration=1m",
        "--leader-election-renew-deadline=40s",
        "--leader-election-retry-period=5s",
        "--termination-grace-period=12s",
    )
    config = election_config(given)
    assert (config.lease, config.renew, config.retry) == (60.0, 40.0, 5.0)
    assert composition.runtime_options(given).graceful_shutdown == 7.0  # RT-MG-29


def test_the_default_budget_ends_before_the_kubelet_kills() -> None:  # RT-MG-29
    assert composition.runtime_options(ManagerOptions()).graceful_shutdown == 25.0


def test_durations_that_are_not_safe_are_a_start_up_error(tmp_path: Path) -> None:  # RT-LE-02
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "current-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\nusers: [{name: a, user: {}}]\n"
        "clusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}]\n"
    )
    command = [sys.executable, "-m", "rbgctl.cli.main", "manager", f"--kubeconfig={kubeconfig}", "--leader-elect"]
    arguments = ["--leader-election-namespace=ns", "--leader-election-lease-duration=9s"]
    ended = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(
        "error: leader election: the lease duration (9 s) must be longer than the renew deadline (10 s)"
    )
    with pytest.raises(StartUpError, match="longer than the renew deadline"):
        election_config(ManagerOptions(leader_election_namespace="ns", lease_duration=9.0))


def test_with_election_every_write_needs_leadership_and_without_none_does() -> None:  # RT-LE-38
    here = ClusterConfig("http://127.0.0.1:1")
    options = ManagerOptions(leader_elect=True, leader_election_namespace="ns")
    electing = build(here, options)
    assert electing.transport.gate is not None
    assert electing.transport.gate() == 0
    assert build(here, ManagerOptions()).transport.gate is None
    # The same registry shows who leads (RT-MT-30).
    assert (
        electing.metrics.collectors.get_sample_value("leader_election_master_status", {"name": "rbg-controller"}) == 0
    )


def test_the_rights_for_the_lease_end_at_the_operators_namespace() -> None:  # RBAC-6
    role = rbac.lease_role()
    assert role["metadata"]["namespace"] == rbac.NAMESPACE
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "verbs": ["create", "delete", "get", "list", "update", "watch"],
        },
    ]
    assert "leases" not in str(rbac.role())
    assert not any("leases" in rule["resources"] for rule in rbac.role()["rules"])
