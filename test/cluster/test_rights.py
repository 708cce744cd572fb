"""No right too many: what the manager's account may do against what it does in a life with everything in it.

On a control plane of its own, because the audit log must be that of one kind of manager. `make rights` shows the list.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from cluster.groups import POD, group, ready_group, role, wait_for, wait_gone
from rbgctl import rbac
from rbgctl.api import identity
from rbgctl.api.kinds import RESOURCES, ROLE_BASED_GROUP, ROLE_INSTANCE
from rbgctl.machinery.gvk import GVK, NN
from rbgctl.playground.deployment import ManagerProcess, deploy
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.testing.envtest import LOOPBACK, EnvTest, free_port, new_namespace
from rbgctl.runtime.testing.rights import Right, Use, rights_used, unused_rights
from rbgctl.webhooks.configuration import webhook_configuration

CRDS = Path(__file__).parents[2] / "config" / "crd" / "bases"
ACCOUNT = f"system:serviceaccount:{rbac.NAMESPACE}:{rbac.SERVICE_ACCOUNT}"
LEASE = GVK("coordination.k8s.io", "v1", "Lease")
LEASE_WATCH = Use("coordination.k8s.io", "leases", "watch", identity.LEADER_ELECTION_LEASE)
MEMBERS = "-member-"


@pytest.fixture(scope="module")
async def own_cluster() -> AsyncIterator[EnvTest]:
    async with EnvTest(nodes=2, crds=[CRDS], static=RESOURCES, audit=True) as started:
        yield started


async def replica(env: EnvTest, name: str, *more: str) -> ManagerProcess:
    """With all that the Deployment has: webhooks, secure metrics, election; and a share of the work."""
    return await deploy(
        env,
        "--enable-webhooks=all",
        f"--webhook-bind-address={LOOPBACK}:{free_port()}",
        f"--webhook-cert-dir={env.directory / name}",
        "--metrics-secure=true",
        "--leader-elect",
        f"--leader-election-namespace={rbac.NAMESPACE}",
        "--shards=2",
        "--watch-timeout=10s",
        *more,
        name=name,
        environment={"POD_NAMESPACE": rbac.NAMESPACE},
    )


async def scrape(env: EnvTest, admin: LiveClient, manager: ManagerProcess) -> int:
    """Status of a reader with the role rbgs-metrics-reader."""
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": rbac.NAMESPACE}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": rbac.METRICS_READER}
    bound = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "scraper"},
        "roleRef": reference,
        "subjects": [subject],
    }
    await admin.apply(bound, field_manager="test")
    config = await env.config_for_service_account(rbac.NAMESPACE, "default")
    assert config.credential is not None
    headers = config.credential.headers()
    url = f"https://{LOOPBACK}:{manager.metrics_port}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers, ssl=False) as answer:
        return answer.status


async def members(admin: LiveClient) -> list[str]:
    leases = await admin.list(LEASE, rbac.NAMESPACE)
    return [o["metadata"]["name"] for o in leases.items if MEMBERS in o["metadata"]["name"]]


async def live(env: EnvTest, admin: LiveClient) -> None:
    """A life of the operator with everything in it that needs a right."""
    configuration = webhook_configuration(rbac.NAMESPACE)
    # It has to be there to be kept right; nothing is sent to it, for there is no Service to call.
    for hook in configuration["webhooks"]:
        hook["objectSelector"] = {"matchLabels": {"never": "matches"}}
    await admin.create(configuration)
    first, second = await replica(env, "first"), await replica(env, "second")
    assert await scrape(env, admin, first) == 200  # RBAC-5
    namespace = await new_namespace(admin)
    key = NN(namespace, "shop")
    for image in range(7):  # more revisions than are kept
        web = role("web", 2, image=f"registry.example/a:{image}")
        await admin.apply(group(namespace, web, role("api", dependencies=["web"])), field_manager="user", force=True)
        await ready_group(admin, key)
    # Back to a revision that exists, with one role less.
    await admin.apply(group(namespace, role("web", 1, image="registry.example/a:5")), field_manager="user", force=True)
    await ready_group(admin, key)
    await admin.delete(POD, NN(namespace, "shop-web-0"))
    await ready_group(admin, key)
    await first.kill()
    async with asyncio.timeout(120):
        # Of the one that is gone, taken away by the other.
        while len(await members(admin)) > 1:  # noqa: ASYNC110 - seldom, and watched elsewhere
            await asyncio.sleep(0.5)
    await admin.delete(ROLE_BASED_GROUP, key)
    await wait_gone(admin, ROLE_INSTANCE, namespace)
    await second.stop()
    # Without shards a replica that stands by watches the Lease.
    third = await replica(env, "third", "--shards=1")
    lease = NN(rbac.NAMESPACE, identity.LEADER_ELECTION_LEASE)
    led = await wait_for(admin, LEASE, lease, lambda o: bool(o["spec"].get("holderIdentity")))
    before = env.audit_log.stat().st_size
    fourth = await replica(env, "fourth", "--shards=1")
    # It says that it is ready before it has tried to lead for the first time.
    async with asyncio.timeout(60):
        while LEASE_WATCH not in rights_used(env.audit_log, ACCOUNT, before):  # noqa: ASYNC110 - the log is a file
            await asyncio.sleep(0.2)
    await third.stop()
    await wait_for(
        admin,
        LEASE,
        lease,
        lambda o: o["spec"].get("holderIdentity") not in {None, "", led["spec"]["holderIdentity"]},
    )
    await fourth.stop()


@pytest.mark.timeout(600)
async def test_every_right_is_used_or_has_its_reason(own_cluster: EnvTest) -> None:
    """RBAC-2: the rights are what the controllers need, and no more. RBAC-5: a scraper is let in."""
    admin = own_cluster.client(user_agent="user")
    await live(own_cluster, admin)
    unused = unused_rights(rbac.all_rules(), rights_used(own_cluster.audit_log, ACCOUNT))
    print(f"\n{len(unused)} rights were not used:")
    for right in unused:
        print(f"  {right}: {rbac.SELDOM.get((right.group, right.resource, right.verb), 'NO REASON')}")
    refused = [entry for entry in _entries(own_cluster.audit_log) if entry[0] == ACCOUNT and entry[1] == 403]
    assert refused == []
    assert [right for right in unused if _key(right) not in rbac.SELDOM] == []
    granted = {(rule.group, rule.resource, verb) for rule in rbac.all_rules() for verb in rule.verbs}
    assert set(rbac.SELDOM) <= granted, "a reason for a right that nobody has"


def _key(right: Right) -> tuple[str, str, str]:
    return right.group, right.resource, right.verb


def _entries(log: Path) -> list[tuple[str, int, str]]:
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    return [
        (e["user"].get("username", ""), (e.get("responseStatus") or {}).get("code", 0), e["requestURI"])
        for e in entries
    ]
