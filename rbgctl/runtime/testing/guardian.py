"""Owns the processes of a local control plane so that none outlives its parent.

Started as a separate process, standard library only. Commands come as JSON lines on stdin, reports go out as JSON
lines on stdout. When stdin ends, however the parent died, every child is killed and the directory is removed. It is
made here too: a parent that is killed at any moment leaves none behind.
Children also die with the guardian (PR_SET_PDEATHSIG), so killing the guardian itself leaves nothing either.

                                                               ->  {"made": DIRECTORY} | {"unmade": ERROR}, once
    {"start": NAME, "argv": [...], "env": {...}, "log": PATH}  ->  {"started": NAME, "pid": N} | {"failed": NAME, ...}
    {"stop": NAME, "grace": SECONDS}                           ->  {"exited": NAME, "code": N}
    {"quit": SECONDS}                                          ->  all stopped, last started first
"""

import contextlib
import ctypes
import json
import os
import select
import selectors
import shutil
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
STDIN = 0
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_libc = ctypes.CDLL(None, use_errno=True)
_guardian = os.getpid()


def _in_child() -> None:
    for number in IGNORED:
        signal.signal(number, signal.SIG_DFL)  # what is ignored here would stay ignored there
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != _guardian:  # it died before the line above, so no signal will come
        os._exit(1)


class Guardian:
    """`directory` is removed at the end unless `keep`."""

    def __init__(self, directory: str, *, keep: bool) -> None:
        self._directory = directory
        self._keep = keep
        self._children: dict[str, tuple[subprocess.Popen[bytes], int]] = {}
        self._selector = selectors.DefaultSelector()
        self._input = b""

    def run(self) -> None:
        """Serve until stdin ends or a quit was carried out."""
        for number in IGNORED:
            signal.signal(number, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
        self._selector.register(STDIN, selectors.EVENT_READ)
        try:
            os.makedirs(self._directory, 0o700, exist_ok=True)
            self._say({"made": self._directory})
        except OSError as error:
            self._say({"unmade": f"cannot create {self._directory}: {error.strerror}"})
            return
        try:
            while True:
                # Who ended is told before commands are read: one of them may start the same name again.
                for key, _ in sorted(self._selector.select(), key=lambda event: event[0].fd == STDIN):
                    if key.fd != STDIN:
                        self._reap(key.data)
                    elif not self._read():
                        return
        finally:
            self._stop_all(0.0)
            if not self._keep:
                shutil.rmtree(self._directory, ignore_errors=True)

    def _read(self) -> bool:
        chunk = os.read(STDIN, 65536)
        if not chunk:
            return False
        *lines, self._input = (self._input + chunk).split(b"\n")
        for line in lines:
            command = json.loads(line)
            if "start" in command:
                self._start(command)
            elif "stop" in command:
                self._stop(command["stop"], command.get("grace", 0.0))
            elif "quit" in command:
                self._stop_all(command["quit"])
                return False
        return True

    def _start(self, command: dict[str, object]) -> None:
        name = str(command["start"])
        argv = [str(a) for a in command["argv"]]  # type: ignore[attr-defined]
        try:
            with open(str(command["log"]), "ab") as log:
                child = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, **dict(command.get("env") or {})},  # type: ignore[call-overload]
                    start_new_session=True,
                    preexec_fn=_in_child,  # noqa: PLW1509 - this process has one thread
                )
        except OSError as error:
            self._say({"failed": name, "error": f"{error.strerror}: {error.filename or argv[0]}"})
            return
        handle = os.pidfd_open(child.pid)
        self._children[name] = child, handle
        self._selector.register(handle, selectors.EVENT_READ, name)
        self._say({"started": name, "pid": child.pid})

    def _reap(self, name: str) -> None:
        """Forget a child that ended or is about to; whatever it started dies with it."""
        child, handle = self._children.pop(name)
        self._selector.unregister(handle)
        os.close(handle)
        self._kill_group(child.pid)  # before wait(): until then nobody else can have this process id
        self._say({"exited": name, "code": child.wait()})

    def _stop(self, name: str, grace: float) -> None:
        if name not in self._children:
            return
        child, handle = self._children[name]
        if grace > 0:
            child.terminate()
            ends = select.poll()
            ends.register(handle, select.POLLIN)
            ends.register(STDIN, 0)  # only that the parent is gone: then nobody is left to be patient for
            ends.poll(grace * 1000)
        self._reap(name)

    def _stop_all(self, grace: float) -> None:
        ends = time.monotonic() + grace
        for name in reversed(list(self._children)):
            self._stop(name, max(ends - time.monotonic(), 0.0))

    def _kill_group(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)

    def _say(self, report: dict[str, object]) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(1, json.dumps(report).encode() + b"\n")


if __name__ == "__main__":
    Guardian(sys.argv[1], keep=sys.argv[2] == "keep").run()
