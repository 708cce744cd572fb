"""Owns the processes of a local control plane so that none outlives its parent.

Started as a separate process, standard library only. Commands come as JSON lines on stdin, reports go out as JSON
lines on stdout. When stdin ends, however the parent died, every child is killed and the directory is removed.
Children also die with the guardian (PR_SET_PDEATHSIG), so killing the guardian itself leaves nothing either.

    {"start": NAME, "argv": [...], "env": {...}, "log": PATH}  ->  {"started": NAME, "pid": N} | {"failed": NAME, ...}
    {"stop": NAME, "grace": SECONDS}                           ->  {"exited": NAME, "code": N}
    {"quit": SECONDS}                                          ->  all stopped, last started first
"""

import contextlib
import ctypes
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
_guardian = os.getpid()


def _die_with_guardian() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != _guardian:  # it died before the line above, so no signal will come
        os._exit(1)


class Guardian:
    """`directory` is removed at the end unless `keep`."""

    def __init__(self, directory: str, *, keep: bool) -> None:
        self._directory = directory
        self._keep = keep
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._selector = selectors.DefaultSelector()
        self._input = b""

    def run(self) -> None:
        """Serve until stdin ends or a quit was carried out."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
        self._selector.register(0, selectors.EVENT_READ, "stdin")
        try:
            while True:
                for key, _ in self._selector.select():
                    if key.data == "stdin":
                        if not self._read():
                            return
                    else:
                        self._reap(key.data)
        finally:
            self._stop_all(0.0)
            if not self._keep:
                shutil.rmtree(self._directory, ignore_errors=True)

    def _read(self) -> bool:
        chunk = os.read(0, 65536)
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
                    preexec_fn=_die_with_guardian,  # noqa: PLW1509 - this process has one thread
                )
        except OSError as error:
            self._say({"failed": name, "error": f"{error.strerror}: {error.filename or argv[0]}"})
            return
        self._children[name] = child
        self._selector.register(os.pidfd_open(child.pid), selectors.EVENT_READ, name)
        self._say({"started": name, "pid": child.pid})

    def _reap(self, name: str) -> None:
        child = self._children.pop(name, None)
        for key in list(self._selector.get_map().values()):
            if key.data == name:
                self._selector.unregister(key.fd)
                os.close(key.fd)
        if child is not None:
            code = child.wait()
            self._kill_group(child.pid)
            self._say({"exited": name, "code": code})

    def _stop(self, name: str, grace: float) -> None:
        child = self._children.get(name)
        if child is None:
            return
        if grace > 0:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(grace)
        self._kill_group(child.pid)
        child.wait()
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
