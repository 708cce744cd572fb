"""The Kubernetes versions that the documentation names are those that tests run on."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = {"newest": ROOT / "hack" / "controlplane", "oldest": ROOT / "hack" / "controlplane" / "oldest"}


def pinned(module: str) -> tuple[str, str]:
    """Kubernetes and etcd of a module."""
    go_mod = (MODULES[module] / "go.mod").read_text()
    found = [
        re.search(rf"(?m)^\t{name} v(\S+)$", go_mod) for name in ("k8s.io/kubernetes", "go.etcd.io/etcd/server/v3")
    ]
    assert None not in found
    return tuple(match[1] for match in found if match)  # type: ignore[return-value]


@pytest.mark.parametrize("module", MODULES)
def test_the_page_names_the_versions_that_are_built(module: str) -> None:
    rows = re.findall(
        r"(?m)^\| (newest|oldest) \| (\S+) \| (\S+) \|", (ROOT / "docs/kubernetes-versions.md").read_text()
    )
    assert [(kubernetes, etcd) for name, kubernetes, etcd in rows if name == module] == [pinned(module)]


@pytest.mark.parametrize("module", MODULES)
def test_every_part_of_kubernetes_is_of_one_version(module: str) -> None:
    """A staging module that is left to the resolver would be a mixture that nobody runs."""
    go_mod = (MODULES[module] / "go.mod").read_text()
    staging = "v0." + pinned(module)[0].removeprefix("1.")
    replaced = re.findall(r"(?m)^\t(k8s\.io/\S+) => k8s\.io/\S+ (\S+)$", go_mod)
    assert {version for _, version in replaced} == {staging}
    required = re.findall(r"(?m)^\t(k8s\.io/\S+) (v0\.\d+\.\d+)(?: // indirect)?$", go_mod)
    released_together = {name for name, version in required if version in {staging, "v0.0.0"}}
    assert released_together - {name for name, _ in replaced} == set()
    assert len(replaced) >= 30
