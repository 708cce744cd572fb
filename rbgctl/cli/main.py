"""`rbgctl`: the operator's manager and the playground."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rbgctl import __version__

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


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []})
def manager(context: typer.Context) -> None:
    """Run the controllers until SIGTERM or SIGINT; a second signal exits at once. Flags as the Go operator's."""
    from rbgctl import manager_flags
    from rbgctl.machinery.go_flags import HelpWanted, UsageError, usage
    from rbgctl.manager import StartUpError, run

    manual = usage(manager_flags.PROGRAM, manager_flags.FLAGS)
    try:
        code = run(manager_flags.read(context.args))
    except HelpWanted:
        print(manual)
        raise typer.Exit from None
    except UsageError as error:
        print(f"error: {error}\n{manual}", file=sys.stderr)
        raise typer.Exit(2) from None
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
    """Console script."""
    app(prog_name="rbgctl")


if __name__ == "__main__":
    main()
