"""Which build of the program this is (MGR-8): a file beside this module says it, written when an image is built.

python -m rbgctl.build_info COMMIT DATE     writes the file; DATE as in 2026-01-31T12:00:00Z
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rbgctl import __version__

FILE: Final = Path(__file__).with_name("build_info.json")
SHORT: Final = 8


@dataclass(frozen=True, slots=True)
class BuildInfo:
    """version: `v<version>-<short commit>`, or `v<version>` of a checkout, where commit and date are empty."""

    version: str
    commit: str = ""
    date: str = ""

    @staticmethod
    def of(commit: str, date: str) -> "BuildInfo":
        """Of this source, built from `commit`. Raises ValueError for what is no full commit id."""
        if len(commit) not in {40, 64} or set(commit) - set("0123456789abcdef"):
            raise ValueError(f"{commit!r} is no commit: give the full id, 40 or 64 lower-case hexadecimal digits")
        return BuildInfo(f"v{__version__}-{commit[:SHORT]}", commit, date)

    @staticmethod
    def of_this_program(file: Path = FILE) -> "BuildInfo":
        """What the file says; a checkout has none."""
        if not file.exists():
            return BuildInfo(f"v{__version__}")
        return BuildInfo(**json.loads(file.read_text()))


def main(arguments: list[str] | None = None, file: Path = FILE) -> int:
    parser = argparse.ArgumentParser(prog="python -m rbgctl.build_info", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("commit")
    parser.add_argument("date")
    given = parser.parse_args(arguments)
    try:
        info = BuildInfo.of(given.commit, given.date)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    file.write_text(json.dumps(asdict(info)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
