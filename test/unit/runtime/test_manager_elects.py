"""`ManagerOptions.leader_election`: a manager that makes its election itself, against a Lease over real sockets."""

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from unit.runtime.lease_store import LeaseServer, LeaseStore, config

from rbgctl.machinery.gvk import NN
from rbgctl.runtime.client import Patch
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.credentials import BasicAuth, NoCredential, StaticToken, TokenFile
from rbgctl.runtime.errors import LeadershipUncertain
from rbgctl.runtime.events import EVENT
from rbgctl.runtime.exec_credential import ExecPlugin, ExecSpec
from rbgctl.runtime.leaderelection import ElectionConfig
from rbgctl.runtime.manager import Manager, ManagerOptions
from rbgctl.runtime.sharding.elector import ShardedElector


class Threads(NoCredential):
    """Notes on which threads it is used."""

    def __init__(self) -> None:
        self.used_on: set[str] = set()
        self.others: list[Threads] = []

    def headers(self) -> Mapping[str, str]:
        self.used_on.add(threading.current_thread().name)
        return {}

    def fresh(self) -> "Threads":
        self.others.append(Threads())
        return self.others[-1]


async def started(manager: Manager, stop: asyncio.Event) -> "asyncio.Task[None]":
    """Its run, once it leads."""
    task = asyncio.create_task(manager.run(stop))
    async with asyncio.timeout(20):
        await manager.elected.wait()
    return task


async def write(manager: Manager) -> None:
    await manager.live.patch(EVENT, NN("ns", "one"), Patch.merge({"kind": "x"}))


async def test_one_option_is_all_that_leader_election_takes() -> None:
    """One works; the other writes nothing, and takes over when the first has stopped."""
    async with LeaseServer(LeaseStore()).running() as server:
        managers = [
            Manager(ClusterConfig(server.url), ManagerOptions(name="demo", leader_election=config(identity=identity)))
            for identity in ("a", "b")
        ]
        stops = [asyncio.Event(), asyncio.Event()]
        first = await started(managers[0], stops[0])
        second = asyncio.create_task(managers[1].run(stops[1]))
        await server.until(lambda: len({peer for _, _, peer, agent in server.asked}) > 1)
        await write(managers[0])
        with pytest.raises(LeadershipUncertain):
            await write(managers[1])
        assert {agent for *_, agent in server.asked if agent.startswith("demo")} >= {"demo", "demo/leader-election"}
        stops[0].set()
        await asyncio.wait_for(first, 20)
        async with asyncio.timeout(30):
            await managers[1].elected.wait()
        await write(managers[1])
        assert server.store.spec["holderIdentity"] == "b"
        stops[1].set()
        await asyncio.wait_for(second, 20)


async def test_the_election_has_credentials_of_its_own() -> None:
    """RT-LE-03, RT-LE-31: credentials serve one event loop, and a busy one must not hold up the other."""
    async with LeaseServer(LeaseStore()).running() as server:
        credential, stop = Threads(), asyncio.Event()
        manager = Manager(ClusterConfig(server.url, credential=credential), ManagerOptions(leader_election=config()))
        running = await started(manager, stop)
        await write(manager)
        stop.set()
        await asyncio.wait_for(running, 20)
        assert credential.used_on == {threading.current_thread().name}
        assert [other.used_on for other in credential.others] == [{"leader election"}]


def test_the_shards_of_a_divided_manager_are_elected_by_the_same_option() -> None:
    options = ManagerOptions(leader_election=config(), shards=4)
    manager = Manager(ClusterConfig("http://127.0.0.1:1"), options)
    assert manager._leadership is not None
    assert isinstance(manager._leadership._elector, ShardedElector)


def test_an_election_needs_a_lease_and_makes_up_an_identity() -> None:
    first, second = (ElectionConfig(namespace="ns", name="demo") for _ in range(2))
    assert first.identity
    assert first.identity != second.identity


def test_two_ways_to_elect_contradict() -> None:
    with pytest.raises(ValueError, match="leader_election and elector"):
        ManagerOptions(leader_election=config(), elector=lambda _: None)  # type: ignore[arg-type,return-value]


def test_a_fresh_configuration_shares_nothing_that_changes(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    (tmp_path / "ca").write_bytes(b"")
    for stateless in (NoCredential(), StaticToken("t"), BasicAuth("u", "p")):
        assert stateless.fresh() is stateless
    plugin = ExecPlugin(ExecSpec(command="p", api_version="client.authentication.k8s.io/v1"))
    for stateful in (TokenFile(tmp_path / "token"), plugin):
        config = ClusterConfig("http://a", credential=stateful, namespace="n")
        other = config.fresh()
        assert type(other.credential) is type(stateful)
        assert other.credential is not stateful
        assert (other.server, other.namespace) == ("http://a", "n")


def test_a_fresh_configuration_notices_files_that_changed_before_it_was_made(tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    file.write_bytes(b"old")
    config = ClusterConfig("http://a", ca=b"old", ca_file=file)
    file.write_bytes(b"newer")
    other = config.fresh()
    assert other.reload()
    assert other.ca == b"newer"
    assert config.ca == b"old"
