"""A cluster with the Go operator's CRDs: without our additions, and without conversion, like its raw files.

Everything that does not use an addition is stored there as it is under our own CRDs. What the v1alpha1 schemas of
groups and group sets accept and fill in is seen in an API group of its own, where no other version comes between.
"""

import copy
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rbgctl.api import kinds
from rbgctl.api.crd import manifests
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.client import LiveClient, Patch
from rbgctl.runtime.errors import ApiError, Invalid
from rbgctl.runtime.testing.envtest import EnvTest, new_namespace

TEST = Path(__file__).parents[1]
RECORDED = [json.loads(line) for line in (TEST / "golden" / "manifests.jsonl").read_text(encoding="utf-8").splitlines()]
EXAMPLES = [
    {"from": path.stem, "object": document}
    for path in sorted((TEST.parent / "examples").rglob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    if document and document["apiVersion"].startswith(f"{kinds.GROUP}/")
]
NEW = [m for m in RECORDED + EXAMPLES if m["object"]["apiVersion"] == kinds.API_VERSION]
OLD = [m for m in RECORDED + EXAMPLES if m["object"]["apiVersion"] == kinds.API_VERSION_V1ALPHA1]
OLD_GROUP = GVK("old.example.test", kinds.V1ALPHA1, kinds.KIND_GROUP)
CONVERTED = (kinds.KIND_GROUP, kinds.KIND_GROUP_SET)
TEMPLATE: RawObject = {"spec": {"containers": [{"name": "c", "image": "i"}]}}


def named(manifest: RawObject) -> str:
    return f"{manifest['from']}-{manifest['object']['metadata']['name']}"


@pytest.fixture(scope="module")
async def base() -> AsyncIterator[EnvTest]:
    crds = [{**crd, "spec": {**crd["spec"], "conversion": {"strategy": "None"}}} for crd in manifests(additions=False)]
    alone = [alone_in_v1alpha1(crd) for crd in crds if crd["spec"]["names"]["kind"] in CONVERTED]
    async with EnvTest(crds=crds + alone, static=kinds.RESOURCES) as started:
        yield started


def alone_in_v1alpha1(crd: RawObject) -> RawObject:
    spec = crd["spec"]
    version = {**spec["versions"][0], "storage": True}
    assert version["name"] == kinds.V1ALPHA1
    return {
        **crd,
        "metadata": {"name": f"{spec['names']['plural']}.{OLD_GROUP.group}"},
        "spec": {**spec, "group": OLD_GROUP.group, "versions": [version]},
    }


@pytest.fixture
def other(base: EnvTest) -> LiveClient:
    return base.client()


@pytest.fixture
async def there(other: LiveClient) -> str:
    """A namespace on the other cluster."""
    return await new_namespace(other)


def placed(manifest: RawObject, namespace: str) -> RawObject:
    body = copy.deepcopy(manifest["object"])
    group, _, version = body["apiVersion"].partition("/")
    if kinds.resource(GVK(group, version, body["kind"])).namespaced:
        body["metadata"]["namespace"] = namespace
    return body


@pytest.mark.parametrize("manifest", NEW, ids=named)
async def test_manifests_are_stored_as_under_our_crds(
    client: LiveClient, namespace: str, other: LiveClient, there: str, manifest: RawObject
) -> None:
    ours = await client.create(placed(manifest, namespace), dry_run=True)
    theirs = await other.create(placed(manifest, there), dry_run=True)
    assert theirs["spec"] == ours["spec"]


ROLES = [{"name": "a", "standalonePattern": {"template": TEMPLATE}}]
CONDITION = {"type": "T", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
ADDED: list[tuple[GVK, RawObject, RawObject, RawObject, RawObject]] = [
    (
        kinds.ROLE_BASED_GROUP_SET,
        {"groupTemplate": {"spec": {"roles": ROLES}}},
        {"rolloutStrategy": {"maxUnavailable": 1}},
        {"replicas": 1},
        {"updatedReplicas": 1, "updatedReadyReplicas": 1},
    ),
    (
        kinds.SCALING_ADAPTER,
        {"scaleTargetRef": {"name": "g", "role": "a"}},
        {},
        {"phase": "Bound"},
        {"conditions": [CONDITION]},
    ),
    (
        kinds.COORDINATED_POLICY,
        {"policies": [{"name": "p", "roles": ["a"], "strategy": {}}]},
        {"targetRoleBasedGroup": {"name": "g"}},
        {"observedGeneration": 1},
        {},
    ),
    (
        kinds.ROLE_INSTANCE,
        {"components": [{"name": "c", "template": TEMPLATE}]},
        {},
        {"restartCount": 1},
        {
            "recentFailures": [{"pod": "p", "time": "2026-01-01T00:00:00Z", "exitCode": 1}],
            "restartWindow": {"startTime": "2026-01-01T00:00:00Z", "restarts": 1},
        },
    ),
]


@pytest.mark.parametrize(
    ("gvk", "spec", "more_spec", "status", "more_status"), ADDED, ids=[row[0].kind for row in ADDED]
)
async def test_additions_are_kept_by_our_crds_and_dropped_by_others(
    client: LiveClient,
    namespace: str,
    other: LiveClient,
    there: str,
    gvk: GVK,
    spec: RawObject,
    more_spec: RawObject,
    status: RawObject,
    more_status: RawObject,
) -> None:
    for cluster, where, kept in ((client, namespace, True), (other, there, False)):
        body = {"apiVersion": gvk.api_version, "kind": gvk.kind, "metadata": {"name": "x", "namespace": where}}
        made = await cluster.create({**body, "spec": {**spec, **more_spec}})
        assert {name: made["spec"].get(name) for name in more_spec} == (more_spec if kept else dict.fromkeys(more_spec))
        patch = Patch.merge({"status": {**status, **more_status}})
        written = await cluster.patch(gvk, NN(where, "x"), patch, subresource="status")
        assert written["status"] == (status | more_status if kept else status)
        if more_status:
            applied = {**body, "status": more_status}
            if kept:
                await cluster.apply(applied, field_manager="rbg", subresource="status", dry_run=True)
            else:
                with pytest.raises(ApiError, match="field not declared in schema"):
                    await cluster.apply(applied, field_manager="rbg", subresource="status", dry_run=True)


REFUSED = {
    "deprecated_v1alpha1_basics_restart-policy": "RecreateRBGOnPodRestart",  # OLD-4
    "extra_v1alpha1-roleinstanceset-components": "template or templateRef must be set",  # A1-8 A1-9
}


@pytest.mark.parametrize("manifest", OLD, ids=named)
async def test_v1alpha1_manifests_pass_strict_validation(  # A1-5..8
    other: LiveClient, there: str, manifest: RawObject
) -> None:
    body = {**placed(manifest, there), "apiVersion": OLD_GROUP.api_version}
    create = other.create(body, dry_run=True, field_validation="Strict")
    if text := REFUSED.get(manifest["from"]):
        with pytest.raises(Invalid, match=text):
            await create
    else:
        assert (await create)["spec"]


def old_group(namespace: str, *roles: RawObject, **spec: Any) -> RawObject:
    metadata = {"name": "x", "namespace": namespace}
    return {
        "apiVersion": OLD_GROUP.api_version,
        "kind": OLD_GROUP.kind,
        "metadata": metadata,
        "spec": {"roles": list(roles), **spec},
    }


async def test_v1alpha1_defaults(other: LiveClient, there: str) -> None:  # A1-12 LEG-3
    made = await other.create(
        old_group(
            there,
            {"name": "a", "template": TEMPLATE},
            {"name": "b", "template": TEMPLATE, "workload": {"kind": "Deployment"}, "leaderWorkerSet": {}},
            podGroupPolicy={"kubeScheduling": {}},
            coordination=[{"name": "c", "roles": ["a"], "strategy": {"scaling": {}}}],
        ),
        dry_run=True,
    )
    spec = made["spec"]
    assert spec["roles"] == [
        {
            "name": "a",
            "template": TEMPLATE,
            "replicas": 1,
            "minReadySeconds": 0,
            "workload": {"apiVersion": "apps/v1", "kind": "StatefulSet"},
        },
        {
            "name": "b",
            "template": TEMPLATE,
            "replicas": 1,
            "minReadySeconds": 0,
            "workload": {"apiVersion": "apps/v1", "kind": "Deployment"},
            "leaderWorkerSet": {"size": 1},
        },
    ]
    assert spec["podGroupPolicy"] == {"kubeScheduling": {"scheduleTimeoutSeconds": 60}}
    assert spec["coordination"][0]["strategy"] == {"scaling": {"progression": "OrderScheduled"}}


async def test_v1alpha1_rules_look_at_the_kind_only(other: LiveClient, there: str) -> None:  # A1-6 A1-7 A1-8 A1-9
    components = [{"name": "c", "template": TEMPLATE}]
    for role in (
        {"name": "a", "components": components, "workload": {"apiVersion": "else/v1", "kind": "InstanceSet"}},
        {"name": "a", "template": TEMPLATE, "components": components, "workload": {"kind": "RoleInstanceSet"}},
        {"name": "a", "templateRef": {"name": "t"}, "templatePatch": {}, "workload": {"kind": "Odd"}},
    ):
        stored = (await other.create(old_group(there, role), dry_run=True))["spec"]["roles"][0]
        assert stored.items() >= {k: v for k, v in role.items() if k != "workload"}.items()


async def test_unknown_v1alpha1_fields(other: LiveClient, there: str) -> None:  # A1-10 A1-13
    role = {"name": "a", "template": TEMPLATE, "standalonePattern": {"odd": 1}, "templatePatch": {}}
    made = await other.create(old_group(there, role, odd=1), dry_run=True)
    assert made["spec"]["roles"][0]["standalonePattern"] == {"odd": 1}
    assert made["spec"]["roles"][0]["templatePatch"] == {}
    assert "odd" not in made["spec"]


async def test_a_published_manifest_of_old_days(other: LiveClient, there: str) -> None:  # OLD-15 OLD-16 OLD-17
    workload = {"apiVersion": "workloads.x-k8s.io/v1alpha1", "kind": "InstanceSet"}
    update = {"type": "RollingUpdate", "rollingUpdate": {"type": "InPlaceIfPossible"}}
    role = {"name": "a", "template": TEMPLATE, "workload": workload, "rolloutStrategy": update}
    scaling = {"maxSkew": "10%", "progressionStrategy": "OrderReady"}
    coordination = [{"name": "c", "roles": ["a"], "strategy": {"scaling": scaling}}]
    made = await other.create(old_group(there, role, coordination=coordination), dry_run=True)
    assert made["spec"]["roles"][0]["workload"] == workload
    assert made["spec"]["coordination"][0]["strategy"]["scaling"] == {
        "maxSkew": "10%",
        "progression": "OrderScheduled",
    }
    shared = {"name": "a", "templateRef": {"name": "t"}, "workload": workload}
    templates = [{"name": "t", "template": TEMPLATE}]
    with pytest.raises(Invalid, match="templateRef is not supported for InstanceSet workloads"):
        await other.create(old_group(there, shared, roleTemplates=templates), dry_run=True)
