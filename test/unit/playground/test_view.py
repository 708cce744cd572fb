"""What the playground shows of a group."""

from typing import Any

from rich.console import Console

from rbgctl.playground.view import changes, render, snapshot


def group(*, ready: str = "False", observed: int = 1, ready_replicas: int = 0) -> dict[str, Any]:
    return {
        "metadata": {"name": "demo", "generation": 1},
        "spec": {"roles": [{"name": "web", "replicas": 1}, {"name": "api", "replicas": 2, "dependencies": ["web"]}]},
        "status": {
            "observedGeneration": observed,
            "roleStatuses": [{"name": "web", "replicas": 1, "readyReplicas": ready_replicas, "updatedReplicas": 1}],
            "conditions": [{"type": "Ready", "status": ready, "message": "waiting for web"}],
        },
    }


def pod(name: str, role: str, *, ready: bool, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"rbg.workloads.x-k8s.io/role-name": role}},
        "spec": {"nodeName": "node-1"},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}], **status},
    }


def test_ready_counts_only_for_the_current_generation() -> None:
    assert snapshot(group(ready="True"), []).ready
    assert not snapshot(group(ready="True", observed=0), []).ready


def test_a_pod_that_cannot_pull_says_so() -> None:
    stuck = pod("a", "web", ready=False, containerStatuses=[{"state": {"waiting": {"reason": "ErrImagePull"}}}])
    assert snapshot(group(), [stuck]).pods[0].phase == "ErrImagePull"


def test_lines_for_pipes_tell_what_changed_and_nothing_twice() -> None:
    first = snapshot(group(), [pod("a", "web", ready=False)])
    second = snapshot(group(ready="True", ready_replicas=1), [pod("a", "web", ready=True)])
    assert changes(None, first) == ["role web: 0/1 ready", "role api: 0/2 ready", "pod a: Running"]
    assert changes(first, second) == ["role web: 1/1 ready", "pod a: Running, ready", "group demo: Ready"]
    assert changes(second, second) == []
    assert changes(second, snapshot(group(ready="True", ready_replicas=1), [])) == ["pod a: gone"]


def test_the_screen_names_roles_pods_and_what_is_waited_for() -> None:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render(snapshot(group(), [pod("demo-web-0", "web", ready=False)])))
    text = console.export_text()
    for expected in ("RoleBasedGroup demo", "demo-web-0", "0/2", "waiting for web", "node-1"):
        assert expected in text
