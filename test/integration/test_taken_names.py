"""What somebody else makes in the moment before an object is applied, on a real API server."""

from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import structlog

from rbgctl.api import identity, labels
from rbgctl.controllers.group.takeover import refuse_unlabelled
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.machinery.plan import Apply, Plan
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.errors import NotFound
from rbgctl.runtime.executor import NAME_TAKEN_SECONDS, execute
from rbgctl.runtime.reconciler import Context, Result
from rbgctl.runtime.testing.envtest import EnvTest

SERVICE = GVK("", "v1", "Service")


def service(namespace: str, **meta: Any) -> RawObject:
    spec = {"clusterIP": "None", "selector": {"app": "mine"}, "ports": [{"name": "http", "port": 80}]}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": "taken", **meta},
        "spec": spec,
    }


@dataclass
class Overtaken:
    """A client for looking; `creates` exists as soon as the first look has found nothing."""

    client: LiveClient
    creates: RawObject | None
    looks: int = 0

    async def get(self, gvk: GVK, key: NN) -> RawObject:
        self.looks += 1
        try:
            return await self.client.get(gvk, key)
        except NotFound:
            if self.creates is not None:
                await self.client.create(self.creates, field_manager="somebody")
                self.creates = None
            raise


@dataclass
class World:
    client: LiveClient
    live: Overtaken
    log: Any = field(default_factory=structlog.get_logger)

    async def apply(self, namespace: str) -> Result:
        ours = service(namespace, labels={labels.GROUP_NAME: "g"})
        judge = refuse_unlabelled("g", may_have_controller=False)
        apply = Apply(obj=ours, field_manager=identity.FIELD_MANAGER, refuse_existing=judge)
        return await execute(cast("Context", self), Plan(steps=[apply]))


def theirs(namespace: str, **meta: Any) -> RawObject:
    found = service(namespace, **meta)
    return {**found, "spec": {**found["spec"], "selector": {"app": "theirs"}}}


@pytest.mark.parametrize(
    ("found_labels", "overwritten"),
    [({}, False), ({labels.GROUP_NAME: "other"}, False), ({labels.GROUP_NAME: "g"}, True)],
    ids=["foreign", "of another group", "of this group"],
)
async def test_what_appears_after_the_look_is_overwritten_only_if_it_is_the_groups(
    env: EnvTest, client: LiveClient, namespace: str, found_labels: dict[str, str], overwritten: bool
) -> None:
    live = Overtaken(client, theirs(namespace, labels=found_labels))
    result = await World(env.client(user_agent="rbg"), live).apply(namespace)
    found = await client.get(SERVICE, NN(namespace, "taken"))
    assert found["spec"]["selector"]["app"] == ("mine" if overwritten else "theirs")
    assert found["metadata"].get("labels", {}) == ({labels.GROUP_NAME: "g"} if overwritten else found_labels)
    assert result.requeue_after == (0.0 if overwritten else NAME_TAKEN_SECONDS)
    assert live.looks == 2


async def test_a_free_name_is_applied_after_one_look(env: EnvTest, client: LiveClient, namespace: str) -> None:
    live = Overtaken(client, None)
    await World(env.client(user_agent="rbg"), live).apply(namespace)
    found = await client.get(SERVICE, NN(namespace, "taken"))
    assert found["spec"]["selector"]["app"] == "mine"
    assert [entry["manager"] for entry in found["metadata"]["managedFields"]] == [identity.FIELD_MANAGER]
    assert live.looks == 1
