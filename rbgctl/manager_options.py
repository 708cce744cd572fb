"""What can be said about how `rbgctl manager` runs, and which of it cannot work. `manager_flags.py` reads it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rbgctl import splitting
from rbgctl.api import identity
from rbgctl.runtime.client_limits import RequestRate
from rbgctl.runtime.http_server import parse_address
from rbgctl.runtime.log import LEVELS
from rbgctl.runtime.sharding.leases import MAX_SHARDS

WEBHOOKS: Final = ("all", "none")
CERTIFICATES: Final = ("managed", "provided")
SCHEDULERS: Final = (identity.SCHEDULER_PLUGINS, identity.SCHEDULER_VOLCANO)
PORT_STRATEGIES: Final = ("random",)
"""ENUM-16"""
LAST_PORT: Final = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerOptions:
    """How the manager runs: its flags (02 §11.1) by field. Durations in seconds.

    metrics_secure None: yes, but not with webhooks off, as the Go operator does. watch_timeout None: drawn, 5 to 10
    minutes. log_stacktrace_level "": logged exceptions carry their traceback, nothing else does.
    without_effect: flags that were given and change nothing, with the reason.
    """

    kubeconfig: str = ""
    metrics_bind_address: str = "0"
    metrics_secure: bool | None = None
    metrics_cert_path: str = ""
    metrics_cert_name: str = "tls.crt"
    metrics_cert_key: str = "tls.key"
    health_probe_bind_address: str = ":8082"
    enable_webhooks: str = "all"
    webhook_bind_address: str = ":9443"
    webhook_cert_dir: str = identity.WEBHOOK_CERT_DIR
    webhook_certificates: str = "managed"
    webhook_url: str = ""
    enable_pprof: bool = False
    pprof_bind_address: str = ":6060"
    max_concurrent_reconciles: int = 10
    cache_sync_timeout: float = 120.0
    expectation_timeout: float = 300.0
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
    enable_port_allocator: bool = False
    port_allocate_strategy: str = "random"
    start_port: int = 30000
    port_range: int = 5000
    scheduler_name: str = identity.SCHEDULER_PLUGINS
    enable_deprecated_workload_types: bool = True
    log_level: str = "info"
    log_encoding: str = "json"
    log_stacktrace_level: str = ""
    without_effect: tuple[tuple[str, str], ...] = ()

    @property
    def metrics_are_secure(self) -> bool:
        """TLS and authorised requests only; plain with webhooks off, unless it was asked for."""
        return self.enable_webhooks != "none" if self.metrics_secure is None else self.metrics_secure


def check_flags(options: ManagerOptions, known_controllers: tuple[str, ...]) -> None:
    """All that can be said of flags without a cluster. Raises ValueError and AddressError, naming the flag."""
    _one_of("enable-webhooks", options.enable_webhooks, WEBHOOKS)
    _one_of("webhook-certificates", options.webhook_certificates, CERTIFICATES)
    _one_of("scheduler-name", options.scheduler_name, SCHEDULERS)
    _one_of("zap-encoder", options.log_encoding, ("json", "console"))
    _one_of("zap-log-level", options.log_level, LEVELS)
    _one_of("zap-stacktrace-level", options.log_stacktrace_level, ("", *LEVELS))
    if options.enable_port_allocator:
        _check_ports(options)
    least: dict[str, tuple[float | None, float, Callable[[float], str]]] = {
        "cache-sync-timeout": (options.cache_sync_timeout, 1.0, _seconds),
        "expectation-timeout": (options.expectation_timeout, 0.0, _seconds),
        "watch-timeout": (options.watch_timeout, 1.0, _seconds),
        "termination-grace-period": (options.termination_grace_period, 0.0, _seconds),
        "max-concurrent-reconciles": (options.max_concurrent_reconciles, 1, str),
        "shards": (options.shards, 1, str),
    }
    for flag, (value, limit, written) in least.items():
        if value is not None and value < limit:
            raise ValueError(f"--{flag} is {written(value)}: at least {written(limit)} is wanted")
    RequestRate.of(options.kube_api_qps, options.kube_api_burst)
    splitting.select_controllers(options.controllers, known_controllers)
    splitting.select_namespaces(options.namespaces)
    if options.shards > MAX_SHARDS:
        raise ValueError(f"--shards={options.shards}: at most {MAX_SHARDS} are possible")
    if options.shards > 1 and not options.leader_elect:
        raise ValueError(f"--shards={options.shards} needs --leader-elect: a Lease per shard says who works on it")
    if options.webhook_url and not options.webhook_url.startswith("https://"):
        raise ValueError(f"--webhook-url is {options.webhook_url!r}: use https://host:port")
    if parse_address(options.webhook_bind_address) is None:
        raise ValueError("--webhook-bind-address is 0: --enable-webhooks=none turns webhooks off")
    addresses = (
        options.metrics_bind_address,
        options.health_probe_bind_address,
        options.pprof_bind_address,
    )
    for address in addresses:
        parse_address(address)


def _check_ports(options: ManagerOptions) -> None:
    _one_of("port-allocate-strategy", options.port_allocate_strategy, PORT_STRATEGIES)
    last = options.start_port + options.port_range - 1
    if options.start_port < 1 or options.port_range < 1 or last > LAST_PORT:
        raise ValueError(
            f"--start-port={options.start_port} with --port-range={options.port_range}: "
            f"ports from 1 to {LAST_PORT} exist"
        )


def _one_of(flag: str, value: str, possible: tuple[str, ...]) -> None:
    if value not in possible:
        raise ValueError(f"--{flag} is {value!r}: use {' or '.join(p for p in possible if p)}")


def _seconds(value: float) -> str:
    return f"{value:g}s"
