"""Start of a replica, publication, and what follows the Secret, against a server of a few objects."""

import asyncio
import base64
import random
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from unit.webhooks.certificates.made import NAME, NOW, authority, bundle, leaf
from unit.webhooks.certificates.objects_server import (
    CONFIGURATION,
    CRDS,
    SECRET,
    SECRET_KEY,
    ObjectsServer,
    running,
)

from rbgctl.machinery.gvk import NN
from rbgctl.runtime.testing.clocks import START, LoopClock, ManualClock
from rbgctl.webhooks.certificates.authority import KeyPair
from rbgctl.webhooks.certificates.bootstrap import BootstrapFailed, Place, bootstrap
from rbgctl.webhooks.certificates.bundles import Objects, Trust, ca_bundles
from rbgctl.webhooks.certificates.follower import Follower
from rbgctl.webhooks.certificates.publication import NotPublished, Publisher
from rbgctl.webhooks.certificates.rotation import Bundle
from rbgctl.webhooks.certificates.secret import read, written

assert START == NOW


@pytest.fixture
def manual_clock() -> ManualClock:
    return ManualClock()


DONE = (SECRET, *CRDS, CONFIGURATION)


def place(folder: Path, **changes: object) -> Place:
    made = Place(secret=SECRET_KEY, dns_name=NAME, directory=folder, conversion={"url": "https://x/convert"})
    return replace(made, **changes)  # type: ignore[arg-type]


def stored(server: ObjectsServer) -> object:
    return read(server.objects[SECRET]).bundle


def published(server: ObjectsServer) -> set[bytes]:
    return {pem for path in (*CRDS, CONFIGURATION) for pem in ca_bundles(server.objects[path])}


async def test_the_steps_of_a_first_start(tmp_path: Path, manual_clock: ManualClock) -> None:
    """CERT-3, CERT-7, CERT-8: Secret, files, CRDs, then the configuration."""
    async with running() as (server, client):
        made = await bootstrap(client, place(tmp_path / "c"), manual_clock)
        assert server.writes()[0] == ("POST", "secrets")
        assert {w[1] for w in server.writes()[1:3]} == {path.rsplit("/", 1)[1] for path in CRDS}
        assert server.writes()[3:] == [("PATCH", CONFIGURATION.rsplit("/", 1)[1])]
        assert stored(server) == made
        assert (tmp_path / "c" / "tls.crt").read_bytes() == made.leaf.certificate
        assert published(server) == {made.authority.certificate}
        count = len(server.writes())
        assert await bootstrap(client, place(tmp_path / "d"), manual_clock) == made
        assert len(server.writes()) == count  # the next replica finds everything in place


async def test_without_a_namespace_nothing_is_asked(tmp_path: Path, manual_clock: ManualClock) -> None:
    """CERT-1."""
    async with running() as (server, client):
        with pytest.raises(BootstrapFailed, match="POD_NAMESPACE is not set"):
            await bootstrap(client, place(tmp_path, secret=NN("", "rbgs-webhook-cert")), manual_clock)
        assert server.asked == []


async def test_who_loses_the_race_for_the_secret_uses_what_the_winner_wrote(
    tmp_path: Path, manual_clock: ManualClock
) -> None:
    """CERT-3: all start at once."""
    async with running() as (server, client):
        made = await asyncio.gather(*(bootstrap(client, place(tmp_path / str(i)), manual_clock) for i in range(3)))
        assert made[0] == made[1] == made[2] == stored(server)
        assert {(tmp_path / str(i) / "tls.key").read_bytes() for i in range(3)} == {made[0].leaf.key}
        assert published(server) == {made[0].authority.certificate}


async def test_who_loses_the_race_to_renew_uses_what_the_winner_wrote(
    tmp_path: Path, manual_clock: ManualClock
) -> None:
    """CERT-4: a leaf for another name; one update wins, a conflict is no reason to start over."""
    async with running() as (server, client):
        server.put(SECRET, written(bundle(leaf=leaf(name="other")), SECRET_KEY))
        made = await asyncio.gather(*(bootstrap(client, place(tmp_path / str(i)), manual_clock) for i in range(2)))
        assert made[0] == made[1] == stored(server)
        assert made[0].authority == authority()
        assert made[0].leaf != leaf()


async def test_an_authority_that_ends_soon_is_followed_by_another_one_and_serves_on(
    tmp_path: Path, manual_clock: ManualClock
) -> None:
    """CERT-4, CERT-13: nothing is switched at a start; both are trusted from now on."""
    old = authority("old", lives=timedelta(days=100))
    serving = leaf("old", by=old)
    async with running() as (server, client):
        server.put(SECRET, written(bundle(authority=old, leaf=serving), SECRET_KEY))
        made = await bootstrap(client, place(tmp_path), manual_clock)
        assert (made.authority, made.leaf) == (old, serving)
        assert made.next_authority is not None
        assert published(server) == {old.certificate + made.next_authority.certificate}


async def test_authorities_that_are_trusted_are_kept_when_the_secret_is_made_anew(
    tmp_path: Path, manual_clock: ManualClock
) -> None:
    """CERT-13: other replicas may serve under them still."""
    async with running() as (server, client):
        before = await bootstrap(client, place(tmp_path), manual_clock)
        del server.objects[SECRET]
        after = await bootstrap(client, place(tmp_path), manual_clock)
        assert after.previous == (before.authority.certificate,)
        assert published(server) == {after.authority.certificate + before.authority.certificate}


async def test_both_crds_are_tried_and_the_configuration_is_left_alone_when_one_fails(
    manual_clock: ManualClock,
) -> None:
    """CERT-11: five attempts, 0.5, 1, 2 and 4 s apart; errors joined."""
    async with running() as (server, client):
        for path in CRDS:
            server.refuses[path] = 100
        trust = Trust((authority().certificate,), authority().certificate)
        publisher = Publisher(client, client, Objects(), manual_clock)
        with pytest.raises(NotPublished) as failed:
            await publisher.publish(trust)
        assert all(path.rsplit("/", 1)[1] in str(failed.value) for path in CRDS)
        assert [sum(a.path == path for a in server.asked) for path in CRDS] == [5, 5]
        assert not any(a.path == CONFIGURATION for a in server.asked)
        assert manual_clock.time == 2 * 7.5  # both wait on one clock that each moves

        for path in CRDS:
            server.refuses[path] = 4
        assert await publisher.publish(trust) == 3
        assert published(server) == {authority().certificate}


async def test_a_write_of_somebody_else_in_between_is_looked_at_again(manual_clock: ManualClock) -> None:
    """CERT-10: the patch tests what it was made from."""
    async with running() as (server, client):
        original = server._carry_out
        meddled = []

        def meddle(method: str, path: str, body: bytes) -> tuple[int, dict[str, object]]:
            if method == "PATCH" and path == CONFIGURATION and not meddled:
                meddled.append(path)
                server.objects[path]["webhooks"].reverse()
            return original(method, path, body)

        server._carry_out = meddle  # type: ignore[method-assign]
        trust = Trust((authority().certificate,), authority().certificate)
        await Publisher(client, client, Objects(), manual_clock).publish(trust)
        assert published(server) == {authority().certificate}
        names = [w["name"] for w in server.objects[CONFIGURATION]["webhooks"]]
        assert names[-1] == "vrolebasedgroup.kb.io"
        assert meddled


async def test_a_missing_configuration_is_an_error_and_a_missing_stanza_is_none(
    tmp_path: Path, manual_clock: ManualClock
) -> None:
    """CERT-9, CERT-10."""
    async with running() as (server, client):
        server.objects[CRDS[0]]["spec"]["conversion"] = {"strategy": "None"}
        await bootstrap(client, place(tmp_path), manual_clock)
        assert server.objects[CRDS[0]]["spec"]["conversion"] == {"strategy": "None"}
        del server.objects[CONFIGURATION]
        with pytest.raises(BootstrapFailed, match="ValidatingWebhookConfiguration rbgs-validating-webhook-configur"):
            await bootstrap(client, place(tmp_path), manual_clock)


# -- following ---------------------------------------------------------------------------------------------------


class Replica:
    """A follower that serves `bundle()`, and what it told others."""

    def __init__(self, client: object, folder: Path, clock: object) -> None:
        self.reloads = 0
        self.news = 0
        self.follower = Follower(
            client,  # type: ignore[arg-type]
            place(folder),
            bundle(),
            clock,  # type: ignore[arg-type]
            random.Random(1),
            reload=self.reloaded,
            on_news=self.told,
        )

    def reloaded(self) -> None:
        self.reloads += 1

    def told(self) -> None:
        self.news += 1


def trust_everywhere(server: ObjectsServer, *pems: bytes) -> None:
    value = base64.b64encode(b"".join(pems)).decode()
    for path in CRDS:
        server.objects[path]["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"] = value
    for webhook in server.objects[CONFIGURATION]["webhooks"]:
        webhook["clientConfig"]["caBundle"] = value


async def test_a_new_leaf_is_served_once_every_bundle_has_trusted_its_authority_for_a_while(
    tmp_path: Path, manual_clock: ManualClock
) -> None:
    """CERT-13: API servers need time to learn of it. `get` is all that a replica needs."""
    new = bundle("b")
    async with running() as (server, client):
        replica = Replica(client, tmp_path, manual_clock)
        server.put(SECRET, written(new, SECRET_KEY))
        trust_everywhere(server, authority().certificate)
        assert not await replica.follower.look()
        trust_everywhere(server, authority().certificate, authority("b").certificate)
        server.objects[CRDS[1]]["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"] = ""
        assert not await replica.follower.look()
        trust_everywhere(server, authority().certificate, authority("b").certificate)
        assert not await replica.follower.look()
        manual_clock.time += 29.0
        trust_everywhere(server, authority().certificate)
        assert not await replica.follower.look()
        trust_everywhere(server, authority().certificate, authority("b").certificate)
        assert not await replica.follower.look()
        manual_clock.time += 29.0  # the wait has begun anew
        assert not await replica.follower.look()
        assert (replica.reloads, list(tmp_path.iterdir())) == (0, [])
        manual_clock.time += 1.0
        assert await replica.follower.look()
        assert (tmp_path / "tls.crt").read_bytes() == new.leaf.certificate
        assert (replica.reloads, replica.follower.serving) == (1, new)
        assert await replica.follower.look()
        assert (replica.reloads, replica.news) == (1, 1)
        assert {a.method for a in server.asked} == {"GET"}


@pytest.mark.parametrize("between", [bundle(), None, bundle("b", leaf=KeyPair(b"", b""))])
async def test_trust_that_was_seen_for_an_earlier_secret_does_not_count(
    tmp_path: Path, manual_clock: ManualClock, between: Bundle | None
) -> None:
    """CERT-13: nobody has looked at the bundles while the Secret said something else."""
    async with running() as (server, client):
        replica = Replica(client, tmp_path, manual_clock)
        trust_everywhere(server, authority().certificate, authority("b").certificate)
        server.put(SECRET, written(bundle("b"), SECRET_KEY))
        assert not await replica.follower.look()
        if between is None:
            del server.objects[SECRET]
        else:
            server.put(SECRET, written(between, SECRET_KEY))
        await replica.follower.look()
        manual_clock.time += 3600.0
        server.put(SECRET, written(bundle("b"), SECRET_KEY))
        assert not await replica.follower.look()
        manual_clock.time += 30.0
        assert await replica.follower.look()


async def test_another_leaf_of_the_same_authority_is_served_at_once(tmp_path: Path, manual_clock: ManualClock) -> None:
    """CERT-13: API servers know the authority already."""
    new = bundle(leaf=leaf(made=NOW + timedelta(days=1)))
    async with running() as (server, client):
        replica = Replica(client, tmp_path, manual_clock)
        server.put(SECRET, written(new, SECRET_KEY))
        assert await replica.follower.look()
        assert (replica.reloads, replica.follower.serving) == (1, new)


async def test_a_leaf_of_no_use_is_given_up_for_one_that_may_not_be_trusted_yet(
    tmp_path: Path, manual_clock: ManualClock
) -> None:
    # CERT-13
    async with running() as (server, client):
        replica = Replica(client, tmp_path, manual_clock)
        replica.follower.serving = bundle(leaf=leaf(lives=timedelta(seconds=5)))
        manual_clock.time = 60.0
        server.put(SECRET, written(bundle("b"), SECRET_KEY))
        assert await replica.follower.look()


@pytest.mark.parametrize(
    "odd", [bundle(leaf=KeyPair(b"", b"")), bundle("b", leaf=leaf()), bundle(leaf=leaf(name="other"))]
)
async def test_what_is_no_good_in_the_secret_is_not_served_but_reported(
    tmp_path: Path, manual_clock: ManualClock, odd: object
) -> None:
    """CERT-13: the leader is told, as it is of a Secret that is gone."""
    async with running() as (server, client):
        replica = Replica(client, tmp_path, manual_clock)
        assert not await replica.follower.look()  # there is none
        server.put(SECRET, written(odd, SECRET_KEY))  # type: ignore[arg-type]
        served = await replica.follower.look()
        assert (replica.reloads, list(tmp_path.iterdir())) == (0, [])
        assert replica.news == 2
        assert served is (odd.leaf == leaf())  # type: ignore[attr-defined]


@pytest.mark.looptime
async def test_the_secret_is_polled_every_few_minutes_and_when_somebody_knows_better(
    tmp_path: Path,
) -> None:
    """CERT-13: with jitter."""
    loop_clock = LoopClock()
    times: list[float] = []

    class Watched(Follower):
        async def look(self) -> bool:
            times.append(loop_clock.monotonic())
            return True

    follower = Watched(None, place(tmp_path), bundle(), loop_clock, random.Random(3), reload=lambda: None)  # type: ignore[arg-type]
    task = asyncio.create_task(follower.run())
    await asyncio.sleep(3600)
    gaps = [b - a for a, b in pairwise(times)]
    assert all(144 <= gap <= 216 for gap in gaps)
    assert len({round(gap) for gap in gaps}) > 3
    before = len(times)
    follower.wake()
    await asyncio.sleep(1)
    assert len(times) == before + 1
    task.cancel()
