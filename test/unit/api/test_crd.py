"""The generated CRDs: what the API server is told about each field, and that the files are current."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest

from rbgctl.api.crd import manifests
from rbgctl.api.crd.__main__ import drift, rendered
from rbgctl.api.crd.bounding import DEFAULTS, bound
from rbgctl.api.crd.core_v1 import INT_OR_STRING, embedded
from rbgctl.api.crd.schema import root_schema
from rbgctl.api.model import Int32, IntOrString, Model, Rule, Schema

CONFIG = Path(__file__).parents[3] / "config" / "crd"
CRDS = {crd["spec"]["names"]["kind"]: crd for crd in manifests()}
CLIENT_SIDE_APPLY_LIMIT = 262_144
ETCD_LIMIT = 1_572_864

Node = dict[str, Any]


def version(kind: str, name: str = "") -> Node:
    """The version of that name, or the one that is stored."""
    found: Node = next(v for v in CRDS[kind]["spec"]["versions"] if (v["name"] == name if name else v["storage"]))
    return found


def at(kind: str, path: str) -> Node:
    """The schema node at a dotted path; `[]` steps into list items."""
    node: Node = version(kind)["schema"]["openAPIV3Schema"]
    for part in path.replace("[]", ".[]").split("."):
        node = node["items"] if part == "[]" else node["properties"][part]
    return node


def nodes(schema: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}" if path else name)
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from nodes(schema["additionalProperties"], f"{path}{{}}")


def test_files_are_current() -> None:
    assert drift(CONFIG) == []


def test_drift_is_found(tmp_path: Path) -> None:
    for name, text in rendered().items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert drift(tmp_path) == []
    (tmp_path / "bases" / "workloads.x-k8s.io_roleinstances.yaml").write_text("kind: Other\n")
    (tmp_path / "kustomization.yaml").unlink()
    (tmp_path / "bases" / "stray.yaml").write_text("")
    assert [line.partition(": ")[2] for line in drift(tmp_path)] == [
        "no model gives this file",
        "differs from the models",
        "missing",
    ]


@pytest.mark.parametrize(
    ("kind", "plural", "short", "subresources"),
    [
        ("RoleBasedGroup", "rolebasedgroups", "rbg", {"status": {}}),
        (
            "RoleInstanceSet",
            "roleinstancesets",
            "ris",
            {
                "status": {},
                "scale": {
                    "specReplicasPath": ".spec.replicas",
                    "statusReplicasPath": ".status.replicas",
                    "labelSelectorPath": ".status.labelSelector",
                },
            },
        ),
        ("RoleInstance", "roleinstances", "rins", {"status": {}}),
    ],
)
def test_envelope(kind: str, plural: str, short: str, subresources: Node) -> None:  # KIND-1 KIND-4 KIND-5 API-20 API-21
    spec = CRDS[kind]["spec"]
    assert CRDS[kind]["metadata"] == {"name": f"{plural}.workloads.x-k8s.io"}
    assert spec["scope"] == "Namespaced"
    assert spec["names"] == {
        "kind": kind,
        "listKind": f"{kind}List",
        "plural": plural,
        "singular": kind.lower(),
        "shortNames": [short],
    }
    assert version(kind)["name"] == "v1alpha2"
    assert version(kind)["storage"]
    assert version(kind)["subresources"] == subresources


def columns(kind: str) -> list[tuple[Any, ...]]:
    return [
        (c["name"], c["type"], c["jsonPath"], c.get("priority", 0)) for c in version(kind)["additionalPrinterColumns"]
    ]


def test_printer_columns() -> None:  # COL-1 COL-5 COL-6
    age = ("AGE", "date", ".metadata.creationTimestamp", 0)
    ready = ".status.conditions[?(@.type=='{}')].status"
    assert columns("RoleBasedGroup") == [("READY", "string", ready.format("Ready"), 0), age]
    assert columns("RoleInstance") == [("READY", "string", ready.format("RoleInstanceReady"), 0), age]
    assert columns("RoleInstanceSet") == [
        ("DESIRED", "integer", ".spec.replicas", 0),
        ("UPDATED", "integer", ".status.updatedReplicas", 0),
        ("UPDATED_READY", "integer", ".status.updatedReadyReplicas", 0),
        ("READY", "integer", ".status.readyReplicas", 0),
        ("TOTAL", "integer", ".status.replicas", 0),
        age,
        ("SELECTOR", "string", ".status.labelSelector", 1),
    ]


def test_sizes() -> None:  # API-08
    sizes = {kind: len(json.dumps(crd, separators=(",", ":"))) for kind, crd in CRDS.items()}
    # A second version of the biggest kind must still fit, and stored objects carry managedFields besides.
    assert max(sizes.values()) < CLIENT_SIDE_APPLY_LIMIT
    assert 3 * max(sizes.values()) < ETCD_LIMIT


OWN_LISTS = {
    "RoleBasedGroup": {
        "spec.roles": ("map", ["name"]),
        "spec.roleTemplates": ("map", ["name"]),
        "spec.roles[].dependencies": ("", None),
        "spec.roles[].engineRuntimes": ("", None),
        "spec.roles[].engineRuntimes[].containers": ("", None),
        "spec.roles[].engineRuntimes[].injectContainers": ("", None),
        "spec.roles[].servicePorts": ("atomic", None),
        "spec.roles[].customComponentsPattern.components": ("", None),
        "status.conditions": ("map", ["type"]),
        "status.roleStatuses": ("atomic", None),
    },
    "RoleInstanceSet": {
        "spec.lifecycle.inPlaceUpdate.finalizersHandler": ("", None),
        "spec.lifecycle.preDelete.finalizersHandler": ("", None),
        "spec.scaleStrategy.roleInstanceToDelete": ("", None),
        "spec.selector.matchExpressions": ("atomic", None),
        "spec.selector.matchExpressions[].values": ("atomic", None),
        "status.conditions": ("", None),
    },
    "RoleInstance": {
        "spec.components": ("", None),
        "spec.readinessGates": ("", None),
        "status.componentStatuses": ("", None),
        "status.conditions": ("", None),
    },
}


@pytest.mark.parametrize("kind", CRDS)
def test_list_types(kind: str) -> None:  # GRP-2 GRP-3 GRP-23 GRP-27 GRP-28 GRP-53 GRP-71 GRP-72 SET-2 SET-35 RI-1 RI-21
    found = {
        path: (node.get("x-kubernetes-list-type", ""), node.get("x-kubernetes-list-map-keys"))
        for path, node in nodes(version(kind)["schema"]["openAPIV3Schema"])
        if node.get("type") == "array" and "emplate." not in path and "containers[]" not in path
    }
    assert found == OWN_LISTS[kind]


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        ("RoleBasedGroup", "spec", ["roles"]),  # GRP-2
        ("RoleBasedGroup", "spec.roles[]", ["name", "replicas"]),  # GRP-10 GRP-13
        ("RoleBasedGroup", "spec.roles[].rolloutStrategy", ["type"]),  # GRP-15
        ("RoleBasedGroup", "spec.roleTemplates[]", ["name", "template"]),  # GRP-4 GRP-5
        ("RoleBasedGroup", "spec.roles[].standalonePattern.templateRef", ["name"]),  # GRP-42
        ("RoleBasedGroup", "spec.roles[].engineRuntimes[]", ["profileName"]),  # GRP-29
        ("RoleBasedGroup", "spec.roles[].servicePorts[]", ["port"]),  # GRP-27
        ("RoleBasedGroup", "spec.roles[].customComponentsPattern.components[]", ["name", "template"]),  # GRP-54
        ("RoleBasedGroup", "status", ["roleStatuses"]),  # GRP-72
        (
            "RoleBasedGroup",
            "status.roleStatuses[]",
            ["name", "readyReplicas", "replicas", "updatedReplicas"],  # GRP-73
        ),
        (
            "RoleBasedGroup",
            "status.conditions[]",
            ["lastTransitionTime", "message", "reason", "status", "type"],  # GRP-71
        ),
        ("RoleInstanceSet", "spec", ["roleInstanceTemplate"]),  # SET-3
        (
            "RoleInstanceSet",
            "status",
            [
                "availableReplicas",
                "currentReplicas",
                "readyReplicas",
                "replicas",
                "updatedReadyReplicas",
                "updatedReplicas",
            ],  # SET-31
        ),
        ("RoleInstanceSet", "status.conditions[]", ["status", "type"]),  # SET-35
        ("RoleInstance", "spec", ["components"]),  # RI-1
        ("RoleInstance", "spec.components[]", ["name", "template"]),  # RI-2 RI-6
        ("RoleInstance", "spec.readinessGates[]", ["conditionType"]),  # RI-10
    ],
)
def test_required_fields(kind: str, path: str, expected: list[str]) -> None:
    assert at(kind, path).get("required") == expected


def test_spec_and_status_may_be_absent() -> None:  # GRP-1 GRP-60
    for kind in CRDS:
        assert "required" not in version(kind)["schema"]["openAPIV3Schema"]


OWN_DEFAULTS = {
    "RoleBasedGroup": {
        "minReadySeconds": 0,
        "podManagementPolicy": "Parallel",
        "replicas": 1,
        "leaderWorkerPattern.size": 1,
        "leaderWorkerPattern.restartPolicyConfig.baseDelaySeconds": 30,
        "leaderWorkerPattern.restartPolicyConfig.maxDelaySeconds": 600,
        "customComponentsPattern.restartPolicyConfig.baseDelaySeconds": 30,
        "customComponentsPattern.restartPolicyConfig.maxDelaySeconds": 600,
        "rolloutStrategy.type": "RollingUpdate",
        "rolloutStrategy.rollingUpdate.maxSurge": 0,
        "rolloutStrategy.rollingUpdate.maxUnavailable": 1,
        "rolloutStrategy.rollingUpdate.partition": 0,
        "scalingAdapter.enable": False,
        "servicePorts[].protocol": "TCP",
    },
    "RoleInstanceSet": {"podManagementPolicy": "Parallel", "revisionHistoryLimit": 10},
    "RoleInstance": {
        "readyPolicy": "AllPodReady",
        "restartPolicyConfig.baseDelaySeconds": 30,
        "restartPolicyConfig.maxDelaySeconds": 600,
    },
}


@pytest.mark.parametrize("kind", CRDS)
def test_defaults(
    kind: str,
) -> None:  # GRP-13 GRP-15 GRP-18 GRP-19 GRP-20 GRP-34 GRP-35 GRP-44 GRP-51 SET-4 SET-13 RI-7
    found = {
        path.removeprefix("spec.roles[].").removeprefix("spec."): node["default"]
        for path, node in nodes(version(kind)["schema"]["openAPIV3Schema"])
        if "default" in node and "emplate." not in path and "containers[]" not in path
    }
    assert found == OWN_DEFAULTS[kind]


def test_limits_patterns_and_enumerations() -> (
    None
):  # GRP-2 GRP-4 GRP-10 GRP-13 GRP-15 GRP-35 GRP-42 GRP-47 GRP-50 SET-13
    role = "spec.roles[]"
    assert at("RoleBasedGroup", "spec.roles")["minItems"] == 1
    assert at("RoleBasedGroup", f"{role}.name")["minLength"] == 1
    assert "pattern" not in at("RoleBasedGroup", f"{role}.name")
    assert at("RoleBasedGroup", f"{role}.replicas")["minimum"] == 0
    assert "minimum" not in at("RoleBasedGroup", f"{role}.minReadySeconds")
    assert at("RoleBasedGroup", f"{role}.podManagementPolicy")["enum"] == ["OrderedReady", "Parallel"]
    assert at("RoleBasedGroup", f"{role}.rolloutStrategy.type")["enum"] == ["RollingUpdate"]
    assert "enum" not in at("RoleBasedGroup", f"{role}.rolloutStrategy.rollingUpdate.type")
    for path in ("spec.roleTemplates[].name", f"{role}.leaderWorkerPattern.templateRef.name"):
        node = at("RoleBasedGroup", path)
        assert (node["minLength"], node["maxLength"]) == (1, 63)
        assert node["pattern"] == "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
    assert at("RoleBasedGroup", f"{role}.leaderWorkerPattern.sharedServiceSelection")["enum"] == [
        "All",
        "LeaderOnly",
    ]
    policies = ["None", "RecreateRoleInstanceOnPodRestart"]
    for kind, path in (
        ("RoleBasedGroup", f"{role}.leaderWorkerPattern."),
        ("RoleBasedGroup", f"{role}.customComponentsPattern."),
        ("RoleInstance", "spec."),
    ):
        assert at(kind, f"{path}restartPolicy")["type"] == "string"
        assert at(kind, f"{path}restartPolicy")["enum"] == policies
        assert at(kind, f"{path}restartPolicyConfig.type")["enum"] == policies
        assert at(kind, f"{path}restartPolicyConfig.maxDelaySeconds")["minimum"] == 0
    assert at("RoleInstanceSet", "spec.revisionHistoryLimit")["minimum"] == 0
    condition = at("RoleBasedGroup", "status.conditions[]")["properties"]
    assert condition["type"]["maxLength"] == 316
    assert condition["reason"]["maxLength"] == 1024
    assert condition["message"]["maxLength"] == 32768
    assert condition["status"]["enum"] == ["True", "False", "Unknown"]
    assert condition["observedGeneration"]["minimum"] == 0


def test_int_or_string_takes_any_int_and_any_string() -> None:  # API-02
    node = at("RoleBasedGroup", "spec.roles[].rolloutStrategy.rollingUpdate.partition")
    assert {k: v for k, v in node.items() if k not in {"default", "description"}} == INT_OR_STRING


def test_schemaless_nodes_say_nothing_else() -> None:  # API-06 GRP-43 GRP-45 GRP-46 GRP-58 SET-3 RI-6
    for kind, path in (
        ("RoleBasedGroup", "spec.roles[].standalonePattern.templateRef.patch"),
        ("RoleBasedGroup", "spec.roles[].leaderWorkerPattern.leaderTemplatePatch"),
        ("RoleBasedGroup", "spec.roles[].leaderWorkerPattern.workerTemplatePatch"),
        ("RoleBasedGroup", "spec.roles[].customComponentsPattern.components[].template"),
        ("RoleInstanceSet", "spec.roleInstanceTemplate"),
        ("RoleInstance", "spec.components[].template"),
    ):
        assert at(kind, path).keys() == {"description", "x-kubernetes-preserve-unknown-fields"}


def test_only_roles_keep_unknown_fields() -> None:  # API-07
    keeps = {
        path
        for path, node in nodes(version("RoleBasedGroup")["schema"]["openAPIV3Schema"])
        if node.get("x-kubernetes-preserve-unknown-fields") and "type" in node
    }
    assert keeps == {"spec.roles"}


def test_selectors_are_replaced_whole() -> None:  # SET-2
    assert at("RoleInstanceSet", "spec.selector")["x-kubernetes-map-type"] == "atomic"


def test_every_field_is_described() -> None:
    for kind in CRDS:
        root = version(kind)["schema"]["openAPIV3Schema"]
        for path, node in nodes(root):
            own = "emplate." not in path and "ontainers[]" not in path and path != "metadata"
            if own and path and not path.endswith(("[]", "{}")):
                assert node.get("description"), f"{kind} {path}"
                assert "GRP-" not in node["description"]


# -- what is embedded from core/v1 -------------------------------------------------------------------------------


def pod_template() -> Node:
    return at("RoleBasedGroup", "spec.roles[].standalonePattern.template")


def test_pod_templates_are_the_same_wherever_they_stand() -> None:  # API-08
    plain = {k: v for k, v in pod_template().items() if k != "description"}
    assert plain == embedded("PodTemplateSpec")
    for path in ("spec.roles[].leaderWorkerPattern.template", "spec.roleTemplates[].template"):
        assert {k: v for k, v in at("RoleBasedGroup", path).items() if k != "description"} == plain
    assert at("RoleBasedGroup", "spec.roles[].engineRuntimes[].containers")["items"] == embedded("Container")


def test_pod_template_says_types_and_nothing_more() -> None:  # API-08
    allowed = {
        "type",
        "properties",
        "items",
        "additionalProperties",
        "required",
        "format",
        "default",
        "anyOf",
        "pattern",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-map-type",
    }
    for path, node in nodes(embedded("PodTemplateSpec")):
        assert node.keys() <= allowed, path
        assert node.get("format", "int32") in {"int32", "int64"}, path
        assert ("pattern" in node) <= node.get("x-kubernetes-int-or-string", False), path


def test_pod_template_defaults() -> None:  # API-08
    found = {
        (path.rpartition(".")[2], json.dumps(node["default"]))
        for path, node in nodes(embedded("PodTemplateSpec"))
        if "default" in node
    }
    assert found == {(f, json.dumps(v)) for fields in DEFAULTS.values() for f, v in fields.items()}
    spec = embedded("PodTemplateSpec")["properties"]["spec"]["properties"]
    for name in ("containers", "initContainers", "ephemeralContainers"):
        container = spec[name]["items"]["properties"]
        assert container["ports"]["items"]["properties"]["protocol"]["default"] == "TCP"
        assert container["livenessProbe"]["properties"]["grpc"]["properties"]["service"]["default"] == ""
    disk = spec["volumes"]["items"]["properties"]["azureDisk"]["properties"]
    assert {name for name, node in disk.items() if "default" in node} == {"fsType", "readOnly"}


def test_pod_template_metadata_is_restricted() -> None:  # API-08
    five = {"annotations", "finalizers", "labels", "name", "namespace"}
    schema = embedded("PodTemplateSpec")["properties"]
    assert schema["metadata"]["properties"].keys() == five
    claim = schema["spec"]["properties"]["volumes"]["items"]["properties"]["ephemeral"]["properties"]
    assert claim["volumeClaimTemplate"]["properties"]["metadata"]["properties"].keys() == five


def test_pod_template_has_the_fields_of_its_release() -> None:  # API-08
    spec = embedded("PodTemplateSpec")["properties"]["spec"]["properties"]
    assert {"hostnameOverride", "resources"} <= spec.keys()
    assert "schedulingGroup" not in spec
    projection = spec["volumes"]["items"]["properties"]["projected"]["properties"]["sources"]["items"]
    certificate = projection["properties"]["podCertificate"]["properties"]
    assert "maxExpirationSeconds" in certificate
    assert "userAnnotations" not in certificate
    assert "restartPolicyRules" in spec["containers"]["items"]["properties"]


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("containers", ["name"]),
        ("initContainers", ["name"]),
        ("ephemeralContainers", ["name"]),
        ("volumes", ["name"]),
        ("imagePullSecrets", ["name"]),
        ("resourceClaims", ["name"]),
        ("schedulingGates", ["name"]),
        ("hostAliases", ["ip"]),
        ("topologySpreadConstraints", ["topologyKey", "whenUnsatisfiable"]),
        ("containers[].env", ["name"]),
        ("containers[].ports", ["containerPort", "protocol"]),
        ("containers[].volumeMounts", ["mountPath"]),
        ("containers[].volumeDevices", ["devicePath"]),
        ("containers[].resources.claims", ["name"]),
    ],
)
def test_pod_template_map_lists(path: str, keys: list[str]) -> None:  # API-08
    node = at("RoleBasedGroup", f"spec.roles[].standalonePattern.template.spec.{path}")
    assert node["x-kubernetes-list-type"] == "map"
    assert node["x-kubernetes-list-map-keys"] == keys


def test_pod_template_required_fields_and_sets() -> None:  # API-08
    template = "spec.roles[].standalonePattern.template.spec"
    assert at("RoleBasedGroup", template)["required"] == ["containers"]
    assert at("RoleBasedGroup", f"{template}.containers[]")["required"] == ["name"]
    rules = at("RoleBasedGroup", f"{template}.containers[].restartPolicyRules[].exitCodes.values")
    assert rules["x-kubernetes-list-type"] == "set"
    assert at("RoleBasedGroup", f"{template}.tolerations")["x-kubernetes-list-type"] == "atomic"


def test_quantities() -> None:  # API-08
    template = "spec.roles[].standalonePattern.template.spec"
    for path in (
        "containers[].resources.limits",
        "containers[].resources.requests",
        "overhead",
    ):
        quantity = at("RoleBasedGroup", f"{template}.{path}")["additionalProperties"]
        assert quantity["x-kubernetes-int-or-string"]
        assert "KMGTPE" in quantity["pattern"]


def test_bounding_reduces_what_a_server_publishes() -> None:  # API-08
    ref = {"$ref": "#/components/schemas/io.k8s.api.core.v1.PodSpec"}
    published = {
        "info": {"version": "v9"},
        "components": {
            "schemas": {
                "io.k8s.api.core.v1.PodTemplateSpec": {
                    "type": "object",
                    "description": "…",
                    "properties": {"spec": {"allOf": [ref], "default": {}, "description": "…"}},
                },
                "io.k8s.api.core.v1.PodSpec": {
                    "type": "object",
                    "properties": {
                        "a": {"type": "string", "default": "", "enum": ["x"], "format": "date-time"},
                        "schedulingGroup": {"$ref": "#/components/schemas/io.k8s.api.core.v1.PodSchedulingGroup"},
                    },
                },
            }
        },
    }
    assert bound(published) == {
        "release": "1.34",
        "source": "v9",
        "schemas": {
            "PodSpec": {"type": "object", "properties": {"a": {"type": "string"}}},
            "PodTemplateSpec": {"type": "object", "properties": {"spec": {"$ref": "PodSpec"}}},
        },
    }


# -- the generator -----------------------------------------------------------------------------------------------


class Wheel(Model):
    """A wheel (GRP-1)."""

    crd_rules: ClassVar[tuple[Rule, ...]] = (Rule("self.size > 0", "too small"),)

    size: Annotated[Int32, Schema(required=True)] = 0
    """Inches (GRP-99)."""
    pressure: IntOrString | None = None


class Car(Model):
    """A car."""

    wheels: Annotated[list[Wheel] | None, Schema(list_type="map", list_map_keys=("size",))] = None
    """Wheels, round
    ones."""
    by_name: dict[str, dict[str, Wheel]] | None = None


def test_models_become_schemas() -> None:
    wheel = {
        "type": "object",
        "properties": {
            "size": {"type": "integer", "format": "int32", "description": "Inches."},
            "pressure": INT_OR_STRING,
        },
        "required": ["size"],
        "x-kubernetes-validations": [{"rule": "self.size > 0", "message": "too small"}],
    }
    schema = root_schema(Car)
    assert schema["description"] == "A car."
    assert schema["properties"]["metadata"] == {"type": "object"}
    assert schema["properties"]["wheels"] == {
        "type": "array",
        "items": wheel,
        "description": "Wheels, round ones.",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["size"],
    }
    inner = {"type": "object", "additionalProperties": wheel}
    assert schema["properties"]["byName"] == {"type": "object", "additionalProperties": inner}


def test_types_without_schema_are_refused() -> None:
    class Odd(Model):
        value: float = 0.0

    with pytest.raises(TypeError, match="float"):
        root_schema(Odd)
