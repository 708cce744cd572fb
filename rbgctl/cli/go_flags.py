"""Go's flag spellings for a Python command line (02 §11.1): `-name value`, `--switch`, `--switch=false`."""

from collections.abc import Collection, Sequence

_TRUE = {"1", "t", "T", "true", "TRUE", "True"}
_FALSE = {"0", "f", "F", "false", "FALSE", "False"}


def rewrite(argv: Sequence[str], switches: Collection[str]) -> list[str]:
    """`argv` in double-dash form; `--switch=<bool>` becomes `--switch` or `--no-switch` for the named switches.

    Everything after `--` is left alone. Raises ValueError for a switch with a value that is no boolean.
    """
    out: list[str] = []
    for index, given in enumerate(argv):
        if given == "--":
            return [*out, *argv[index:]]
        single = given.startswith("-") and not given.startswith("--") and len(given) > 2
        word = f"-{given}" if single else given
        name, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and equals and name in switches:
            if value not in _TRUE | _FALSE:
                raise ValueError(f'invalid boolean value "{value}" for -{name}: use true or false')
            out.append(f"--{name}" if value in _TRUE else f"--no-{name}")
        else:
            out.append(word)
    return out
