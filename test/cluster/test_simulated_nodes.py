"""What pods do on the simulated nodes: each thing that our Stage files promise."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import pytest

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.client import LiveClient, Patch
from rbgctl.runtime.errors import NotFound
from rbgctl.runtime.testing import asserts
from rbgctl.runtime.testing.asserts import stays, wait_for, wait_gone
from rbgctl.runtime.testing.envtest import EnvTest

POD = GVK("", "v1", "Pod")
STAGE = GVK("kwok.x-k8s.io", "v1alpha1", "Stage")
DEPLOYMENT = GVK("apps", "v1", "Deployment")


def pod(
    namespace: str,
    name: str = "a",
    *,
    image: str = "registry.example/a:1",
    command: Sequence[str] = (),
    labels: dict[str, str] | None = None,
    finalizers: Sequence[str] = (),
    container: dict[str, Any] | None = None,
    **spec: Any,
) -> RawObject:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels or {},
            "finalizers": list(finalizers),
        },
        "spec": {
            "containers": [{"name": "main", "image": image, "command": list(command), **(container or {})}],
            **spec,
        },
    }


def condition(obj: RawObject, kind: str) -> RawObject:
    return next((c for c in obj.get("status", {}).get("conditions") or () if c["type"] == kind), {})


def is_ready(obj: RawObject) -> bool:
    return bool(condition(obj, "Ready").get("status") == "True")


def phase(wanted: str) -> Callable[[RawObject], bool]:
    return lambda obj: bool(obj["status"].get("phase") == wanted)


def main_status(obj: RawObject) -> RawObject:
    statuses = obj["status"].get("containerStatuses") or [{}]
    return dict(statuses[0])


def waits_for(reason: str) -> Callable[[RawObject], bool]:
    return lambda obj: bool(main_status(obj).get("state", {}).get("waiting", {}).get("reason") == reason)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def running(client: LiveClient, obj: RawObject) -> RawObject:
    created = await client.create(obj)
    return await wait_for(client, POD, NN.of(created), is_ready, timeout=20)


async def history(client: LiveClient, since: RawObject, until: Callable[[RawObject], bool]) -> list[RawObject]:
    """Every state of a pod after `since`, up to the first for which `until` holds."""
    rv = since["metadata"]["resourceVersion"]
    return await asserts.history(client, POD, NN.of(since), until, since=rv, timeout=30)


def set_image(image: str) -> Patch:
    return Patch.strategic({"spec": {"containers": [{"name": "main", "image": image}]}})


async def test_a_pod_runs_with_everything_that_controllers_read(client: LiveClient, namespace: str) -> None:
    obj = pod(namespace, initContainers=[{"name": "init", "image": "i"}])
    ready = await running(client, obj)
    status = ready["status"]
    assert status["phase"] == "Running"
    assert status["podIPs"] == [{"ip": status["podIP"]}]
    assert status["hostIP"]
    assert ready["spec"]["nodeName"].startswith("node-")
    main = main_status(ready)
    assert (main["name"], main["image"], main["ready"], main["started"]) == ("main", "registry.example/a:1", True, True)
    assert main["restartCount"] == 0
    assert main["imageID"].startswith("simulated@sha256:")
    assert main["containerID"].startswith("simulated://")
    assert main["state"]["running"]["startedAt"] == status["startTime"]
    assert status["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 0
    wanted = {"PodScheduled", "Initialized", "ContainersReady", "Ready", "PodReadyToStartContainers"}
    assert {c["type"] for c in status["conditions"] if c["status"] == "True"} == wanted


async def test_a_sidecar_among_the_init_containers_runs_as_long_as_the_pod(client: LiveClient, namespace: str) -> None:
    inits = [{"name": "init", "image": "i"}, {"name": "sidecar", "image": "s", "restartPolicy": "Always"}]
    command = ["sh", "-c", "exit 0"]
    created = await client.create(pod(namespace, initContainers=inits, command=command, restartPolicy="Never"))
    states = await history(client, created, phase("Succeeded"))
    before, after = ((s["status"]["initContainerStatuses"]) for s in (states[-2], states[-1]))
    assert "terminated" in before[0]["state"]
    assert "running" in before[1]["state"]
    assert (before[1]["ready"], before[1]["started"]) == (True, True)
    assert after[1]["state"]["terminated"]["exitCode"] == 0
    assert (after[1]["ready"], after[1]["started"]) == (False, False)
    assert after[0] == before[0]


async def test_every_pod_has_an_address_of_its_own_and_equal_images_have_equal_ids(
    client: LiveClient, namespace: str
) -> None:
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "many", "namespace": namespace},
        "spec": {
            "replicas": 12,
            "selector": {"matchLabels": {"app": "many"}},
            "template": {
                "metadata": {"labels": {"app": "many"}},
                "spec": {"containers": [{"name": "main", "image": "many"}]},
            },
        },
    }
    await client.create(deployment)
    await wait_for(client, DEPLOYMENT, NN(namespace, "many"), lambda d: d["status"].get("readyReplicas") == 12)
    pods = (await client.list(POD, namespace)).items
    assert len({p["status"]["podIP"] for p in pods}) == 12
    assert len({p["spec"]["nodeName"] for p in pods}) > 1
    assert len({main_status(p)["containerID"] for p in pods}) == 12
    assert len({main_status(p)["imageID"] for p in pods}) == 1


async def test_a_start_up_probe_delays_readiness_by_its_initial_delay(client: LiveClient, namespace: str) -> None:
    probe = {"startupProbe": {"initialDelaySeconds": 2, "exec": {"command": ["true"]}}}
    created = await client.create(pod(namespace, container=probe))
    states = await history(client, created, is_ready)
    starting = [s for s in states if s["status"]["phase"] == "Running" and not is_ready(s)]
    assert starting
    assert main_status(starting[0])["started"] is False
    ready = states[-1]
    took = moment(condition(ready, "Ready")["lastTransitionTime"]) - moment(
        main_status(ready)["state"]["running"]["startedAt"]
    )
    assert 2 <= took.total_seconds() <= 5
    assert main_status(ready)["started"] is True


async def test_changes_of_the_pod_do_not_start_the_delay_over(client: LiveClient, namespace: str) -> None:
    probe = {"startupProbe": {"initialDelaySeconds": 2, "exec": {"command": ["true"]}}}
    created = await client.create(pod(namespace, container=probe))
    changes, started = 0, ""
    async for _kind, obj in client.watch(POD, namespace, fields="metadata.name=a", timeout=20):
        if is_ready(obj):
            break
        if obj["status"]["phase"] == "Running":
            started = main_status(obj)["state"]["running"]["startedAt"]
            changes += 1
            await client.patch(POD, NN.of(created), Patch.merge({"metadata": {"annotations": {"n": str(changes)}}}))
    ready = await client.get(POD, NN.of(created))
    assert changes > 3
    assert (moment(condition(ready, "Ready")["lastTransitionTime"]) - moment(started)).total_seconds() <= 5


async def test_an_image_changed_in_place_restarts_the_container(client: LiveClient, namespace: str) -> None:
    before = await running(client, pod(namespace, container={"image": "one"}))
    await client.patch(POD, NN.of(before), set_image("two"))
    states = await history(client, before, lambda p: is_ready(p) and main_status(p)["image"] == "two")
    assert any(condition(s, "Ready")["status"] == "False" for s in states)
    assert any(waits_for("ContainerCreating")(s) for s in states)
    old, new = main_status(before), main_status(states[-1])
    assert new["restartCount"] == old["restartCount"] + 1
    assert new["imageID"] != old["imageID"]
    assert new["containerID"] != old["containerID"]
    assert new["lastState"]["terminated"]["containerID"] == old["containerID"]
    assert states[-1]["status"]["podIP"] == before["status"]["podIP"]


async def test_only_the_container_whose_image_changed_restarts(client: LiveClient, namespace: str) -> None:
    two = pod(namespace)
    two["spec"]["containers"].append({"name": "side", "image": "side:1"})
    before = await running(client, two)
    await client.patch(POD, NN.of(before), set_image("two"))
    after = (await history(client, before, lambda p: is_ready(p) and main_status(p)["image"] == "two"))[-1]
    assert [s["restartCount"] for s in after["status"]["containerStatuses"]] == [1, 0]
    assert after["status"]["containerStatuses"][1] == before["status"]["containerStatuses"][1]


async def test_a_restart_in_place_waits_for_the_start_up_probe_again(client: LiveClient, namespace: str) -> None:
    probe = {"startupProbe": {"initialDelaySeconds": 1, "exec": {"command": ["true"]}}}
    before = await running(client, pod(namespace, container=probe))
    await client.patch(POD, NN.of(before), set_image("two"))
    states = await history(client, before, lambda p: is_ready(p) and main_status(p)["restartCount"] == 1)
    starting = [s for s in states if main_status(s)["restartCount"] == 1 and not is_ready(s)]
    assert main_status(starting[0])["state"]["running"]
    assert main_status(starting[0])["started"] is False
    assert condition(starting[0], "ContainersReady")["status"] == "False"


async def test_two_image_changes_in_a_row_count_two_restarts(client: LiveClient, namespace: str) -> None:
    obj = await running(client, pod(namespace))
    for count, image in enumerate(("two", "three"), 1):
        await client.patch(POD, NN.of(obj), set_image(image))
        obj = (await history(client, obj, lambda p, i=image: is_ready(p) and main_status(p)["image"] == i))[-1]  # type: ignore[misc]
        assert main_status(obj)["restartCount"] == count


async def test_a_pod_is_ready_only_while_all_its_gates_are_true(client: LiveClient, namespace: str) -> None:
    gates = [{"conditionType": "example.com/first"}, {"conditionType": "example.com/second"}]
    obj = await client.create(pod(namespace, readinessGates=gates))
    key = NN.of(obj)

    async def set_gate(name: str, status: str) -> None:
        body = {"status": {"conditions": [{"type": f"example.com/{name}", "status": status}]}}
        await client.patch(POD, key, Patch.strategic(body), subresource="status")

    obj = await wait_for(client, POD, key, lambda p: condition(p, "ContainersReady").get("status") == "True")
    assert condition(obj, "Ready")["reason"] == "ReadinessGatesNotReady"
    await set_gate("first", "True")
    await set_gate("second", "True")
    states = await history(client, obj, is_ready)
    one_gate = [s for s in states if not condition(s, "example.com/second")]
    assert one_gate
    assert not any(is_ready(s) for s in one_gate)
    await set_gate("first", "False")
    closed = (await history(client, states[-1], lambda p: not is_ready(p)))[-1]
    assert condition(closed, "ContainersReady") == condition(states[-1], "ContainersReady")
    await set_gate("first", "True")
    await history(client, closed, is_ready)


@pytest.mark.parametrize(
    ("command", "policy", "ends", "code"),
    [
        ("true; exit 0", "Never", "Succeeded", 0),
        ("true", "OnFailure", "Succeeded", 0),
        ("exit 1", "Never", "Failed", 1),
    ],
)
async def test_a_command_that_ends_ends_the_pod(
    client: LiveClient, namespace: str, command: str, policy: str, ends: str, code: int
) -> None:
    created = await client.create(pod(namespace, command=["sh", "-c", command], restartPolicy=policy))
    ended = await wait_for(client, POD, NN.of(created), phase(ends), timeout=20)
    assert main_status(ended)["state"]["terminated"]["exitCode"] == code
    assert not is_ready(ended)


@pytest.mark.parametrize("policy", ["Always", "OnFailure"])
async def test_a_command_that_fails_and_is_restarted_crashes_in_a_loop(
    client: LiveClient, namespace: str, policy: str
) -> None:
    created = await client.create(pod(namespace, command=["sh", "-c", "exit 1"], restartPolicy=policy))
    crashed = await wait_for(client, POD, NN.of(created), waits_for("CrashLoopBackOff"), timeout=20)
    assert crashed["status"]["phase"] == "Running"
    assert main_status(crashed)["restartCount"] >= 1
    assert main_status(crashed)["lastState"]["terminated"]["exitCode"] == 1
    assert not is_ready(crashed)


async def test_a_crashed_container_runs_again_after_its_back_off_and_crashes_again(
    client: LiveClient, namespace: str
) -> None:
    created = await client.create(pod(namespace, command=["sh", "-c", "exit 1"]))
    states = await history(
        client, created, lambda p: waits_for("CrashLoopBackOff")(p) and main_status(p)["restartCount"] == 2
    )
    crashed = next(s for s in states if waits_for("CrashLoopBackOff")(s))
    again = next(s for s in states if main_status(s).get("restartCount") == 1 and "running" in main_status(s)["state"])
    ended = moment(main_status(crashed)["lastState"]["terminated"]["finishedAt"])
    assert 10 <= (moment(main_status(again)["state"]["running"]["startedAt"]) - ended).total_seconds() <= 14
    assert is_ready(again)
    assert main_status(again)["containerID"] != main_status(crashed)["containerID"]
    assert main_status(states[-1])["lastState"]["terminated"]["containerID"] == main_status(again)["containerID"]


async def test_an_image_that_does_not_exist_is_not_pulled_until_it_is_corrected(
    client: LiveClient, namespace: str
) -> None:
    created = await client.create(pod(namespace, image="registry.example/nonexistent:1"))
    states = await history(client, created, waits_for("ImagePullBackOff"))
    assert any(waits_for("ErrImagePull")(s) for s in states)
    assert states[-1]["status"]["phase"] == "Pending"
    await client.patch(POD, NN.of(created), set_image("registry.example/a:2"))
    ready = (await history(client, states[-1], is_ready))[-1]
    assert ready["status"]["phase"] == "Running"
    assert main_status(ready)["restartCount"] == 0


async def test_a_running_pod_whose_new_image_does_not_exist_recovers_too(client: LiveClient, namespace: str) -> None:
    before = await running(client, pod(namespace))
    await client.patch(POD, NN.of(before), set_image("nonexistent"))
    states = await history(client, before, waits_for("ImagePullBackOff"))
    broken = states[-1]
    assert any(waits_for("ErrImagePull")(s) for s in states)
    assert broken["status"]["phase"] == "Running"
    assert not is_ready(broken)
    await client.patch(POD, NN.of(before), set_image("three"))
    after = (await history(client, broken, is_ready))[-1]
    assert main_status(after)["image"] == "three"
    assert main_status(after)["restartCount"] == 1


async def test_only_the_container_whose_image_does_not_exist_waits_for_it(client: LiveClient, namespace: str) -> None:
    two = pod(namespace, image="nonexistent")
    two["spec"]["containers"].append({"name": "side", "image": "side:1"})
    created = await client.create(two)
    states = await history(client, created, waits_for("ImagePullBackOff"))
    side = states[-1]["status"]["containerStatuses"][1]
    assert side["ready"]
    assert "running" in side["state"]
    assert states[-1]["status"]["phase"] == "Pending"
    assert not is_ready(states[-1])


async def test_a_good_image_runs_beside_one_that_does_not_exist(client: LiveClient, namespace: str) -> None:
    two = pod(namespace)
    two["spec"]["containers"].append({"name": "side", "image": "side:1"})
    before = await running(client, two)
    await client.patch(POD, NN.of(before), set_image("nonexistent"))
    broken = (await history(client, before, waits_for("ImagePullBackOff")))[-1]
    side_image = {"spec": {"containers": [{"name": "side", "image": "side:2"}]}}
    await client.patch(POD, NN.of(before), Patch.strategic(side_image))

    def side_restarted(obj: RawObject) -> bool:
        side = obj["status"]["containerStatuses"][1]
        return bool(side["image"] == "side:2" and "running" in side["state"])

    after = (await history(client, broken, side_restarted))[-1]
    assert waits_for("ImagePullBackOff")(after)
    assert [c["restartCount"] for c in after["status"]["containerStatuses"]] == [0, 1]
    assert not is_ready(after)
    assert condition(after, "ContainersReady")["status"] == "False"


async def test_containers_wait_for_an_init_container_whose_image_does_not_exist(
    client: LiveClient, namespace: str
) -> None:
    inits = [{"name": "first", "image": "i"}, {"name": "second", "image": "nonexistent"}]
    created = await client.create(pod(namespace, initContainers=inits))
    states = await history(
        client,
        created,
        lambda p: (
            [s["state"] for s in p["status"].get("initContainerStatuses") or ()][1:]
            == [{"waiting": {"reason": "ImagePullBackOff", "message": "back-off pulling image nonexistent"}}]
        ),
    )
    stuck = states[-1]
    assert stuck["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 0
    assert waits_for("PodInitializing")(stuck)
    assert condition(stuck, "Initialized")["status"] == "False"
    cured = {"spec": {"initContainers": [{"name": "second", "image": "i"}]}}
    await client.patch(POD, NN.of(created), Patch.strategic(cured))
    ready = (await history(client, stuck, is_ready))[-1]
    assert condition(ready, "Initialized")["status"] == "True"
    assert [s["state"]["terminated"]["exitCode"] for s in ready["status"]["initContainerStatuses"]] == [0, 0]


async def test_a_deleted_pod_is_gone_within_its_grace(client: LiveClient, namespace: str) -> None:
    ready = await running(client, pod(namespace, terminationGracePeriodSeconds=30))
    left = await client.delete(POD, NN.of(ready))
    assert left is not None
    assert left["metadata"]["deletionGracePeriodSeconds"] == 30
    await wait_gone(client, POD, NN.of(ready), timeout=10)


async def test_a_deleted_pod_stays_as_long_as_its_finalizer_and_is_deleted_once(
    client: LiveClient, namespace: str
) -> None:
    ready = await running(client, pod(namespace, finalizers=["example.com/hold"]))
    await client.delete(POD, NN.of(ready))
    held = (await history(client, ready, lambda p: p["metadata"].get("deletionGracePeriodSeconds") == 0))[-1]
    assert held["metadata"]["finalizers"] == ["example.com/hold"]
    await stays(
        client,
        POD,
        NN.of(ready),
        lambda p: p["metadata"]["resourceVersion"] == held["metadata"]["resourceVersion"],
        during=1,
    )
    await client.patch(POD, NN.of(ready), Patch.merge({"metadata": {"finalizers": None}}))
    await wait_gone(client, POD, NN.of(ready), timeout=10)


async def test_a_forced_deletion_takes_effect_at_once(client: LiveClient, namespace: str) -> None:
    ready = await running(client, pod(namespace))
    await client.delete(POD, NN.of(ready), grace_seconds=0)
    with pytest.raises(NotFound):
        await client.get(POD, NN.of(ready))


async def test_a_stage_created_at_run_time_makes_chosen_pods_fail(
    cluster: EnvTest, client: LiveClient, namespace: str
) -> None:
    label = f"fault-{namespace}"
    stage = {
        "apiVersion": STAGE.api_version,
        "kind": STAGE.kind,
        "metadata": {"name": label},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
            "selector": {
                "matchLabels": {label: "yes"},
                "matchExpressions": [{"key": ".status.phase", "operator": "In", "values": ["Running"]}],
            },
            "next": {"statusTemplate": "phase: Failed\nreason: Evicted\n"},
        },
    }
    healthy, doomed = pod(namespace, "healthy"), pod(namespace, "doomed", labels={label: "yes"})
    await running(client, doomed)
    await client.create(stage)
    try:
        await client.patch(POD, NN.of(doomed), Patch.merge({"metadata": {"annotations": {"look": "again"}}}))
        failed = await wait_for(client, POD, NN.of(doomed), phase("Failed"), timeout=20)
        assert failed["status"]["reason"] == "Evicted"
        await running(client, healthy)
    finally:
        await client.delete(STAGE, NN("", label))


async def test_nodes_have_capacity_zones_and_leases(cluster: EnvTest, client: LiveClient) -> None:
    nodes = (await client.list(GVK("", "v1", "Node"))).items
    assert len(nodes) == cluster.nodes
    assert {n["metadata"]["labels"]["topology.kubernetes.io/zone"] for n in nodes} == {"z1", "z2"}
    assert {n["status"]["allocatable"]["nvidia.com/gpu"] for n in nodes} == {"8"}
    leases = await client.list(GVK("coordination.k8s.io", "v1", "Lease"), "kube-node-lease")
    assert {x["metadata"]["name"] for x in leases.items} == {n["metadata"]["name"] for n in nodes}


async def test_a_whole_control_plane_runs_its_first_pod_soon() -> None:
    """RT-ET-03. The goal is 8 s on an idle machine; in a whole run another control plane is beside it."""
    began = time.monotonic()
    async with EnvTest(nodes=2) as another:
        await running(another.client(), pod("default"))
        assert time.monotonic() - began < 20
        whole = {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"}
        assert set(another.processes.pids) == whole
