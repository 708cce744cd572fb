"""Admission as users meet it: through a real API server that calls our validators over TLS, in both versions."""

import copy
import json
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from integration.admission_server import admission_server

from rbgctl.api import kinds
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.client import LiveClient, Patch
from rbgctl.runtime.errors import ApiError, Forbidden, NotFound
from rbgctl.runtime.testing.asserts import eventually
from rbgctl.runtime.testing.envtest import EnvTest, new_namespace

GOLDEN = Path(__file__).parents[1] / "golden" / "manifests.jsonl"
RECORDED = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]
REFUSED = {
    "basic_rbgs_rbgs-base",  # server-side apply refuses a field that the schema does not have
    "basic_rbgs_rbgs-exclusive-topology",
    "deprecated_v1alpha1_basics_restart-policy",  # a retired value, OLD-11
    "extra_v1alpha1-roleinstanceset-components",  # A1-8
}
"""What the Go operator refused, each by its schema."""
TEMPLATE: RawObject = {"spec": {"containers": [{"name": "c", "image": "i"}]}}
WORKLOAD_TYPE = "rbg.workloads.x-k8s.io/role-workload-type"
STATEFUL_SET = "apps/v1/StatefulSet"


@pytest.fixture(scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EnvTest]:
    async with admission_server(tmp_path_factory.mktemp("webhooks")) as env:
        yield env


@pytest.fixture
def client(guarded: EnvTest) -> LiveClient:
    return guarded.client()


@pytest.fixture
async def namespace(client: LiveClient) -> str:
    return await new_namespace(client)


def group(namespace: str, name: str = "shop", version: str = "v1alpha2", **role: object) -> RawObject:
    shape: RawObject = {"standalonePattern": {"template": copy.deepcopy(TEMPLATE)}}
    if version == "v1alpha1":
        shape = {"template": copy.deepcopy(TEMPLATE)}
    return {
        "apiVersion": f"workloads.x-k8s.io/{version}",
        "kind": "RoleBasedGroup",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"roles": [{"name": "a", "replicas": 2, **shape, **role}]},
    }


async def warnings(env: EnvTest, obj: RawObject) -> list[str]:
    """Of a creation."""
    resource = kinds.resource(GVK.of(obj))
    path = f"/apis/{obj['apiVersion']}/namespaces/{obj['metadata']['namespace']}/{resource.plural}"
    answer = await env.transport().request(
        "POST", f"{path}?dryRun=All", body=orjson.dumps(obj), content_type="application/json"
    )
    assert answer.status == 201, answer.body
    given = [value for name, value in answer.headers.items() if name == "Warning"]
    return [text.removeprefix('299 - "').removesuffix('"').replace("\\", "") for text in given]


@pytest.mark.parametrize("record", RECORDED, ids=lambda r: f"{r['from']}-{r['object']['metadata']['name']}")
async def test_recorded_manifests_are_accepted_or_refused_as_by_the_go_operator(
    client: LiveClient, namespace: str, record: RawObject
) -> None:
    """WH-6: v1alpha1 manifests are converted and then judged; what is refused is refused by the schema."""
    placed = copy.deepcopy(record["object"])
    if kinds.resource(GVK.of(placed)).namespaced:
        placed["metadata"]["namespace"] = namespace
    if record["from"] in REFUSED:
        with pytest.raises(ApiError) as refused:
            await client.apply(placed, field_manager="user", dry_run=True)
        assert "denied the request" not in refused.value.message
    else:
        await client.apply(placed, field_manager="user", dry_run=True)


async def test_warnings_reach_the_user(guarded: EnvTest, namespace: str) -> None:
    """AR-5, API-07, A1-10, GRP-30: of groups and of what accompanies them."""
    raw = group(namespace, workload={"kind": "x"}, engineRuntimes=[{"profileName": "p", "injectContainers": ["z"]}])
    assert await warnings(guarded, raw) == [
        "spec.roles[0].workload: is v1alpha1 and has no effect; use annotation role-workload-type",
        'spec.roles[0].engineRuntimes[0].injectContainers: no container is called "z", and the field is not read',
    ]
    policy: RawObject = {
        "apiVersion": "workloads.x-k8s.io/v1alpha2",
        "kind": "CoordinatedPolicy",
        "metadata": {"name": "lost", "namespace": namespace},
        "spec": {"policies": [{"name": "r", "roles": ["a"], "strategy": {"scaling": {"maxSkew": "0%"}}}]},
    }
    found = await warnings(guarded, policy)
    assert len(found) == 2
    assert 'no RoleBasedGroup "lost" exists here' in found[0]
    assert "0% means one replica at a time" in found[1]


async def test_an_adapter_owns_the_replicas_of_its_role(client: LiveClient, namespace: str) -> None:
    """VAL-3, VLD-4, WH-6: through either version; the adapter's own value and every other edit pass."""
    made = await client.create(group(namespace, scalingAdapter={"enable": True}))
    adapter = {
        "apiVersion": "workloads.x-k8s.io/v1alpha2",
        "kind": "RoleBasedGroupScalingAdapter",
        "metadata": {"name": "shop-a", "namespace": namespace},
        "spec": {"replicas": 5, "scaleTargetRef": {"name": "shop", "role": "a"}},
    }
    await client.create(adapter)
    key = NN.of(made)

    async def scale(replicas: int, version: str) -> RawObject:
        gvk = GVK("workloads.x-k8s.io", version, "RoleBasedGroup")
        current = await client.get(gvk, key)
        current["spec"]["roles"][0]["replicas"] = replicas
        return await client.update(current)

    for version in ("v1alpha1", "v1alpha2"):
        with pytest.raises(Forbidden, match=r'spec.roles\[0\].replicas \(role "a"\): 3 is not what scaling adapter'):
            await scale(3, version)
    await client.patch(kinds.ROLE_BASED_GROUP, key, Patch.merge({"metadata": {"labels": {"x": "y"}}}))
    assert (await scale(5, "v1alpha2"))["spec"]["roles"][0]["replicas"] == 5
    await client.delete(kinds.SCALING_ADAPTER, NN(namespace, "shop-a"))
    assert (await scale(1, "v1alpha1"))["spec"]["roles"][0]["replicas"] == 1


async def test_scaling_below_the_partition(client: LiveClient, namespace: str) -> None:  # VLD-3
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    made = await client.create(group(namespace, rolloutStrategy=strategy))
    made["spec"]["roles"][0]["replicas"] = 1
    scaled = await client.update(made)
    scaled["metadata"]["labels"] = {"x": "y"}
    labelled = await client.update(scaled)
    labelled["spec"]["roles"][0]["rolloutStrategy"]["rollingUpdate"]["partition"] = 2
    with pytest.raises(Forbidden, match=r"partition: 2 must be less than replicas 1"):
        await client.update(labelled)


async def test_generated_names_are_judged(client: LiveClient, namespace: str) -> None:  # VAL-1 AR-10
    raw = group(namespace)
    raw["metadata"] = {"generateName": "shop.a-", "namespace": namespace}
    with pytest.raises(Forbidden, match=r'metadata.name: "shop\.a-.+" is not a valid DNS label: must not contain dots'):
        await client.create(raw)


async def test_dry_runs_are_judged_and_store_nothing(client: LiveClient, namespace: str) -> None:  # AR-9
    with pytest.raises(Forbidden, match="denied the request"):
        await client.create(group(namespace, dependencies=["z"]), dry_run=True)
    await client.create(group(namespace), dry_run=True)
    with pytest.raises(NotFound):
        await client.get(kinds.ROLE_BASED_GROUP, NN(namespace, "shop"))


async def test_status_and_deletion_are_not_judged(client: LiveClient, namespace: str) -> None:  # WH-7 VAL-5
    made = await client.create(group(namespace, dependencies=[]))
    status = {"status": {"roleStatuses": [{"name": "a", "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1}]}}
    await client.patch(kinds.ROLE_BASED_GROUP, NN.of(made), Patch.merge(status), subresource="status")
    await client.delete(kinds.ROLE_BASED_GROUP, NN.of(made))


async def test_with_the_deprecated_types_off(tmp_path: Path) -> None:
    """VAL-4, VAL-4s, VLD-5, WH-6, WH-8, DW-8: a v1alpha1 group without workload is refused and told why; what is
    stored and being deleted can lose its finalizers.
    """
    async with admission_server(tmp_path, deprecated_types_enabled=False) as env:
        client = env.client()
        namespace = await new_namespace(client)
        with pytest.raises(Forbidden) as refused:
            await client.create(group(namespace, version="v1alpha1"))
        assert f'spec.roles[0] (role "a"): workload type "{STATEFUL_SET}" is deprecated' in refused.value.message
        assert "workload.kind=RoleInstanceSet" in refused.value.message
        named = {"apiVersion": "workloads.x-k8s.io/v1alpha2", "kind": "RoleInstanceSet"}
        await client.create(group(namespace, "named", version="v1alpha1", workload=named))
        row = {
            "apiVersion": "workloads.x-k8s.io/v1alpha2",
            "kind": "RoleBasedGroupSet",
            "metadata": {"name": "row", "namespace": namespace},
            "spec": {
                "replicas": 1,
                "groupTemplate": {"spec": group("", annotations={WORKLOAD_TYPE: STATEFUL_SET})["spec"]},
            },
        }
        with pytest.raises(Forbidden, match=r"spec.groupTemplate.spec.roles\[0\] \(role"):
            await client.create(row)
        # An object from the time when the types were on: stored while nobody judged.
        configurations = GVK("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration")
        configuration = await client.get(configurations, NN("", "rbgs-validating-webhook-configuration"))
        await client.delete(configurations, NN.of(configuration))
        old = group(namespace, "old", annotations={WORKLOAD_TYPE: STATEFUL_SET})
        old["metadata"]["finalizers"] = ["example.com/kept"]
        key = NN(namespace, "old")
        await _until_stored(client, old)
        del configuration["metadata"]["resourceVersion"], configuration["metadata"]["uid"]
        await client.create(configuration)
        await _until_refused(client, key)
        await client.delete(kinds.ROLE_BASED_GROUP, key)
        await client.patch(kinds.ROLE_BASED_GROUP, key, Patch.merge({"metadata": {"finalizers": None}}))
        with pytest.raises(NotFound):
            await client.get(kinds.ROLE_BASED_GROUP, key)


async def _until_stored(client: LiveClient, obj: RawObject) -> None:
    async def stored() -> bool:
        try:
            await client.create(obj)
        except Forbidden:
            return False
        return True

    await eventually(stored, bool)


async def _until_refused(client: LiveClient, key: NN) -> None:
    async def refused() -> bool:
        try:
            await client.patch(kinds.ROLE_BASED_GROUP, key, Patch.merge({"metadata": {"labels": {"x": "y"}}}))
        except Forbidden:
            return True
        return False

    await eventually(refused, bool)
