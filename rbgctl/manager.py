"""Composition root: from flags to a running manager with all controllers."""

import asyncio
import platform
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

import structlog
import uvloop

from rbgctl import __version__, splitting
from rbgctl.api import identity
from rbgctl.api.kinds import RESOURCES, ROLE_BASED_GROUP, ROLE_INSTANCE, ROLE_INSTANCE_SET, resource
from rbgctl.api.labels import GROUP_NAME
from rbgctl.controllers.group import controller as group
from rbgctl.controllers.instance import controller as instance
from rbgctl.controllers.instanceset import controller as instanceset
from rbgctl.machinery.gvk import GVK, NN
from rbgctl.machinery.selectors import LabelSelector
from rbgctl.runtime import config as cluster_config
from rbgctl.runtime.builder import Builder
from rbgctl.runtime.cache import CacheNotSynced
from rbgctl.runtime.certwatcher import CertificateError, ServingCertificate
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.client_limits import RequestRate
from rbgctl.runtime.config import ClusterConfig, ConfigError
from rbgctl.runtime.errors import ApiError, Forbidden, NotFound, TransportError
from rbgctl.runtime.http_server import AddressError, parse_address
from rbgctl.runtime.kind_options import WATCH_TIMEOUT, CacheDefaults, NamespaceOptions, only_in
from rbgctl.runtime.leaderelection import ElectionConfig, new_identity
from rbgctl.runtime.log import LEVELS, configure_logging
from rbgctl.runtime.manager import LeaderElectionLost, Manager, ShutdownTimeout
from rbgctl.runtime.manager import ManagerOptions as RuntimeOptions
from rbgctl.runtime.manager_options import shutdown_budget
from rbgctl.runtime.served_kinds import CRD
from rbgctl.runtime.sharding.leases import MAX_SHARDS
from rbgctl.runtime.signals import stop_on_signals
from rbgctl.runtime.tracing import Tracing

_log = structlog.get_logger("rbgctl.manager")

GO_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
"""Machines by the names that Go programs, and so our User-Agents, use."""

CONTROLLERS: Final[Mapping[str, Callable[[], Builder]]] = {
    identity.CONTROLLER_GROUP: group.declare,
    identity.CONTROLLER_INSTANCE_SET: instanceset.declare,
    identity.CONTROLLER_INSTANCE: instance.declare,
}
"""Every controller by the name it has in metrics and logs (MGR-7)."""

EXPECTED: Final = (
    ApiError,
    TransportError,
    ConfigError,
    CertificateError,
    CacheNotSynced,
    ShutdownTimeout,
    LeaderElectionLost,
    TimeoutError,
)
"""What may end a manager without a defect in it: said in one line."""

LEADER_TOLERANCE: Final = 20.0
RESTRICTED: Final = {
    GVK(group, "v1", kind): NamespaceOptions(labels=LabelSelector.has(GROUP_NAME))
    for group, kind in (("", "Service"), ("apps", "StatefulSet"), ("apps", "Deployment"))
}
"""Of these kinds only what belongs to a group is listed and watched, whoever caches them (RT-ID-09)."""

REQUIRED: Final = (ROLE_BASED_GROUP, ROLE_INSTANCE_SET, ROLE_INSTANCE)


class StartUpError(Exception):
    """The manager cannot run here; the text is one line that says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerOptions:
    """The flags of `rbgctl manager` (02 §11.1). Durations in seconds; watch_timeout None draws 5-10 minutes."""

    kubeconfig: str = ""
    metrics_bind_address: str = "0"
    metrics_secure: bool = True
    metrics_cert_path: str = ""
    metrics_cert_name: str = "tls.crt"
    metrics_cert_key: str = "tls.key"
    health_probe_bind_address: str = ":8082"
    enable_pprof: bool = False
    pprof_bind_address: str = ":6060"
    max_concurrent_reconciles: int = 10
    cache_sync_timeout: float = 120.0
    watch_timeout: float | None = None
    kube_api_qps: float | None = None
    kube_api_burst: int | None = None
    leader_elect: bool = False
    leader_election_namespace: str = ""
    lease_duration: float = 15.0
    renew_deadline: float = 10.0
    retry_period: float = 2.0
    termination_grace_period: float = 30.0
    controllers: str = "*"
    namespaces: str = ""
    shards: int = 1
    log_level: str = "info"
    log_encoding: str = "json"


def user_agent(product: str) -> str:
    """The User-Agent of a controller's client (RT-ID-04)."""
    machine = platform.machine()
    return identity.user_agent(product, __version__, "", f"{sys.platform}/{GO_ARCHITECTURES.get(machine, machine)}")


def election_config(options: ManagerOptions) -> ElectionConfig:
    """Lease, identity and durations (RT-ID-01 to RT-ID-03). Raises StartUpError for what cannot work."""
    lease = splitting.lease_name(selected(options), CONTROLLERS, splitting.select_namespaces(options.namespaces))
    try:
        return ElectionConfig(
            namespace=options.leader_election_namespace or own_namespace(),
            name=lease,
            identity=new_identity(),
            lease=options.lease_duration,
            renew=options.renew_deadline,
            retry=options.retry_period,
        )
    except ValueError as error:
        raise StartUpError(f"leader election: {error}") from None


def selected(options: ManagerOptions) -> tuple[str, ...]:
    """Names of the controllers to run. Raises ValueError, see `select_controllers`."""
    return splitting.select_controllers(options.controllers, tuple(CONTROLLERS))


def own_namespace() -> str:
    """The namespace of the pod that this process runs in, as its service account says. Raises StartUpError."""
    path = cluster_config.SERVICE_ACCOUNT / "namespace"
    try:
        return path.read_text()
    except OSError as error:
        raise StartUpError(
            f"leader election needs a namespace for its Lease, and this is no pod with a service account ({path}: "
            f"{error.strerror}): set --leader-election-namespace"
        ) from None


def runtime_options(options: ManagerOptions) -> RuntimeOptions:
    """The runtime's share of the flags. Raises StartUpError for an election that cannot work."""
    certificate = None
    if options.metrics_cert_path:
        folder = Path(options.metrics_cert_path)
        certificate = ServingCertificate(folder / options.metrics_cert_name, folder / options.metrics_cert_key)
    watch = options.watch_timeout
    return RuntimeOptions(
        name="manager",
        user_agent=user_agent,
        health_address=options.health_probe_bind_address,
        metrics_address=options.metrics_bind_address,
        metrics_secure=options.metrics_secure,
        metrics_certificate=certificate,
        pprof_address=options.pprof_bind_address if options.enable_pprof else "0",
        max_concurrent=options.max_concurrent_reconciles,
        cache_sync_timeout=options.cache_sync_timeout,
        watch_timeout=(watch, watch) if watch is not None else WATCH_TIMEOUT,
        compress=bool(options.kubeconfig),
        rate=RequestRate.of(options.kube_api_qps, options.kube_api_burst),
        graceful_shutdown=shutdown_budget(options.termination_grace_period),
        leader_election=election_config(options) if options.leader_elect else None,
        cache=CacheDefaults(namespaces=only_in(*splitting.select_namespaces(options.namespaces)), kinds=RESTRICTED),
        shards=options.shards,
        leader_tolerance=LEADER_TOLERANCE,
    )


def build(config: ClusterConfig, options: ManagerOptions, *, tracing: Tracing | None = None) -> Manager:
    """A manager with the selected controllers, not started. Nothing connects yet. Raises StartUpError."""
    manager = Manager(config, runtime_options(options), resources=RESOURCES, tracing=tracing)
    for name in selected(options):
        CONTROLLERS[name]().complete(manager)
    return manager


async def check_crds(client: LiveClient, *, may_be_forbidden: bool = False) -> None:
    """Every kind our controllers are for must be established (MGR-11, RBG-16). Raises StartUpError otherwise.

    may_be_forbidden: the process has no rights on the cluster as a whole; its caches will show whether kinds are there.
    """
    for gvk in REQUIRED:
        name = f"{resource(gvk).plural}.{gvk.group}"
        try:
            crd = await client.get(CRD, NN("", name))
        except Forbidden:
            if not may_be_forbidden:
                raise
            _log.info("may not read CRDs, so they are not checked", crd=name)
            continue
        except NotFound:
            raise StartUpError(
                f"CRD {name} is not installed: apply config/crd first (kubectl apply --server-side -k config/crd)"
            ) from None
        conditions = (crd.get("status") or {}).get("conditions") or ()
        if not any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
            raise StartUpError(f"CRD {name} is installed but not Established: see kubectl describe crd {name}")


async def serve(options: ManagerOptions, tracing: Tracing) -> None:
    """Run until SIGTERM or SIGINT. Raises StartUpError, or what ended the manager."""
    stop = stop_on_signals()
    try:
        config = ClusterConfig.load(options.kubeconfig or None)
        manager = build(config, options, tracing=tracing)
    except (ConfigError, ValueError) as error:
        raise StartUpError(f"kubeconfig or flags: {_one_line(error)}") from None
    _log.info("starting", version=__version__, server=config.server, controllers=selected(options))
    try:
        checks = check_crds(manager.live, may_be_forbidden=bool(options.namespaces))
        stopped = not await _unless_stopped(checks, stop)
    except (ApiError, TransportError, ConfigError, ValueError) as error:
        raise StartUpError(f"cannot read CRDs from {config.server}: {_one_line(error)}") from None
    else:
        if not stopped:
            await manager.run(stop)
    finally:
        await manager.transport.close()


def _tracing() -> Tracing:
    try:
        return Tracing.from_env()
    except ValueError as error:
        raise StartUpError(f"tracing: {_one_line(error)}") from None


async def _unless_stopped(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> bool:
    """Whether `work` ended before `stop` was set, which cancels it (RT-MG-12). Raises what `work` raises."""
    working, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return False
        working.result()
        return True
    finally:
        for task in (working, stopped):
            task.cancel()
        await asyncio.wait({working, stopped})


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def check_flags(options: ManagerOptions) -> None:
    """All that can be said of flags without a cluster. Raises ValueError and AddressError, naming the flag."""
    if options.log_encoding not in {"json", "console"}:
        raise ValueError(f"--zap-encoder is {options.log_encoding!r}: use json or console")
    if options.log_level not in LEVELS:
        raise ValueError(f"--zap-log-level is {options.log_level!r}: use one of {', '.join(LEVELS)}")
    least = {
        "cache-sync-timeout": (options.cache_sync_timeout, 1.0),
        "watch-timeout": (options.watch_timeout, 1.0),
        "termination-grace-period": (options.termination_grace_period, 0.0),
    }
    for flag, (seconds, limit) in least.items():
        if seconds is not None and seconds < limit:
            raise ValueError(f"--{flag} is {seconds:g}s: at least {limit:g}s is wanted")
    RequestRate.of(options.kube_api_qps, options.kube_api_burst)
    selected(options)
    splitting.select_namespaces(options.namespaces)
    if options.shards > MAX_SHARDS:
        raise ValueError(f"--shards={options.shards}: at most {MAX_SHARDS} are possible")
    if options.shards > 1 and not options.leader_elect:
        raise ValueError(f"--shards={options.shards} needs --leader-elect: a Lease per shard says who works on it")
    for address in (options.metrics_bind_address, options.health_probe_bind_address, options.pprof_bind_address):
        parse_address(address)


def run(options: ManagerOptions) -> int:
    """The whole life of the process; returns its exit code. Raises StartUpError and ValueError for bad options."""
    check_flags(options)
    tracing = _tracing()
    configure_logging(
        options.log_level, cast("Literal['json', 'console']", options.log_encoding), tracing=tracing.enabled
    )
    try:
        uvloop.run(serve(options, tracing))
    except (StartUpError, AddressError):
        raise
    except EXPECTED as error:
        _log.error("the manager ended", error=_one_line(error), error_type=type(error).__name__)
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        raise StartUpError(str(error)) from None
    except Exception as error:  # noqa: BLE001 - logged with its cause; the exit code is the answer
        _log.exception("the manager ended with an error", error=str(error), error_type=type(error).__name__)
        return 1
    return 0
