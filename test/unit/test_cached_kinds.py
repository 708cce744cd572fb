"""What the manager asks the API server for, kind by kind."""

import asyncio

from aiohttp import web
from unit.runtime.scripted import Answer, ScriptedServer, listing, refused, watch

from rbgctl.machinery.gvk import GVK
from rbgctl.manager import ManagerOptions, build
from rbgctl.runtime.config import ClusterConfig

APPS = [GVK("apps", "v1", kind) for kind in ("StatefulSet", "Deployment")]
SERVICE = GVK("", "v1", "Service")
RESTRICTED = {"services", "statefulsets", "deployments"}


class Empty(ScriptedServer):
    """Has no objects and does not stream lists."""

    def next_answer(self, request: web.Request) -> Answer:
        if "sendInitialEvents" in request.query:
            return refused(400, "BadRequest")
        return watch(then="hang") if "watch" in request.query else listing(1)


async def test_services_and_workloads_of_others_are_never_asked_for() -> None:
    """MGR-15, MGR-16, RT-ID-09: on the wire, of lists and watches; everything else is read as a whole."""
    async with Empty().running() as server:
        manager = build(ClusterConfig(server.url), ManagerOptions())
        for gvk in (*APPS, SERVICE):
            manager.need(gvk)
        for gvk, form in manager._needed:
            manager.cache.declare(gvk, form=form)
        caching = asyncio.create_task(manager.cache.run())
        asked = await server.asked_at_least(3 * len(manager.cache.informers))  # stream, list, watch
        caching.cancel()
        await asyncio.wait([caching])
        await manager.transport.close()
    found = {(one.path.rpartition("/")[2], one.query.get("labelSelector", "")) for one in asked}
    selectors = dict(found)
    assert len(selectors) == len(found) == len(manager.cache.informers)
    assert selectors.keys() >= {"pods", "configmaps", "rolebasedgroups", *RESTRICTED}
    restricted = {plural for plural, selector in selectors.items() if selector}
    assert restricted == RESTRICTED
    assert {selectors[plural] for plural in RESTRICTED} == {"rbg.workloads.x-k8s.io/group-name"}
    assert not any(one.path.startswith("/api/v1/namespaces/") for one in asked)
