"""`kubectl rbg`: what a RoleBasedGroup's owner asks most."""

import asyncio
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from rbgctl import __version__
from rbgctl.cli.status import status_text

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"rbg version RBG CLI Version: {__version__}, git commit: , build date: ")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="print it")] = False,
) -> None:
    """Plugin for RoleBasedGroup."""


@app.command()
def status(
    name: Annotated[str, typer.Argument(metavar="rbgName")],
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="namespace scope")] = "",
    kubeconfig: Annotated[str, typer.Option(help="kubeconfig file")] = "",
    context: Annotated[str, typer.Option(help="kubeconfig context")] = "",
) -> None:
    """Show how many instances of each role are ready."""
    from rbgctl.runtime.config import ConfigError
    from rbgctl.runtime.errors import ApiError, TransportError

    try:
        text = asyncio.run(_status(name, namespace, kubeconfig, context))
    except ConfigError as error:
        _fail(str(error))
    except (ApiError, TransportError) as error:
        _fail(f"failed to get RoleBasedGroup: {' '.join(str(error).split())}")
    except ValueError as error:
        _fail(str(error))
    print(text)


async def _status(name: str, namespace: str, kubeconfig: str, context: str) -> str:
    from rbgctl.api.kinds import RESOURCES, ROLE_BASED_GROUP
    from rbgctl.machinery.gvk import NN
    from rbgctl.runtime.client import LiveClient
    from rbgctl.runtime.config import ClusterConfig
    from rbgctl.runtime.discovery import RestMapper
    from rbgctl.runtime.transport import Transport

    config = ClusterConfig.load(kubeconfig or None, context or None)
    home = namespace or config.namespace
    async with Transport(config, compress=True) as transport:
        client = LiveClient(transport, RestMapper(transport, *RESOURCES), user_agent="kubectl-rbg")
        group = await client.get(ROLE_BASED_GROUP, NN(home, name))
    return status_text(group, home, datetime.now(UTC))


def _fail(text: str) -> None:
    print(f"error: {text}", file=sys.stderr)
    raise typer.Exit(1)


def main() -> None:
    """Console script `kubectl-rbg`."""
    app(prog_name="kubectl rbg")
