"""No process and no directory of a control plane outlives whoever started it, however that one ended."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import orjson
import pytest

from rbgctl.runtime.testing.envtest import ControlPlaneCrashed, EnvTest
from rbgctl.runtime.testing.processes import Processes, process_ended

CHILD = """
import asyncio, json
from rbgctl.runtime.testing.envtest import EnvTest

async def main():
    env = EnvTest()
    await env.start()
    print(json.dumps({"pids": env.processes.pids, "guardian": env.processes.guardian_pid,
                      "directory": str(env.directory)}), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def is_there(directory: str) -> bool:
    return Path(directory).exists()


def command_lines() -> list[tuple[int, str]]:
    """Process id and arguments of everything that runs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append((int(path.parent.name), path.read_text().replace("\0", " ")))
    return found


async def all_ended(*pids: int) -> None:
    async with asyncio.timeout(10):
        await asyncio.gather(*(process_ended(pid) for pid in pids))


async def test_kill_9_of_the_parent_leaves_no_process_and_no_directory() -> None:
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", CHILD, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    said = orjson.loads(await child.stdout.readline())
    directory: str = said["directory"]
    assert set(said["pids"]) == {"etcd", "kube-apiserver"}
    assert is_there(directory)
    child.send_signal(signal.SIGKILL)
    assert await child.wait() == -signal.SIGKILL
    await all_ended(*said["pids"].values(), said["guardian"])
    assert not is_there(directory)


STUBBORN_CHILD = """
import asyncio, json
from pathlib import Path
from rbgctl.runtime.testing.processes import Processes

async def main(directory):
    processes = Processes(directory)
    await processes.open()
    pid = await processes.start("stubborn", ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"])
    while not processes.logs["stubborn"].read_text():
        await asyncio.sleep(0.02)  # a file of another process has no event
    stopping = asyncio.create_task(processes.stop("stubborn", 600))
    await asyncio.sleep(0)  # so that the task has begun
    print(json.dumps({"pids": {"stubborn": pid}, "guardian": processes.guardian_pid}), flush=True)
    await stopping

import sys
asyncio.run(main(Path(sys.argv[1])))
"""


EARLY_VICTIM = """
import asyncio, sys, tempfile
from rbgctl.runtime.testing.envtest import EnvTest

async def main():
    tempfile.tempdir = sys.argv[1]
    print(flush=True)
    await EnvTest(room=1).start()

from rbgctl.runtime.testing import work_directory
work_directory.ROOM_IN_MEMORY = 1 << 62
asyncio.run(main())
"""


@pytest.mark.parametrize("after", [0, 0.02, 0.05, 0.1, 0.2, 0.4])
async def test_kill_9_of_the_parent_while_it_starts_leaves_nothing_either(tmp_path: Path, after: float) -> None:
    """`after` seconds into the start. Only when its guardian has ended are directories counted."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", EARLY_VICTIM, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    await child.stdout.readline()
    await asyncio.sleep(after)  # the moment of the kill is the point
    child.kill()
    await child.wait()
    mine = [p for p in await asyncio.to_thread(command_lines) if str(tmp_path) in p[1]]
    await all_ended(*(pid for pid, _ in mine))
    assert list(tmp_path.iterdir()) == []


async def test_kill_9_of_the_parent_ends_the_patience_with_a_process_that_will_not_stop(tmp_path: Path) -> None:
    directory = tmp_path / "work"
    directory.mkdir()
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STUBBORN_CHILD, str(directory), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    said = orjson.loads(await child.stdout.readline())
    child.kill()
    await child.wait()
    await all_ended(*said["pids"].values(), said["guardian"])
    assert not is_there(str(directory))


async def test_a_process_may_be_started_again_under_its_name_the_moment_it_ended(tmp_path: Path) -> None:
    processes = Processes(tmp_path / "work")
    (tmp_path / "work").mkdir()
    await processes.open()
    for _ in range(20):
        pid = await processes.start("again", ["sleep", "60"])
        assert processes.pids["again"] == pid
        await processes.stop("again")
        assert "again" not in processes.pids
    await processes.start("again", ["sleep", "60"])
    assert not processes.failed.done()
    await processes.close(0.0)


async def test_kill_9_of_the_guardian_ends_all_components_and_is_reported() -> None:
    env = EnvTest()
    await env.start()
    directory, pids = env.directory, dict(env.processes.pids)
    os.kill(env.processes.guardian_pid, signal.SIGKILL)
    with pytest.raises(ControlPlaneCrashed, match="guardian"):
        await asyncio.wait_for(env.failed, 10)
    await all_ended(*pids.values())
    with pytest.raises(ControlPlaneCrashed, match="cannot start late"):
        await env.processes.start("late", ["/bin/true"])
    await env.stop()
    assert not directory.exists()
