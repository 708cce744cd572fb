"""`rbgctl`: the operator's manager and the playground."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rbgctl import __version__
from rbgctl.cli.go_flags import rewrite

SWITCHES = frozenset({"leader-elect", "metrics-secure", "enable-pprof", "zap-devel", "development", "keep"})

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"rbgctl {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="print it")] = False,
) -> None:
    """RoleBasedGroup operator for Kubernetes."""


@app.command()
def manager(
    kubeconfig: Annotated[str, typer.Option(help="only out of cluster")] = "",
    metrics_bind_address: Annotated[str, typer.Option(help="0 disables metrics")] = "0",
    metrics_secure: Annotated[bool, typer.Option(help="serve metrics over HTTPS with authn and authz")] = True,
    metrics_cert_path: Annotated[str, typer.Option(help="directory; self-signed in memory when empty")] = "",
    metrics_cert_name: Annotated[str, typer.Option()] = "tls.crt",
    metrics_cert_key: Annotated[str, typer.Option()] = "tls.key",
    health_probe_bind_address: Annotated[str, typer.Option(help="/healthz and /readyz")] = ":8082",
    enable_pprof: Annotated[bool, typer.Option(help="serve profiles of this process under /debug/pprof/")] = False,
    pprof_bind_address: Annotated[str, typer.Option(help="localhost only unless it names a host")] = ":6060",
    max_concurrent_reconciles: Annotated[int, typer.Option(min=1, help="per controller")] = 10,
    cache_sync_timeout: Annotated[str, typer.Option(help="per controller, like 2m0s")] = "2m0s",
    watch_timeout: Annotated[str, typer.Option(help="server-side duration of each watch; 5-10 minutes if empty")] = "",
    kube_api_qps: Annotated[
        float | None, typer.Option(help="requests a second per controller and kind; no limit if unset or negative")
    ] = None,
    kube_api_burst: Annotated[int | None, typer.Option(help="with --kube-api-qps; 30 if unset")] = None,
    leader_elect: Annotated[bool, typer.Option(help="only the holder of the Lease rbg-controller reconciles")] = False,
    leader_election_namespace: Annotated[str, typer.Option(help="of the Lease; the pod's own when empty")] = "",
    leader_election_lease_duration: Annotated[str, typer.Option(help="others take over after it")] = "15s",
    leader_election_renew_deadline: Annotated[str, typer.Option(help="a leader gives up after it")] = "10s",
    leader_election_retry_period: Annotated[str, typer.Option(help="between renewals")] = "2s",
    termination_grace_period: Annotated[str, typer.Option(help="the pod's; a stop takes at most 5s less")] = "30s",
    controllers: Annotated[str, typer.Option(help="names of controllers to run, * for all, -name for all but")] = "*",
    namespaces: Annotated[str, typer.Option(help="work only there, like a,b; everywhere when empty")] = "",
    shards: Annotated[int, typer.Option(min=1, help="parts into which managers divide the groups, at most 32")] = 1,
    zap_devel: Annotated[bool, typer.Option(help="console log at debug level")] = False,
    development: Annotated[bool, typer.Option(help="same as --zap-devel")] = False,
    zap_encoder: Annotated[str, typer.Option(help="json or console")] = "",
    zap_log_level: Annotated[str, typer.Option(help="debug, info, warn or error")] = "",
) -> None:
    """Run the controllers until SIGTERM or SIGINT; a second signal exits at once."""
    from rbgctl.machinery.go_duration import parse_go_duration
    from rbgctl.manager import ManagerOptions, StartUpError, run

    try:
        options = ManagerOptions(
            kubeconfig=kubeconfig,
            metrics_bind_address=metrics_bind_address,
            metrics_secure=metrics_secure,
            metrics_cert_path=metrics_cert_path,
            metrics_cert_name=metrics_cert_name,
            metrics_cert_key=metrics_cert_key,
            health_probe_bind_address=health_probe_bind_address,
            enable_pprof=enable_pprof,
            pprof_bind_address=pprof_bind_address,
            max_concurrent_reconciles=max_concurrent_reconciles,
            cache_sync_timeout=parse_go_duration(cache_sync_timeout),
            watch_timeout=parse_go_duration(watch_timeout) if watch_timeout else None,
            kube_api_qps=kube_api_qps,
            kube_api_burst=kube_api_burst,
            leader_elect=leader_elect,
            leader_election_namespace=leader_election_namespace,
            lease_duration=parse_go_duration(leader_election_lease_duration),
            renew_deadline=parse_go_duration(leader_election_renew_deadline),
            retry_period=parse_go_duration(leader_election_retry_period),
            termination_grace_period=parse_go_duration(termination_grace_period),
            controllers=controllers,
            namespaces=namespaces,
            shards=shards,
            log_level=zap_log_level or ("debug" if zap_devel or development else "info"),
            log_encoding=zap_encoder or ("console" if zap_devel or development else "json"),
        )
        code = run(options)
    except (ValueError, StartUpError) as error:
        _fail(str(error))
    raise typer.Exit(code)


@app.command()
def playground(
    keep: Annotated[bool, typer.Option(help="leave logs and data behind")] = False,
    example: Annotated[Path | None, typer.Option(help="manifest to apply instead of the basic example")] = None,
    nodes: Annotated[int, typer.Option(min=1, max=100, help="simulated nodes")] = 4,
    port: Annotated[int, typer.Option(min=0, max=65535, help="of the API server, 0 for a free one")] = 0,
) -> None:
    """Start a local control plane with simulated nodes and the operator, apply an example, show it live."""
    import uvloop
    from rich.console import Console

    from rbgctl.playground.play import DEFAULT_EXAMPLE, Options, PlaygroundError, play
    from rbgctl.runtime.testing.assets import AssetsMissing
    from rbgctl.runtime.testing.envtest import PortInUse
    from rbgctl.runtime.testing.processes import ControlPlaneCrashed

    options = Options(example=example or DEFAULT_EXAMPLE, nodes=nodes, keep=keep, port=port)
    try:
        uvloop.run(play(options, Console()))
    except (PlaygroundError, AssetsMissing, PortInUse, ControlPlaneCrashed) as error:
        _fail(str(error))
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        _fail(f"{error.strerror or error}{where}")
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _fail(text: str) -> None:
    print(f"error: {text}", file=sys.stderr)
    raise typer.Exit(1)


def main() -> None:
    """Console script. Accepts Go's flag spellings, as deployments of the Go operator use them."""
    try:
        arguments = rewrite(sys.argv[1:], SWITCHES)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    app(args=arguments, prog_name="rbgctl")


if __name__ == "__main__":
    main()
