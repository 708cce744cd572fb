"""All our kinds on a real API server: names, columns, scale, versions, defaults, and manifests in strict validation."""

import asyncio
import copy
import json
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path
from typing import Any

import orjson
import pytest

from rbgctl.api import kinds
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.client import LiveClient, Patch
from rbgctl.runtime.errors import ApiError, BadRequest
from rbgctl.runtime.testing.envtest import EnvTest

OLD = {
    kind: GVK(kinds.GROUP, kinds.V1ALPHA1, kind)
    for kind in (
        kinds.KIND_GROUP,
        kinds.KIND_SCALING_ADAPTER,
        kinds.KIND_ENGINE_RUNTIME_PROFILE,
        kinds.KIND_LEGACY_INSTANCE,
        kinds.KIND_LEGACY_INSTANCE_SET,
    )
}
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
TEMPLATE: RawObject = {"spec": {"containers": [{"name": "c", "image": "i"}]}}
ROLES = [{"name": "a", "standalonePattern": {"template": TEMPLATE}}]
COUNTS = {
    "replicas": 2,
    "readyReplicas": 1,
    "availableReplicas": 0,
    "currentReplicas": 0,
    "updatedReplicas": 2,
    "updatedReadyReplicas": 1,
}
CONDITION = {"reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
CONFIG = Path(__file__).parents[2] / "config" / "crd"
MANIFESTS = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "golden" / "manifests.jsonl").read_text(encoding="utf-8").splitlines()
]


def named(gvk: GVK, namespace: str, **body: Any) -> RawObject:
    metadata = {"name": "x", "namespace": namespace}
    if not kinds.resource(gvk).namespaced:
        metadata = {"name": f"x-{namespace}"}
    return {"apiVersion": gvk.api_version, "kind": gvk.kind, "metadata": metadata, **body}


def key_of(obj: RawObject) -> NN:
    return NN(obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


async def test_names_as_kubectl_discovers_them(env: EnvTest) -> None:  # KIND-1..10 API-20
    short = {
        "rolebasedgroups": ["rbg"],
        "rolebasedgroupsets": ["rbgs"],
        "rolebasedgroupscalingadapters": ["rbgsa"],
        "roleinstancesets": ["ris"],
        "roleinstances": ["rins"],
        "coordinatedpolicies": ["cpolicy"],
        "clusterengineruntimeprofiles": None,
        "rolebasedgroupwarmups": ["rbgwarmup"],
        "instances": ["ins"],
        "instancesets": ["is"],
    }
    scaled = {"rolebasedgroupsets", "rolebasedgroupscalingadapters", "roleinstancesets", "instancesets"}
    seen: dict[str, RawObject] = {}
    for version in (kinds.V1ALPHA1, kinds.V1ALPHA2):
        answer = await env.transport().request("GET", f"/apis/{kinds.GROUP}/{version}")
        resources = {r["name"]: r for r in orjson.loads(answer.body)["resources"]}
        wanted = {r.plural for r in kinds.RESOURCES if r.gvk.version == version}
        assert {name for name in resources if "/" not in name} == wanted
        assert {name.removesuffix("/scale") for name in resources if name.endswith("/scale")} == scaled & wanted
        assert {name.removesuffix("/status") for name in resources if name.endswith("/status")} == wanted
        seen |= {name: resource for name, resource in resources.items() if "/" not in name}
    assert {name: resource.get("shortNames") for name, resource in seen.items()} == short
    assert {name for name, resource in seen.items() if not resource["namespaced"]} == {"clusterengineruntimeprofiles"}
    assert not any(resource.get("categories") for resource in seen.values())
    group = orjson.loads((await env.transport().request("GET", f"/apis/{kinds.GROUP}")).body)
    assert group["preferredVersion"]["version"] == kinds.V1ALPHA2


async def kubectl(env: EnvTest, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        env.kubectl, "--kubeconfig", env.kubeconfig, *arguments, stdout=PIPE, stderr=STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_kubectl_installs_and_knows_them(env: EnvTest, namespace: str) -> None:  # DEP-2 API-20 KIND-1..10
    said = await kubectl(env, "apply", "--server-side", "--force-conflicts", "-k", str(CONFIG))
    assert sorted(line.partition(" ")[0].rpartition("/")[2] for line in said.splitlines()) == sorted(
        f"{r.plural}.{kinds.GROUP}" for r in kinds.RESOURCES if r.gvk.version == kinds.V1ALPHA2
    )
    for name in ("rbg", "rbgs", "rbgsa", "ris", "rins", "cpolicy", "rbgwarmup", "ins", "is"):
        assert "No resources found" in await kubectl(env, "get", name, "--namespace", namespace)
    await kubectl(env, "get", "clusterengineruntimeprofiles")
    assert "In which steps" in await kubectl(env, "explain", "rbgs.spec.rolloutStrategy")


WARMUP = {"targetNodes": {"nodeNames": ["n"], "imagePreload": {"images": ["i"]}}}
INSTANCE = {"components": [{"name": "c", "template": TEMPLATE}]}
SHOWN: list[tuple[GVK, RawObject, RawObject, list[str], list[Any]]] = [
    (
        kinds.ROLE_BASED_GROUP,
        {"roles": ROLES},
        {"roleStatuses": [], "conditions": [{"type": "Ready", "status": "False", **CONDITION}]},
        ["READY", "AGE"],  # COL-1
        ["False"],
    ),
    (
        kinds.ROLE_BASED_GROUP_SET,
        {"replicas": 3, "groupTemplate": {"spec": {"roles": ROLES}}},
        {"replicas": 2, "readyReplicas": 1},
        ["DESIRED", "READY", "AGE"],  # COL-2
        ["3", "1"],
    ),
    (
        OLD[kinds.KIND_SCALING_ADAPTER],
        {"scaleTargetRef": {"name": "g", "role": "a"}},
        {"phase": "Bound", "replicas": 2, "readyReplicas": 1},
        ["PHASE", "REPLICAS", "AGE"],  # COL-3
        ["Bound", 2],
    ),
    (
        kinds.SCALING_ADAPTER,
        {"scaleTargetRef": {"name": "g", "role": "a"}},
        {"phase": "Bound", "replicas": 2, "readyReplicas": 1},
        ["PHASE", "REPLICAS", "READY_REPLICAS", "AGE"],  # COL-4
        ["Bound", 2, 1],
    ),
    (
        kinds.ROLE_INSTANCE,
        INSTANCE,
        {"conditions": [{"type": "RoleInstanceReady", "status": "True"}]},
        ["READY", "AGE"],  # COL-6
        ["True"],
    ),
    (
        kinds.COORDINATED_POLICY,
        {"policies": [{"name": "p", "roles": ["a"], "strategy": {}}]},
        {},
        ["AGE"],  # COL-7
        [],
    ),
    (kinds.ENGINE_RUNTIME_PROFILE, {}, {}, ["Age"], []),  # COL-8
    (
        kinds.WARMUP,
        WARMUP,
        {"phase": "Running", "desired": 3, "active": 1, "succeeded": 2, "failed": 0},
        ["PHASE", "DESIRED", "SUCCEEDED", "FAILED", "AGE"],  # COL-8 WU-27
        ["Running", 3, 2, 0],
    ),
    (
        OLD[kinds.KIND_LEGACY_INSTANCE],
        INSTANCE,
        {"conditions": [{"type": "InstanceReady", "status": "True"}]},
        ["READY", "AGE"],  # COL-9
        ["True"],
    ),
    (
        OLD[kinds.KIND_LEGACY_INSTANCE_SET],
        {"replicas": 3, "instanceTemplate": INSTANCE},
        COUNTS,
        ["DESIRED", "UPDATED", "UPDATED_READY", "READY", "TOTAL", "AGE", "SELECTOR"],  # COL-10
        [3, 2, 1, 1, 2],
    ),
]


@pytest.mark.parametrize(
    ("gvk", "spec", "status", "columns", "cells"), SHOWN, ids=[f"{row[0].version}-{row[0].kind}" for row in SHOWN]
)
async def test_printer_columns(
    env: EnvTest,
    client: LiveClient,
    namespace: str,
    gvk: GVK,
    spec: RawObject,
    status: RawObject,
    columns: list[str],
    cells: list[Any],
) -> None:
    made = await client.create(named(gvk, namespace, spec=spec))
    if status:
        await client.patch(gvk, key_of(made), Patch.merge({"status": status}), subresource="status")
    path = kinds.resource(gvk).path(made["metadata"].get("namespace", ""), made["metadata"]["name"])
    shown = orjson.loads((await env.transport().request("GET", path, accept=TABLE)).body)
    assert [c["name"] for c in shown["columnDefinitions"]] == ["Name", *columns]
    assert shown["rows"][0]["cells"][1 : 1 + len(cells)] == cells
    await client.delete(gvk, key_of(made))


@pytest.mark.parametrize(
    ("gvk", "spec", "status", "selector"),
    [
        (
            kinds.ROLE_BASED_GROUP_SET,
            {"groupTemplate": {"spec": {"roles": ROLES}}, "replicas": 3},
            {"replicas": 2},
            None,
        ),
        (
            kinds.SCALING_ADAPTER,
            {"scaleTargetRef": {"name": "g", "role": "a"}, "replicas": 3},
            {"replicas": 2, "selector": "a=b"},
            "a=b",
        ),
        (
            OLD[kinds.KIND_LEGACY_INSTANCE_SET],
            {"instanceTemplate": INSTANCE, "replicas": 3},
            {**COUNTS, "labelSelector": "a=b"},
            "a=b",
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, GVK) else "",
)
async def test_scale(  # API-21 KIND-2 KIND-3 KIND-10
    client: LiveClient, namespace: str, gvk: GVK, spec: RawObject, status: RawObject, selector: str | None
) -> None:
    key = key_of(await client.create(named(gvk, namespace, spec=spec)))
    await client.patch(gvk, key, Patch.merge({"status": status}), subresource="status")
    scale = await client.get_scale(gvk, key)
    assert scale["spec"] == {"replicas": 3}
    assert scale["status"] == {"replicas": 2, **({"selector": selector} if selector else {})}
    await client.set_scale(gvk, key, 5)
    assert (await client.get(gvk, key))["spec"]["replicas"] == 5


async def test_deprecated_versions_warn(env: EnvTest, namespace: str) -> None:  # API-20 A1-1
    for kind, gvk in OLD.items():
        replaced = {"Instance": "RoleInstance", "InstanceSet": "RoleInstanceSet"}.get(kind, kind)
        answer = await env.transport().request("GET", kinds.resource(gvk).path(namespace))
        assert answer.headers["Warning"] == (
            f'299 - "workloads.x-k8s.io/v1alpha1 {kind} is deprecated; use workloads.x-k8s.io/v1alpha2 {replaced}"'
        )


async def test_adapters_and_profiles_are_the_same_in_both_versions(  # A1-2 KIND-3 KIND-7
    client: LiveClient, namespace: str
) -> None:
    condition = {"type": "ScaleDownHeld", "status": "True", **CONDITION}
    adapter = named(OLD[kinds.KIND_SCALING_ADAPTER], namespace, spec={"scaleTargetRef": {"name": "g", "role": "a"}})
    await client.create(adapter)
    status = {"phase": "Bound", "conditions": [condition]}
    await client.patch(kinds.SCALING_ADAPTER, key_of(adapter), Patch.merge({"status": status}), subresource="status")
    old = await client.get(OLD[kinds.KIND_SCALING_ADAPTER], key_of(adapter))
    new = await client.get(kinds.SCALING_ADAPTER, key_of(adapter))
    assert old.pop("apiVersion") != new.pop("apiVersion")
    assert old == new
    assert new["status"] == status
    profile = named(OLD[kinds.KIND_ENGINE_RUNTIME_PROFILE], namespace, spec={"volumes": [{"name": "v"}]})
    await client.create(profile)
    assert (await client.get(kinds.ENGINE_RUNTIME_PROFILE, key_of(profile)))["spec"] == {
        "volumes": [{"name": "v"}],
        "updateStrategy": "NoUpdate",  # ERP-4
    }
    await client.delete(kinds.ENGINE_RUNTIME_PROFILE, key_of(profile))


async def test_without_a_webhook_the_old_version_of_groups_is_refused(  # A1-3 WH-5 KIND-1
    client: LiveClient, namespace: str
) -> None:
    old = named(OLD[kinds.KIND_GROUP], namespace, spec={"roles": [{"name": "a", "template": TEMPLATE}]})
    with pytest.raises(ApiError, match=r"conversion webhook .* failed"):
        await client.create(old)
    new = await client.create(named(kinds.ROLE_BASED_GROUP, namespace, spec={"roles": ROLES}))
    assert (await client.get(kinds.ROLE_BASED_GROUP, key_of(new)))["spec"] == new["spec"]
    with pytest.raises(ApiError, match=r"conversion webhook .* failed"):
        await client.get(OLD[kinds.KIND_GROUP], key_of(new))


async def test_null_means_absent_where_there_is_a_default(client: LiveClient, namespace: str) -> None:  # API-05 RBGS-1
    role = {**ROLES[0], "replicas": None, "podManagementPolicy": None, "minReadySeconds": None}
    spec = {"replicas": None, "groupTemplate": {"spec": {"roles": [role]}}}
    made = await client.create(named(kinds.ROLE_BASED_GROUP_SET, namespace, spec=spec))
    assert made["spec"]["replicas"] == 1
    stored = made["spec"]["groupTemplate"]["spec"]["roles"][0]
    assert {name: stored[name] for name in ("replicas", "podManagementPolicy", "minReadySeconds")} == {
        "replicas": 1,
        "podManagementPolicy": "Parallel",
        "minReadySeconds": 0,
    }


async def test_unknown_keys_of_roles_in_a_set_survive(client: LiveClient, namespace: str) -> None:  # API-07 RBGS-4
    role = {**ROLES[0], "workload": {"kind": "Odd"}, "restartPolicy": "None"}
    spec = {"groupTemplate": {"spec": {"roles": [role]}, "metadata": {"labels": {"a": "b"}}}}
    made = await client.create(named(kinds.ROLE_BASED_GROUP_SET, namespace, spec=spec))
    assert role.items() <= made["spec"]["groupTemplate"]["spec"]["roles"][0].items()
    assert "metadata" not in made["spec"]["groupTemplate"]


async def test_what_other_kinds_leave_to_their_controllers(  # ADP-1 ADP-10 POL-5 POL-7 RBGS-1 WRM-31 ERP-4
    client: LiveClient, namespace: str
) -> None:
    adapter = named(kinds.SCALING_ADAPTER, namespace, spec={"scaleTargetRef": {"name": "", "role": ""}})
    assert "replicas" not in (await client.create(adapter))["spec"]
    await client.patch(
        kinds.SCALING_ADAPTER, key_of(adapter), Patch.merge({"status": {"phase": "Odd"}}), subresource="status"
    )
    strategy = {"rollingUpdate": {"maxSkew": -1, "partition": "odd"}, "scaling": {"maxSkew": 200}}
    rule = {"name": "p", "roles": ["a", "a"], "strategy": strategy}
    policy = await client.create(named(kinds.COORDINATED_POLICY, namespace, spec={"policies": [rule]}))
    assert policy["spec"] == {"policies": [rule]}
    empty = {"replicas": 0, "groupTemplate": {}}
    assert (await client.create(named(kinds.ROLE_BASED_GROUP_SET, namespace, spec=empty)))["spec"] == empty
    warmup = await client.create(named(kinds.WARMUP, namespace, spec=WARMUP))
    counts = {"phase": "Odd", "desired": 0, "active": 0, "succeeded": 0, "failed": 0}
    await client.patch(kinds.WARMUP, key_of(warmup), Patch.merge({"status": counts}), subresource="status")


NEW_MANIFESTS = [m for m in MANIFESTS if m["object"]["apiVersion"] == kinds.API_VERSION]
NEVER_A_FIELD = ("basic_rbgs_rbgs-base", "basic_rbgs_rbgs-exclusive-topology")
"""EX-15 and EX-16 put labels under groupTemplate.metadata, which the API does not have."""


@pytest.mark.parametrize("manifest", NEW_MANIFESTS, ids=lambda m: f"{m['from']}-{m['object']['metadata']['name']}")
async def test_manifests_pass_strict_validation(  # EX-90
    client: LiveClient, namespace: str, manifest: RawObject
) -> None:
    body = copy.deepcopy(manifest["object"])
    if kinds.resource(GVK(kinds.GROUP, kinds.V1ALPHA2, body["kind"])).namespaced:
        body["metadata"]["namespace"] = namespace
    if manifest["from"] in NEVER_A_FIELD:
        with pytest.raises(BadRequest, match=r'unknown field "spec\.groupTemplate\.metadata"'):
            await client.create(body, dry_run=True, field_validation="Strict")
        return
    made = await client.create(body, dry_run=True, field_validation="Strict")
    assert made["spec"].keys() >= body["spec"].keys()
