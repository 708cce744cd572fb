"""Certificates change while the API server keeps calling, and not one review fails (CERT-13)."""

import asyncio
import base64
import contextlib
import itertools
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from integration.webhook_overlay import Installation, replica

from rbgctl.api.kinds import COORDINATED_POLICY, RESOURCES, ROLE_BASED_GROUP
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.errors import ApiError
from rbgctl.runtime.served_kinds import CRD
from rbgctl.runtime.testing.asserts import eventually, update
from rbgctl.runtime.testing.envtest import EnvTest, new_namespace
from rbgctl.runtime.testing.loopback import free_port
from rbgctl.webhooks.certificates.authority import new_authority, new_leaf
from rbgctl.webhooks.certificates.bundles import CONVERTED
from rbgctl.webhooks.certificates.lifetimes import Lifetimes
from rbgctl.webhooks.certificates.rotation import Bundle
from rbgctl.webhooks.certificates.secret import SECRET, written

SHORT = Lifetimes(authority=timedelta(seconds=45), leaf=timedelta(seconds=33))
V1ALPHA1 = GVK(ROLE_BASED_GROUP.group, "v1alpha1", ROLE_BASED_GROUP.kind)


@pytest.fixture(scope="module")
async def own() -> AsyncIterator[EnvTest]:
    """A control plane of its own: CRDs and the webhook configuration are cluster-wide."""
    async with EnvTest(static=RESOURCES) as started:
        yield started


@pytest.fixture
async def installed(own: EnvTest) -> Installation:
    client = own.client()
    installation = Installation(own, client, await new_namespace(client))
    await installation.install()
    return installation


def old_group(namespace: str, name: str) -> RawObject:
    """In v1alpha1: writing it asks for a conversion and then for an admission."""
    template = {"spec": {"containers": [{"name": "c", "image": "i"}]}}
    return {
        "apiVersion": V1ALPHA1.api_version,
        "kind": V1ALPHA1.kind,
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"roles": [{"name": "r", "replicas": 1, "template": template}]},
    }


@dataclass
class Reviews:
    """Clients that ask for conversions and admissions without pause, and note what fails."""

    client: LiveClient
    namespace: str
    failures: list[str] = field(default_factory=list)
    done: int = 0

    async def keep_writing(self, number: int) -> None:
        while True:
            await self._note(self.client.create(old_group(self.namespace, f"dry-{number}"), dry_run=True))

    async def keep_reading(self) -> None:
        while True:
            await self._note(self.client.get(V1ALPHA1, NN(self.namespace, "stored")))

    async def _note(self, call: "asyncio.Future[RawObject] | object") -> None:
        try:
            await call  # type: ignore[misc]
            self.done += 1
        except ApiError as error:
            self.failures.append(f"{datetime.now(UTC):%H:%M:%S} {error}")
        await asyncio.sleep(0.02)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self.client.create(old_group(self.namespace, "stored"))
        tasks = [asyncio.create_task(t) for t in (self.keep_writing(1), self.keep_writing(2), self.keep_reading())]
        try:
            yield
            assert not any(task.done() for task in tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def test_no_review_fails_while_leaf_and_authority_rotate(installed: Installation, tmp_path: Path) -> None:
    """CERT-13, WH-10, WH-1: a leader and a replica that only follows; the API server calls now one, now the other."""
    ports = installed.port, free_port()
    reviews = Reviews(installed.client, installed.namespace)
    authorities: dict[bytes, None] = {}
    leaves: dict[bytes, None] = {}
    async with (
        replica(installed, tmp_path / "leader", lifetimes=SHORT),
        replica(installed, tmp_path / "standby", lifetimes=SHORT, leads=False, port=ports[1]) as standby,
        reviews.running(),
    ):
        called = itertools.cycle(reversed(ports))
        async with asyncio.timeout(240):
            for second in itertools.count():
                if len(authorities) >= 4 and len(leaves) >= 5:
                    break
                if second % 6 == 5:
                    await installed.point_at(next(called))  # new connections, to the other replica
                await asyncio.sleep(1.0)
                with contextlib.suppress(ApiError):
                    secret = await installed.secret()
                    authorities[secret["ca-cert.pem"]] = None
                    leaves[secret["cert.pem"]] = None
                assert not reviews.failures
        standby_leaf = (tmp_path / "standby" / "tls.crt").read_bytes()
        assert standby_leaf in list(leaves)[-2:]  # at most one behind
        read = standby.manager.metrics.collectors.get_sample_value("certwatcher_read_certificate_errors_total")
        assert read == 0
    assert not reviews.failures
    assert reviews.done > 100


async def test_no_review_fails_when_the_secret_is_deleted(installed: Installation, tmp_path: Path) -> None:
    """CERT-13, CERT-3: the leader makes new certificates, which are served once they are trusted."""
    reviews = Reviews(installed.client, installed.namespace)
    lifetimes = Lifetimes(authority=timedelta(seconds=90), leaf=timedelta(seconds=90))
    async with (
        replica(installed, tmp_path / "standby", lifetimes=lifetimes, leads=False),
        replica(installed, tmp_path / "leader", lifetimes=lifetimes, port=free_port()),
        reviews.running(),
    ):
        before = await installed.secret()
        await installed.client.delete(SECRET, installed.secret_key)
        after = await eventually(installed.secret, timeout=30)
        assert after["ca-cert.pem"] != before["ca-cert.pem"]
        assert before["ca-cert.pem"] in after["previous-ca-cert.pem"]  # replicas serve under it still
        await eventually(lambda: (tmp_path / "standby" / "tls.crt").read_bytes() == after["tls.crt"], timeout=30)

        async def old_one_gone() -> bool:
            return all(bundle == after["ca-cert.pem"] for bundle in await installed.bundles())

        await eventually(old_one_gone, timeout=60)
        counted = reviews.done
        await eventually(lambda: reviews.done > counted + 20, timeout=30)
    assert not reviews.failures


async def test_an_expired_leaf_is_replaced_at_the_start_by_its_own_authority(
    installed: Installation, tmp_path: Path
) -> None:
    """CERT-4, CERT-5: and the manager starts as if nothing had been."""
    name = f"rbgs-webhook-service.{installed.namespace}.svc"
    long_ago = datetime.now(UTC) - timedelta(days=100)
    authority = new_authority(long_ago, timedelta(days=3650))
    expired = Bundle(authority=authority, leaf=new_leaf(authority, name, long_ago, timedelta(days=30)))
    await installed.client.create(written(expired, installed.secret_key))
    async with replica(installed, tmp_path):
        data = await installed.secret()
        assert data["ca-cert.pem"] == authority.certificate
        assert data["tls.crt"] != expired.leaf.certificate
        await installed.client.create(old_group(installed.namespace, "a"))


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


async def test_certificates_that_another_program_made_are_kept(installed: Installation, tmp_path: Path) -> None:
    """CERT-4, CERT-6, CERT-9: the Secret as the Go operator leaves it, keys PKCS#1; not a byte is written."""
    name = f"rbgs-webhook-service.{installed.namespace}.svc"
    made = tmp_path / "made"
    made.mkdir()
    (made / "ca.cnf").write_text(
        "[req]\ndistinguished_name=dn\nx509_extensions=ext\nprompt=no\n[dn]\nCN=webhook-cert-ca\n[ext]\n"
        "basicConstraints=critical,CA:true\nkeyUsage=critical,digitalSignature,keyEncipherment,keyCertSign\n"
        "subjectAltName=DNS:webhook-cert-ca\nsubjectKeyIdentifier=hash\n"
    )
    (made / "leaf.ext").write_text(
        "keyUsage=critical,digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth\n"
        f"authorityKeyIdentifier=keyid\nsubjectAltName=DNS:localhost,DNS:{name}\n"
    )
    for key in ("ca-key.pem", "key.pem"):
        openssl(made, "genrsa", "-traditional", "-out", key, "2048")
        assert (made / key).read_bytes().startswith(b"-----BEGIN RSA PRIVATE KEY-----")
    openssl(made, "req", "-x509", "-config", "ca.cnf", "-key", "ca-key.pem", "-days", "3650", "-out", "ca-cert.pem")
    openssl(made, "req", "-new", "-key", "key.pem", "-subj", f"/CN={name}"[:64], "-out", "leaf.csr")
    openssl(
        made,
        *("x509", "-req", "-in", "leaf.csr", "-CA", "ca-cert.pem", "-CAkey", "ca-key.pem", "-days", "3650"),
        *("-extfile", "leaf.ext", "-out", "cert.pem"),
    )
    files = {"tls.crt": "cert.pem", "tls.key": "key.pem"} | {
        n: n for n in ("ca-cert.pem", "ca-key.pem", "cert.pem", "key.pem")
    }
    data = {n: base64.b64encode((made / file).read_bytes()).decode() for n, file in files.items()}
    meta = {"namespace": installed.namespace, "name": installed.secret_key.name}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque", "data": data}
    stored = await installed.client.create(secret)
    async with replica(installed, tmp_path / "files"):
        await installed.client.create(old_group(installed.namespace, "a"))
        assert await installed.client.get(SECRET, installed.secret_key) == stored
        assert set(await installed.bundles()) == {(made / "ca-cert.pem").read_bytes()}


async def test_a_cold_start_with_objects_that_only_we_can_convert(installed: Installation, tmp_path: Path) -> None:
    """MGR-12, MGR-10, CR-9: stored in v1alpha1, listed in v1alpha2 by our own cache, through our own /convert."""
    client, key = installed.client, NN("", CONVERTED[0])

    def stored_as(version: str, crd: RawObject) -> None:
        for entry in crd["spec"]["versions"]:
            entry["storage"] = entry["name"] == version

    await update(client, CRD, key, lambda crd: stored_as("v1alpha1", crd))
    try:
        async with replica(installed, tmp_path / "first"):
            await eventually(lambda: client.create(old_group(installed.namespace, "a")), timeout=30)
    finally:
        await update(client, CRD, key, lambda crd: stored_as("v1alpha2", crd))
    await installed.install()  # no certificates and no caBundles any more
    with pytest.raises(ApiError, match="conversion webhook"):
        await client.get(ROLE_BASED_GROUP, NN(installed.namespace, "a"))
    async with replica(installed, tmp_path / "second", kinds=(ROLE_BASED_GROUP,)) as cold:

        def cached() -> object:
            return cold.manager.cache.entry(ROLE_BASED_GROUP, NN(installed.namespace, "a"))

        await eventually(cached, retry=(Exception,), timeout=30)
        assert cold.manager.metrics.relists.collect()[0].samples == []  # the first list went through


async def test_webhooks_answer_and_the_pod_is_ready_although_a_cache_cannot_fill(
    installed: Installation, tmp_path: Path
) -> None:
    """MGR-12, CR-9: readiness is that of the listener; admission and conversion wait for nothing."""
    never = GVK("nobody.example.com", "v1", "Nothing")
    async with replica(installed, tmp_path, kinds=(never, COORDINATED_POLICY), health="127.0.0.1:0") as running:
        await installed.client.create(old_group(installed.namespace, "a"))
        await installed.client.get(V1ALPHA1, NN(installed.namespace, "a"))
        assert not running.manager.cache.informer(never).has_synced
        health = running.manager.health_server
        assert health is not None
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{health.port}/readyz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok")
