"""docs/flags.md, from the table of flags: `python -m rbgctl.flags_page > docs/flags.md`."""

from collections.abc import Iterable
from typing import Final

from rbgctl.manager_flags import FLAGS, ManagerFlag

HEAD: Final = """# Flags of the manager

<!-- Made by `make manifests` from rbgctl/manager_flags.py; do not edit. -->

`rbgctl manager` takes the Go operator's flags unchanged, in Go's spellings: `-name value`, `-name=value`, both with one
dash or two; switches as `-name` or `-name=false`. Durations are Go's: `2m0s`, `90s`, `300ms`. A flag that does not
exist, or a value that cannot be read, prints the usage and ends with exit code 2; a value that cannot work ends with 1.
A word that no flag takes is refused too: Go would silently ignore all flags after it, as in `--leader-elect true ...`.
"""
WEBHOOKS: Final = """
`--enable-webhooks=none` also makes the metrics plain HTTP unless `--metrics-secure` is given, as the Go operator does.
Unlike there it does not turn leader election off: two replicas would both write.

`--kube-api-qps` is off unless given (20 in the Go operator): the API server paces its clients by priority and fairness.

## Environment

| Variable | Meaning |
|---|---|
| `POD_NAMESPACE` | where the webhook Service and the Secret with its certificates are; needed with webhooks |
| `WEBHOOK_SERVICE`, `WEBHOOK_CONFIGURATION` | their names; config/manager sets them, after an overlay too |

Tracing has variables of its own: [tracing.md](tracing.md).

## Logs

JSON lines on stderr with the keys `level` (`DEBUG`, `INFO`, `WARN`, `ERROR`), `time` (ISO 8601, UTC), `logger`,
`caller` and `message`; lines of a reconcile also say which controller, object and `reconcileID`.
"""


def page() -> str:
    """The whole file."""
    known = [flag for flag in FLAGS if not flag.ours]
    ours = [flag for flag in FLAGS if flag.ours]
    parts = [HEAD, "\n## Those of the Go operator\n", *_table(known), WEBHOOKS, "\n## Added here\n", *_table(ours)]
    return "".join(part if part.endswith("\n") else f"{part}\n" for part in parts)


def _table(flags: Iterable[ManagerFlag]) -> list[str]:
    rows = [_row(flag) for flag in sorted(flags, key=lambda f: f.name)]
    return ["", "| Flag | Default | Meaning |", "|---|---|---|", *rows]


def _row(flag: ManagerFlag) -> str:
    default = f"`{flag.default}`" if flag.default else ""
    inert = f" **No effect:** {flag.inert}." if flag.inert else ""
    usage = flag.usage.replace("|", "\\|")
    return f"| `--{flag.name}` | {default} | {usage}.{inert} |"


if __name__ == "__main__":
    print(page(), end="")
