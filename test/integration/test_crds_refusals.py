"""What the API server refuses by our schemas, kind by kind: the field it names and what it says about it."""

import json
from typing import Any

import pytest

from rbgctl.api import kinds
from rbgctl.machinery.gvk import GVK, RawObject
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.errors import Invalid

OLD_GROUP = GVK(kinds.GROUP, kinds.V1ALPHA1, kinds.KIND_GROUP)
OLD_GROUP_SET = GVK(kinds.GROUP, kinds.V1ALPHA1, kinds.KIND_GROUP_SET)
OLD_INSTANCE = GVK(kinds.GROUP, kinds.V1ALPHA1, kinds.KIND_LEGACY_INSTANCE)
OLD_INSTANCE_SET = GVK(kinds.GROUP, kinds.V1ALPHA1, kinds.KIND_LEGACY_INSTANCE_SET)

TEMPLATE: RawObject = {"spec": {"containers": [{"name": "c", "image": "i"}]}}
REQUIRED = "Required value"
LONG = "n" * 64


def at(path: str, value: Any, start: RawObject) -> RawObject:
    """A copy of `start` with the value at a dotted path; a number steps into a list."""
    # Not copy.deepcopy: templates that are one object here must become several.
    spec: RawObject = json.loads(json.dumps(start))
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    node: Any = spec
    for name in parents:
        node = node[name] if isinstance(name, int) else node.setdefault(name, {})
    if value is None:
        del node[last]
    else:
        node[last] = value
    return spec


GROUP: RawObject = {
    "roles": [{"name": "a", "standalonePattern": {"template": TEMPLATE}}],
    "roleTemplates": [{"name": "t", "template": TEMPLATE}],
}
SET: RawObject = {"groupTemplate": {"spec": GROUP}}
ADAPTER: RawObject = {"scaleTargetRef": {"name": "g", "role": "a"}}
POLICY: RawObject = {"policies": [{"name": "p", "roles": ["a"], "strategy": {}}]}
PROFILE: RawObject = {"containers": [{"name": "c"}], "initContainers": [{"name": "c"}], "volumes": [{"name": "v"}]}
PRELOAD: RawObject = {"imagePreload": {"images": ["i"]}}
WARMUP: RawObject = {"targetNodes": {"nodeNames": ["n"], **PRELOAD}}
FOR_GROUP: RawObject = {"targetRoleBasedGroup": {"name": "g", "roles": {"a": PRELOAD}}}
OLD: RawObject = {
    "roles": [{"name": "a", "template": TEMPLATE}],
    "roleTemplates": [{"name": "t", "template": TEMPLATE}],
}
INSTANCE: RawObject = {"components": [{"name": "c", "template": TEMPLATE}]}
RIS: RawObject = {"roleInstanceTemplate": INSTANCE}
COORDINATION: RawObject = {"name": "c", "roles": ["a"], "strategy": {"rollingUpdate": {}, "scaling": {}}}

GROUP_CASES = [
    ("roleTemplates.0.name", None, REQUIRED),  # GRP-4
    ("roleTemplates.0.name", "", "at least 1 chars"),  # GRP-4
    ("roleTemplates.0.name", LONG, "may not be more than 63"),  # GRP-4
    ("roleTemplates.0.name", "A", "should match"),  # GRP-4
    ("roleTemplates", [{"name": "t", "template": TEMPLATE}] * 2, "Duplicate value"),  # GRP-3
    ("roles.0.rolloutStrategy", {"rollingUpdate": {"partition": 1.5}}, "partition"),  # GRP-18 API-02
    ("roles.0.engineRuntimes", [{}], REQUIRED),  # GRP-29
    ("roles.0.engineRuntimes", [{"profileName": "p", "containers": [{}]}], REQUIRED),  # GRP-31
    ("roles.0.standalonePattern", {"templateRef": {}}, REQUIRED),  # GRP-42
    ("roles.0.standalonePattern", {"templateRef": {"name": LONG}}, "may not be more than 63"),  # GRP-42
    ("roles.0.customComponentsPattern", {"components": [{"template": {}}]}, REQUIRED),  # GRP-54
    ("roles.0.customComponentsPattern", {"components": [{"name": "c"}]}, REQUIRED),  # GRP-58
    ("roles.0.customComponentsPattern", {"restartPolicy": "RecreateRBGOnPodRestart"}, "Unsupported value"),  # GRP-48
    ("roles.0.customComponentsPattern", {"restartPolicyConfig": {"type": "Odd"}}, "Unsupported value"),  # GRP-50
    ("roles.0.customComponentsPattern", {"restartPolicyConfig": {"baseDelaySeconds": -1}}, "or equal to 0"),  # GRP-51
    (
        "roles.0.customComponentsPattern",
        {"restartPolicyConfig": {"baseDelaySeconds": 0, "maxDelaySeconds": -1}},
        "or equal to 0",
    ),  # GRP-52
]
POLICY_CASES = [
    ("policies", None, REQUIRED),  # POL-1
    ("policies", [], "at least 1 items"),  # POL-1
    ("policies", [{"name": "p", "roles": ["a"], "strategy": {}}] * 2, "Duplicate value"),  # POL-1
    ("policies.0.name", None, REQUIRED),  # POL-2
    ("policies.0.name", "", "at least 1 chars"),  # POL-2
    ("policies.0.roles", None, REQUIRED),  # POL-3
    ("policies.0.roles", [], "at least 1 items"),  # POL-3
    ("policies.0.strategy", None, REQUIRED),  # POL-4
    ("policies.0.strategy", {"rollingUpdate": {"maxSkew": True}}, "maxSkew"),  # POL-5
    ("policies.0.strategy", {"scaling": {"maxSkew": True}}, "maxSkew"),  # POL-6
    ("policies.0.strategy", {"scaling": {"progression": "Odd"}}, "Unsupported value"),  # POL-7
]
WARMUP_CASES = [
    ("targetNodes", None, "either targetNodes or targetRoleBasedGroup must be specified"),  # WRM-1 CEL-5
    ("targetRoleBasedGroup", {"name": "g", "roles": {"a": PRELOAD}}, "are mutually exclusive"),  # WRM-1 CEL-5
    (
        "policies",
        {"maxFailedNodes": 1},
        "backoffLimitPerNode must be set when maxFailedNodes is specified",
    ),  # WRM-3 CEL-5
    ("policies", {"parallelism": 0}, "greater than or equal to 1"),  # WRM-4
    ("policies", {"backoffLimitPerNode": -1}, "greater than or equal to 0"),  # WRM-5
    ("policies", {"backoffLimitPerNode": 0, "maxFailedNodes": -1}, "greater than or equal to 0"),  # WRM-6
    ("policies", {"globalTimeoutSeconds": 0}, "greater than or equal to 1"),  # WRM-7
    ("policies", {"ttlSecondsAfterFinished": -1}, "greater than or equal to 0"),  # WRM-8
    ("targetNodes", PRELOAD, "either nodeNames or nodeSelector must be specified"),  # WRM-9 CEL-5
    ("targetNodes.nodeSelector", {"a": "b"}, "nodeNames and nodeSelector are mutually exclusive"),  # WRM-9 CEL-5
    ("targetNodes", {"nodeNames": ["n"]}, "at least one of imagePreload or customizedAction"),  # WRM-9 CEL-5
    ("targetNodes.nodeNames", [], "at least 1 items"),  # WRM-10
    ("targetNodes", {"nodeSelector": {}, **PRELOAD}, "at least 1 properties"),  # WRM-11
    ("targetNodes.imagePreload", {}, REQUIRED),  # WRM-12
    ("targetNodes.imagePreload", {"images": []}, "at least 1 items"),  # WRM-12
    ("targetNodes.customizedAction", {}, REQUIRED),  # WRM-14
    ("targetNodes.customizedAction", {"containers": []}, "at least 1 items"),  # WRM-14
    ("targetNodes.customizedAction", {"containers": [{"image": "i"}]}, REQUIRED),  # WRM-14
    ("targetNodes.customizedAction", {"containers": [{"name": "c"}], "volumes": [{}]}, REQUIRED),  # WRM-15
    ("tolerations", [{"tolerationSeconds": "1"}], "must be of type integer"),  # WRM-18
]
FOR_GROUP_CASES = [
    ("targetRoleBasedGroup.name", None, REQUIRED),  # WRM-16
    ("targetRoleBasedGroup.name", "", "at least 1 chars"),  # WRM-16
    ("targetRoleBasedGroup.roles", None, REQUIRED),  # WRM-17
    ("targetRoleBasedGroup.roles", {}, "at least 1 properties"),  # WRM-17
    ("targetRoleBasedGroup.roles", {"a": {}}, "at least one of imagePreload or customizedAction"),  # WRM-17 CEL-5
]
OLD_CASES = [
    ("roles", [], "at least 1 items"),
    ("roles", None, REQUIRED),
    ("roles.0.name", "", "at least 1 chars"),
    ("roles.0.replicas", -1, "greater than or equal to 0"),
    ("roles.0.templateRef", {"name": "t"}, "template and templateRef are mutually exclusive"),  # A1-5
    (
        "roles.0",
        {"name": "a", "templateRef": {"name": "t"}, "workload": {"kind": "InstanceSet"}},
        "InstanceSet",
    ),  # A1-6
    (
        "roles.0",
        {"name": "a", "templateRef": {"name": "t"}, "workload": {"kind": "LeaderWorkerSet"}},
        "templateRef is not supported for LeaderWorkerSet workloads",
    ),  # A1-7
    ("roles.0.template", None, "template or templateRef must be set for non-InstanceSet workloads"),  # A1-8
    (
        "roles.0",
        {"name": "a", "components": [], "workload": {"kind": "RoleInstanceSet"}},
        "template or templateRef must be set for non-InstanceSet workloads",
    ),  # A1-8 A1-9
    ("roles.0.workload", {"apiVersion": "apps"}, "should match"),
    ("roles.0.restartPolicy", "RecreateRBGOnPodRestart", "Unsupported value"),  # OLD-4
    ("coordination", [{**COORDINATION, "name": None}], REQUIRED),
    ("coordination", [COORDINATION, COORDINATION], "Duplicate value"),
    ("coordination", [{"name": "c"}], REQUIRED),
    ("coordination", [at("strategy.rollingUpdate.maxSkew", "101%", COORDINATION)], "should match"),
    ("coordination", [at("strategy.rollingUpdate.partition", "5", COORDINATION)], "should match"),
    ("coordination", [at("strategy.rollingUpdate.maxUnavailable", "05%", COORDINATION)], "should match"),
    ("coordination", [at("strategy.scaling.maxSkew", "-1%", COORDINATION)], "should match"),
    ("coordination", [at("strategy.scaling.progression", "Odd", COORDINATION)], "Unsupported value"),
    ("podGroupPolicy", {"kubeScheduling": {"scheduleTimeoutSeconds": "60"}}, "must be of type integer"),
]
PODS_CASES = [
    ("standalonePattern.template.spec.containers.0.ports", [{}], REQUIRED),  # API-08
    ("standalonePattern.template.spec.containers.0.resources", {"limits": {"cpu": "odd"}}, "should match"),  # API-08
    ("standalonePattern.template.spec.containers", [{"name": "c"}, {"name": "c"}], "Duplicate value"),  # API-08
]


def under(prefix: str, cases: list[tuple[str, Any, str]]) -> list[tuple[str, Any, str]]:
    return [(f"{prefix}.{path}", value, text) for path, value, text in cases]


TABLE: list[tuple[GVK, RawObject, list[tuple[str, Any, str]]]] = [
    (kinds.ROLE_BASED_GROUP, GROUP, [*GROUP_CASES, *under("roles.0", PODS_CASES)]),
    (
        kinds.ROLE_BASED_GROUP_SET,
        SET,
        [
            ("groupTemplate", None, REQUIRED),  # RBGS-2
            ("groupTemplate.labels", {"a": 1}, "must be of type string"),  # RBGS-3
            ("groupTemplate.annotations", {"a": 1}, "must be of type string"),  # RBGS-3
            ("groupTemplate.spec.roles", None, REQUIRED),  # RBGS-4
            ("groupTemplate.spec.roles", [], "at least 1 items"),  # RBGS-4
            ("groupTemplate.spec.roles.0.leaderWorkerPattern", {}, "are mutually exclusive"),  # RBGS-4 CEL-1
            ("rolloutStrategy", {"type": "Odd"}, "Unsupported value"),
            ("replicas", "2", "must be of type integer"),  # RBGS-1
        ],
    ),
    (
        kinds.SCALING_ADAPTER,
        ADAPTER,
        [
            ("scaleTargetRef", None, REQUIRED),  # ADP-2
            ("scaleTargetRef.name", None, REQUIRED),  # ADP-3
            ("scaleTargetRef.role", None, REQUIRED),  # ADP-3
            ("replicas", "2", "must be of type integer"),  # ADP-1
        ],
    ),
    (kinds.COORDINATED_POLICY, POLICY, [*POLICY_CASES, ("targetRoleBasedGroup", {}, REQUIRED)]),
    (
        kinds.ENGINE_RUNTIME_PROFILE,
        PROFILE,
        [
            ("initContainers.0.name", None, REQUIRED),  # ERP-1
            ("containers.0.name", None, REQUIRED),  # ERP-2
            ("volumes.0.name", None, REQUIRED),  # ERP-3
            ("updateStrategy", "Odd", "Unsupported value"),  # ERP-4
        ],
    ),
    (kinds.WARMUP, WARMUP, WARMUP_CASES),
    (kinds.WARMUP, FOR_GROUP, FOR_GROUP_CASES),
    (
        kinds.ROLE_INSTANCE_SET,
        RIS,
        [
            ("selector", {"matchExpressions": [{"key": "a"}]}, REQUIRED),  # SET-2
            ("scaleStrategy", {"maxUnavailable": True}, "maxUnavailable"),  # SET-6
            ("scaleStrategy", {"roleInstanceToDelete": "a"}, "must be of type array"),  # SET-5
            ("lifecycle", {"preDelete": {"markPodNotReady": "yes"}}, "must be of type boolean"),  # SET-18
        ],
    ),
    (
        kinds.ROLE_INSTANCE,
        INSTANCE,
        [
            ("components.0.name", None, REQUIRED),  # RI-2
            ("restartPolicy", "Odd", "Unsupported value"),  # RI-8
            ("restartPolicyConfig", {"type": "Odd"}, "Unsupported value"),  # RI-9
            ("restartPolicyConfig", {"baseDelaySeconds": 700}, "maxDelaySeconds must be greater"),  # RI-9 CEL-4
        ],
    ),
    (OLD_GROUP, OLD, OLD_CASES),
    (OLD_GROUP_SET, {"template": OLD}, [("template", None, REQUIRED), *under("template", OLD_CASES)]),
    (OLD_INSTANCE, INSTANCE, [("components", None, REQUIRED), ("components.0.template", None, REQUIRED)]),
    (OLD_INSTANCE_SET, {"instanceTemplate": INSTANCE}, [("instanceTemplate", None, REQUIRED)]),
]
CASES = [(gvk, start, *case) for gvk, start, cases in TABLE for case in cases]


@pytest.mark.parametrize(
    ("gvk", "start", "path", "value", "text"),
    CASES,
    ids=[f"{gvk.version}-{gvk.kind}-{path}={str(value)[:40]}" for gvk, _, path, value, _ in CASES],
)
async def test_one_mistake_is_refused_at_its_field(
    client: LiveClient, namespace: str, gvk: GVK, start: RawObject, path: str, value: Any, text: str
) -> None:
    metadata = {"name": "x", "namespace": namespace}
    if not kinds.resource(gvk).namespaced:
        metadata = {"name": f"x-{namespace}"}
    body = {
        "apiVersion": gvk.api_version,
        "kind": gvk.kind,
        "metadata": metadata,
        "spec": at(path, value, start),
    }
    with pytest.raises(Invalid) as caught:
        await client.create(body, dry_run=True)
    field = ".".join(part for part in path.split(".") if not part.isdigit())
    # The server adds causes without a field to say that it could not check everything.
    named = sorted({c.field for c in caught.value.causes if text in c.message} - {"<nil>"})
    assert len(named) == 1, caught.value.causes
    # The field itself, something in it, or the object that a rule is about.
    found = ".".join(part.partition("[")[0] for part in named[0].removeprefix("spec").removeprefix(".").split("."))
    assert found.startswith(field) or field.startswith(found), caught.value.causes
