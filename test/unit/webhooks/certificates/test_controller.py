"""Passes of the leader, with the time in our hands."""

import random
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from unit.webhooks.certificates.made import NAME, NOW, authority, bundle, leaf
from unit.webhooks.certificates.objects_server import (
    CONFIGURATION,
    CRDS,
    SECRET,
    SECRET_KEY,
    ObjectsServer,
    crd,
    running,
)

from rbgctl.machinery.gvk import NN
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.reconciler import Result
from rbgctl.runtime.testing.certificates import Authority
from rbgctl.runtime.testing.clocks import START, ManualClock
from rbgctl.webhooks.certificates.authority import fault_of_leaf
from rbgctl.webhooks.certificates.bootstrap import Place
from rbgctl.webhooks.certificates.bundles import CONVERTED, ca_bundles
from rbgctl.webhooks.certificates.controller import SYNC_KEY, CertificateReconciler, Nudge
from rbgctl.webhooks.certificates.follower import Follower
from rbgctl.webhooks.certificates.lifetimes import Lifetimes
from rbgctl.webhooks.certificates.rotation import MOST_PREVIOUS, Bundle, adopted
from rbgctl.webhooks.certificates.secret import read, written

assert START == NOW
STANZA = {"service": {"name": "rbgs-webhook-service", "namespace": "rbgs-system", "path": "/convert"}}


class Leader:
    """The reconciler, called as the runtime calls it."""

    def __init__(self, client: LiveClient, lifetimes: Lifetimes | None = None) -> None:
        self.clock = ManualClock()
        self.woken = 0
        self._client = client
        self.place = Place(
            secret=SECRET_KEY,
            dns_name=NAME,
            directory=Path("/nowhere"),
            conversion=STANZA,
            lifetimes=lifetimes or Lifetimes(),
        )
        self._reconciler = CertificateReconciler(self.place, self.clock, self._wake)

    def _wake(self) -> None:
        self.woken += 1

    async def passes(self, key: NN = SYNC_KEY) -> Result:
        ctx: Any = SimpleNamespace(
            key=key, live=self._client, clock=self.clock, now=self.clock.now, log=structlog.get_logger()
        )
        return await self._reconciler.reconcile(ctx)


def stored(server: ObjectsServer) -> Bundle:
    return read(server.objects[SECRET]).bundle


def published(server: ObjectsServer) -> set[bytes]:
    return {pem for path in (*CRDS, CONFIGURATION) for pem in ca_bundles(server.objects[path])}


@pytest.mark.parametrize("key", [SYNC_KEY, NN("", CONVERTED[1])])
async def test_every_pass_puts_everything_in_order_whatever_its_key(key: NN) -> None:
    """CERT-12, CERT-9, CERT-10: again after ten minutes; nothing is written when all is well."""
    async with running() as (server, client):
        server.put(SECRET, written(bundle(), SECRET_KEY))
        leader = Leader(client)
        assert await leader.passes(key) == Result(requeue_after=600.0)
        assert published(server) == {authority().certificate}
        assert len(server.writes()) == 3
        assert await leader.passes(key) == Result(requeue_after=600.0)
        assert len(server.writes()) == 3
        assert leader.woken == 0


async def test_a_secret_of_somebody_else_counts_and_what_is_served_meanwhile_stays_trusted(tmp_path: Path) -> None:
    """CERT-13: a Go operator or a restored backup; a replica serves the old leaf until it has seen the new Secret."""
    old, new = authority().certificate, authority("b").certificate
    async with running() as (server, client):
        server.put(SECRET, written(bundle(), SECRET_KEY))
        leader = Leader(client)
        replica = Follower(
            client,
            replace(leader.place, directory=tmp_path),
            bundle(),
            leader.clock,
            random.Random(1),
            reload=lambda: None,
        )
        await leader.passes()
        server.put(SECRET, written(bundle("b"), SECRET_KEY))
        await leader.passes()
        assert published(server) == {new + old}
        assert stored(server) == bundle("b", previous=(old,))
        assert leader.woken == 1
        assert not fault_of_leaf(replica.serving.leaf, old, NAME, leader.clock.now())

        for _ in range(60):
            leader.clock.time += 60.0
            if await replica.look():
                break
            assert published(server) == {new + old}
        assert replica.serving.leaf == leaf("b")
        leader.clock.time = 3599.0
        await leader.passes()
        assert published(server) == {new + old}
        leader.clock.time = 3600.0
        await leader.passes()
        assert stored(server) == bundle("b")
        assert published(server) == {new}
        await leader.passes()
        assert stored(server) == bundle("b")  # what has left does not come back


async def test_while_a_bundle_cannot_be_read_trust_is_only_added() -> None:
    """CERT-13, CERT-11: it may hold an authority that replicas serve under; the others are repaired all the same."""
    old, new = authority().certificate, authority("b").certificate
    async with running() as (server, client):
        server.put(SECRET, written(bundle(), SECRET_KEY))
        leader = Leader(client)
        await leader.passes()
        server.put(SECRET, written(bundle("b"), SECRET_KEY))
        server.refuses[CRDS[0]] = 1
        assert await leader.passes() == Result(requeue_after=30.0)
        assert published(server) == {new + old}
        await leader.passes()
        assert stored(server).previous == (old,)
        assert published(server) == {new + old}


async def test_no_more_than_a_few_authorities_are_taken_over_from_ca_bundles() -> None:
    """CERT-13: expired ones, serving certificates and those of others never; the Secret does not grow without end."""
    foreign = [authority(f"foreign {n}").certificate for n in range(3)]
    gone = authority("gone", made=NOW - timedelta(days=9), lives=timedelta(days=1)).certificate
    offered = (gone, leaf("b").certificate, Authority("foreign").pem, *foreign)
    taken = adopted(bundle(), offered, NOW)
    assert taken == bundle(previous=tuple(foreign))
    assert adopted(taken, offered, NOW) == taken
    full = bundle(previous=(foreign[0],) * MOST_PREVIOUS)
    assert adopted(full, offered, NOW) == full


async def test_after_an_error_it_is_tried_again_in_half_a_minute() -> None:
    """CERT-12, CERT-11: no error is returned; a CRD that fails ends the pass before the configuration."""
    async with running() as (server, client):
        server.put(SECRET, written(bundle(), SECRET_KEY))
        leader = Leader(client)
        server.refuses[CRDS[1]] = 6
        assert await leader.passes() == Result(requeue_after=30.0)
        assert ca_bundles(server.objects[CRDS[0]]) == [authority().certificate]
        assert [path for _, path in server.writes()] == [CONVERTED[0]]
        del server.objects[CONFIGURATION]
        assert await leader.passes() == Result(requeue_after=30.0)
        server.refuses[SECRET] = 1
        assert await leader.passes() == Result(requeue_after=30.0)


async def test_a_missing_stanza_is_added() -> None:
    """CERT-14, WH-5."""
    async with running() as (server, client):
        server.put(SECRET, written(bundle(), SECRET_KEY))
        server.put(CRDS[0], crd(CONVERTED[0], conversion=False))
        await Leader(client).passes()
        webhook = server.objects[CRDS[0]]["spec"]["conversion"]["webhook"]
        assert webhook["clientConfig"]["service"] == STANZA["service"]
        assert published(server) == {authority().certificate}


async def test_a_secret_that_is_gone_or_spoilt_is_made_again() -> None:
    """CERT-13, CERT-6: what was trusted stays so for a while, and this process follows at once."""
    async with running() as (server, client):
        server.put(SECRET, written(bundle(), SECRET_KEY))
        leader = Leader(client)
        await leader.passes()
        del server.objects[SECRET]
        await leader.passes()
        made = stored(server)
        assert made.previous == (authority().certificate,)
        assert published(server) == {made.authority.certificate + authority().certificate}
        assert leader.woken == 1
        server.objects[SECRET]["data"]["tls.crt"] = "YQ=="
        await leader.passes()
        assert read(server.objects[SECRET]).tidy
        assert stored(server) == made


async def test_a_leaf_is_renewed_while_running() -> None:
    """CERT-13: by the same authority, so nobody's trust has to change."""
    lifetimes = Lifetimes(leaf=timedelta(days=90))
    async with running() as (server, client):
        server.put(SECRET, written(bundle(leaf=leaf(lives=timedelta(days=90))), SECRET_KEY))
        leader = Leader(client, lifetimes)
        await leader.passes()
        leader.clock.time = timedelta(days=59).total_seconds()
        await leader.passes()
        assert leader.woken == 0
        leader.clock.time = timedelta(days=61).total_seconds()
        await leader.passes()
        assert leader.woken == 1
        assert stored(server) == replace(bundle(), leaf=stored(server).leaf)
        assert stored(server).leaf != leaf(lives=timedelta(days=90))
        assert published(server) == {authority().certificate}


async def test_an_authority_is_changed_while_running_with_overlap() -> None:
    """CERT-13: union first, then the leaf, and the old authority goes at the end; each after its time."""
    old = authority("old", lives=timedelta(days=300))
    async with running() as (server, client):
        server.put(SECRET, written(bundle(authority=old, leaf=leaf(by=old)), SECRET_KEY))
        leader = Leader(client)
        first = await leader.passes()
        announced = stored(server)
        new = announced.next_authority
        assert new is not None
        assert announced.leaf == leaf(by=old)
        assert published(server) == {old.certificate + new.certificate}
        assert first == Result(requeue_after=30.0)

        leader.clock.time += 29.0
        await leader.passes()
        # Somebody takes the new authority away again: the wait begins anew.
        server.objects[CRDS[0]]["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"] = ""
        leader.clock.time += 1.0
        await leader.passes()
        assert stored(server) == announced
        leader.clock.time += 30.0
        then = await leader.passes()
        switched = stored(server)
        assert (switched.authority, switched.previous) == (new, (old.certificate,))
        assert switched.leaf != announced.leaf
        assert published(server) == {new.certificate + old.certificate}
        assert then == Result(requeue_after=600.0)

        leader.clock.time += 3599.0
        assert await leader.passes() == Result(requeue_after=30.0)
        assert stored(server) == switched
        leader.clock.time += 1.0
        await leader.passes()
        assert stored(server) == replace(switched, previous=())
        assert published(server) == {new.certificate}
        assert await leader.passes() == Result(requeue_after=600.0)


async def test_a_nudge_queues_the_one_key_at_the_start_and_when_pressed() -> None:
    """CERT-12: there is a pass although no object exists that could cause one."""
    queued: list[NN] = []
    queue: Any = SimpleNamespace(add=queued.append)
    nudge = Nudge()
    nudge.press()
    await nudge.start(queue)
    await nudge.wait_for_sync()
    nudge.press()
    nudge.replay()
    nudge.stop()
    nudge.press()
    assert queued == [NN("", "webhook-cert-sync")] * 3
