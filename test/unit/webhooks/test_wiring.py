"""What a manager gets of webhooks, and what it is left without."""

import asyncio
import gc
import weakref
from pathlib import Path

import orjson
import pytest
from unit.runtime.standby import Standby
from unit.runtime.tls import der, issue, served, write
from unit.webhooks.certificates.objects_server import SECRET, ObjectsServer, running

from rbgctl.api.kinds import RESOURCES
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.manager import Manager, ManagerOptions
from rbgctl.runtime.rbac import PolicyRule
from rbgctl.runtime.webhook_call import Call
from rbgctl.webhooks import rights, wiring
from rbgctl.webhooks.certificates.bootstrap import BootstrapFailed
from rbgctl.webhooks.configuration import webhook_configuration
from rbgctl.webhooks.wiring import WebhookSettings


def manager(server: ObjectsServer, **options: object) -> Manager:
    chosen = ManagerOptions(elector=lambda _: Standby(), **options)  # type: ignore[arg-type]
    return Manager(ClusterConfig(server.url), chosen, resources=RESOURCES)


def settings(folder: Path, **changes: object) -> WebhookSettings:
    return WebhookSettings(host="127.0.0.1", port=0, namespace="rbgs-system", cert_dir=folder, **changes)  # type: ignore[arg-type]


def test_the_defaults_are_those_of_the_manifests() -> None:
    """CERT-2, WH-1, WH-3, CERT-14: names, directory, port on all addresses, and what the API server is to call."""
    chosen = WebhookSettings(namespace="ns")
    assert (chosen.host, chosen.port, str(chosen.cert_dir)) == ("", 9443, "/tmp/k8s-webhook-server/certs")
    assert (chosen.secret, chosen.dns_name) == ("rbgs-webhook-cert", "rbgs-webhook-service.ns.svc")
    assert chosen.conversion == {
        "service": {"name": "rbgs-webhook-service", "namespace": "ns", "path": "/convert"},
    }
    assert WebhookSettings(url="https://10.0.0.7:9443").conversion == {"url": "https://10.0.0.7:9443/convert"}
    assert wiring.own_namespace({"POD_NAMESPACE": "ns"}) == "ns"
    assert wiring.own_namespace({}) == ""


async def test_webhooks_that_are_off_leave_no_trace(tmp_path: Path) -> None:
    """WH-13: no server, no certificates, no controller."""
    async with running() as (server, _):
        made = manager(server)
        assert await wiring.serve(made, settings(tmp_path / "c", enabled=False)) is None
        assert server.asked == []
        assert not (tmp_path / "c").exists()
        assert "webhook-cert" not in made.controllers
        assert "webhook" not in made._checks["readyz"]
        await made.transport.close()


async def test_a_replica_that_does_not_lead_makes_certificates_and_serves_every_path(tmp_path: Path) -> None:
    """WH-1, WH-2, MGR-10, MGR-12, MGR-3: before anything else runs, and although the write gate is shut."""
    async with running() as (server, _):
        made = manager(server)
        webhooks = await wiring.serve(made, settings(tmp_path))
        assert webhooks is not None
        assert SECRET in server.objects
        called = {w["clientConfig"]["service"]["path"] for w in webhook_configuration("x")["webhooks"]}
        assert set(webhooks.paths) == {"/convert", *called}
        assert {
            "/validate-workloads-x-k8s-io-v1alpha2-rolebasedgroup",
            "/validate-workloads-x-k8s-io-v1alpha2-rolebasedgroupset",
        } <= set(webhooks.paths)
        assert not any("mutate" in path for path in webhooks.paths)  # WH-2: the schema fills in defaults
        assert made.controllers["webhook-cert"].needs_leader
        assert "webhook" in made._checks["readyz"]
        groups = {name: [str(m.runnable) for m in group._members] for name, group in made._groups.items()}
        assert groups["webhook"] == ["webhook server", "webhook certificate follower"]
        # Everything else that it might write has to wait for leadership.
        with pytest.raises(Exception, match="leader"):
            await made.live.create(
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "a", "name": "b"}}
            )
        await made.transport.close()


async def test_nothing_that_runs_holds_a_client_that_writes_without_leading(tmp_path: Path) -> None:
    """The gate is passed once, by the bootstrap."""
    made_ungated: list[weakref.ref[LiveClient]] = []
    async with running() as (server, _):
        made = manager(server)
        original = made.client

        def client(product: str = "", *, gated: bool = True) -> LiveClient:
            found = original(product, gated=gated)
            if not gated:
                made_ungated.append(weakref.ref(found))
            return found

        made.client = client  # type: ignore[method-assign]
        assert await wiring.serve(made, settings(tmp_path)) is not None
        gc.collect()
        assert [ref() for ref in made_ungated] == [None]
        await made.transport.close()


async def test_a_failed_bootstrap_is_said_in_one_line(tmp_path: Path) -> None:
    """CERT-3: any other error ends the start."""
    async with running() as (server, _):
        server.refuses[SECRET] = 100
        made = manager(server)
        with pytest.raises(
            BootstrapFailed, match=r"^webhook certificates \(Secret rbgs-system/rbgs-webhook-cert\): .*$"
        ):
            await wiring.serve(made, settings(tmp_path))
        await made.transport.close()


async def test_provided_certificates_are_served_and_followed_and_nothing_is_made(tmp_path: Path) -> None:
    """The alternative to managed ones: cert-manager writes the files and fills the caBundles."""
    first, second = issue(), issue()
    write(tmp_path, first)
    async with running() as (server, _):
        made = manager(server)
        webhooks = await wiring.serve(made, settings(tmp_path, provided_certificates=True))
        assert webhooks is not None
        assert server.asked == []
        assert "webhook-cert" not in made.controllers
        task = asyncio.create_task(webhooks.run())
        try:
            await asyncio.wait_for(webhooks.started(), 10)
            assert await served(webhooks.port) == der(first[0])
            write(tmp_path, second)
            assert webhooks.reload()
            assert await served(webhooks.port) == der(second[0])
            assert not webhooks.reload()
        finally:
            task.cancel()
            await asyncio.wait([task])
        await made.transport.close()


def test_the_rights_are_the_least_that_works() -> None:
    """RBAC-4: `create` on secrets, `get` and `update` of one; objects that trust us by name."""
    assert (
        PolicyRule("", "secrets", ("create",)),
        PolicyRule("", "secrets", ("get", "update"), ("rbgs-webhook-cert",)),
    ) == rights.SECRET_RULES
    for rule in rights.CLUSTER_RULES:
        assert rule.names or rule.verbs == ("get",)
        assert rule.resource != "secrets"


async def test_a_large_page_of_a_list_leaves_the_event_loop_to_others(tmp_path: Path) -> None:
    """WH-12, RT-WH-10: 400 groups in one review, converted for real; everybody else gets a turn in between."""
    template = {"spec": {"containers": [{"name": f"c{n}", "image": "i"} for n in range(5)]}}
    groups = [
        {
            "apiVersion": "workloads.x-k8s.io/v1alpha1",
            "kind": "RoleBasedGroup",
            "metadata": {"namespace": "a", "name": f"g{number}", "uid": str(number)},
            "spec": {"roles": [{"name": "r", "replicas": 1, "template": template}]},
        }
        for number in range(400)
    ]
    request = {"uid": "u", "desiredAPIVersion": "workloads.x-k8s.io/v1alpha2", "objects": groups}
    review = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "request": request}
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with running() as (server, _):
        made = manager(server)
        webhooks = await wiring.serve(made, settings(tmp_path))
        assert webhooks is not None
        endpoint = webhooks._routes["/convert"].endpoint
        elsewhere = asyncio.create_task(others())
        answer = orjson.loads((await endpoint(Call(orjson.dumps(review), "application/json", 60.0))).body)
        elsewhere.cancel()
        await made.transport.close()
    assert answer["response"]["result"] == {"status": "Success"}
    assert [o["metadata"]["name"] for o in answer["response"]["convertedObjects"]] == [f"g{n}" for n in range(400)]
    # Seven pauses between eight turns; in the first one the other task only starts.
    assert turns >= 400 / 50 - 2
