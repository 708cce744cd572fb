"""Writes config/crd (`make manifests`); with --check only compares and fails on differences (`make verify`)."""

import argparse
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from rbgctl.api.crd.definitions import DEFINITIONS, Definition, manifest
from rbgctl.api.kinds import GROUP

_HEADER: Final = "# Made by `make manifests` from the models in rbgctl/api. Do not edit.\n"


_Fast: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""The one in C writes the same text five times faster; PyYAML can be built without it."""


class _Dumper(_Fast):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        # Anchors would save space, but nobody could read a schema that refers to another place.
        return True


@cache
def rendered() -> dict[str, str]:
    """Text of every generated file by its path under config/crd."""
    pages = {_path(d): _page(manifest(d)) for d in DEFINITIONS}
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": sorted(_path(d) for d in DEFINITIONS if d.reconciled),
    }
    return {**pages, "kustomization.yaml": _page(kustomization)}


def _path(definition: Definition) -> str:
    return f"bases/{GROUP}_{definition.plural}.yaml"


def _page(content: dict[str, Any]) -> str:
    return _HEADER + yaml.dump(content, Dumper=_Dumper, sort_keys=True, width=120, default_flow_style=False)


def drift(directory: Path) -> list[str]:
    """What differs between the files in `directory` and what the models give, one line per file."""
    wanted = rendered()
    present = {path.relative_to(directory).as_posix() for path in directory.glob("**/*.yaml")}
    lines = [f"{directory / name}: no model gives this file" for name in sorted(present - wanted.keys())]
    for name, text in wanted.items():
        path = directory / name
        if name not in present:
            lines.append(f"{path}: missing")
        elif path.read_text(encoding="utf-8") != text:
            lines.append(f"{path}: differs from the models")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m rbgctl.api.crd", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when files differ")
    parser.add_argument("--output", type=Path, default=Path("config/crd"), help="default: %(default)s")
    options = parser.parse_args()
    if options.check:
        if lines := drift(options.output):
            sys.exit("\n".join([*lines, "run `make manifests` and commit the result"]))
        return
    for name, text in rendered().items():
        path = options.output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
