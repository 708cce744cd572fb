"""The generated CRDs: what the API server is told about each field, and that the files are current."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
import yaml

from rbgctl.api.crd import manifests
from rbgctl.api.crd.__main__ import drift, rendered
from rbgctl.api.crd.bounding import DEFAULTS, bound
from rbgctl.api.crd.core_v1 import INT_OR_STRING, embedded
from rbgctl.api.crd.schema import root_schema
from rbgctl.api.model import Int32, IntOrString, Model, Rule, Schema

CONFIG = Path(__file__).parents[3] / "config" / "crd"
CRDS = {crd["spec"]["names"]["kind"]: crd for crd in manifests()}
ETCD_LIMIT = 1_048_576
"""The smallest limit that is in use; etcd's own default is half as much again."""

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


KINDS = """
RoleBasedGroup                rolebasedgroups                rbg        Namespaced  v1alpha1 v1alpha2!  KIND-1
RoleBasedGroupSet             rolebasedgroupsets             rbgs       Namespaced  v1alpha1 v1alpha2!  KIND-2
RoleBasedGroupScalingAdapter  rolebasedgroupscalingadapters  rbgsa      Namespaced  v1alpha1 v1alpha2!  KIND-3
RoleInstanceSet               roleinstancesets               ris        Namespaced  v1alpha2!           KIND-4
RoleInstance                  roleinstances                  rins       Namespaced  v1alpha2!           KIND-5
CoordinatedPolicy             coordinatedpolicies            cpolicy    Namespaced  v1alpha2!           KIND-6
ClusterEngineRuntimeProfile   clusterengineruntimeprofiles   -          Cluster     v1alpha1 v1alpha2!  KIND-7
RoleBasedGroupWarmup          rolebasedgroupwarmups          rbgwarmup  Namespaced  v1alpha2!           KIND-8
Instance                      instances                      ins        Namespaced  v1alpha1!           KIND-9
InstanceSet                   instancesets                   is         Namespaced  v1alpha1!           KIND-10
"""
"""kind, plural, short name, scope, versions (`!` marks the stored one), rule"""


@pytest.mark.parametrize("line", KINDS.strip().splitlines(), ids=lambda line: line.split()[0])
def test_kinds_and_versions(line: str) -> None:  # KIND-1..10 API-01 API-20
    kind, plural, short, scope, versions, _rule = re.split(r"\s{2,}", line)
    crd = CRDS[kind]
    spec = crd["spec"]
    assert crd["metadata"] == {"name": f"{plural}.workloads.x-k8s.io"}
    assert spec["group"] == "workloads.x-k8s.io"
    assert spec["scope"] == scope
    assert spec["names"] == {
        "kind": kind,
        "listKind": f"{kind}List",
        "plural": plural,
        "singular": kind.lower(),
        **({} if short == "-" else {"shortNames": [short]}),
    }
    assert versions.split() == [v["name"] + "!" * v["storage"] for v in spec["versions"]]
    assert all(v["served"] for v in spec["versions"])
    for v in spec["versions"]:
        assert v.get("deprecated", False) == (v["name"] == "v1alpha1")


REPLACED_BY = {"Instance": "RoleInstance", "InstanceSet": "RoleInstanceSet"}


def test_deprecated_versions_name_their_successor() -> None:  # API-20 A1-1
    for kind, crd in CRDS.items():
        for v in crd["spec"]["versions"]:
            assert v.get("deprecationWarning") == (
                f"workloads.x-k8s.io/v1alpha1 {kind} is deprecated;"
                f" use workloads.x-k8s.io/v1alpha2 {REPLACED_BY.get(kind, kind)}"
                if v["name"] == "v1alpha1"
                else None
            )


def test_groups_and_group_sets_convert_by_webhook() -> None:  # KIND-1 KIND-2 WH-5 A1-3
    by_webhook = {
        "strategy": "Webhook",
        "webhook": {
            "conversionReviewVersions": ["v1"],
            "clientConfig": {
                "service": {"name": "rbgs-webhook-service", "namespace": "rbgs-system", "path": "/convert"}
            },
        },
    }
    found = {kind: crd["spec"].get("conversion") for kind, crd in CRDS.items()}
    assert {kind for kind, conversion in found.items() if conversion == by_webhook} == {
        "RoleBasedGroup",
        "RoleBasedGroupSet",
    }
    several = {kind for kind, crd in CRDS.items() if len(crd["spec"]["versions"]) > 1}
    assert {kind for kind, conversion in found.items() if conversion == {"strategy": "None"}} == several - {
        "RoleBasedGroup",
        "RoleBasedGroupSet",
    }  # KIND-3 KIND-7 A1-2


SCALES = {
    "RoleBasedGroupSet": (".spec.replicas", ".status.replicas", None),
    "RoleBasedGroupScalingAdapter": (".spec.replicas", ".status.replicas", ".status.selector"),
    "RoleInstanceSet": (".spec.replicas", ".status.replicas", ".status.labelSelector"),
    "InstanceSet": (".spec.replicas", ".status.replicas", ".status.labelSelector"),
}


def test_subresources() -> None:  # KIND-1..10 API-21
    for kind, crd in CRDS.items():
        for v in crd["spec"]["versions"]:
            assert v["subresources"]["status"] == {}
            scale = v["subresources"].get("scale")
            paths = scale and tuple(
                scale.get(name) for name in ("specReplicasPath", "statusReplicasPath", "labelSelectorPath")
            )
            assert paths == SCALES.get(kind), kind


AGE = "AGE date .metadata.creationTimestamp 0"
READY = "READY string .status.conditions[?(@.type=='{}')].status 0"
OF_A_SET = (
    "DESIRED integer .spec.replicas 0",
    "UPDATED integer .status.updatedReplicas 0",
    "UPDATED_READY integer .status.updatedReadyReplicas 0",
    "READY integer .status.readyReplicas 0",
    "TOTAL integer .status.replicas 0",
    AGE,
    "SELECTOR string .status.labelSelector 1",
)
GROUPS_READY = "READY string .status.readyReplicas 0"
ADAPTER = ("PHASE string .status.phase 0", "REPLICAS integer .status.replicas 0")
COLUMNS = {
    ("RoleBasedGroup", "v1alpha1"): (READY.format("Ready"), AGE),  # COL-1
    ("RoleBasedGroup", "v1alpha2"): (READY.format("Ready"), AGE),  # COL-1
    ("RoleBasedGroupSet", "v1alpha1"): ("DESIRED string .status.replicas 0", GROUPS_READY, AGE),  # COL-2
    ("RoleBasedGroupSet", "v1alpha2"): ("DESIRED string .spec.replicas 0", GROUPS_READY, AGE),  # COL-2
    ("RoleBasedGroupScalingAdapter", "v1alpha1"): (*ADAPTER, AGE),  # COL-3
    ("RoleBasedGroupScalingAdapter", "v1alpha2"): (
        *ADAPTER,
        "READY_REPLICAS integer .status.readyReplicas 0",
        AGE,
    ),  # COL-4
    ("RoleInstanceSet", "v1alpha2"): OF_A_SET,  # COL-5
    ("RoleInstance", "v1alpha2"): (READY.format("RoleInstanceReady"), AGE),  # COL-6
    ("CoordinatedPolicy", "v1alpha2"): (AGE,),  # COL-7
    ("ClusterEngineRuntimeProfile", "v1alpha1"): (),  # COL-8
    ("ClusterEngineRuntimeProfile", "v1alpha2"): (),  # COL-8
    ("RoleBasedGroupWarmup", "v1alpha2"): (
        "PHASE string .status.phase 0",
        "DESIRED integer .status.desired 0",
        "SUCCEEDED integer .status.succeeded 0",
        "FAILED integer .status.failed 0",
        AGE,
    ),  # COL-8 WU-27
    ("Instance", "v1alpha1"): (READY.format("InstanceReady"), AGE),  # COL-9
    ("InstanceSet", "v1alpha1"): OF_A_SET,  # COL-10
}


@pytest.mark.parametrize("of", COLUMNS, ids="/".join)
def test_printer_columns(of: tuple[str, str]) -> None:
    found = version(*of).get("additionalPrinterColumns", [])
    assert COLUMNS[of] == tuple(f"{c['name']} {c['type']} {c['jsonPath']} {c.get('priority', 0)}" for c in found)


def test_no_kind_has_categories() -> None:  # API-20
    assert not any("categories" in crd["spec"]["names"] for crd in CRDS.values())


def test_kustomize_installs_the_reconciled_kinds() -> None:  # API-22 DEP-2 A1-4
    listed = yaml.safe_load((CONFIG / "kustomization.yaml").read_text())["resources"]
    assert [path.removeprefix("bases/workloads.x-k8s.io_").removesuffix(".yaml") for path in listed] == sorted(
        crd["spec"]["names"]["plural"] for kind, crd in CRDS.items() if kind not in {"Instance", "InstanceSet"}
    )
    assert {path.name for path in (CONFIG / "bases").iterdir()} == {
        f"workloads.x-k8s.io_{crd['spec']['names']['plural']}.yaml" for crd in CRDS.values()
    }


def test_sizes() -> None:  # API-08
    sizes = {kind: len(json.dumps(crd, separators=(",", ":"))) for kind, crd in CRDS.items()}
    # Stored CRDs carry their managedFields and status besides.
    assert max(sizes.values()) < 0.5 * ETCD_LIMIT


RULES = {
    ("RoleBasedGroup", "v1alpha2", "spec.roles[]"): [  # CEL-1 CEL-2
        "standalonePattern and leaderWorkerPattern are mutually exclusive",
        "leaderWorkerPattern.sharedServiceSelection=LeaderOnly is only supported for"
        " RoleInstanceSet + leaderWorkerPattern",
    ],
    ("RoleBasedGroup", "v1alpha2", "spec.roles[].standalonePattern"): [  # CEL-3
        "template and templateRef are mutually exclusive"
    ],
    ("RoleBasedGroup", "v1alpha1", "spec.roles[]"): [  # A1-5 A1-6 A1-7 A1-8
        "template and templateRef are mutually exclusive",
        "templateRef is not supported for InstanceSet workloads",
        "templateRef is not supported for LeaderWorkerSet workloads",
        "template or templateRef must be set for non-InstanceSet workloads",
    ],
    ("RoleInstance", "v1alpha2", "spec.restartPolicyConfig"): [  # CEL-4
        "maxDelaySeconds must be greater than or equal to baseDelaySeconds"
    ],
    ("RoleBasedGroupWarmup", "v1alpha2", "spec"): [  # CEL-5
        "either targetNodes or targetRoleBasedGroup must be specified",
        "targetNodes and targetRoleBasedGroup are mutually exclusive",
    ],
    ("RoleBasedGroupWarmup", "v1alpha2", "spec.policies"): [  # CEL-5
        "backoffLimitPerNode must be set when maxFailedNodes is specified"
    ],
    ("RoleBasedGroupWarmup", "v1alpha2", "spec.targetNodes"): [  # CEL-5
        "either nodeNames or nodeSelector must be specified",
        "nodeNames and nodeSelector are mutually exclusive",
        "at least one of imagePreload or customizedAction must be specified",
    ],
}


@pytest.mark.parametrize("of", RULES, ids=" ".join)
def test_messages_of_rules(of: tuple[str, str, str]) -> None:
    kind, name, path = of
    node = dict(nodes(version(kind, name)["schema"]["openAPIV3Schema"]))[path]
    assert [rule["message"] for rule in node["x-kubernetes-validations"]] == RULES[of]


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


EMBEDDED = re.compile(r"emplate\.|ontainers\[\]|volumes\[\]|tolerations\[\]|pullSecrets\[\]|^metadata$")
RULE_ID = re.compile(r"\b[A-Z][A-Z0-9]{1,5}-\d")


@pytest.mark.parametrize("kind", CRDS)
def test_every_field_is_described(kind: str) -> None:
    for version in CRDS[kind]["spec"]["versions"]:
        for path, node in nodes(version["schema"]["openAPIV3Schema"]):
            if path and not EMBEDDED.search(path) and not path.endswith(("[]", "{}")):
                assert node.get("description"), f"{kind} {path}"
                assert not RULE_ID.search(node["description"])


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
