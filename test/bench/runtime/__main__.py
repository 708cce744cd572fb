"""Command line of the runtime benchmark; exit code 1 when a limit is missed."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import uvloop

from bench.runtime.measure import CRDS, SMALL, Size, run
from bench.runtime.report import table, write_json
from rbgctl.runtime.testing.envtest import EnvTest


async def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.runtime", description="What rbgctl.runtime costs (RT-AC-01 to 04).")
    parser.add_argument("--small", action="store_true", help="a few seconds, to see that it works")
    parser.add_argument("--pods", type=int, help="how many pods are cached")
    parser.add_argument("--rate", type=float, help="watch events per second")
    parser.add_argument("--seconds", type=float, help="how long they come")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    given = parser.parse_args()
    size = SMALL if given.small else Size()
    chosen = {n: getattr(given, n) for n in ("pods", "rate", "seconds") if getattr(given, n) is not None}
    async with EnvTest(crds=[CRDS]) as env:
        figures, raw = await run(env, replace(size, **chosen))
    print(table(figures))
    if given.json:
        write_json(given.json, figures, raw)
    return int(any(figure.missed for figure in figures))


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
