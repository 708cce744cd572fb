"""A real Kubernetes control plane on loopback, for tests and the playground (RT-ET-01..07).

`nodes=0` runs etcd and kube-apiserver: everything the API server does, nothing that controllers do (no pods run, no
garbage collection). `nodes=n` adds controller-manager, scheduler and kwok with n simulated nodes on which pods
become Ready, fail and end by the rules in `stages/`.

    async with EnvTest(nodes=4) as env:
        client = env.client()

Environment: KUBEBUILDER_ASSETS (a directory with binaries), KUBEBUILDER_CONTROLPLANE_START_TIMEOUT and
KUBEBUILDER_CONTROLPLANE_STOP_TIMEOUT (of the control plane as a whole, default 60s and 20s),
KUBEBUILDER_ATTACH_CONTROL_PLANE_OUTPUT=true (logs on stderr too), USE_EXISTING_CLUSTER=true (start nothing, use the
cluster of the kubeconfig; without simulated nodes).
"""

import asyncio
import contextlib
import os
import random
from collections.abc import Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from rbgctl.machinery.go_duration import parse_go_duration
from rbgctl.machinery.gvk import GVK, NN, RawObject, Resource
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.config import ClusterConfig, StaticToken
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.errors import NotFound, TransportError
from rbgctl.runtime.served_kinds import CRD
from rbgctl.runtime.testing import components, simulated_nodes
from rbgctl.runtime.testing.assets import find_assets
from rbgctl.runtime.testing.certificates import Authority, new_key, private_key_pem, public_key_pem
from rbgctl.runtime.testing.components import Layout
from rbgctl.runtime.testing.crds import is_established, load_crds, point_at_local, served
from rbgctl.runtime.testing.kubeconfig import kubeconfig
from rbgctl.runtime.testing.loopback import LOOPBACK, PortInUse, check_port, free_port
from rbgctl.runtime.testing.processes import ControlPlaneCrashed, Processes, tail
from rbgctl.runtime.testing.work_directory import ROOM, DiskFull, check_room, choose_directory, disk_full
from rbgctl.runtime.transport import Transport

__all__ = ["LOOPBACK", "ControlPlaneCrashed", "DiskFull", "EnvTest", "PortInUse", "free_port", "new_namespace"]

NAMESPACE = GVK("", "v1", "Namespace")
SERVICE_ACCOUNT = GVK("", "v1", "ServiceAccount")
PORT_ATTEMPTS = 5
PORT_TAKEN = "address already in use"


class EnvTest:
    """One control plane. Use as an async context manager, or `start()` and `stop()`.

    nodes: simulated nodes, 0 for the API server only. gpus_per_node: capacity of nvidia.com/gpu.
    crds: CustomResourceDefinition objects, files or directories to install. static: REST resources known to the
    caller. directory: where everything lives, new or empty (a temporary one by default, in memory when there is
    room); it is removed at the end unless keep. port: of the API server, 0 for a free one. audit: write audit.log.
    api_server_args: added at the end. stages: further kwok Stage files. stage_crd: let tests create Stage objects.
    room: bytes that must be free before anything is started. assets: the directory with the binaries.
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
        room: int = ROOM,
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
        self._room = room
        self._assets = assets
        self._existing = nodes == 0 and _is_true("USE_EXISTING_CLUSTER")
        self._api_server: list[str] = []
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
        timeout = _seconds("KUBEBUILDER_CONTROLPLANE_START_TIMEOUT", "60s")
        if not self._existing:
            self._assets = self._assets or await find_assets()
        self.directory = choose_directory(self._given_directory)
        try:
            self._new_processes()
            check_room(self.directory, self._room)
            await self.processes.open()
            async with asyncio.timeout(timeout):
                if self._existing:
                    self.config = ClusterConfig.load()
                else:
                    await self._start_api_server()
                await self._unless_crashed(self._set_up())
        except TimeoutError:
            logs = "\n".join(f"{name}:\n{tail(path)}" for name, path in self.processes.logs.items())
            await self.stop()
            raise ControlPlaneCrashed(f"the control plane did not start within {timeout:g} s\n{logs}") from None
        except BaseException as error:
            full = disk_full(error, self.directory)
            await self.stop()
            if full is not None:
                raise full from error
            raise

    def _new_processes(self) -> None:
        attach = _is_true("KUBEBUILDER_ATTACH_CONTROL_PLANE_OUTPUT")
        self.processes = Processes(self.directory, keep=self._keep, attach=attach)

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
        grace = _seconds("KUBEBUILDER_CONTROLPLANE_STOP_TIMEOUT", "20s") if self._keep else 0.0
        await self.processes.close(grace)

    async def kill_api_server(self) -> None:
        """kill -9: connections break, etcd goes on."""
        await self.processes.stop("kube-apiserver")

    async def restart_api_server(self) -> None:
        """Start a killed API server again on the same port and data; returns when it is ready."""
        await self._run_api_server()

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
    def _layout(self) -> Layout:
        return Layout(self.directory)

    @property
    def kubeconfig(self) -> Path:
        """Admin kubeconfig file."""
        return self._layout.kubeconfig

    @property
    def audit_log(self) -> Path:
        """One JSON event per line for each finished request and each watch that began; only with `audit`."""
        return self._layout.audit_log

    @property
    def kubectl(self) -> Path:
        return self._binary("kubectl")

    def config_for_user(self, user: str, groups: Sequence[str] = ()) -> ClusterConfig:
        """With a client certificate for this user and groups; RBAC decides what it may do."""
        if self._existing:
            raise ValueError(f"cannot make a certificate for {user}: an existing cluster has an authority of its own")
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
            ca=self.config.ca,
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
        objects = [o for c in crds for o in load_crds(c)]
        await asyncio.gather(*(self._admin.apply(o, field_manager="envtest") for o in objects))
        await asyncio.gather(*(self._until_served(o["metadata"]["name"]) for o in objects))
        self._admin.mapper.invalidate()

    async def _until_served(self, name: str) -> None:
        async for _type, crd in self._admin.watch(CRD, fields=f"metadata.name={name}", timeout=120):
            if is_established(crd):
                break
        else:
            raise ControlPlaneCrashed(f"CRD {name} was not established within 120 s")
        for resource in served(crd):
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
            _write_private(path, data)
        return paths

    def point_at_local(self, obj: RawObject, port: int) -> RawObject:
        """A copy of a webhook configuration or CRD whose clientConfigs call loopback:port (RT-ET-05)."""
        return point_at_local(obj, port, self._authority.pem)

    # -- starting ---------------------------------------------------------------------------------------------

    async def _start_api_server(self) -> None:
        """Up to five attempts (RT-ET-03): somebody else may take a port between choosing and using it."""
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self._write_credentials()
            if self._port:
                check_port(self._port)
            etcd_port = free_port()
            try:
                await self._start_etcd(etcd_port, free_port())
                await self._start_apiserver(self._port or free_port(), etcd_port)
                return
            except ControlPlaneCrashed as error:
                if PORT_TAKEN not in str(error) or attempt == PORT_ATTEMPTS:
                    raise
                await self.processes.close(0.0)
                self._new_processes()
                await self.processes.open()

    def _write_credentials(self) -> None:
        at = self._layout
        at.pki.mkdir(exist_ok=True)
        service_account = new_key()
        serving = self._authority.server(components.SERVING_NAMES)
        files = {
            "ca.crt": self._authority.pem,
            "server.crt": serving[0],
            "server.key": serving[1],
            "sa.key": private_key_pem(service_account),
            "sa.pub": public_key_pem(service_account),
        }
        for name, data in files.items():
            _write_private(at.pki / name, data)
        at.audit_policy.write_text(yaml.safe_dump(components.AUDIT_POLICY))

    def _binary(self, name: str) -> Path:
        if self._assets is None:
            raise ControlPlaneCrashed(f"an existing cluster comes without {name}")
        path = self._assets / name
        if not path.exists():
            raise ControlPlaneCrashed(f"{self._assets} has no {name}: simulated nodes need the whole control plane")
        return path

    async def _run(self, name: str, arguments: Sequence[str], **env: str) -> None:
        await self.processes.start(name, [self._binary(name), *arguments], env=env)

    async def _start_etcd(self, port: int, peer_port: int) -> None:
        await self._run("etcd", components.etcd(self._layout, port=port, peer_port=peer_port))
        await self._until_healthy(f"http://{LOOPBACK}:{port}/health", ssl=None)

    async def _start_apiserver(self, port: int, etcd_port: int) -> None:
        self.config = ClusterConfig(
            server=f"https://{LOOPBACK}:{port}",
            ca=self._authority.pem,
            client_cert=self._authority.client("envtest-admin", ["system:masters"]),
        )
        arguments = components.kube_apiserver(
            self._layout, port=port, etcd_port=etcd_port, whole=self.nodes > 0, audit=self._audit
        )
        self._api_server = [*arguments, *self._extra_args]
        await self._run_api_server()

    async def _run_api_server(self) -> None:
        environment = {k: v for k, v in components.API_SERVER_ENVIRONMENT.items() if k not in os.environ}
        await self._run("kube-apiserver", self._api_server, **environment)
        await self._until_healthy(f"{self.config.server}/readyz", ssl=self.config.ssl_context())

    async def _until_healthy(self, url: str, *, ssl: Any) -> None:
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

    async def _open_admin(self) -> None:
        self._admin_transport = self.transport()
        self._admin = LiveClient(
            self._admin_transport, RestMapper(self._admin_transport, *self._static), user_agent="envtest"
        )
        if not self._existing:
            self.write_kubeconfig(self.config, "admin")
        # The default namespace appears shortly after the server is ready.
        while True:
            try:
                await self._admin.get(NAMESPACE, NN("", "default"))
                return
            except NotFound:
                await asyncio.sleep(0.02)

    async def _start_cluster(self) -> None:
        if self._stage_crd:
            await self.install_crds([simulated_nodes.STAGE_CRD])
            objects = simulated_nodes.stage_objects(self._stages)
            await asyncio.gather(*(self._admin.apply(o, field_manager="envtest") for o in objects))
        files = [] if self._stage_crd else simulated_nodes.stage_files(self._stages)
        at = self._layout
        await asyncio.gather(
            self._run("kube-controller-manager", components.kube_controller_manager(at)),
            self._run("kube-scheduler", components.kube_scheduler(at)),
            self._run("kwok", components.kwok(at, files), HOME=str(self.directory)),
            *(self._admin.create(simulated_nodes.node(i, gpus=self._gpus)) for i in range(self.nodes)),
        )
        await simulated_nodes.until_pods_can_run(self._admin, self.nodes)


async def new_namespace(client: LiveClient, prefix: str = "test", rng: random.Random | None = None) -> str:
    """Create a namespace with a name of its own."""
    suffix = "".join((rng or random.Random()).choices("bcdfghjklmnpqrstvwxz2456789", k=8))
    name = f"{prefix[:54]}-{suffix}"
    await client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


def _is_true(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in {"1", "t", "true"}


def _seconds(variable: str, default: str) -> float:
    text = os.environ.get(variable) or default
    try:
        return parse_go_duration(text)
    except ValueError as error:
        raise ValueError(f"{variable}: {error}") from None


def _write_private(path: Path, data: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(data)
