"""Our CRDs on a real API server: what it fills in, what it refuses, and how server-side apply merges."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from rbgctl.api import kinds
from rbgctl.api.crd import manifests
from rbgctl.api.crd.bounding import bound
from rbgctl.api.crd.references import neutral
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.client import LiveClient, Patch
from rbgctl.runtime.errors import Conflict, Invalid
from rbgctl.runtime.testing.envtest import EnvTest

CRD = GVK("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
GOLDEN = Path(__file__).parents[1] / "golden" / "served_groups.json"
SERVED = json.loads(GOLDEN.read_text(encoding="utf-8"))
RIS = kinds.ROLE_INSTANCE_SET

SNAPSHOT: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "rbgctl" / "api" / "crd" / "core_v1.json").read_text(encoding="utf-8")
)["schemas"]
GONE = {"ClaimSource", "PodResourceClaim.source"}
"""In 1.28 to 1.30 and never more than alpha: the indirection through `source` in claims of dynamic resources."""

TEMPLATE: RawObject = {"spec": {"containers": [{"name": "c", "image": "i"}]}}


def named(gvk: GVK, namespace: str, **body: Any) -> RawObject:
    return {
        "apiVersion": gvk.api_version,
        "kind": gvk.kind,
        "metadata": {"name": "x", "namespace": namespace},
        **body,
    }


def group(namespace: str, *roles: RawObject, **spec: Any) -> RawObject:
    return named(kinds.ROLE_BASED_GROUP, namespace, spec={"roles": list(roles), **spec})


def role(name: str = "a", **fields: Any) -> RawObject:
    return {"name": name, "standalonePattern": {"template": copy.deepcopy(TEMPLATE)}, **fields}


# -- installation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crd", manifests(), ids=lambda crd: crd["metadata"]["name"])
async def test_crd_is_established_and_structural(client: LiveClient, crd: RawObject) -> None:
    live = await client.get(CRD, NN("", crd["metadata"]["name"]))
    conditions = {c["type"]: c["status"] for c in live["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert conditions.get("NonStructuralSchema", "False") == "False"


async def test_server_keeps_every_word_of_the_crds(client: LiveClient) -> None:
    # Only what the server adds by itself may differ: the conversion strategy and the port of the conversion Service.
    for crd in map(neutral, manifests()):
        spec = (await client.get(CRD, NN("", crd["metadata"]["name"])))["spec"]
        if spec["conversion"]["strategy"] == "Webhook":
            assert spec["conversion"]["webhook"]["clientConfig"]["service"].pop("port") == 443
        assert spec == {"conversion": {"strategy": "None"}, **crd["spec"]}


async def test_snapshot_of_core_types_is_what_this_server_publishes(  # API-08
    env: EnvTest, server_version: str, newest_version: str
) -> None:
    if server_version != newest_version and "KUBEBUILDER_ASSETS" in os.environ:
        pytest.skip(f"the snapshot is of Kubernetes {newest_version}, KUBEBUILDER_ASSETS holds {server_version}")
    assert (await published_core_types(env)) == SNAPSHOT


async def test_every_field_of_the_core_types_of_this_server_is_in_the_snapshot(env: EnvTest) -> None:
    """So that a template which this server's pods could have loses nothing, on the oldest server too."""
    published = await published_core_types(env)
    missing = published.keys() - SNAPSHOT.keys()
    for name in published.keys() & SNAPSHOT.keys():
        fields = published[name].get("properties", {}).keys() - SNAPSHOT[name].get("properties", {}).keys()
        missing |= {f"{name}.{field}" for field in fields}
    assert missing <= GONE


async def published_core_types(env: EnvTest) -> dict[str, Any]:
    answer = await env.transport().request("GET", "/openapi/v3/api/v1")
    schemas: dict[str, Any] = bound(orjson.loads(answer.body))["schemas"]
    return schemas


# -- defaults ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", SERVED)
async def test_specs_are_served_as_upstream_serves_them(  # API-05 API-08 GRP-13 GRP-34 GRP-35 GRP-51
    client: LiveClient, namespace: str, example: str
) -> None:
    manifest = copy.deepcopy(SERVED[example]["input"])
    manifest["metadata"]["namespace"] = namespace
    served = await client.apply(manifest, field_manager="user")
    assert served["spec"] == SERVED[example]["spec"]
    assert RoleBasedGroup.decode(served).dump() == served


async def test_rolling_update_defaults(client: LiveClient, namespace: str) -> None:  # GRP-15 GRP-18 GRP-19 GRP-20
    made = await client.create(group(namespace, role(rolloutStrategy={"rollingUpdate": {"maxSurge": None}})))
    assert made["spec"]["roles"][0]["rolloutStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1, "partition": 0},
    }


async def test_set_and_instance_defaults(
    client: LiveClient, namespace: str
) -> None:  # SET-1 SET-4 SET-13 RI-3 RI-7 API-06
    components = [{"name": "c", "template": {"spec": {"containers": [{"name": "c", "ports": [{"containerPort": 1}]}]}}}]
    made = await client.create(named(RIS, namespace, spec={"roleInstanceTemplate": {"components": components}}))
    assert made["spec"] == {
        "podManagementPolicy": "Parallel",
        "revisionHistoryLimit": 10,
        "roleInstanceTemplate": {"components": components},
    }
    instance = named(kinds.ROLE_INSTANCE, namespace, spec={"components": components, "restartPolicyConfig": {}})
    made = await client.create(instance)
    assert made["spec"] == {
        "components": components,
        "readyPolicy": "AllPodReady",
        "restartPolicyConfig": {"baseDelaySeconds": 30, "maxDelaySeconds": 600},
    }


async def test_unknown_fields(client: LiveClient, namespace: str) -> None:  # API-07 API-08
    odd = role(workload={"kind": "Odd"}, rolloutStrategy={"odd": 1})
    odd["standalonePattern"]["template"]["metadata"] = {"labels": {"a": "b"}, "generateName": "gone"}
    odd["standalonePattern"]["template"]["spec"]["schedulingGroup"] = {"podGroupName": "gone"}
    stored = (await client.create(group(namespace, odd)))["spec"]["roles"][0]
    assert stored["workload"] == {"kind": "Odd"}
    assert stored["rolloutStrategy"] == {"type": "RollingUpdate"}
    assert stored["standalonePattern"]["template"]["metadata"] == {"labels": {"a": "b"}}
    assert "schedulingGroup" not in stored["standalonePattern"]["template"]["spec"]


async def test_schemaless_nodes_are_stored_as_sent(client: LiveClient, namespace: str) -> None:  # API-06 GRP-43 GRP-58
    anything = {"spec": {"containers": [{"name": "c", "ports": [{"containerPort": 1}], "odd": [1, {"a": None}]}]}}
    custom = {"components": [{"name": "c", "template": anything}]}
    made = await client.create(group(namespace, {"name": "a", "customComponentsPattern": custom}))
    assert made["spec"]["roles"][0]["customComponentsPattern"] == custom


async def test_a_group_without_spec_is_accepted(client: LiveClient, namespace: str) -> None:  # GRP-1 GRP-60
    assert "spec" not in await client.create(named(kinds.ROLE_BASED_GROUP, namespace))


# -- refusals ----------------------------------------------------------------------------------------------------

LWP: RawObject = {"leaderWorkerPattern": {"template": TEMPLATE}}
WORKLOAD_TYPE = "rbg.workloads.x-k8s.io/role-workload-type"


def lwp(**fields: Any) -> RawObject:
    return {"name": "a", "leaderWorkerPattern": {"template": TEMPLATE, **fields}}


@pytest.mark.parametrize(
    ("roles", "field", "text"),
    [
        ([], "spec.roles", "at least 1 items"),  # GRP-2
        ([role(), role()], "spec.roles[1]", "Duplicate value"),  # GRP-2
        ([role(name="")], "spec.roles[0].name", "at least 1 chars"),  # GRP-10
        ([role(replicas=-1)], "spec.roles[0].replicas", "greater than or equal to 0"),  # GRP-13
        ([role(replicas="3")], "spec.roles[0].replicas", "must be of type integer"),  # GRP-13
        (
            [role(podManagementPolicy="Odd")],
            "spec.roles[0].podManagementPolicy",
            '"OrderedReady", "Parallel"',
        ),  # GRP-35
        ([role(rolloutStrategy={"type": "Odd"})], "spec.roles[0].rolloutStrategy.type", '"RollingUpdate"'),  # GRP-15
        ([role(servicePorts=[{"name": "p"}])], "spec.roles[0].servicePorts[0].port", "Required value"),  # GRP-27
        (
            [{"name": "a", "standalonePattern": {"template": {"spec": {}}}}],
            "spec.roles[0].standalonePattern.template.spec.containers",  # API-08
            "Required value",
        ),
        (
            [{"name": "a", "standalonePattern": {"template": {"spec": {"containers": [{"image": "i"}]}}}}],
            "spec.roles[0].standalonePattern.template.spec.containers[0].name",  # API-08
            "Required value",
        ),
        (
            [{"name": "a", "standalonePattern": {"templateRef": {"name": "A_b"}}}],
            "spec.roles[0].standalonePattern.templateRef.name",  # GRP-42
            "should match",
        ),
        ([lwp(restartPolicy="Odd")], "spec.roles[0].leaderWorkerPattern.restartPolicy", '"None"'),  # GRP-48
        (
            [lwp(restartPolicy={"type": "None"})],
            "spec.roles[0].leaderWorkerPattern.restartPolicy",
            "type string",
        ),  # RP-1
        (
            [lwp(sharedServiceSelection="Odd")],
            "spec.roles[0].leaderWorkerPattern.sharedServiceSelection",
            '"All"',
        ),  # GRP-47
        (
            [role(**LWP)],
            "spec.roles[0]",  # CEL-1
            "standalonePattern and leaderWorkerPattern are mutually exclusive",
        ),
        (
            [lwp(sharedServiceSelection="LeaderOnly") | {"annotations": {WORKLOAD_TYPE: "apps/v1/StatefulSet"}}],
            "spec.roles[0]",  # CEL-2
            "leaderWorkerPattern.sharedServiceSelection=LeaderOnly is only supported for"
            " RoleInstanceSet + leaderWorkerPattern",
        ),
        (
            [lwp(templateRef={"name": "t"})],
            "spec.roles[0].leaderWorkerPattern",  # CEL-3
            "template and templateRef are mutually exclusive",
        ),
        (
            [{"name": "a", "standalonePattern": {"template": TEMPLATE, "templateRef": {"name": "t"}}}],
            "spec.roles[0].standalonePattern",  # CEL-3
            "template and templateRef are mutually exclusive",
        ),
        (
            [lwp(restartPolicyConfig={"maxDelaySeconds": 10})],
            "spec.roles[0].leaderWorkerPattern.restartPolicyConfig",  # CEL-4
            "maxDelaySeconds must be greater than or equal to baseDelaySeconds",
        ),
        (
            [lwp(restartPolicyConfig={"baseDelaySeconds": 700})],
            "spec.roles[0].leaderWorkerPattern.restartPolicyConfig",  # CEL-4
            "maxDelaySeconds must be greater than or equal to baseDelaySeconds",
        ),
    ],
)
async def test_invalid_groups_are_refused_with_the_field(
    client: LiveClient, namespace: str, roles: list[RawObject], field: str, text: str
) -> None:
    with pytest.raises(Invalid) as caught:
        await client.create(group(namespace, *roles))
    assert [c.field for c in caught.value.causes if text in c.message] == [field], caught.value.causes


@pytest.mark.parametrize(
    "accepted",
    [
        lwp(sharedServiceSelection="LeaderOnly"),
        lwp(sharedServiceSelection="LeaderOnly") | {"annotations": {"other": "x"}},
        lwp(sharedServiceSelection="LeaderOnly")
        | {"annotations": {WORKLOAD_TYPE: "workloads.x-k8s.io/v1alpha2/RoleInstanceSet"}},
        lwp(sharedServiceSelection="All") | {"annotations": {WORKLOAD_TYPE: "apps/v1/StatefulSet"}},
        role(customComponentsPattern={"components": []}),
        lwp(size=-1, restartPolicyConfig={"baseDelaySeconds": 0, "maxDelaySeconds": 0}),
        role(rolloutStrategy={"rollingUpdate": {"type": "Recreate", "partition": "odd", "maxSurge": -3}}),
    ],
)
async def test_what_the_schema_leaves_to_others_is_accepted(  # CEL-1 CEL-2 GRP-17 GRP-44 API-02
    client: LiveClient, namespace: str, accepted: RawObject
) -> None:
    await client.create(group(namespace, accepted))


@pytest.mark.parametrize(
    ("gvk", "spec", "field"),
    [
        (kinds.ROLE_BASED_GROUP, {}, "spec.roles"),  # GRP-2
        (
            kinds.ROLE_BASED_GROUP,
            {"roles": [role()], "roleTemplates": [{"name": "t"}]},
            "spec.roleTemplates[0].template",
        ),
        (RIS, {}, "spec.roleInstanceTemplate"),  # SET-3
        (RIS, {"roleInstanceTemplate": {}, "revisionHistoryLimit": -1}, "spec.revisionHistoryLimit"),  # SET-13
        (RIS, {"roleInstanceTemplate": {}, "podManagementPolicy": "parallel"}, "spec.podManagementPolicy"),  # SET-4
        (kinds.ROLE_INSTANCE, {}, "spec.components"),  # RI-1
        (kinds.ROLE_INSTANCE, {"components": [{"name": "a"}]}, "spec.components[0].template"),  # RI-6
        (
            kinds.ROLE_INSTANCE,
            {"components": [], "readinessGates": [{}]},
            "spec.readinessGates[0].conditionType",
        ),  # RI-10
        (
            kinds.ROLE_INSTANCE,
            {"components": [], "restartPolicyConfig": {"maxDelaySeconds": 1}},
            "spec.restartPolicyConfig",
        ),
    ],
)
async def test_invalid_specs_are_refused_with_the_field(
    client: LiveClient, namespace: str, gvk: GVK, spec: RawObject, field: str
) -> None:
    with pytest.raises(Invalid) as caught:
        await client.create(named(gvk, namespace, spec=spec))
    assert field in [c.field for c in caught.value.causes]


# -- status and scale --------------------------------------------------------------------------------------------

SET_COUNTS = {
    "replicas": 2,
    "readyReplicas": 1,
    "availableReplicas": 0,
    "currentReplicas": 0,
    "updatedReplicas": 2,
    "updatedReadyReplicas": 1,
}


async def test_status_is_written_apart_from_the_spec(client: LiveClient, namespace: str) -> None:  # KIND-1
    made = await client.create(group(namespace, role()) | {"status": {"roleStatuses": []}})
    assert "status" not in made
    status = {
        "observedGeneration": 1,
        "roleStatuses": [{"name": "a", "replicas": 1, "readyReplicas": 0, "updatedReplicas": 1}],
    }
    body = named(kinds.ROLE_BASED_GROUP, namespace, spec={"roles": [role(replicas=9)]}, status=status)
    written = await client.apply(body, field_manager="rbg", subresource="status")
    assert written["status"] == status
    assert written["spec"] == made["spec"]
    assert written["metadata"]["generation"] == 1


async def test_incomplete_status_is_refused(client: LiveClient, namespace: str) -> None:  # GRP-72 GRP-73 SET-31
    await client.create(group(namespace, role()))
    for status, field in (
        ({}, "status.roleStatuses"),
        ({"roleStatuses": [{"name": "a"}]}, "status.roleStatuses[0].readyReplicas"),
        ({"roleStatuses": [], "conditions": [{"type": "Ready"}]}, "status.conditions[0].reason"),
    ):
        with pytest.raises(Invalid) as caught:
            await client.patch(
                kinds.ROLE_BASED_GROUP, NN(namespace, "x"), Patch.merge({"status": status}), subresource="status"
            )
        # Kubernetes 1.28 names what is missing at the top of a status without its parent.
        assert {field, field.removeprefix("status.")} & {c.field for c in caught.value.causes}
    await client.create(named(RIS, namespace, spec={"roleInstanceTemplate": {}}))
    with pytest.raises(Invalid, match="availableReplicas"):
        await client.patch(RIS, NN(namespace, "x"), Patch.merge({"status": {"replicas": 1}}), subresource="status")


async def test_scale_of_a_set(client: LiveClient, namespace: str) -> None:  # API-21 KIND-4
    key = NN(namespace, "x")
    await client.create(named(RIS, namespace, spec={"roleInstanceTemplate": {}, "replicas": 3}))
    status = {**SET_COUNTS, "labelSelector": "a=b"}
    await client.patch(RIS, key, Patch.merge({"status": status}), subresource="status")
    scale = await client.get_scale(RIS, key)
    assert scale["spec"] == {"replicas": 3}
    assert scale["status"] == {"replicas": 2, "selector": "a=b"}
    await client.set_scale(RIS, key, 5)
    assert (await client.get(RIS, key))["spec"]["replicas"] == 5


async def test_printer_columns_of_a_set(env: EnvTest, client: LiveClient, namespace: str) -> None:  # COL-5
    await client.create(named(RIS, namespace, spec={"roleInstanceTemplate": {}, "replicas": 3}))
    await client.patch(RIS, NN(namespace, "x"), Patch.merge({"status": SET_COUNTS}), subresource="status")
    answer = await env.transport().request(
        "GET",
        kinds.resource(RIS).path(namespace),
        accept="application/json;as=Table;v=v1;g=meta.k8s.io",
    )
    table = orjson.loads(answer.body)
    assert [c["name"] for c in table["columnDefinitions"]] == [
        "Name",
        "DESIRED",
        "UPDATED",
        "UPDATED_READY",
        "READY",
        "TOTAL",
        "AGE",
        "SELECTOR",
    ]
    assert table["rows"][0]["cells"][1:6] == [3, 2, 1, 1, 2]


# -- server-side apply -------------------------------------------------------------------------------------------


async def test_roles_and_their_containers_merge_by_name(client: LiveClient, namespace: str) -> None:  # GRP-2 API-08
    one, two = role("one", labels={"of": "one"}), role("two")
    await client.apply(group(namespace, one), field_manager="first")
    await client.apply(group(namespace, two), field_manager="second")
    sidecar = {"standalonePattern": {"template": {"spec": {"containers": [{"name": "d", "image": "j"}]}}}}
    merged = await client.apply(group(namespace, {"name": "one", **sidecar}, two), field_manager="second")
    roles = {r["name"]: r for r in merged["spec"]["roles"]}
    assert roles.keys() == {"one", "two"}
    assert roles["one"]["labels"] == {"of": "one"}
    assert {c["name"]: c["image"] for c in roles["one"]["standalonePattern"]["template"]["spec"]["containers"]} == {
        "c": "i",
        "d": "j",
    }
    left = await client.apply(group(namespace, two), field_manager="second")
    roles = {r["name"]: r for r in left["spec"]["roles"]}
    assert [c["name"] for c in roles["one"]["standalonePattern"]["template"]["spec"]["containers"]] == ["c"]


async def test_two_managers_of_one_role_field_conflict(client: LiveClient, namespace: str) -> None:  # GRP-2
    await client.apply(group(namespace, role(replicas=1)), field_manager="first")
    with pytest.raises(Conflict, match=r'spec\.roles\[name="a"\]\.replicas'):
        await client.apply(group(namespace, role(replicas=2)), field_manager="second", force=False)


async def test_role_templates_merge_by_name(client: LiveClient, namespace: str) -> None:  # GRP-3
    for manager, name in (("first", "t"), ("second", "u")):
        templates = [{"name": name, "template": TEMPLATE}]
        merged = await client.apply(group(namespace, role(), roleTemplates=templates), field_manager=manager)
    assert [t["name"] for t in merged["spec"]["roleTemplates"]] == ["t", "u"]


async def test_service_ports_are_replaced_whole(client: LiveClient, namespace: str) -> None:  # GRP-27
    for manager, port in (("first", 1), ("second", 2)):
        merged = await client.apply(group(namespace, role(servicePorts=[{"port": port}])), field_manager=manager)
    assert merged["spec"]["roles"][0]["servicePorts"] == [{"port": 2, "protocol": "TCP"}]


async def test_conditions_merge_by_type_and_role_statuses_do_not(  # GRP-71 GRP-72
    client: LiveClient, namespace: str
) -> None:
    await client.create(group(namespace, role()))
    condition = {
        "status": "True",
        "reason": "R",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    for manager, name in (("first", "A"), ("second", "B")):
        count = {"name": name, "replicas": 0, "readyReplicas": 0, "updatedReplicas": 0}
        status = {"conditions": [{"type": name, **condition}], "roleStatuses": [count]}
        body = named(kinds.ROLE_BASED_GROUP, namespace, status=status)
        merged = await client.apply(body, field_manager=manager, subresource="status")
    assert [c["type"] for c in merged["status"]["conditions"]] == ["A", "B"]
    assert [r["name"] for r in merged["status"]["roleStatuses"]] == ["B"]


async def test_the_instance_template_merges_by_field_but_not_by_component(  # IMP-4 API-06
    client: LiveClient, namespace: str
) -> None:
    policy = {"restartPolicyConfig": {"type": "None"}}
    for manager, name in (("first", "c"), ("second", "d")):
        body = {"components": [{"name": name, "template": TEMPLATE}]}
        await client.apply(
            named(RIS, namespace, spec={"roleInstanceTemplate": body | (policy if name == "c" else {})}),
            field_manager=manager,
        )
    merged = (await client.get(RIS, NN(namespace, "x")))["spec"]["roleInstanceTemplate"]
    assert [c["name"] for c in merged["components"]] == ["d"]
    assert merged["restartPolicyConfig"] == {"type": "None"}


async def test_the_selector_is_replaced_whole(client: LiveClient, namespace: str) -> None:  # SET-2
    for manager, label in (("first", "a"), ("second", "b")):
        spec = {"roleInstanceTemplate": {}, "selector": {"matchLabels": {label: "x"}}}
        merged = await client.apply(named(RIS, namespace, spec=spec), field_manager=manager)
    assert merged["spec"]["selector"] == {"matchLabels": {"b": "x"}}
