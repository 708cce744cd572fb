"""The API server calls our webhooks over TLS: admission, conversion, changing certificates, proven clients."""

import asyncio
import base64
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from unit.runtime.standby import Standby

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.admission import AdmissionRequest, Denied, Verdict
from rbgctl.runtime.client import LiveClient, Patch
from rbgctl.runtime.clock import SystemClock
from rbgctl.runtime.conversion_review import ConversionError
from rbgctl.runtime.errors import ApiError, Forbidden, InternalError, Invalid
from rbgctl.runtime.manager import Manager, ManagerOptions
from rbgctl.runtime.metrics import Registry
from rbgctl.runtime.testing.asserts import eventually
from rbgctl.runtime.testing.certificates import Authority
from rbgctl.runtime.testing.envtest import EnvTest, new_namespace
from rbgctl.runtime.testing.webhooks import install_webhooks
from rbgctl.runtime.webhook import WebhookOptions, WebhookServer, serve_kind
from rbgctl.runtime.webhook_call import admission_path

CONFIG_MAP = GVK("", "v1", "ConfigMap")


def config_map(namespace: str, name: str, **data: str) -> RawObject:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": namespace, "name": name},
        "data": data,
    }


def configuration(kind: str, namespace: str, path: str, *operations: str) -> RawObject:
    """A configuration for the ConfigMaps of a namespace, as it is shipped: with a service."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": list(operations), "resources": ["configmaps"]}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": namespace},
        "webhooks": [
            {
                "name": "maps.example.com",
                "clientConfig": {"service": {"namespace": "x", "name": "y", "path": path}, "caBundle": "aGk="},
                "rules": [rule],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
            }
        ],
    }


@contextlib.asynccontextmanager
async def removed_afterwards(client: LiveClient, *objects: RawObject) -> AsyncIterator[None]:
    """Other tests share the API server."""
    try:
        yield
    finally:
        for obj in objects:
            await client.delete(GVK.of(obj), NN("", obj["metadata"]["name"]))


@contextlib.asynccontextmanager
async def running(server: WebhookServer) -> AsyncIterator[None]:
    task = asyncio.create_task(server.run())
    try:
        await asyncio.wait_for(server.started(), 10)
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


@dataclass
class MapRules:
    """Denies by name, warns about one, and remembers what it saw."""

    seen: list[tuple[Any, ...]] = field(default_factory=list)

    async def validate_create(self, request: AdmissionRequest, new: RawObject) -> Verdict:
        self.seen.append(("create", new))
        match request.name:
            case "denied":
                raise Denied("not that name")
            case "invalid":
                status = {"code": 422, "reason": "Invalid", "message": "data.x: wrong", "details": {"name": "invalid"}}
                raise Invalid(status)
            case "broken":
                raise KeyError("bug")
        return Verdict(warnings=["old name"] if request.name == "warned" else [])

    async def validate_update(self, request: AdmissionRequest, old: RawObject, new: RawObject) -> Verdict:
        self.seen.append(("update", old, new))
        if old["data"].get("frozen") and new["data"] != old["data"]:
            return Verdict(ValueError("it is frozen"))
        return Verdict()

    async def validate_delete(self, request: AdmissionRequest, old: RawObject) -> Verdict:
        self.seen.append(("delete", old))
        return Verdict(ValueError("it is kept") if old["data"].get("keep") else None)


class MapDefaults:
    """Fills in data.colour."""

    async def default(self, request: AdmissionRequest, new: RawObject) -> None:
        new.setdefault("data", {}).setdefault("colour", "red")
        new["metadata"].setdefault("annotations", {})["a/b"] = "ä~"


async def test_admission_of_config_maps(env: EnvTest, client: LiveClient, namespace: str, tmp_path: Path) -> None:
    # RT-WH-06, RT-WH-08, RT-WH-09, RT-ET-05, AR-1, AR-4, AR-6
    configurations = (
        configuration("Mutating", namespace, admission_path("mutate", CONFIG_MAP), "CREATE", "UPDATE", "DELETE"),
        configuration("Validating", namespace, admission_path("validate", CONFIG_MAP), "CREATE", "UPDATE", "DELETE"),
    )
    where = await install_webhooks(env, configurations, tmp_path)
    rules = MapRules()
    server = WebhookServer(
        WebhookOptions(host=where.host, port=where.port, cert_dir=where.directory), registry=Registry()
    )
    serve_kind(server, CONFIG_MAP, validator=rules, defaulter=MapDefaults())

    async def created(name: str, **data: str) -> RawObject:
        return await client.create(config_map(namespace, name, **data))

    async with removed_afterwards(client, *configurations), running(server):
        probe = config_map(namespace, "probe")
        await eventually(lambda: client.create(probe, dry_run=True), lambda made: bool(made.get("data") and rules.seen))
        made = await created("one", keep="yes")
        assert made["data"] == {"keep": "yes", "colour": "red"}
        assert made["metadata"]["annotations"] == {"a/b": "ä~"}
        with pytest.raises(Forbidden, match=r'webhook "maps.example.com" denied the request: not that name'):
            await created("denied")
        with pytest.raises(Invalid, match=r"denied the request: data.x: wrong") as refused:
            await created("invalid")
        assert refused.value.code == 422
        with pytest.raises(ApiError, match=r"denied the request: panic: 'bug' \[recovered\]"):
            await created("broken")
        answer = await env.transport().request(
            "POST",
            f"/api/v1/namespaces/{namespace}/configmaps",
            body=orjson.dumps(config_map(namespace, "warned")),
            content_type="application/json",
        )
        assert (answer.status, answer.headers.get("Warning")) == (201, '299 - "old name"')
        # An update sees both, and a deletion the object that goes.
        frozen = await client.patch(CONFIG_MAP, NN.of(made), Patch.merge({"data": {"frozen": "yes"}}))
        assert rules.seen[-1][0] == "update"
        assert (rules.seen[-1][1]["data"], rules.seen[-1][2]["data"]) == (made["data"], frozen["data"])
        with pytest.raises(Forbidden, match="it is frozen"):
            await client.patch(CONFIG_MAP, NN.of(made), Patch.merge({"data": {"x": "y"}}))
        with pytest.raises(Forbidden, match="it is kept"):
            await client.delete(CONFIG_MAP, NN.of(made))
        assert rules.seen[-1] == ("delete", frozen)
        await client.delete(CONFIG_MAP, NN(namespace, "warned"))


def crd(group: str) -> RawObject:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"cars.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": "Car", "plural": "cars"},
            "versions": [{"name": v, "served": True, "storage": v == "v1", "schema": schema} for v in ("v1", "v2")],
        },
    }


def repaint(obj: RawObject, desired: str) -> RawObject:
    """v1 has spec.color, v2 has spec.paint.color."""
    spec = obj["spec"]
    if spec.get("color") == "octarine":
        raise ConversionError("octarine has no equivalent")
    if spec.get("color") == "bug":
        raise KeyError("bug")
    moved = {"paint": {"color": spec["color"]}} if desired.endswith("/v2") else {"color": spec["paint"]["color"]}
    return {**obj, "apiVersion": desired, "spec": moved}


async def test_conversion_of_a_crd_with_two_versions(
    env: EnvTest, client: LiveClient, namespace: str, tmp_path: Path
) -> None:
    """RT-WH-10, RT-ET-04, RT-ET-05, RT-MG-07, CR-1 to CR-4: a manager serves it, on a replica that does not lead,
    and its own cache fills through it.
    """
    group = f"g{time.monotonic_ns()}.example.com"
    v1, v2 = (GVK(group, version, "Car") for version in ("v1", "v2"))
    where = await install_webhooks(env, [crd(group)], tmp_path)

    def car(name: str, gvk: GVK, spec: RawObject) -> RawObject:
        return {
            "apiVersion": gvk.api_version,
            "kind": "Car",
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        }

    async with removed_afterwards(client, crd(group)):
        for number in range(120):
            await client.create(car(f"car-{number:03}", v1, {"color": f"c{number}"}))
        manager = Manager(
            env.config,
            ManagerOptions(elector=lambda _: Standby(), first_list_jitter=0.0),
        )
        server = manager.serve_webhooks(WebhookOptions(host=where.host, port=where.port, cert_dir=where.directory))
        serve_kind(server, v1, converter=repaint)
        manager.need(v2)  # listed in v2, stored in v1
        stop = asyncio.Event()
        task = asyncio.create_task(manager.run(stop))
        try:

            def cached(number: int) -> Any:
                return manager.cache.entry(v2, NN(namespace, f"car-{number:03}"))

            await eventually(lambda: all(cached(number) for number in range(120)), retry=(Exception,))
            found = cached(7).decode()
            assert (found["apiVersion"], found["spec"]) == (v2.api_version, {"paint": {"color": "c7"}})
            assert not manager.elected.is_set()
            assert manager.metrics.relists.collect()[0].samples == []  # the first list went through
            await client.create(car("new", v2, {"paint": {"color": "blue"}}))
            assert (await client.get(v1, NN(namespace, "new")))["spec"] == {"color": "blue"}
            for colour, text in (
                ("octarine", "octarine has no equivalent"),
                ("bug", "internal error occurred during conversion"),
            ):
                await client.create(car(colour, v1, {"color": colour}))
                with pytest.raises(InternalError, match=rf"conversion webhook for .* failed: {text}"):
                    await client.get(v2, NN(namespace, colour))
            panics = manager.metrics.collectors.get_sample_value("controller_runtime_conversion_webhook_panics_total")
            assert (panics or 0) >= 1
        finally:
            stop.set()
            await task
            for colour in ("octarine", "bug"):
                with contextlib.suppress(ApiError):
                    await client.delete(v1, NN(namespace, colour))


class Impatient(SystemClock):
    """Looks at certificates often."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.02))


async def test_no_review_fails_while_certificates_rotate(
    env: EnvTest, client: LiveClient, namespace: str, tmp_path: Path
) -> None:
    """RT-CW-05, RT-OP-04: ten rotations while eight clients write without pause."""
    path = admission_path("validate", CONFIG_MAP)
    wanted = configuration("Validating", namespace, path, "CREATE")
    where = await install_webhooks(env, [wanted], tmp_path)
    registry = Registry()
    server = WebhookServer(
        WebhookOptions(host=where.host, port=where.port, cert_dir=where.directory),
        registry=registry,
        clock=Impatient(),
    )
    rules = MapRules()
    serve_kind(server, CONFIG_MAP, validator=rules)
    end = asyncio.Event()
    written = 0

    async def write(number: int) -> None:
        nonlocal written
        while not end.is_set():
            await client.create(config_map(namespace, f"c{number}"), dry_run=True)
            written += 1

    async with removed_afterwards(client, wanted), running(server):
        await eventually(
            lambda: client.create(config_map(namespace, "probe"), dry_run=True), lambda _: bool(rules.seen)
        )
        served = set()
        async with asyncio.TaskGroup() as writers:
            for number in range(8):
                writers.create_task(write(number))
            for _ in range(10):
                await rotate(env, server, where.directory)
                served.add(await leaf(where.port))
                enough = written + 40
                await eventually(lambda enough=enough: written >= enough, timeout=30)
            end.set()
    assert len(served) == 10
    assert len(rules.seen) >= written >= 400
    assert registry.collectors.get_sample_value("certwatcher_read_certificate_errors_total") == 0
    counted = {"webhook": path, "code": "500"}
    assert registry.collectors.get_sample_value("controller_runtime_webhook_requests_total", counted) == 0


async def rotate(env: EnvTest, server: WebhookServer, directory: Path) -> None:
    """Replace both files at once, as a Secret volume does, and wait until the server noticed."""
    before = await leaf(server.port)
    new = directory / f"..{time.monotonic_ns()}"
    env.local_webhook(new)
    for name in ("tls.crt", "tls.key"):
        if not (directory / name).is_symlink():
            (directory / name).unlink()
            (directory / name).symlink_to(Path("..data") / name)
    (directory / "..tmp").symlink_to(new.name)
    (directory / "..tmp").rename(directory / "..data")
    await eventually(lambda: leaf(server.port), lambda found: found != before)


async def leaf(port: int) -> bytes:
    """The certificate that a new handshake is served."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(True)
    writer.close()
    return found


async def test_an_api_server_without_our_client_certificate_is_refused(
    env: EnvTest, client: LiveClient, namespace: str, tmp_path: Path
) -> None:
    """RT-WH-01."""
    wanted = configuration("Validating", namespace, admission_path("validate", CONFIG_MAP), "CREATE")
    where = await install_webhooks(env, [wanted], tmp_path)
    (tmp_path / "clients.pem").write_bytes(Authority("clients").pem)
    rules = MapRules()
    options = WebhookOptions(host=where.host, port=where.port, cert_dir=where.directory, client_ca_name="clients.pem")
    server = WebhookServer(options, registry=Registry())
    serve_kind(server, CONFIG_MAP, validator=rules)
    async with removed_afterwards(client, wanted), running(server):

        async def refusal() -> str:
            try:
                await client.create(config_map(namespace, "x"), dry_run=True)
            except InternalError as error:
                return str(error)
            return ""

        # How the API server hears of it (an alert, a reset, the end of the connection) is a matter of timing.
        assert "failed calling webhook" in await eventually(refusal)
    assert rules.seen == []


async def test_an_api_server_with_our_client_certificate_is_let_in(tmp_path: Path) -> None:
    """RT-WH-01: its own control plane, because an API server gets the certificate for webhooks when it starts."""
    clients = Authority("clients")
    certificate, key = clients.client("api-server")
    user = {
        "client-certificate-data": base64.b64encode(certificate).decode(),
        "client-key-data": base64.b64encode(key).decode(),
    }
    kubeconfig = tmp_path / "webhooks.kubeconfig"
    kubeconfig.write_text(
        yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "users": [{"name": "*", "user": user}]})
    )
    plugins = [
        {
            "name": name,
            "configuration": {
                "apiVersion": "apiserver.config.k8s.io/v1",
                "kind": "WebhookAdmissionConfiguration",
                "kubeConfigFile": str(kubeconfig),
            },
        }
        for name in ("ValidatingAdmissionWebhook", "MutatingAdmissionWebhook")
    ]
    admission = tmp_path / "admission.yaml"
    admission.write_text(
        yaml.safe_dump(
            {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": plugins}
        )
    )
    rules = MapRules()
    async with EnvTest(api_server_args=[f"--admission-control-config-file={admission}"]) as own:
        client = own.client()
        namespace = await new_namespace(client)
        wanted = configuration("Validating", namespace, admission_path("validate", CONFIG_MAP), "CREATE")
        where = await install_webhooks(own, [wanted], tmp_path)
        (tmp_path / "clients.pem").write_bytes(clients.pem)
        options = WebhookOptions(
            host=where.host, port=where.port, cert_dir=where.directory, client_ca_name="clients.pem"
        )
        server = WebhookServer(options, registry=Registry())
        serve_kind(server, CONFIG_MAP, validator=rules)
        async with running(server):
            probe = config_map(namespace, "probe")
            await eventually(lambda: client.create(probe, dry_run=True), lambda _: bool(rules.seen))
            with pytest.raises(Forbidden, match="not that name"):
                await client.create(config_map(namespace, "denied"))


async def test_configurations_may_come_from_files(env: EnvTest, tmp_path: Path) -> None:  # RT-ET-05
    group = f"g{time.monotonic_ns()}.example.com"
    name = f"n{time.monotonic_ns()}"
    objects = [configuration("Mutating", name, "/m", "CREATE"), crd(group), config_map("x", "y")]
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "all.yaml").write_text(yaml.safe_dump_all(objects))
    client = env.client()
    where = await install_webhooks(env, [folder], tmp_path / "certificates", port=12345)
    async with removed_afterwards(client, *objects[:2]):
        assert sorted(p.name for p in where.directory.iterdir()) == ["tls.crt", "tls.key"]
        for obj, path in ((objects[0], "/m"), (objects[1], "/convert")):
            live = await client.get(GVK.of(obj), NN("", obj["metadata"]["name"]))
            (found,) = _client_configs(live)
            assert found["url"] == f"https://127.0.0.1:12345{path}"
            assert "BEGIN CERTIFICATE" in base64.b64decode(found["caBundle"]).decode()
            assert "service" not in found
    (folder / "all.yaml").write_text(yaml.safe_dump(config_map("x", "y")))
    with pytest.raises(ValueError, match="no webhook configuration and no CustomResourceDefinition to install"):
        await install_webhooks(env, [folder], tmp_path / "certificates")


def _client_configs(obj: RawObject) -> list[RawObject]:
    if obj["kind"] == "CustomResourceDefinition":
        return [obj["spec"]["conversion"]["webhook"]["clientConfig"]]
    return [webhook["clientConfig"] for webhook in obj["webhooks"]]
