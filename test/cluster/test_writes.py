"""What a group costs at the API server, counted in its audit log."""

import asyncio

import pytest

from cluster.audit import AuditLog, by_kind
from cluster.groups import group, ready_group, role, wait_for
from rbgctl import rbac
from rbgctl.api.kinds import ROLE_BASED_GROUP
from rbgctl.machinery.gvk import NN
from rbgctl.playground.deployment import ManagerProcess
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.testing.envtest import EnvTest

MANAGER = f"system:serviceaccount:{rbac.NAMESPACE}:{rbac.SERVICE_ACCOUNT}"

FIXED = {
    "create controllerrevisions": 1 + 2 + 4,  # the group, each set, each instance
    "create roleinstances": 4,
    "create pods": 4,
    "patch rolebasedgroups": 1,  # the discovery mode
    "patch configmaps": 1,
    "patch roleinstancesets": 2,
    "patch services": 2,
}
"""Writes that creating a group of 1 + 3 costs whatever the timing."""

AT_MOST = {
    "patch pods/status": 2 * 4,  # both gates when the pod appears, InstancePodReady when its containers run
    "patch roleinstances/status": 3 * 4,
    "patch roleinstancesets/status": 3 + 5,
    "patch rolebasedgroups/status": 9,
}
"""Status writes: how many states are seen on the way depends on timing; these bounds must hold."""


async def test_creating_a_group_costs_what_it_must(
    cluster: EnvTest, client: LiveClient, manager: ManagerProcess, namespace: str
) -> None:
    log = AuditLog(cluster.audit_log, MANAGER)
    await client.apply(
        group(namespace, role("frontend"), role("backend", 3, dependencies=["frontend"])), field_manager="user"
    )
    await ready_group(client, NN(namespace, "shop"))
    counted = by_kind([w for w in log.writes() if w.namespace == namespace])
    print(f"writes for 1 + 3 instances: {sum(counted.values())}: {dict(counted)}")
    assert {k: v for k, v in counted.items() if k in FIXED} == FIXED
    assert set(counted) <= set(FIXED) | set(AT_MOST)
    assert {k: v for k, v in counted.items() if v > AT_MOST.get(k, v)} == {}
    refused = [str(w) for w in log.requests() if w.namespace == namespace and w.code in {403, 422, 500}]
    assert refused == []


@pytest.mark.parametrize("seconds", [60, pytest.param(300, marks=[pytest.mark.nightly, pytest.mark.timeout(600)])])
async def test_a_settled_cluster_costs_no_writes_and_no_lists(
    cluster: EnvTest, client: LiveClient, manager: ManagerProcess, namespace: str, seconds: int
) -> None:
    """Watches end every 10 s and are opened again where they were; nothing is listed, nothing written."""
    await client.apply(group(namespace, role("web", 2), role("api", 1, dependencies=["web"])), field_manager="user")
    await ready_group(client, NN(namespace, "shop"))
    await _quiet(AuditLog(cluster.audit_log, MANAGER))
    log = AuditLog(cluster.audit_log, MANAGER)
    await asyncio.sleep(seconds)  # the thing measured is that nothing happens in this time
    assert [str(w) for w in log.writes()] == []
    assert [str(r) for r in log.lists()] == []
    watches = [r for r in log.requests() if r.verb == "watch"]
    assert len(watches) >= 5 * seconds // 10, "watches were not re-opened, so the measurement proves nothing"
    # A dead control plane is quiet too: the same manager must still answer an edit, and the log must show it.
    await client.apply(group(namespace, role("web", 3), role("api", 1, dependencies=["web"])), field_manager="user")
    await wait_for(
        client,
        ROLE_BASED_GROUP,
        NN(namespace, "shop"),
        lambda g: any(s["name"] == "web" and s.get("readyReplicas") == 3 for s in g["status"]["roleStatuses"]),
    )
    assert log.writes() != []


async def _quiet(log: AuditLog) -> None:
    """Until the manager wrote nothing for five seconds: groups of earlier tests may still be going."""
    seen = -1
    while True:
        latest = len(log.writes())
        if latest == seen:
            return
        seen = latest
        await asyncio.sleep(5)  # no watch tells that nothing comes
