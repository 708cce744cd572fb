"""The command line of `rbgctl manager`: the Go operator's flags, spelt, typed and defaulted as there, and our own.

`FLAGS` is the one table: the parser, `-help` and docs/flags.md come from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from rbgctl.machinery.go_flags import CommandLine, Flag, UsageError, parse
from rbgctl.manager_options import ManagerOptions

PROGRAM: Final = "rbgctl manager"

_LEVELS: Final = {
    "debug": "debug",
    "info": "info",
    "warn": "warning",
    "warning": "warning",
    "error": "error",
    "panic": "critical",
}
_TIME_ENCODINGS: Final = frozenset({"epoch", "millis", "nano", "iso8601", "rfc3339", "rfc3339nano"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerFlag(Flag):
    """sets: the field of ManagerOptions. inert: why it changes nothing (yet), if so. ours: the Go operator lacks it."""

    sets: str = ""
    inert: str = ""
    ours: bool = False


def _is_level(text: str) -> bool:
    """A name, or a whole number above 0: the verbosity of debug lines, of which we have one."""
    return text.lower() in _LEVELS or (text.isascii() and text.isdigit() and int(text) > 0)


def _level(text: str) -> str:
    return _LEVELS.get(text.lower(), "debug")


def _flag(
    name: str,
    kind: Literal["string", "bool", "int", "float", "duration"],
    default: str,
    usage: str,
    **more: Any,
) -> ManagerFlag:
    return ManagerFlag(name=name, kind=kind, default=default, usage=usage, **more)


_PORTS_LATER: Final = "ports are not allocated yet"

FLAGS: Final[tuple[ManagerFlag, ...]] = (
    _flag("kubeconfig", "string", "", "file to reach the cluster with; only out of cluster", sets="kubeconfig"),
    # -- servers --
    _flag(
        "metrics-bind-address",
        "string",
        "0",
        "address of /metrics, such as :8443; 0 turns it off",
        sets="metrics_bind_address",
    ),
    _flag(
        "metrics-secure",
        "bool",
        "true",
        "serve /metrics over HTTPS to those who may read it; off by default with --enable-webhooks=none",
        sets="metrics_secure",
    ),
    _flag(
        "metrics-cert-path",
        "string",
        "",
        "directory of the certificate of /metrics; self-signed in memory when empty",
        sets="metrics_cert_path",
    ),
    _flag("metrics-cert-name", "string", "tls.crt", "the certificate file there", sets="metrics_cert_name"),
    _flag("metrics-cert-key", "string", "tls.key", "the key file there", sets="metrics_cert_key"),
    _flag(
        "health-probe-bind-address",
        "string",
        ":8082",
        "address of /healthz and /readyz; 0 turns them off",
        sets="health_probe_bind_address",
    ),
    _flag(
        "enable-webhooks",
        "string",
        "all",
        "all serves conversion and admission and manages their certificates; none does nothing of that",
        sets="enable_webhooks",
    ),
    _flag(
        "webhook-bind-address",
        "string",
        ":9443",
        "address of the webhook server",
        sets="webhook_bind_address",
        ours=True,
    ),
    _flag(
        "webhook-cert-dir",
        "string",
        "/tmp/k8s-webhook-server/certs",  # noqa: S108 - the directory operators expect
        "directory of tls.crt and tls.key of the webhook server",
        sets="webhook_cert_dir",
        ours=True,
    ),
    _flag(
        "webhook-certificates",
        "string",
        "managed",
        "managed makes, renews and publishes certificates; provided takes those in --webhook-cert-dir as they are",
        sets="webhook_certificates",
        ours=True,
    ),
    _flag(
        "webhook-url",
        "string",
        "",
        "how the API server reaches the webhooks if not by their Service, like https://host:9443; out of cluster",
        sets="webhook_url",
        ours=True,
    ),
    _flag(
        "enable-http2",
        "bool",
        "false",
        "HTTP/2 on the servers",
        inert="the servers speak HTTP/1.1 only, as the API server does to webhooks",
    ),
    _flag("enable-pprof", "bool", "false", "serve profiles of this process", sets="enable_pprof"),
    _flag(
        "pprof-bind-address",
        "string",
        ":6060",
        "address of /debug/pprof/; localhost only unless it names a host",
        sets="pprof_bind_address",
    ),
    # -- controllers --
    _flag(
        "max-concurrent-reconciles",
        "int",
        "10",
        "reconciles at once, per controller",
        sets="max_concurrent_reconciles",
    ),
    _flag(
        "cache-sync-timeout",
        "duration",
        "2m0s",
        "a controller whose caches do not fill in this time ends the manager",
        sets="cache_sync_timeout",
    ),
    _flag(
        "expectation-timeout",
        "duration",
        "5m0s",
        "RoleInstances: for how long after a write its effect on the cache is waited for at all",
        sets="expectation_timeout",
    ),
    _flag(
        "kube-api-qps",
        "float",
        "-1",
        "requests a second per controller and kind; no limit if negative, the server paces us then",
        sets="kube_api_qps",
    ),
    _flag("kube-api-burst", "int", "30", "requests at once with --kube-api-qps", sets="kube_api_burst"),
    _flag(
        "enable-deprecated-workload-types",
        "bool",
        "true",
        "admit roles on Deployments, StatefulSets and LeaderWorkerSets",
        sets="enable_deprecated_workload_types",
    ),
    _flag(
        "scheduler-name",
        "string",
        "scheduler-plugins",
        "whose PodGroups gangs use: scheduler-plugins or volcano",
        sets="scheduler_name",
        inert="gang scheduling is not there yet",
    ),
    _flag(
        "enable-port-allocator",
        "bool",
        "false",
        "allocate host ports",
        sets="enable_port_allocator",
        inert=_PORTS_LATER,
    ),
    _flag(
        "port-allocate-strategy",
        "string",
        "random",
        "how ports are chosen: random",
        sets="port_allocate_strategy",
        inert=_PORTS_LATER,
    ),
    _flag("start-port", "int", "30000", "the first port to allocate", sets="start_port", inert=_PORTS_LATER),
    _flag("port-range", "int", "5000", "how many ports to allocate from", sets="port_range", inert=_PORTS_LATER),
    _flag(
        "stateful-instanceset-workers",
        "int",
        "3",
        "read for compatibility",
        inert="it has none in the Go operator either: use --max-concurrent-reconciles",
    ),
    _flag(
        "disable-no-deepcopy",
        "bool",
        "false",
        "read for compatibility",
        inert="it has none in the Go operator either",
    ),
    # -- which work is done here --
    _flag(
        "leader-elect",
        "bool",
        "false",
        "only the holder of the Lease rbg-controller reconciles",
        sets="leader_elect",
    ),
    _flag(
        "leader-election-namespace",
        "string",
        "",
        "of the Lease; the pod's own when empty",
        sets="leader_election_namespace",
        ours=True,
    ),
    _flag(
        "leader-election-lease-duration",
        "duration",
        "15s",
        "others take over after it",
        sets="lease_duration",
        ours=True,
    ),
    _flag(
        "leader-election-renew-deadline",
        "duration",
        "10s",
        "a leader gives up after it",
        sets="renew_deadline",
        ours=True,
    ),
    _flag("leader-election-retry-period", "duration", "2s", "between renewals", sets="retry_period", ours=True),
    _flag(
        "termination-grace-period",
        "duration",
        "30s",
        "that of the pod; a stop takes at most 5s less",
        sets="termination_grace_period",
        ours=True,
    ),
    _flag(
        "controllers",
        "string",
        "*",
        "names of controllers to run; * for all, *,-name for all but one",
        sets="controllers",
        ours=True,
    ),
    _flag("namespaces", "string", "", "work only there, like a,b; everywhere when empty", sets="namespaces", ours=True),
    _flag(
        "shards",
        "int",
        "1",
        "parts into which managers divide the groups, at most 32",
        sets="shards",
        ours=True,
    ),
    _flag(
        "watch-timeout",
        "duration",
        "0",
        "how long the server keeps a watch open; drawn from 5 to 10 minutes when 0",
        sets="watch_timeout",
        ours=True,
    ),
    # -- logging --
    _flag("development", "bool", "false", "the same as --zap-devel"),
    _flag("zap-devel", "bool", "false", "log for people: console lines, from debug on, stack traces from warn on"),
    _flag(
        "zap-encoder",
        "string",
        "",
        "json or console; json unless --zap-devel",
        sets="log_encoding",
        accepts=lambda text: text in {"json", "console"},
    ),
    _flag(
        "zap-log-level",
        "string",
        "",
        "debug, info, warn, error, panic, or a number above 0 for debug; info unless --zap-devel",
        sets="log_level",
        accepts=_is_level,
    ),
    _flag(
        "zap-stacktrace-level",
        "string",
        "",
        "from info, warn, error or panic on, lines carry a stack trace; only exceptions do when not given",
        sets="log_stacktrace_level",
        accepts=lambda text: text.lower() in _LEVELS,
    ),
    _flag(
        "zap-time-encoding",
        "string",
        "",
        "read for compatibility: epoch, millis, nano, iso8601, rfc3339 or rfc3339nano",
        accepts=lambda text: text.lower() in _TIME_ENCODINGS,
        inert="times are always ISO 8601, as in the Go operator",
    ),
)


def read(arguments: Sequence[str]) -> ManagerOptions:
    """Options of a command line. Raises UsageError for what cannot be read, HelpWanted for -h."""
    line = parse(arguments, FLAGS)
    if line.rest:
        # Go ignores all that follows such a word, flags too: `--leader-elect true --metrics-bind-address=...`
        raise UsageError(f"unexpected argument {line.rest[0]!r}: no flag takes it, and what follows would be ignored")
    values: dict[str, Any] = {
        flag.sets: line.given[flag.name] for flag in FLAGS if flag.sets and flag.name in line.given
    }
    values["watch_timeout"] = values.get("watch_timeout") or None
    values.update(_logging(line))
    inert = [(f.name, f.inert) for f in FLAGS if f.inert and f.name in line.given]
    if "kube-api-burst" in line.given and values.get("kube_api_qps", -1.0) < 0:
        inert.append(("kube-api-burst", "requests are not limited here without --kube-api-qps"))
    return ManagerOptions(**values, without_effect=tuple(inert))


def _logging(line: CommandLine) -> dict[str, str]:
    people = bool(line.given.get("zap-devel") or line.given.get("development"))
    stacktrace = str(line.given.get("zap-stacktrace-level", "warn" if people else ""))
    return {
        "log_encoding": str(line.given.get("zap-encoder", "console" if people else "json")),
        "log_level": _level(str(line.given.get("zap-log-level", "debug" if people else "info"))),
        "log_stacktrace_level": _level(stacktrace) if stacktrace else "",
    }
