"""A real Kubernetes control plane on loopback, for tests and the playground (RT-ET-01..07).

`nodes=0` runs etcd and kube-apiserver: everything the API server does, nothing that controllers do (no pods run, no
garbage collection). `nodes=n` adds controller-manager, scheduler and kwok with n simulated nodes on which pods
become Ready, fail and end by the rules in `stages/`.

    async with EnvTest(nodes=4) as env:
        client = env.client()
"""

import asyncio
import base64
import contextlib
import errno
import os
import random
import shutil
import socket
import tempfile
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from rbgctl.machinery.gvk import GVK, NN, RawObject, Resource
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.config import ClusterConfig, StaticToken
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.errors import NotFound, TransportError
from rbgctl.runtime.testing.assets import find_assets
from rbgctl.runtime.testing.certificates import Authority, new_key, private_key_pem, public_key_pem
from rbgctl.runtime.testing.kubeconfig import kubeconfig
from rbgctl.runtime.testing.processes import ControlPlaneCrashed, Processes, tail
from rbgctl.runtime.transport import Transport

CRD = GVK("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
NAMESPACE = GVK("", "v1", "Namespace")
NODE = GVK("", "v1", "Node")
SERVICE_ACCOUNT = GVK("", "v1", "ServiceAccount")
STAGES = Path(__file__).parent / "stages"
PORT_ATTEMPTS = 5
LOOPBACK = "127.0.0.1"
ROOM = 192 << 20
"""Bytes of disk without which starting is not even tried: etcd alone reserves 128 MiB."""

AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "Metadata"}],
}


class PortInUse(Exception):
    """The port asked for is taken."""


class DiskFull(ControlPlaneCrashed):
    """There is no room for the data of a control plane."""


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _start_timeout() -> float:
    return float(os.environ.get("KUBEBUILDER_CONTROLPLANE_START_TIMEOUT", "60s").rstrip("s"))


def _stop_timeout() -> float:
    return float(os.environ.get("KUBEBUILDER_CONTROLPLANE_STOP_TIMEOUT", "20s").rstrip("s"))


class EnvTest:
    """One control plane. Use as an async context manager, or `start()` and `stop()`.

    nodes: simulated nodes, 0 for the API server only. gpus_per_node: capacity of nvidia.com/gpu.
    crds: CustomResourceDefinition objects, files or directories to install. static: REST resources known to the
    caller. directory: where everything lives, new or empty (a temporary one by default, in memory when there is
    room); it is removed at the end unless keep. port: of the API server, 0 for a free one. audit: write audit.log.
    api_server_args: added at the end. stages: further kwok Stage files. stage_crd: let tests create Stage objects.
    """

    def __init__(
        self,
        *,
        nodes: int = 0,
        gpus_per_node: int = 8,
        crds: Sequence[Path | RawObject] = (),
        static: Sequence[Resource] = (),
        directory: Path | None = None,
        keep: bool = False,
        port: int = 0,
        audit: bool = False,
        api_server_args: Sequence[str] = (),
        stages: Sequence[Path] = (),
        stage_crd: bool = False,
        assets: Path | None = None,
    ) -> None:
        self.nodes = nodes
        self._gpus = gpus_per_node
        self._crds = crds
        self._static = static
        self._given_directory = directory
        self._keep = keep
        self._port = port
        self._audit = audit
        self._extra_args = api_server_args
        self._stages = stages
        self._stage_crd = stage_crd
        self._assets = assets
        self._authority = Authority()
        self._transports: list[Transport] = []
        self.config: ClusterConfig
        self.directory: Path
        self.processes: Processes

    async def __aenter__(self) -> "EnvTest":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # -- life cycle -------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Raises ControlPlaneCrashed (DiskFull when that is why), PortInUse, AssetsMissing, or ValueError for a
        directory that holds something. Nothing is left running then.
        """
        self._assets = self._assets or await find_assets()
        self.directory = _make_directory(self._given_directory)
        self.processes = Processes(self.directory, keep=self._keep)
        try:
            _check_room(self.directory, ROOM)
            await self.processes.open()
            async with asyncio.timeout(_start_timeout()):
                await self._start_api_server()
                await self._unless_crashed(self._set_up())
        except TimeoutError:
            logs = "\n".join(f"{name}:\n{tail(path)}" for name, path in self.processes.logs.items())
            await self.stop()
            raise ControlPlaneCrashed(
                f"the control plane did not start within {_start_timeout():g} s\n{logs}"
            ) from None
        except BaseException as error:
            full = _disk_full(error, self.directory)
            await self.stop()
            if full is not None:
                raise full from error
            raise

    async def _set_up(self) -> None:
        await self._open_admin()
        await asyncio.gather(self.install_crds(self._crds), self._start_cluster() if self.nodes else asyncio.sleep(0))

    async def _unless_crashed(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work`, or raise the crash of a component the moment it is known."""
        task = asyncio.create_task(work)
        try:
            await asyncio.wait({task, self.failed}, return_when=asyncio.FIRST_COMPLETED)
            if task.done() and isinstance(task.exception(), TransportError):
                # A connection broken by a crash is often noticed before the crash itself is reported.
                await asyncio.wait({self.failed}, timeout=1.0)
            if self.failed.done():
                self.failed.result()
            task.result()
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def stop(self) -> None:
        """Stop everything and remove the directory unless `keep`."""
        for transport in self._transports:
            await transport.close()
        self._transports.clear()
        # Nothing in a throw-away etcd is worth a graceful end; the audit log is flushed per event.
        await self.processes.close(0.0 if not self._keep else _stop_timeout())

    @property
    def failed(self) -> asyncio.Future[None]:
        """Completes with ControlPlaneCrashed when a component ends by itself."""
        return self.processes.failed

    # -- access -----------------------------------------------------------------------------------------------

    def transport(self, config: ClusterConfig | None = None) -> Transport:
        """A new transport, closed by `stop()`; as admin unless a config is given."""
        transport = Transport(config or self.config)
        self._transports.append(transport)
        return transport

    def client(self, config: ClusterConfig | None = None, *, user_agent: str = "envtest") -> LiveClient:
        """A live client, as admin unless a config is given."""
        transport = self.transport(config)
        return LiveClient(transport, RestMapper(transport, *self._static), user_agent=user_agent)

    @property
    def kubeconfig(self) -> Path:
        """Admin kubeconfig file."""
        return self.directory / "admin.kubeconfig"

    @property
    def audit_log(self) -> Path:
        return self.directory / "audit.log"

    @property
    def kubectl(self) -> Path:
        assert self._assets is not None  # noqa: S101 - set by start()
        return self._assets / "kubectl"

    def config_for_user(self, user: str, groups: Sequence[str] = ()) -> ClusterConfig:
        """With a client certificate for this user and groups; RBAC decides what it may do."""
        return ClusterConfig(
            server=self.config.server, ca=self._authority.pem, client_cert=self._authority.client(user, groups)
        )

    async def config_for_service_account(self, namespace: str, name: str) -> ClusterConfig:
        """With a token for an existing service account, valid for a day."""
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 86400},
        }
        answer = await self._admin.create_subresource(SERVICE_ACCOUNT, NN(namespace, name), "token", body)
        return ClusterConfig(
            server=self.config.server,
            ca=self._authority.pem,
            credential=StaticToken(answer["status"]["token"]),
            namespace=namespace,
        )

    def write_kubeconfig(self, config: ClusterConfig, name: str) -> Path:
        """A kubeconfig file for `config` in this control plane's directory."""
        path = self.directory / f"{name}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(kubeconfig(config, user=name)))
        return path

    # -- CRDs and webhooks ------------------------------------------------------------------------------------

    async def install_crds(self, crds: Iterable[Path | RawObject]) -> None:
        """Apply CRDs and wait until they are served (RT-ET-04). Raises ValueError for a file without CRDs."""
        objects = [o for c in crds for o in _load_crds(c)]
        await asyncio.gather(*(self._admin.apply(o, field_manager="envtest") for o in objects))
        await asyncio.gather(*(self._served(o["metadata"]["name"]) for o in objects))
        self._admin.mapper.invalidate()

    async def _served(self, name: str) -> None:
        async for _type, crd in self._admin.watch(CRD, fields=f"metadata.name={name}", timeout=30):
            conditions = {c["type"]: c["status"] for c in (crd.get("status") or {}).get("conditions") or ()}
            if conditions.get("Established") == "True":
                break
        else:
            raise ControlPlaneCrashed(f"CRD {name} was not established within 30 s")
        spec = crd["spec"]
        for version in (v["name"] for v in spec["versions"] if v["served"]):
            resource = Resource(GVK(spec["group"], version, spec["names"]["kind"]), spec["names"]["plural"], True)
            await self._until_answers(resource.path())

    async def _until_answers(self, path: str) -> None:
        # The API server offers no watch on its own request routing; 404 turns into 200 within 0.1 s.
        while True:
            answer = await self._admin_transport.request("GET", path, params={"limit": "1"})
            if answer.status != 404:
                return
            await asyncio.sleep(0.02)

    def local_webhook(self, directory: Path) -> tuple[Path, Path]:
        """Certificate and key files for a webhook server on loopback, signed by this control plane's authority."""
        certificate, key = self._authority.server([LOOPBACK, "localhost"])
        directory.mkdir(parents=True, exist_ok=True)
        paths = directory / "tls.crt", directory / "tls.key"
        for path, data in zip(paths, (certificate, key), strict=True):
            path.touch(mode=0o600)
            path.write_bytes(data)
        return paths

    def point_at_local(self, obj: RawObject, port: int) -> RawObject:
        """A copy of a webhook configuration or CRD whose clientConfigs call loopback:port (RT-ET-05)."""
        ca = self._authority.pem

        def walk(node: Any) -> Any:
            if isinstance(node, dict):
                return {k: _local(v, port, ca) if k == "clientConfig" else walk(v) for k, v in node.items()}
            return [walk(v) for v in node] if isinstance(node, list) else node

        rewritten: RawObject = walk(obj)
        return rewritten

    # -- starting ---------------------------------------------------------------------------------------------

    async def _start_api_server(self) -> None:
        self._write_credentials()
        for attempt in range(PORT_ATTEMPTS):
            etcd_port, peer_port = free_port(), free_port()
            port = self._port or free_port()
            if self._port:
                _check_port(self._port)
            try:
                await self._start_etcd(etcd_port, peer_port)
                await self._start_apiserver(port, etcd_port)
                return
            except ControlPlaneCrashed as error:
                if "address already in use" not in str(error) or attempt == PORT_ATTEMPTS - 1 or self._port:
                    raise
                await self.processes.close(0.0)
                self.directory.mkdir(exist_ok=True)
                self._write_credentials()
                self.processes = Processes(self.directory, keep=self._keep)
                await self.processes.open()

    def _write_credentials(self) -> None:
        pki = self.directory / "pki"
        pki.mkdir(exist_ok=True)
        service_account = new_key()
        serving = self._authority.server(
            [LOOPBACK, "localhost", "10.96.0.1", "kubernetes.default.svc", "kubernetes.default", "kubernetes"]
        )
        files = {
            "ca.crt": self._authority.pem,
            "server.crt": serving[0],
            "server.key": serving[1],
            "sa.key": private_key_pem(service_account),
            "sa.pub": public_key_pem(service_account),
        }
        for name, data in files.items():
            path = pki / name
            path.touch(mode=0o600)
            path.write_bytes(data)
        (self.directory / "audit-policy.yaml").write_text(yaml.safe_dump(AUDIT_POLICY))

    def _binary(self, name: str) -> Path:
        assert self._assets is not None  # noqa: S101 - set by start()
        path = self._assets / name
        if not path.exists():
            raise ControlPlaneCrashed(f"{self._assets} has no {name}: simulated nodes need the whole control plane")
        return path

    async def _start_etcd(self, port: int, peer_port: int) -> None:
        url = f"http://{LOOPBACK}:{port}"
        peer = f"http://{LOOPBACK}:{peer_port}"
        await self.processes.start(
            "etcd",
            [
                self._binary("etcd"),
                "--name=default",
                f"--data-dir={self.directory / 'etcd'}",
                f"--listen-client-urls={url}",
                f"--advertise-client-urls={url}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
                "--unsafe-no-fsync",
                "--log-level=warn",
            ],
        )
        await self._until_healthy("etcd", f"{url}/health", ssl=None)

    async def _start_apiserver(self, port: int, etcd_port: int) -> None:
        pki = self.directory / "pki"
        server = f"https://{LOOPBACK}:{port}"
        audit = [
            f"--audit-policy-file={self.directory / 'audit-policy.yaml'}",
            f"--audit-log-path={self.audit_log}",
            "--audit-log-mode=blocking",
        ]
        await self.processes.start(
            "kube-apiserver",
            [
                self._binary("kube-apiserver"),
                f"--etcd-servers=http://{LOOPBACK}:{etcd_port}",
                f"--bind-address={LOOPBACK}",
                f"--advertise-address={LOOPBACK}",
                f"--secure-port={port}",
                f"--tls-cert-file={pki / 'server.crt'}",
                f"--tls-private-key-file={pki / 'server.key'}",
                f"--client-ca-file={pki / 'ca.crt'}",
                f"--cert-dir={pki}",
                "--authorization-mode=RBAC",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={pki / 'sa.pub'}",
                f"--service-account-signing-key-file={pki / 'sa.key'}",
                "--service-cluster-ip-range=10.96.0.0/16",
                "--allow-privileged=true",
                "--endpoint-reconciler-type=none",
                *([] if self.nodes else ["--disable-admission-plugins=ServiceAccount"]),
                *(audit if self._audit else []),
                *self._extra_args,
            ],
        )
        self.config = ClusterConfig(
            server=server,
            ca=self._authority.pem,
            client_cert=self._authority.client("envtest-admin", ["system:masters"]),
        )
        await self._until_healthy("kube-apiserver", f"{server}/readyz", ssl=self.config.ssl_context())

    async def _open_admin(self) -> None:
        self._admin_transport = self.transport()
        self._admin = LiveClient(
            self._admin_transport, RestMapper(self._admin_transport, *self._static), user_agent="envtest"
        )
        self.write_kubeconfig(self.config, "admin")
        # The default namespace appears shortly after the server is ready.
        while True:
            try:
                await self._admin.get(NAMESPACE, NN("", "default"))
                return
            except NotFound:
                await asyncio.sleep(0.02)

    async def _until_healthy(self, name: str, url: str, *, ssl: Any) -> None:
        # A server that does not listen yet cannot be watched; polling ends the moment it answers or crashes.
        connector = aiohttp.TCPConnector(ssl=ssl if ssl is not None else True, force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            while True:
                if self.failed.done():
                    self.failed.result()
                with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                    async with session.get(url, timeout=aiohttp.ClientTimeout(total=2)) as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.03)

    async def _start_cluster(self) -> None:
        pki = self.directory / "pki"
        common = [f"--kubeconfig={self.kubeconfig}", "--leader-elect=false", "--secure-port=0"]
        fast = ["--kube-api-qps=500", "--kube-api-burst=1000"]
        if self._stage_crd:
            await self.install_crds([STAGES / "crd"])
            await self._create_stages()
        stages = [] if self._stage_crd else [STAGES, *self._stages]
        files = [f for s in stages for f in (sorted(s.glob("*.yaml")) if s.is_dir() else [s])]
        await asyncio.gather(
            self.processes.start(
                "kube-controller-manager",
                [
                    self._binary("kube-controller-manager"),
                    *common,
                    *fast,
                    f"--root-ca-file={pki / 'ca.crt'}",
                    f"--service-account-private-key-file={pki / 'sa.key'}",
                    "--use-service-account-credentials=false",
                    "--controllers=*,-nodeipam,-cloud-node-lifecycle,-service-lb-controller,-node-route-controller",
                    "--horizontal-pod-autoscaler-sync-period=1s",
                ],
            ),
            self.processes.start("kube-scheduler", [self._binary("kube-scheduler"), *common, *fast]),
            self.processes.start(
                "kwok",
                [
                    self._binary("kwok"),
                    f"--kubeconfig={self.kubeconfig}",
                    "--manage-all-nodes",
                    "--cidr=10.64.0.0/14",
                    f"--node-ip={LOOPBACK}",
                    "--node-lease-duration-seconds=40",
                    *(["--enable-crds=Stage"] if self._stage_crd else []),
                    *(f"--config={f}" for f in files),
                ],
                env={"HOME": str(self.directory)},
            ),
            *(self._admin.create(self._node(i)) for i in range(self.nodes)),
        )
        await self._cluster_ready()

    async def _create_stages(self) -> None:
        documents = [
            d
            for folder in [STAGES, *self._stages]
            for f in (sorted(folder.glob("*.yaml")) if folder.is_dir() else [folder])
            for d in yaml.safe_load_all(f.read_text())
            if d
        ]
        await asyncio.gather(*(self._admin.apply(d, field_manager="envtest") for d in documents))

    def _node(self, index: int) -> RawObject:
        name = f"node-{index}"
        capacity = {"cpu": "64", "memory": "512Gi", "pods": "250", "ephemeral-storage": "1Ti"}
        if self._gpus:
            capacity["nvidia.com/gpu"] = str(self._gpus)
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "labels": {
                    "kubernetes.io/hostname": name,
                    "kubernetes.io/os": "linux",
                    "kubernetes.io/arch": "amd64",
                    "topology.kubernetes.io/zone": f"z{index % 2 + 1}",
                },
            },
            "status": {"capacity": capacity, "allocatable": capacity},
        }

    async def _cluster_ready(self) -> None:
        """Nodes Ready, their start-up taint gone, and the default service account there: pods can run."""
        ready: set[str] = set()
        async for _type, node in self._admin.watch(NODE, timeout=60):
            conditions = {c["type"]: c["status"] for c in node["status"].get("conditions") or ()}
            taints = {t["key"] for t in node["spec"].get("taints", ())}
            if conditions.get("Ready") == "True" and "node.kubernetes.io/not-ready" not in taints:
                ready.add(node["metadata"]["name"])
            if len(ready) >= self.nodes:
                break
        async for _type, _account in self._admin.watch(
            SERVICE_ACCOUNT, "default", fields="metadata.name=default", timeout=60
        ):
            break


async def new_namespace(client: LiveClient, prefix: str = "test", rng: random.Random | None = None) -> str:
    """Create a namespace with a name of its own and wait until pods may be created in it."""
    suffix = "".join((rng or random.Random()).choices("bcdfghjklmnpqrstvwxz2456789", k=8))
    name = f"{prefix}-{suffix}"[:63]
    await client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


def _local(config: Mapping[str, Any], port: int, ca: bytes) -> dict[str, Any]:
    path = (config.get("service") or {}).get("path") or ""
    kept = {k: v for k, v in config.items() if k not in {"service", "caBundle", "url"}}
    return {**kept, "url": f"https://{LOOPBACK}:{port}{path}", "caBundle": base64.b64encode(ca).decode()}


def _make_directory(given: Path | None) -> Path:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        if any(given.iterdir()):
            raise ValueError(f"{given} is not empty: a control plane needs a directory of its own")
        return given
    memory = Path("/dev/shm")  # noqa: S108 - a private directory is made inside
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 1 << 30
    return Path(tempfile.mkdtemp(prefix="envtest-", dir=memory if roomy else None))


def _check_room(directory: Path, wanted: int) -> None:
    free = shutil.disk_usage(directory).free
    if free < wanted:
        raise DiskFull(
            f"the disk is full: {directory} has {free >> 20} MiB left, a control plane needs {wanted >> 20} MiB; "
            "free some space or set TMPDIR to a directory on another disk"
        )


def _disk_full(error: BaseException, directory: Path) -> DiskFull | None:
    """What to say when `error` came from a full disk, whether it says so or could not even write its log."""
    if isinstance(error, DiskFull):
        return None
    told = (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "no space left" in str(error)
    free = shutil.disk_usage(directory).free if directory.exists() else 1 << 20
    if not told and free >= 1 << 20:
        return None
    return DiskFull(
        f"the disk is full: {directory} has {free >> 20} MiB left; free some space or set TMPDIR to a directory on "
        "another disk"
    )


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise PortInUse(f"port {port} on {LOOPBACK} is in use ({error.strerror}): choose another one") from None


def _load_crds(source: Path | RawObject) -> list[RawObject]:
    if not isinstance(source, Path):
        return [source]
    files = sorted(source.glob("*.yaml")) if source.is_dir() else [source]
    found = [
        d
        for f in files
        for d in yaml.load_all(f.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        if d and d.get("kind") == "CustomResourceDefinition"
    ]
    if not found:
        raise ValueError(f"{source} holds no CustomResourceDefinition")
    return found
