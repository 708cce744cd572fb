"""The CRDs that the manager wants to see before anything starts (MGR-11)."""

import json
from collections.abc import Mapping

import pytest
from aiohttp import web
from unit.runtime.scripted import Answer, ScriptedServer, answer, refused

from rbgctl import manager as composition
from rbgctl.api import identity
from rbgctl.manager import StartUpError, build, check_crds
from rbgctl.manager_options import ManagerOptions
from rbgctl.runtime.config import ClusterConfig
from rbgctl.webhooks.certificates.bundles import CONVERTED

GROUPS = "rolebasedgroups.workloads.x-k8s.io"
SETS = "roleinstancesets.workloads.x-k8s.io"
INSTANCES = "roleinstances.workloads.x-k8s.io"
PROFILES = "clusterengineruntimeprofiles.workloads.x-k8s.io"
NEEDED = {
    "workloads-rolebasedgroup": {GROUPS, PROFILES, SETS},
    "roleinstanceset": {SETS, INSTANCES},
    "roleinstance": {INSTANCES},
}


class Crds(ScriptedServer):
    """Has the CRDs of `conditions`, by name with their status."""

    def __init__(self, conditions: Mapping[str, Mapping[str, str] | None], forbidden: bool = False) -> None:
        super().__init__()
        self.conditions = conditions
        self.forbidden = forbidden

    def next_answer(self, request: web.Request) -> Answer:
        name = request.path.rpartition("/")[2]
        if self.forbidden:
            return refused(403, "Forbidden")
        if name not in self.conditions:
            return refused(404, "NotFound")
        told = self.conditions[name]
        status = {} if told is None else {"conditions": [{"type": t, "status": s} for t, s in told.items()]}
        crd = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": name},
            "status": status,
        }
        return answer(200, json.dumps(crd).encode(), {"Content-Type": "application/json"})


async def checked(server: Crds, *controllers: str, namespaced: bool = False) -> list[str]:
    """Names of the CRDs that were looked at, in order. Raises StartUpError."""
    async with server.running():
        manager = build(ClusterConfig(server.url), ManagerOptions())
        try:
            await check_crds(manager.live, controllers, may_be_forbidden=namespaced)
        finally:
            await manager.transport.close()
    return [asked.path.rpartition("/")[2] for asked in server.asked]


GOOD = {"NamesAccepted": "True", "Established": "True"}
ALL = dict.fromkeys((GROUPS, SETS, INSTANCES, PROFILES), GOOD)


@pytest.mark.parametrize("controller", NEEDED)
async def test_a_controller_needs_the_kinds_that_it_works_on(controller: str) -> None:
    """MGR-11: groups also need profiles; a manager of some controllers needs no more than these."""
    assert set(await checked(Crds(ALL), controller)) == NEEDED[controller]


async def test_every_controller_is_checked_in_order() -> None:
    """MGR-11."""
    seen = await checked(Crds(ALL), *composition.CONTROLLERS)
    assert [name for name in seen if name in {GROUPS, PROFILES, INSTANCES}] == [GROUPS, PROFILES, INSTANCES]
    assert set(seen) == set(ALL)


@pytest.mark.parametrize("missing", sorted(ALL))
@pytest.mark.parametrize(
    ("conditions", "text"),
    [
        ((), "is not installed"),
        (None, "not Established"),
        ({"Established": "False"}, "not Established"),
        ({"NamesAccepted": "True"}, "not Established"),
    ],
)
async def test_what_is_not_served_is_named(missing: str, conditions: dict[str, str] | None, text: str) -> None:
    """MGR-11: each CRD must be there and Established."""
    there = {**ALL, missing: conditions}
    if conditions == ():
        del there[missing]
    with pytest.raises(StartUpError, match=rf"CRD {missing} .*{text}"):
        await checked(Crds(there), *composition.CONTROLLERS)


async def test_a_manager_of_some_namespaces_may_not_be_allowed_to_look() -> None:
    assert await checked(Crds({}, forbidden=True), "roleinstance", namespaced=True) == [INSTANCES]


def test_names_that_others_rely_on() -> None:
    """MGR-7, RES-2: names of controllers in metrics and logs. RES-8: CRDs whose caBundle is kept right."""
    assert [
        identity.CONTROLLER_GROUP,
        identity.CONTROLLER_SCALING_ADAPTER,
        identity.CONTROLLER_GROUP_SET,
        identity.CONTROLLER_WARMUP,
        identity.CONTROLLER_INSTANCE,
        identity.CONTROLLER_INSTANCE_SET,
        identity.CONTROLLER_WEBHOOK_CERT,
    ] == [
        "workloads-rolebasedgroup",
        "workloads-rolebasedgroup-scalingadapter",
        "rbgset-controller",
        "rbgwarmup-controller",
        "roleinstance",
        "roleinstanceset",
        "webhook-cert",
    ]
    made = build(ClusterConfig("http://127.0.0.1:1"), ManagerOptions()).controllers
    assert {name: controller.name for name, controller in made.items()} == {name: name for name in NEEDED}
    assert set(CONVERTED) == {GROUPS, "rolebasedgroupsets.workloads.x-k8s.io"}
