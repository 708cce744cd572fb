"""kill -9 of the manager in the middle of work."""

from collections import Counter

from cluster.audit import AuditLog
from cluster.groups import OURS, POD, group, names, ready_group, role
from rbgctl import rbac
from rbgctl.api.kinds import ROLE_INSTANCE
from rbgctl.machinery.gvk import GVK, NN
from rbgctl.playground.deployment import ManagerProcess
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.testing.envtest import EnvTest, new_namespace

MANAGER = f"system:serviceaccount:{rbac.NAMESPACE}:{rbac.SERVICE_ACCOUNT}"


async def test_killed_in_the_middle_of_creation_it_ends_with_the_same_objects_none_created_twice(
    cluster: EnvTest, client: LiveClient, manager: ManagerProcess, namespace: str
) -> None:
    """The restarted manager finds what the first one made and completes it."""
    calm = await new_namespace(client, "calm")
    roles = (role("web", 2), role("api", 6, dependencies=["web"]))
    await client.apply(group(calm, *roles), field_manager="user")
    await ready_group(client, NN(calm, "shop"))

    log = AuditLog(cluster.audit_log, MANAGER)
    before = (await client.list(ROLE_INSTANCE, namespace)).resource_version
    await client.apply(group(namespace, *roles), field_manager="user")
    killed = False
    async for kind, instance in client.watch(ROLE_INSTANCE, namespace, rv=before, timeout=30):
        if kind == "ADDED" and "-api-" in instance["metadata"]["name"]:
            await manager.kill()
            killed = True
            break
    assert killed
    pods = await names(client, POD, namespace)
    await manager.start()
    await ready_group(client, NN(namespace, "shop"))

    assert len(pods) < 8, "everything was there before the kill, so it proved nothing"
    for gvk in OURS:
        assert await _shape(client, gvk, namespace) == await _shape(client, gvk, calm)
    created = Counter(
        (w.resource, w.name)
        for w in log.requests()
        if w.verb == "create" and w.namespace == namespace and w.code == 201 and w.resource != "events"
    )
    assert {what: n for what, n in created.items() if n > 1} == {}


async def _shape(client: LiveClient, gvk: GVK, namespace: str) -> dict[str, object]:
    """Names and labels; hashes that depend on the namespace are taken out of revisions' names."""
    found = {}
    for obj in (await client.list(gvk, namespace)).items:
        name = obj["metadata"]["name"]
        if gvk.kind == "ControllerRevision":
            name = f"{name.rpartition('-')[0].rpartition('-')[0]}/{obj['revision']}"
        found[name] = sorted(obj["metadata"].get("labels") or {})
    return found
