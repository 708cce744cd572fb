"""Flags and environment that cannot work are refused in one line, before anything starts."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rbgctl import manager as composition
from rbgctl.flags_page import page
from rbgctl.machinery.go_flags import UsageError
from rbgctl.manager import check_flags
from rbgctl.manager_flags import FLAGS, read
from rbgctl.manager_options import ManagerOptions
from rbgctl.runtime.config import ClusterConfig

GO = {
    "metrics-bind-address": ("0", ":8443", "metrics_bind_address", ":8443"),
    "health-probe-bind-address": (":8082", ":8081", "health_probe_bind_address", ":8081"),
    "leader-elect": ("false", "true", "leader_elect", True),
    "metrics-secure": ("true", "false", "metrics_secure", False),
    "metrics-cert-path": ("", "/certs", "metrics_cert_path", "/certs"),
    "metrics-cert-name": ("tls.crt", "a.crt", "metrics_cert_name", "a.crt"),
    "metrics-cert-key": ("tls.key", "a.key", "metrics_cert_key", "a.key"),
    "enable-http2": ("false", "true", None, None),
    "development": ("false", "true", "log_encoding", "console"),
    "enable-webhooks": ("all", "none", "enable_webhooks", "none"),
    "max-concurrent-reconciles": ("10", "5", "max_concurrent_reconciles", 5),
    "cache-sync-timeout": ("2m0s", "90s", "cache_sync_timeout", 90.0),
    "expectation-timeout": ("5m0s", "1m", "expectation_timeout", 60.0),
    "enable-port-allocator": ("false", "true", "enable_port_allocator", True),
    "port-allocate-strategy": ("random", "other", "port_allocate_strategy", "other"),
    "start-port": ("30000", "31000", "start_port", 31000),
    "port-range": ("5000", "100", "port_range", 100),
    "scheduler-name": ("scheduler-plugins", "volcano", "scheduler_name", "volcano"),
    "kube-api-qps": ("-1", "12.5", "kube_api_qps", 12.5),
    "kube-api-burst": ("30", "40", "kube_api_burst", 40),
    "enable-pprof": ("false", "true", "enable_pprof", True),
    "pprof-bind-address": (":6060", "localhost:7", "pprof_bind_address", "localhost:7"),
    "enable-deprecated-workload-types": ("true", "false", "enable_deprecated_workload_types", False),
    "kubeconfig": ("", "/k", "kubeconfig", "/k"),
    "stateful-instanceset-workers": ("3", "4", None, None),
    "disable-no-deepcopy": ("false", "true", None, None),
    "zap-devel": ("false", "true", "log_level", "debug"),
    "zap-encoder": ("", "console", "log_encoding", "console"),
    "zap-log-level": ("", "error", "log_level", "error"),
    "zap-stacktrace-level": ("", "panic", "log_stacktrace_level", "critical"),
    "zap-time-encoding": ("", "epoch", None, None),
}
"""The Go operator's flags: default, another value, the option it sets, and to what (02 §11.1).

kube-api-qps is the exception: 20 there, off here (docs/conformance.md).
"""


@pytest.mark.parametrize("name", sorted(GO))
def test_flags_of_the_go_operator_are_accepted_unchanged(name: str) -> None:
    """RT-ID-08 and the table of 02 §11.1, in each of Go's spellings; the default is what is in force without it."""
    default, other, option, value = GO[name]
    (flag,) = [f for f in FLAGS if f.name == name]
    assert (flag.default, flag.ours) == (default, False)
    spellings = [[f"-{name}={other}"], [f"--{name}={other}"]]
    if flag.kind != "bool":
        spellings += [[f"-{name}", other], [f"--{name}", other]]
    elif other == "true":
        spellings += [[f"-{name}"], [f"--{name}"]]
    for arguments in spellings:
        options = read(arguments)
        if option is None:
            assert [told for told, _ in options.without_effect] == [name]
        else:
            assert getattr(options, option) == value
            assert getattr(ManagerOptions(), option) != value


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--kube-api-burst=40"], ["kube-api-burst"]),
        (["--kube-api-burst=40", "--kube-api-qps=-1"], ["kube-api-burst"]),
        (["--kube-api-burst=40", "--kube-api-qps=20"], []),
        (["--kube-api-burst=40", "--kube-api-qps=0"], []),
        (["--kube-api-burst=40", "--kube-api-qps=nan"], []),  # refused later, by check_flags
        (["--kube-api-qps=20"], []),
        ([], []),
    ],
)
def test_a_burst_without_a_rate_is_said_to_have_no_effect(arguments: list[str], told: list[str]) -> None:
    """It has one in the Go operator, whose rate is limited by default."""
    assert [flag for flag, _ in read(arguments).without_effect] == told


def test_the_table_above_is_whole() -> None:
    assert {flag.name for flag in FLAGS if not flag.ours} == set(GO)


def test_the_page_in_docs_is_that_of_the_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "flags.md").read_text()
    assert text == page()
    for flag in FLAGS:
        assert f"| `--{flag.name}` | {f'`{flag.default}`' if flag.default else ''} | {flag.usage}." in text


def test_without_flags_the_defaults_of_the_table_are_in_force() -> None:
    """Each default, written out on the command line, changes nothing."""
    assert read([]) == ManagerOptions()
    for flag in FLAGS:
        if flag.name == "metrics-secure":
            continue  # its default depends on another flag
        if flag.kind != "string" or flag.default:
            options = read([f"--{flag.name}={flag.default}"])
            if flag.sets and flag.sets not in {"watch_timeout", "kube_api_qps", "kube_api_burst"}:
                assert getattr(options, flag.sets) == getattr(ManagerOptions(), flag.sets), flag.name


@pytest.mark.parametrize(
    ("arguments", "secure"),
    [
        ([], True),
        (["--metrics-secure=false"], False),
        (["--enable-webhooks=none"], False),
        (["--enable-webhooks=none", "--metrics-secure"], True),
    ],
)
def test_without_webhooks_metrics_are_plain_unless_asked_for(arguments: list[str], secure: bool) -> None:
    assert composition.runtime_options(read(arguments)).metrics_secure is secure


LOGGING = [
    ([], ("json", "info", "")),
    (["--zap-devel"], ("console", "debug", "warning")),
    (["--development"], ("console", "debug", "warning")),
    (["--zap-devel=false", "--development=false"], ("json", "info", "")),
    (["--zap-devel", "--zap-encoder=json", "--zap-log-level=info"], ("json", "info", "warning")),
    (["--zap-devel", "--zap-stacktrace-level=panic"], ("console", "debug", "critical")),
    (["--zap-log-level=DEBUG"], ("json", "debug", "")),
    (["--zap-log-level=1"], ("json", "debug", "")),
    (["--zap-log-level=10"], ("json", "debug", "")),
    (["--zap-log-level=warn"], ("json", "warning", "")),
    (["--zap-log-level=panic"], ("json", "critical", "")),
    (["--zap-stacktrace-level=Error"], ("json", "info", "error")),
]


@pytest.mark.parametrize(("arguments", "wanted"), LOGGING, ids=[" ".join(a) or "nothing" for a, _ in LOGGING])
def test_zap_flags_mean_what_they_mean_to_zap(arguments: list[str], wanted: tuple[str, str, str]) -> None:
    options = read(arguments)
    assert (options.log_encoding, options.log_level, options.log_stacktrace_level) == wanted


@pytest.mark.parametrize(
    "argument",
    [
        "--zap-encoder=xml",
        "--zap-log-level=loud",
        "--zap-log-level=0",
        "--zap-log-level=-1",
        "--zap-stacktrace-level=2",
        "--zap-time-encoding=tea",
        "--cache-sync-timeout=5",
        "--metrics-secure=perhaps",
        "--no-leader-elect",
        "manager",
    ],
)
def test_what_cannot_be_read_is_refused(argument: str) -> None:
    with pytest.raises(UsageError):
        read([argument])


def test_a_word_that_no_flag_takes_is_refused_rather_than_ending_the_flags() -> None:
    with pytest.raises(UsageError, match="unexpected argument 'true'"):
        read(["--leader-elect", "true", "--metrics-bind-address=:8443"])


def test_webhook_flags_and_the_environment_become_webhook_settings() -> None:
    """MGR-2, WH-13, RES-6, RES-7: port 9443 of all addresses, and the names of the default installation."""
    plain = composition.webhook_settings(read([]), {})
    assert (plain.enabled, plain.host, plain.port, plain.provided_certificates) == (True, "", 9443, False)
    assert (plain.service, plain.secret) == ("rbgs-webhook-service", "rbgs-webhook-cert")
    assert plain.configuration == "rbgs-validating-webhook-configuration"
    assert str(plain.cert_dir) == "/tmp/k8s-webhook-server/certs"
    arguments = ["--webhook-bind-address=127.0.0.1:7", "--webhook-cert-dir=/c", "--webhook-certificates=provided"]
    environment = {"POD_NAMESPACE": "ns", "WEBHOOK_SERVICE": "x-service", "WEBHOOK_CONFIGURATION": "x-configuration"}
    given = composition.webhook_settings(read([*arguments, "--webhook-url=https://127.0.0.1:7"]), environment)
    assert (given.host, given.port, str(given.cert_dir)) == ("127.0.0.1", 7, "/c")
    assert (given.provided_certificates, given.url) == (True, "https://127.0.0.1:7")
    assert (given.namespace, given.service, given.configuration) == ("ns", "x-service", "x-configuration")
    assert not composition.webhook_settings(read(["--enable-webhooks=none"]), environment).enabled


def test_the_expectation_timeout_reaches_the_instance_controller_only() -> None:
    """RES-12: five minutes unless the flag says otherwise, and then for RoleInstances only."""
    ages = {
        flags: {
            name: controller.options.fence_age
            for name, controller in composition.build(
                ClusterConfig("http://127.0.0.1:1"), read(flags)
            ).controllers.items()
        }
        for flags in ((), ("--expectation-timeout=7s",))
    }
    assert set(ages[()].values()) == {300.0}
    assert ages["--expectation-timeout=7s",] == {**ages[()], "roleinstance": 7.0}


BAD = [
    ("enable-webhooks", {"enable_webhooks": "some"}),
    ("scheduler-name", {"scheduler_name": "default-scheduler"}),
    ("webhook-bind-address", {"webhook_bind_address": "0"}),
    ("webhook-certificates", {"webhook_certificates": "bought"}),
    ("webhook-url", {"webhook_url": "http://127.0.0.1:9443"}),
    ("port-allocate-strategy", {"port_allocate_strategy": "lowest", "enable_port_allocator": True}),
    ("start-port", {"start_port": 65000, "enable_port_allocator": True}),
    ("port-range", {"port_range": 0, "enable_port_allocator": True}),
    ("expectation-timeout", {"expectation_timeout": -1.0}),
    ("max-concurrent-reconciles", {"max_concurrent_reconciles": 0}),
    ("zap-stacktrace-level", {"log_stacktrace_level": "x"}),
    ("shards", {"shards": 0}),
    ("zap-encoder", {"log_encoding": "xml"}),
    ("zap-log-level", {"log_level": "trace"}),
    ("cache-sync-timeout", {"cache_sync_timeout": -1.0}),
    ("watch-timeout", {"watch_timeout": 0.0}),
    ("termination-grace-period", {"termination_grace_period": -1.0}),
    ("kube-api-qps", {"kube_api_qps": float("nan")}),
    ("kube-api-qps", {"kube_api_qps": float("inf")}),
    ("kube-api-burst", {"kube_api_burst": -1}),
    ("controllers", {"controllers": ","}),
    ("namespaces", {"namespaces": ","}),
    ("namespaces", {"namespaces": " , "}),
    ("shards", {"shards": 2}),
    ("shards", {"shards": 33, "leader_elect": True}),
    ("foo", {"health_probe_bind_address": "foo"}),
    ("99999", {"metrics_bind_address": "127.0.0.1:99999"}),
]


@pytest.mark.parametrize(("name", "flags"), BAD, ids=[f"{n}-{i}" for i, (n, _) in enumerate(BAD)])
def test_a_bad_flag_is_named(name: str, flags: dict[str, object]) -> None:
    with pytest.raises((ValueError, OSError), match=name):
        check_flags(ManagerOptions(**flags))  # type: ignore[arg-type]


def test_a_strategy_is_not_looked_at_without_the_allocator() -> None:
    check_flags(ManagerOptions(port_allocate_strategy="lowest", start_port=0))


def test_no_flag_and_an_empty_one_mean_the_same() -> None:
    check_flags(ManagerOptions(namespaces=""))


def manager(*arguments: str, **env: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "rbgctl.cli.main", "manager", "--health-probe-bind-address=0", *arguments]
    return subprocess.Popen(command, env={"PATH": "/usr/bin:/bin", **env}, stderr=subprocess.PIPE, text=True)


def kubeconfig(path: Path, server: str = "https://127.0.0.1:1", user: str = "{}") -> Path:
    path.write_text(
        f"""apiVersion: v1
kind: Config
current-context: c
contexts: [{{name: c, context: {{cluster: c, user: u}}}}]
clusters: [{{name: c, cluster: {{server: "{server}"}}}}]
users: [{{name: u, user: {user}}}]
"""
    )
    return path


EXITS = [
    (["--no-such-flag"], 2, "flag provided but not defined: -no-such-flag"),
    (["--zap-log-level=loud"], 2, 'invalid value "loud" for flag -zap-log-level'),
    (["--enable-webhooks=some"], 1, "--enable-webhooks is 'some': use all or none"),
    (["--scheduler-name=mine"], 1, "--scheduler-name is 'mine': use scheduler-plugins or volcano"),
    (["--enable-port-allocator", "--port-allocate-strategy=lowest"], 1, "--port-allocate-strategy is 'lowest'"),
]


@pytest.mark.parametrize(("arguments", "code", "text"), EXITS, ids=[e[0][-1] for e in EXITS])
def test_exit_codes(arguments: list[str], code: int, text: str) -> None:
    """02 §11.1: a command line that cannot be read ends with 2 and the usage, a value that cannot work with 1."""
    ran = manager(*arguments)
    _, told = ran.communicate(timeout=60)
    assert ran.returncode == code
    assert told.splitlines()[0].startswith(f"error: {text}")
    assert ("Usage of rbgctl manager:" in told) is (code == 2)


def test_help_goes_to_stdout_and_is_no_error() -> None:
    command = [sys.executable, "-m", "rbgctl.cli.main", "manager", "-h"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("Usage of rbgctl manager:\n  -cache-sync-timeout duration\n")


def test_the_log_says_which_build_this_is_and_which_flags_do_nothing(tmp_path: Path) -> None:
    """MGR-8: version, commit and build date at the start, in the keys of 02 §11.1."""
    flags = ("--scheduler-name=volcano", "--disable-no-deepcopy", "--leader-election-namespace=ns")
    ran = manager(f"--kubeconfig={kubeconfig(tmp_path / 'kubeconfig')}", *flags)
    _, told = ran.communicate(timeout=60)
    lines = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    (start,) = [line for line in lines if line["message"] == "starting"]
    assert {key: start[key] for key in ("level", "logger", "version", "commit", "built")} == {
        "level": "INFO",
        "logger": "rbgctl.manager",
        "version": composition.BUILD.version,
        "commit": composition.BUILD.commit,
        "built": composition.BUILD.date,
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", start["time"])
    assert re.fullmatch(r"rbgctl/manager\.py:\d+", start["caller"])
    inert = {line["flag"]: line["reason"] for line in lines if line["message"] == "this flag has no effect"}
    assert set(inert) == {"--scheduler-name", "--disable-no-deepcopy"}
    assert all(inert.values())


@pytest.mark.parametrize(
    ("content", "env", "text"),
    [
        (b"\xff\xfe", {}, "kubeconfig"),
        (b"a: [", {}, "kubeconfig"),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER_ARG": "zzz"}, "tracing"),
    ],
)
def test_what_only_shows_at_the_start_is_said_in_one_line(
    tmp_path: Path, content: bytes | None, env: dict[str, str], text: str
) -> None:
    path = kubeconfig(tmp_path / "kubeconfig")
    if content is not None:
        path.write_bytes(content)
    ran = manager(f"--kubeconfig={path}", **env)
    _, told = ran.communicate(timeout=60)
    assert ran.returncode == 1
    assert "Traceback" not in told
    (line,) = [one for one in told.splitlines() if one.startswith("error: ")]
    assert text in line


async def test_a_stop_while_crds_are_looked_for_takes_effect_at_once() -> None:  # RT-MG-12
    stop = asyncio.Event()
    begun = asyncio.Event()
    cancelled = asyncio.Event()

    async def endless() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    waiting = asyncio.create_task(composition._unless_stopped(endless(), stop))
    await begun.wait()
    stop.set()
    async with asyncio.timeout(5):
        assert not await waiting
    assert cancelled.is_set()


async def test_what_ends_by_itself_says_so_and_errors_come_through() -> None:
    async def failing() -> None:
        raise LookupError("no CRD")

    assert await composition._unless_stopped(asyncio.sleep(0), asyncio.Event())
    with pytest.raises(LookupError, match="no CRD"):
        await composition._unless_stopped(failing(), asyncio.Event())
