"""Several manager processes that divide the work: by shards, by controllers, by namespaces.

Each process has a service account of its own, so the audit log says who did what. What a manager writes for a group
is compared with the Lease of the group's shard: the last one who wrote the Lease is its holder.
"""

import asyncio
import contextlib
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from rbgctl import namespaced_rbac, rbac
from rbgctl.api import labels
from rbgctl.api.kinds import API_VERSION, ROLE_BASED_GROUP, ROLE_INSTANCE, ROLE_INSTANCE_SET
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.machinery.selectors import LabelSelector
from rbgctl.manager import CONTROLLERS
from rbgctl.playground.deployment import ManagerProcess
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.errors import NotFound
from rbgctl.runtime.lease_record import LEASE, LeaseRecord
from rbgctl.runtime.sharding.assignment import shard_of
from rbgctl.runtime.testing.envtest import EnvTest, new_namespace
from rbgctl.splitting import lease_name

POD = GVK("", "v1", "Pod")
EVENT = GVK("", "v1", "Event")
SERVICE_ACCOUNT = GVK("", "v1", "ServiceAccount")
WRITES = {"create", "update", "patch", "delete"}
SHARDS = 3
TAKEN_OVER_WITHIN = 25.0
GRACE = 60.0


# ---- what the audit log says ----


@dataclass(frozen=True)
class Write:
    began: datetime
    ended: datetime
    user: str
    verb: str
    resource: str
    namespace: str
    name: str
    code: int

    def __str__(self) -> str:
        return f"{self.began:%H:%M:%S.%f} {self.user.rpartition(':')[2]} {self.verb} {self.resource} {self.name}"


def writes(log: Path, offset: int, users: Sequence[str]) -> list[Write]:
    """Successful ones of these users, in the order in which they began."""
    found = []
    with log.open("rb") as lines:
        lines.seek(offset)
        for line in lines:
            entry = json.loads(line)
            code = (entry.get("responseStatus") or {}).get("code", 0)
            if entry["user"].get("username") not in users or entry["verb"] not in WRITES or code >= 300:
                continue
            ref = entry.get("objectRef") or {}
            moments = (datetime.fromisoformat(entry[f]) for f in ("requestReceivedTimestamp", "stageTimestamp"))
            where = (ref.get("resource", ""), ref.get("namespace", ""), ref.get("name", ""))
            found.append(Write(*moments, entry["user"]["username"], entry["verb"], *where, code))
    return sorted(found, key=lambda w: w.began)


# ---- managers ----


class Accounts:
    """Service accounts for manager processes in a namespace of their own, where the Leases are too."""

    def __init__(self, env: EnvTest, client: LiveClient, namespace: str) -> None:
        self.env = env
        self.client = client
        self.namespace = namespace
        self.processes: list[ManagerProcess] = []

    def user(self, name: str) -> str:
        return f"system:serviceaccount:{self.namespace}:{name}"

    async def process(self, name: str, *arguments: str, only_in: Sequence[str] = ()) -> ManagerProcess:
        """A manager as the service account `name`, not started; with Roles in these namespaces and no other rights,
        or those of the ClusterRole.
        """
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": self.namespace},
        }
        await self.client.create(account)
        for obj in namespaced_rbac.objects(only_in) if only_in else rbac.objects():
            if obj["kind"] in {"Namespace", "ServiceAccount"}:
                continue
            await self.client.apply(self._for(name, obj), field_manager="test")
        config = await self.env.config_for_service_account(self.namespace, name)
        kubeconfig = self.env.write_kubeconfig(config, f"{self.namespace}-{name}")
        election = ("--leader-elect", f"--leader-election-namespace={self.namespace}")
        process = ManagerProcess(self.env, kubeconfig, f"{self.namespace}-{name}", (*election, *arguments))
        self.processes.append(process)
        return process

    def _for(self, name: str, obj: RawObject) -> RawObject:
        """The shipped object, renamed, bound to this account, and with Leases in our namespace."""
        meta = {**obj["metadata"], "name": f"{obj['metadata']['name']}-{self.namespace}-{name}"}
        if meta.get("namespace") == rbac.NAMESPACE:
            meta["namespace"] = self.namespace
        made = {**obj, "metadata": meta}
        if "roleRef" in obj:
            made["roleRef"] = {**obj["roleRef"], "name": f"{obj['roleRef']['name']}-{self.namespace}-{name}"}
            made["subjects"] = [{"kind": "ServiceAccount", "name": name, "namespace": self.namespace}]
        return made

    async def end(self) -> None:
        await asyncio.gather(*(p.stop(10.0) for p in self.processes))


@pytest.fixture
async def accounts(env: EnvTest, client: LiveClient) -> AsyncIterator[Accounts]:
    made = Accounts(env, client, await new_namespace(client, "operator"))
    yield made
    await made.end()


# ---- groups ----


def group(namespace: str, name: str, replicas: int) -> RawObject:
    template = {"spec": {"containers": [{"name": "main", "image": "a:1"}]}}
    role = {"name": "web", "replicas": replicas, "standalonePattern": {"template": template}}
    return {
        "apiVersion": API_VERSION,
        "kind": "RoleBasedGroup",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"roles": [role]},
    }


async def scale(client: LiveClient, key: NN, replicas: int) -> None:
    await client.apply(group(key.namespace, key.name, replicas), field_manager="user")


async def until_pods(client: LiveClient, key: NN, count: int, seconds: float = GRACE) -> None:
    """Until the group has so many pods, watching them."""
    mine = LabelSelector.parse(f"{labels.GROUP_NAME}={key.name}")
    names: set[str] = set()
    try:
        async with asyncio.timeout(seconds):
            async for type_, pod in client.watch(POD, key.namespace, labels=mine):
                (names.discard if type_ == "DELETED" else names.add)(pod["metadata"]["name"])
                if len(names) == count:
                    return
    except TimeoutError:
        raise AssertionError(f"{key} has {len(names)} pods instead of {count} after {seconds:g} s") from None


async def until_leases(
    client: LiveClient, namespace: str, judge: Callable[[dict[str, str]], bool], seconds: float
) -> dict[str, str]:
    """Holders by name of the Lease, once `judge` says yes."""
    holders: dict[str, str] = {}
    try:
        async with asyncio.timeout(seconds):
            async for type_, lease in client.watch(LEASE, namespace):
                name = lease["metadata"]["name"]
                holders.pop(name, None)
                if type_ != "DELETED":
                    holders[name] = LeaseRecord.of(lease).holder
                if judge(holders):
                    return dict(holders)
    except TimeoutError:
        raise AssertionError(f"after {seconds:g} s the Leases are held by {holders}") from None
    raise AssertionError("the watch ended")


# ---- shards ----


class Groups:
    """A group of each shard in each namespace, and how many pods each should have."""

    def __init__(self, client: LiveClient, namespaces: Sequence[str]) -> None:
        self.client = client
        self.wanted: dict[NN, int] = {}
        number = 100
        for namespace in namespaces:
            missing = set(range(SHARDS))
            while missing:
                number += 1
                key = NN(namespace, f"grp{number}")
                if self.shard(key) in missing:
                    missing.remove(self.shard(key))
                    self.wanted[key] = 1

    @staticmethod
    def shard(key: NN) -> int:
        return shard_of(f"{key.namespace}/{key.name}", SHARDS)

    def of(self, write: Write) -> NN | None:
        """The group that an object belongs to, by its name."""
        return next((k for k in self.wanted if k.namespace == write.namespace and k.name in write.name), None)

    async def edit(self, replicas: int) -> None:
        """Create or scale all of them."""
        for key in self.wanted:
            self.wanted[key] = replicas
            await scale(self.client, key, replicas)

    async def edit_for_ever(self) -> None:
        while True:
            for key in self.wanted:
                self.wanted[key] = self.wanted[key] % 3 + 1
                await scale(self.client, key, self.wanted[key])
                await asyncio.sleep(0.1)  # the pace of somebody who edits, not a wait

    async def settled(self) -> None:
        await asyncio.gather(*(until_pods(self.client, key, count) for key, count in self.wanted.items()))


@contextlib.asynccontextmanager
async def edited(groups: Groups) -> AsyncIterator[None]:
    """Somebody edits all groups while the block runs."""
    editing = asyncio.create_task(groups.edit_for_ever())
    try:
        yield
    finally:
        editing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await editing


async def test_three_managers_share_the_groups_and_take_over_from_one_that_is_killed(
    env: EnvTest, client: LiveClient, accounts: Accounts
) -> None:
    """Each key is handled by exactly one manager at any time; a newcomer gets a share; another number is refused."""
    namespaces = sorted([await new_namespace(client, "team") for _ in range(3)])
    flags = (f"--namespaces={','.join(namespaces)}", "--watch-timeout=10s")
    base = lease_name(CONTROLLERS, CONTROLLERS, namespaces)
    shard_leases = {shard: base if shard == 0 else f"{base}-{shard}" for shard in range(SHARDS)}
    began = env.audit_log.stat().st_size
    groups = Groups(client, namespaces)
    names = ("m0", "m1", "m2", "m3")
    managers = {name: await accounts.process(name, f"--shards={SHARDS}", *flags) for name in names}

    def shared(holders: dict[str, str], among: int) -> bool:
        leaders = {holders.get(lease, "") for lease in shard_leases.values()}
        return "" not in leaders and len(leaders) == among

    await asyncio.gather(*(managers[n].start() for n in names[:3]))
    await until_leases(client, accounts.namespace, lambda h: shared(h, 3), 30)
    await groups.edit(1)
    await groups.settled()

    async with edited(groups):
        await asyncio.sleep(1.0)  # so that the kill comes in the middle of work
        dead = last_lease_written(env, began, accounts.user("m0"), shard_leases)
        before = await until_leases(client, accounts.namespace, lambda h: shared(h, 3), 30)
        await managers["m0"].kill()
        killed_at = time.monotonic()
        lease = shard_leases[dead]
        await until_leases(
            client, accounts.namespace, lambda h: h.get(lease, "") not in {"", before[lease]}, TAKEN_OVER_WITHIN
        )
        assert time.monotonic() - killed_at < TAKEN_OVER_WITHIN
    await groups.settled()

    async with edited(groups):
        await managers["m3"].start()
        after = await until_leases(client, accounts.namespace, lambda h: shared(h, 3), 30)
    await groups.settled()
    newcomer = {after[x] for x in shard_leases.values()} - set(before.values())
    assert len(newcomer) == 1

    odd = await accounts.process("odd", "--shards=4", *flags)
    await odd.start()
    said = await event(client, accounts.namespace, "NotSharing")
    assert "divides the work into 3 shards, this manager divides it into 4: it leads nothing" in said["message"]
    with pytest.raises(NotFound):
        await client.get(LEASE, NN(accounts.namespace, f"{base}-3"))

    users = [accounts.user(n) for n in (*names, "odd")]
    everything = writes(env.audit_log, began, users)
    work = [w for w in everything if w.resource not in {"events", "leases"}]
    nobodys = [str(w) for w in work if groups.of(w) is None]
    assert nobodys == []
    assert not [str(w) for w in work if w.user == accounts.user("odd")]
    by_shard: dict[int, list[Write]] = defaultdict(list)
    for write in work:
        key = groups.of(write)
        assert key is not None
        by_shard[groups.shard(key)].append(write)
    assert by_shard.keys() == set(range(SHARDS))
    for shard, mine in by_shard.items():
        terms = [w for w in everything if w.resource == "leases" and w.name == shard_leases[shard]]
        assert intruders(mine, terms) == []
    assert {w.user for w in by_shard[dead]} >= {accounts.user("m0")}
    assert len({w.user for w in by_shard[dead]}) >= 2  # a survivor went on
    assert accounts.user("m3") in {w.user for w in work}


def last_lease_written(env: EnvTest, offset: int, user: str, shard_leases: dict[int, str]) -> int:
    """The shard that `user` leads."""
    mine = [w.name for w in writes(env.audit_log, offset, [user]) if w.resource == "leases"]
    return next(s for name in reversed(mine) for s, lease in shard_leases.items() if name == lease)


def intruders(work: Sequence[Write], lease: Sequence[Write]) -> list[str]:
    """Writes by somebody who did not hold the Lease when they began, or no longer did when they ended."""
    found = []
    for write in work:
        holder = next((w.user for w in reversed(lease) if w.ended <= write.began), "nobody")
        others = [w for w in lease if w.user != write.user and write.began < w.began < write.ended]
        if holder != write.user or others:
            found.append(f"{write} (held by {holder}, then by {[str(o) for o in others]})")
    return found


async def event(client: LiveClient, namespace: str, reason: str) -> RawObject:
    async with asyncio.timeout(30):
        async for _, obj in client.watch(EVENT, namespace):
            if obj["reason"] == reason:
                return obj
    raise AssertionError("the watch ended")


# ---- controllers and namespaces ----


async def test_two_managers_with_half_of_the_controllers_each_and_rights_in_one_namespace_only(
    env: EnvTest, client: LiveClient, accounts: Accounts
) -> None:
    """Both together bring a group to its pods; what happens elsewhere is none of their business."""
    ours, elsewhere = await new_namespace(client, "ours"), await new_namespace(client, "elsewhere")
    began = env.audit_log.stat().st_size
    first = "workloads-rolebasedgroup"
    flags = (f"--namespaces={ours}", "--watch-timeout=10s")
    managers = [
        await accounts.process("groups", f"--controllers={first}", *flags, only_in=[ours]),
        await accounts.process("rest", f"--controllers=*,-{first}", *flags, only_in=[ours]),
    ]
    await asyncio.gather(*(m.start() for m in managers))
    await scale(client, NN(elsewhere, "grp1"), 2)
    await scale(client, NN(ours, "grp1"), 2)
    await until_pods(client, NN(ours, "grp1"), 2)
    leases = {o["metadata"]["name"] for o in (await client.list(LEASE, accounts.namespace)).items}
    rest = set(CONTROLLERS) - {first}
    assert leases == {lease_name([first], CONTROLLERS, [ours]), lease_name(rest, CONTROLLERS, [ours])}
    for gvk in (ROLE_INSTANCE_SET, ROLE_INSTANCE, POD):
        assert (await client.list(gvk, elsewhere)).items == []
    untouched = await client.get(ROLE_BASED_GROUP, NN(elsewhere, "grp1"))
    assert "status" not in untouched

    found = writes(env.audit_log, began, [accounts.user("groups"), accounts.user("rest")])
    work = [w for w in found if w.resource not in {"events", "leases"}]
    assert {w.namespace for w in work} == {ours}
    by_user = {name: {w.resource for w in work if w.user == accounts.user(name)} for name in ("groups", "rest")}
    assert "rolebasedgroups" in by_user["groups"]
    assert "pods" not in by_user["groups"]
    assert {"roleinstances", "pods"} <= by_user["rest"]
    assert not {"rolebasedgroups", "services"} & by_user["rest"]


# ---- no election at all ----


async def test_two_managers_that_do_the_same_work_at_once_make_nothing_twice(
    env: EnvTest, client: LiveClient, accounts: Accounts
) -> None:
    """RT-CA-22: no lock, no fence of one says anything to the other; names and preconditions keep them apart."""
    namespace = await new_namespace(client, "crowd")
    began = env.audit_log.stat().st_size
    flags = (f"--namespaces={namespace}", "--leader-elect=false")
    for name in ("one", "two"):
        process = await accounts.process(name, *flags)
        await process.start()
    keys = [NN(namespace, f"grp{n}") for n in range(6)]
    for replicas in (2, 4):
        await asyncio.gather(*(scale(client, key, replicas) for key in keys))
        await asyncio.gather(*(until_pods(client, key, replicas) for key in keys))
    found = writes(env.audit_log, began, [accounts.user("one"), accounts.user("two")])
    created: dict[tuple[str, str], list[Write]] = defaultdict(list)
    for write in found:
        if write.verb == "create" and write.resource != "events":
            created[write.resource, write.name].append(write)
    assert [str(w) for twice in created.values() if len(twice) > 1 for w in twice] == []
    assert {w.user for w in found if w.verb == "create"} == {accounts.user("one"), accounts.user("two")}
    assert [str(w) for w in found if w.verb == "delete" and w.resource == "pods"] == []
    pods = (await client.list(POD, namespace)).items
    assert len(pods) == 4 * len(keys)
