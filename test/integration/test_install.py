"""config/default: what it renders to, and that a cluster takes it (02 §13.1)."""

import asyncio
import copy
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rbgctl import __version__, rbac
from rbgctl.api.kinds import GROUP, RESOURCES
from rbgctl.machinery.gvk import RawObject
from rbgctl.manager_flags import read
from rbgctl.manager_options import ManagerOptions
from rbgctl.runtime.manager_options import shutdown_budget
from rbgctl.runtime.testing.envtest import EnvTest

CONFIG = Path(__file__).parents[2] / "config"
KUSTOMIZE = {"app.kubernetes.io/managed-by": "kustomize"}
CONVERTED = {f"rolebasedgroups.{GROUP}", f"rolebasedgroupsets.{GROUP}"}
Rendered = dict[tuple[str, str], RawObject]


async def kubectl(env: EnvTest, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(env.kubectl, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"KUBECONFIG": str(env.kubeconfig), "HOME": str(env.directory), "PATH": "/usr/bin:/bin"},
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


async def render(env: EnvTest, folder: Path) -> Rendered:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    objects = list(yaml.load_all(await kubectl(env, "kustomize", str(folder)), Loader=loader))
    by_name = {(o["kind"], o["metadata"]["name"]): o for o in objects}
    assert len(by_name) == len(objects)
    return by_name


@pytest.fixture(scope="session")
async def bare() -> AsyncIterator[EnvTest]:
    """A cluster on which nothing of ours is installed yet."""
    async with EnvTest() as started:
        yield started


@pytest.fixture(scope="session")
async def default(bare: EnvTest) -> Rendered:
    return await render(bare, CONFIG / "default")


def container(rendered: Rendered) -> dict[str, Any]:
    (only,) = rendered["Deployment", "rbgs-controller-manager"]["spec"]["template"]["spec"]["containers"]
    return only


def test_what_is_installed(default: Rendered) -> None:
    """DEP-1, RES-5, RES-13: every name has the prefix, every namespaced object the namespace."""
    names = {f"{kind} {name}" for kind, name in default if kind != "CustomResourceDefinition"}
    assert names == {
        "Namespace rbgs-system",
        "ServiceAccount rbgs-controller-sa",
        "ClusterRole rbgs-controller-role",
        "ClusterRole rbgs-metrics-reader",
        "ClusterRoleBinding rbgs-controller-rolebinding",
        "Role rbgs-controller-secret-role",
        "RoleBinding rbgs-controller-secret-rolebinding",
        "Role rbgs-leader-election-role",
        "RoleBinding rbgs-leader-election-rolebinding",
        "Service rbgs-webhook-service",
        "Service rbgs-controller-manager-metrics-service",
        "Deployment rbgs-controller-manager",
        "PodDisruptionBudget rbgs-controller-manager",
        "ValidatingWebhookConfiguration rbgs-validating-webhook-configuration",
    }
    namespaced = {"ServiceAccount", "Role", "RoleBinding", "Service", "Deployment", "PodDisruptionBudget"}
    for (kind, _), obj in default.items():
        assert obj["metadata"].get("namespace") == ("rbgs-system" if kind in namespaced else None)
        unlabelled = {"CustomResourceDefinition", "ValidatingWebhookConfiguration"}
        if kind not in unlabelled and obj["metadata"]["name"] != rbac.CLUSTER_ROLE:
            assert obj["metadata"]["labels"].items() >= KUSTOMIZE.items()  # DEP-3


def test_crds(default: Rendered) -> None:
    """DEP-2, API-22: the eight kinds that are reconciled; two of them are converted by our Service (WH-5)."""
    crds = {name: obj for (kind, name), obj in default.items() if kind == "CustomResourceDefinition"}
    plurals = {r.plural for r in RESOURCES} - {"instances", "instancesets"}
    assert set(crds) == {f"{plural}.{GROUP}" for plural in plurals}
    assert len(crds) == 8
    for name, crd in crds.items():
        conversion = crd["spec"].get("conversion", {"strategy": "None"})
        if name not in CONVERTED:
            assert conversion == {"strategy": "None"}
            continue
        service = {"name": "rbgs-webhook-service", "namespace": "rbgs-system", "path": "/convert"}
        assert conversion == {
            "strategy": "Webhook",
            "webhook": {"clientConfig": {"service": service}, "conversionReviewVersions": ["v1"]},
        }


def test_the_deployment(default: Rendered) -> None:
    """DEP-3, with the probes, security context and declared ports that are missing there; MGR-2, MGR-12."""
    deployment = default["Deployment", "rbgs-controller-manager"]
    labels = {"control-plane": "rbgs-controller", "app.kubernetes.io/name": "rbgs"}
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["selector"] == {"matchLabels": labels}
    assert deployment["spec"]["template"]["metadata"]["labels"].items() >= labels.items()
    pod = deployment["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "rbgs-controller-sa"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]) == (65532, 65532)  # DEP-9
    main = container(default)
    assert (main["name"], main["command"], main["imagePullPolicy"]) == ("rbgs", ["/manager"], "IfNotPresent")
    assert main["args"] == ["--metrics-bind-address=:8443", "--leader-elect", "--health-probe-bind-address=:8081"]
    assert main["image"].rpartition(":")[2] == f"v{__version__}"
    namespace = {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}
    assert namespace in main["env"]
    assert main["resources"] == {
        "requests": {"cpu": "100m", "memory": "256Mi"},
        "limits": {"cpu": "1000m", "memory": "1536Mi"},
    }
    assert {p["name"]: p["containerPort"] for p in main["ports"]} == {"webhook": 9443, "metrics": 8443, "health": 8081}
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert main[probe]["httpGet"] == {"path": path, "port": "health"}
    assert main["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounts = {mount["mountPath"]: mount["name"] for mount in main["volumeMounts"]}
    assert [v["name"] for v in pod["volumes"] if "emptyDir" in v] == [mounts["/tmp"]]  # CERT-7 writes there


def test_a_stop_fits_into_the_time_that_the_pod_has(default: Rendered) -> None:
    """RT-LE-36: two replicas, at most one more during an update; the manager plans with the pod's own grace period."""
    spec = default["Deployment", "rbgs-controller-manager"]["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    grace = spec["template"]["spec"]["terminationGracePeriodSeconds"]
    options = read(container(default)["args"])
    assert options.termination_grace_period == grace
    assert shutdown_budget(options.termination_grace_period) < grace


def test_the_manifest_starts_the_manager_that_it_means_to(default: Rendered) -> None:
    """MGR-2: the arguments are ours as they are the Go operator's, and the ports are those that are declared."""
    options = read(container(default)["args"])
    wanted = {"metrics_bind_address": ":8443", "health_probe_bind_address": ":8081", "leader_elect": True}
    assert options == ManagerOptions(**wanted)  # type: ignore[arg-type]
    assert options.metrics_are_secure


def test_services_lead_to_the_pods(default: Rendered) -> None:
    """WH-3, RES-6, RBAC-5."""
    labels = default["Deployment", "rbgs-controller-manager"]["spec"]["template"]["metadata"]["labels"]
    webhook = default["Service", "rbgs-webhook-service"]["spec"]
    assert webhook["ports"] == [{"name": "webhook", "port": 443, "protocol": "TCP", "targetPort": 9443}]
    assert webhook["selector"] == {"control-plane": "rbgs-controller"}
    metrics = default["Service", "rbgs-controller-manager-metrics-service"]["spec"]
    assert metrics["ports"] == [{"name": "https", "port": 8443, "protocol": "TCP", "targetPort": "metrics"}]
    for service in (webhook, metrics):
        assert service["selector"].items() <= labels.items()
    budget = default["PodDisruptionBudget", "rbgs-controller-manager"]["spec"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    assert budget["maxUnavailable"] == 1


def test_the_webhook_configuration(default: Rendered) -> None:
    """WH-4, RES-7, WH-2: groups and sets are validated by our Service, without an answer nothing is written."""
    assert not any(kind == "MutatingWebhookConfiguration" for kind, _ in default)
    hooks = default["ValidatingWebhookConfiguration", "rbgs-validating-webhook-configuration"]["webhooks"]
    by_name = {hook["name"]: hook for hook in hooks}
    for name, plural in (
        ("vrolebasedgroup.kb.io", "rolebasedgroups"),
        ("vrolebasedgroupset.kb.io", "rolebasedgroupsets"),
    ):
        service = {
            "name": "rbgs-webhook-service",
            "namespace": "rbgs-system",
            "path": f"/validate-workloads-x-k8s-io-v1alpha2-{plural.removesuffix('s')}",
        }
        rule = {
            "apiGroups": [GROUP],
            "apiVersions": ["v1alpha2"],
            "operations": ["CREATE", "UPDATE"],
            "resources": [plural],
        }
        assert by_name.pop(name) == {
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": service},
            "failurePolicy": "Fail",
            "name": name,
            "rules": [rule],
            "sideEffects": "None",
        }
    # What only warns must never be in the way.
    assert {hook["failurePolicy"] for hook in by_name.values()} <= {"Ignore"}
    assert all(hook["clientConfig"]["service"]["name"] == "rbgs-webhook-service" for hook in by_name.values())


async def test_config_rbac_alone_gives_what_tests_and_playground_run_under(bare: EnvTest) -> None:
    """RBAC-1: the manager of the tests has these rights and no others."""
    rendered = await render(bare, CONFIG / "rbac")
    assert [rendered.pop(("Namespace", "rbgs-system"))["metadata"]["name"]] == [rbac.NAMESPACE]
    assert rendered == {(o["kind"], o["metadata"]["name"]): o for o in rbac.grants()}


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    return names.get(value, value) if isinstance(value, str) else value


async def test_an_overlay_renames_everything_and_every_reference(
    bare: EnvTest, default: Rendered, tmp_path: Path
) -> None:
    """DEP-1: Services in CRDs and webhooks, service accounts and roles in bindings, names that the manager is told."""
    shutil.copytree(CONFIG, tmp_path / "config")
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    content = {"namespace": "llm-ops", "namePrefix": "test-", "resources": ["../config/default"]}
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(content))
    found = await render(bare, overlay)

    own = {name for kind, name in default if kind not in {"Namespace", "CustomResourceDefinition"}}
    names = {name: f"test-{name}" for name in own} | {"rbgs-system": "llm-ops"}
    wanted = [_renamed(copy.deepcopy(obj), names) for obj in default.values()]
    assert {(o["kind"], o["metadata"]["name"]): o for o in wanted} == found
    # The Secret is no object of the manifests: its name is the manager's own and stays.
    (_, named) = found["Role", "test-rbgs-controller-secret-role"]["rules"]
    assert named["resourceNames"] == ["rbgs-webhook-cert"]


async def test_an_overlay_of_the_components_takes_a_prefix_of_its_own(
    bare: EnvTest, default: Rendered, tmp_path: Path
) -> None:
    """DEP-1: what config/default is put together from has no prefix in it, nor the namespace of an installation."""
    shutil.copytree(CONFIG, tmp_path / "config")
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    components = [f"../config/{path}" for path in ("namespace", "crd/bases", "rbac/base", "webhook", "manager")]
    content = {"namespace": "llm-ops", "namePrefix": "blue-", "resources": components}
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(content))
    found = await render(bare, overlay)

    own = {name for kind, name in default if kind not in {"Namespace", "CustomResourceDefinition"}}
    names = {name: name.replace("rbgs-", "blue-", 1) for name in own} | {"rbgs-system": "llm-ops"}
    wanted = [_renamed(copy.deepcopy(obj), names) for obj in default.values()]
    assert {(o["kind"], o["metadata"]["name"]): o for o in wanted} == found


async def test_config_crd_alone_gives_the_crds_of_the_default_installation(bare: EnvTest, default: Rendered) -> None:
    """DEP-1, API-22: kubectl apply -k config/crd never takes its conversion webhook away from an installation."""
    crds = {key: obj for key, obj in default.items() if key[0] == "CustomResourceDefinition"}
    assert await render(bare, CONFIG / "crd") == crds


async def _versions(env: EnvTest) -> dict[str, str]:
    """uid/resourceVersion of all that config/default installs."""
    out = await kubectl(env, "get", "-k", str(CONFIG / "default"), "-o", "yaml")
    items = yaml.load(out, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["items"]
    return {
        f"{o['kind']}/{o['metadata']['name']}": f"{o['metadata']['uid']}/{o['metadata']['resourceVersion']}"
        for o in items
    }


@pytest.mark.timeout(600)
async def test_kubectl_installs_everything_and_a_second_time_changes_nothing(bare: EnvTest, default: Rendered) -> None:
    """DEP-1, DEP-2: kubectl apply --server-side -k config/default."""
    apply = ("apply", "--server-side", "-k", str(CONFIG / "default"))
    told = await kubectl(bare, *apply)
    assert len(told.splitlines()) == len(default)
    for crd in sorted(name for kind, name in default if kind == "CustomResourceDefinition"):
        await kubectl(bare, "wait", "--for=condition=Established", f"crd/{crd}", "--timeout=60s")
    before = await _versions(bare)
    assert Counter(key.partition("/")[0] for key in before) == Counter(kind for kind, _ in default)
    await kubectl(bare, *apply)
    assert await _versions(bare) == before
