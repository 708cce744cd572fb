"""Roles of several pods per instance, from a role template and from components, on simulated nodes."""

from collections.abc import Mapping
from typing import Any

from cluster.groups import POD, SERVICE, names, ready_group
from rbgctl.api import labels
from rbgctl.machinery.gvk import NN, RawObject
from rbgctl.playground.deployment import ManagerProcess
from rbgctl.runtime.client import LiveClient


def group(namespace: str, role: Mapping[str, Any], *templates: RawObject) -> RawObject:
    return {
        "apiVersion": "workloads.x-k8s.io/v1alpha2",
        "kind": "RoleBasedGroup",
        "metadata": {"name": "sled", "namespace": namespace},
        "spec": {"roles": [{"name": "dogs", "replicas": 2, **role}], "roleTemplates": list(templates)},
    }


def template(image: str = "registry.example/dog:1") -> RawObject:
    return {"spec": {"containers": [{"name": "main", "image": image}]}}


def env(pod: RawObject) -> dict[str, str]:
    """Variables with a literal value or one from a label, as the container will see them."""
    found = {}
    for variable in pod["spec"]["containers"][0].get("env") or ():
        path = ((variable.get("valueFrom") or {}).get("fieldRef") or {}).get("fieldPath", "")
        label = path.removeprefix("metadata.labels['").removesuffix("']")
        found[variable["name"]] = pod["metadata"]["labels"][label] if label else variable["value"]
    return found


async def test_leader_and_workers_of_a_role_template_find_each_other(
    client: LiveClient, manager: ManagerProcess, namespace: str
) -> None:
    """RBG-69, RBG-70, RBG-78, RBG-86, RBG-108."""
    pattern = {
        "size": 3,
        "templateRef": {"name": "dog", "patch": {"metadata": {"labels": {"breed": "husky"}}}},
        "workerTemplatePatch": {"spec": {"containers": [{"name": "main", "image": "registry.example/dog:2"}]}},
    }
    shared = {"name": "dog", "template": template()}
    await client.apply(group(namespace, {"leaderWorkerPattern": pattern}, shared), field_manager="user")
    await ready_group(client, NN(namespace, "sled"))
    pods = {p["metadata"]["name"]: p for p in (await client.list(POD, namespace)).items}
    assert sorted(pods) == [f"sled-dogs-{ordinal}-{rank}" for ordinal in range(2) for rank in range(3)]
    for name, pod in pods.items():
        instance, _, rank = name.rpartition("-")
        seen = env(pod)
        assert seen["RBG_LWP_LEADER_ADDRESS"] == f"$(RBG_ROLE_INSTANCE_NAME)-0.s-sled-dogs.{namespace}"
        assert (seen["RBG_ROLE_INSTANCE_NAME"], seen["RBG_LWP_WORKER_INDEX"]) == (instance, rank)
        assert seen["RBG_LWP_GROUP_SIZE"] == "3"
        assert pod["metadata"]["labels"]["breed"] == "husky"
        assert pod["spec"]["containers"][0]["image"] == f"registry.example/dog:{1 if rank == '0' else 2}"
        assert pod["spec"].get("subdomain") == ("s-sled-dogs" if rank == "0" else None)
    service = await client.get(SERVICE, NN(namespace, "s-sled-dogs"))
    assert service["spec"]["selector"][labels.COMPONENT_NAME] == labels.COMPONENT_LEADER


async def test_components_of_different_templates_make_one_instance(
    client: LiveClient, manager: ManagerProcess, namespace: str
) -> None:
    """RBG-86."""
    components = [
        {"name": "lead", "template": template()},
        {"name": "team", "size": 2, "template": template("registry.example/team:1"), "labels": {"place": "team"}},
    ]
    role = {"customComponentsPattern": {"components": components}}
    await client.apply(group(namespace, role), field_manager="user")
    await ready_group(client, NN(namespace, "sled"))
    expected = [f"sled-dogs-{n}-{pod}" for n in range(2) for pod in ("lead-0", "team-0", "team-1")]
    assert await names(client, POD, namespace) == sorted(expected)
    pod = await client.get(POD, NN(namespace, "sled-dogs-1-team-1"))
    seen = env(pod)
    assert (seen["RBG_COMPONENT_NAME"], seen["RBG_COMPONENT_INDEX"], seen["RBG_ROLE_INDEX"]) == ("team", "1", "1")
    assert pod["metadata"]["labels"]["place"] == "team"
    assert pod["metadata"]["labels"][labels.COMPONENT_SIZE] == "2"
