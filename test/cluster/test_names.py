"""Names that collide or do not fit: no endless writing, and the group says what is wrong."""

import asyncio

from cluster.audit import AuditLog, by_kind
from cluster.groups import group, role, wait_for
from rbgctl import rbac
from rbgctl.api.kinds import ROLE_BASED_GROUP
from rbgctl.machinery.gvk import NN
from rbgctl.playground.deployment import ManagerProcess
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.testing.envtest import EnvTest

MANAGER = f"system:serviceaccount:{rbac.NAMESPACE}:{rbac.SERVICE_ACCOUNT}"


async def test_two_roles_that_share_a_workload_name_do_not_overwrite_each_other_for_ever(
    cluster: EnvTest, client: LiveClient, manager: ManagerProcess, namespace: str
) -> None:
    """RBG-1: 60 + 1 + 5 characters are cut to 63, so both roles get the workload name `k…k-aa`."""
    name = "k" * 60
    await client.apply(group(namespace, role("aaaaa"), role("aaaab"), name=name), field_manager="user")
    try:
        log = AuditLog(cluster.audit_log, MANAGER)
        await asyncio.sleep(5)  # the thing measured is how much is written in this time
        writes = [w for w in log.writes() if w.namespace == namespace]
    finally:
        await client.delete(ROLE_BASED_GROUP, NN(namespace, name), propagation="Background")
    assert len(writes) < 20, by_kind(writes)


async def test_a_group_whose_name_is_no_label_value_says_so_and_tries_nothing(
    cluster: EnvTest, client: LiveClient, manager: ManagerProcess, namespace: str
) -> None:
    """RBG-9: its name is a label value, which may have 63 characters; the CRD admits 253."""
    name = "l" * 64
    log = AuditLog(cluster.audit_log, MANAGER)
    await client.apply(group(namespace, role("web"), name=name), field_manager="user")
    found = await wait_for(
        client,
        ROLE_BASED_GROUP,
        NN(namespace, name),
        lambda g: bool((g.get("status") or {}).get("conditions")),
        timeout=15,
    )
    ready = next(c for c in found["status"]["conditions"] if c["type"] == "Ready")
    assert ready["status"] == "False"
    assert "63" in ready["message"]
    written = [str(w) for w in log.writes() if w.namespace == namespace]
    assert [w for w in written if not w.startswith("patch rolebasedgroups/status")] == []
