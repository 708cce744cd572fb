"""The API server calls our webhooks over TLS with the certificates that we manage: made, repaired, rotated."""

import asyncio
import base64
import contextlib
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from integration.webhook_overlay import CONFIGURATION_KEY, Installation, client_configs, replica

from rbgctl.api.kinds import RESOURCES, ROLE_BASED_GROUP
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.client import LiveClient, Patch
from rbgctl.runtime.errors import ApiError, Forbidden, InternalError
from rbgctl.runtime.served_kinds import CRD
from rbgctl.runtime.testing.asserts import consistently, eventually
from rbgctl.runtime.testing.envtest import EnvTest, new_namespace
from rbgctl.webhooks.certificates.bundles import CONFIGURATION, CONVERTED

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


def group(namespace: str, name: str, gvk: GVK = ROLE_BASED_GROUP, **role: object) -> RawObject:
    template = {"spec": {"containers": [{"name": "c", "image": "i"}]}}
    pattern = {"standalonePattern": {"template": template}} if gvk == ROLE_BASED_GROUP else {"template": template}
    return {
        "apiVersion": gvk.api_version,
        "kind": gvk.kind,
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"roles": [{"name": "r", "replicas": 1, **pattern, **role}]},
    }


async def converts(client: LiveClient, namespace: str, name: str) -> None:
    """Written in one version, read in the other: the API server asked us for it."""
    await client.create(group(namespace, name, V1ALPHA1))
    read = await client.get(ROLE_BASED_GROUP, NN(namespace, name))
    assert read["spec"]["roles"][0]["standalonePattern"]["template"]["spec"]["containers"][0]["image"] == "i"


async def trusted(installation: Installation) -> None:
    """Until every caBundle is the authority in the Secret, and nothing but that."""

    async def found() -> bool:
        authority = (await installation.secret())["ca-cert.pem"]
        return all(bundle == authority for bundle in await installation.bundles())

    await eventually(found, timeout=30)


async def test_first_start(installed: Installation, tmp_path: Path) -> None:
    """CERT-1 to CERT-3, CERT-6 to CERT-8, CERT-10, WH-1, MGR-10: from nothing to reviews that succeed."""
    client, namespace = installed.client, installed.namespace
    async with replica(installed, tmp_path / "certs"):
        data = await installed.secret()
        assert set(data) == {"ca-key.pem", "ca-cert.pem", "key.pem", "tls.key", "cert.pem", "tls.crt"}
        assert (data["tls.crt"], data["tls.key"]) == (data["cert.pem"], data["key.pem"])
        secret = await client.get(GVK("", "v1", "Secret"), installed.secret_key)
        assert secret["type"] == "Opaque"
        assert not {"labels", "ownerReferences"} & secret["metadata"].keys()
        files = {p.name: p for p in (tmp_path / "certs").iterdir()}
        assert set(files) == set(data) - {"ca-key.pem"}
        assert all(path.read_bytes() == data[name] for name, path in files.items())
        assert {stat.S_IMODE(p.stat().st_mode) for p in files.values()} == {0o600}
        assert stat.S_IMODE((tmp_path / "certs").stat().st_mode) == 0o750
        assert await installed.bundles() == [data["ca-cert.pem"]] * len(await installed.bundles())

        await converts(client, namespace, "a")
        with pytest.raises(Forbidden, match=r'admission webhook "vrolebasedgroup.kb.io" denied the request'):
            await client.create(group(namespace, "bad", dependencies=["nobody"]))


async def test_replicas_that_start_together_share_one_secret_and_do_not_fight(
    installed: Installation, tmp_path: Path
) -> None:
    """CERT-3, CERT-13: and a replica that does not lead may write nothing but this (the gate is shut)."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(index: int) -> None:
            port = installed.port if index == 0 else 0
            await stack.enter_async_context(
                replica(installed, tmp_path / str(index), leads=index == 0, port=port or await free())
            )

        await asyncio.gather(*(start(index) for index in range(3)))
        await trusted(installed)
        data = await installed.secret()
        served = {(tmp_path / str(index) / "tls.crt").read_bytes() for index in range(3)}
        assert served == {data["tls.crt"]}
        before = await installed.versions()
        await consistently(installed.versions, lambda now: now == before, during=3.0)
        await converts(installed.client, installed.namespace, "a")


async def free() -> int:
    from rbgctl.runtime.testing.loopback import free_port

    return free_port()


@pytest.mark.parametrize("bundle", ["", base64.b64encode(b"rubbish").decode()])
async def test_a_ca_bundle_that_was_tampered_with_is_repaired(
    installed: Installation, tmp_path: Path, bundle: str
) -> None:
    """CERT-9, CERT-10, CERT-12: the leader hears of it, and only what differs is written."""
    client = installed.client
    async with replica(installed, tmp_path):
        await trusted(installed)
        for gvk, key in installed.objects():
            obj = await client.get(gvk, key)
            configs = client_configs(obj)
            configs[-1]["caBundle"] = bundle
            if not bundle:
                del configs[-1]["caBundle"]
            try:
                await client.update(obj)
            except ApiError as error:
                assert "caBundle" in str(error)  # the API server does not even take it
                continue
            await trusted(installed)
        await converts(client, installed.namespace, f"a{len(bundle)}")


async def test_a_missing_conversion_stanza_is_added_by_the_leader(installed: Installation, tmp_path: Path) -> None:
    """CERT-14, CERT-9: a replica that only starts leaves it alone."""
    client, key = installed.client, NN("", CONVERTED[0])
    await client.patch(CRD, key, Patch.merge({"spec": {"conversion": {"strategy": "None", "webhook": None}}}))
    async with replica(installed, tmp_path / "a", leads=False):
        assert (await client.get(CRD, key))["spec"]["conversion"] == {"strategy": "None"}
    async with replica(installed, tmp_path / "b"):

        async def stanza() -> RawObject:
            return (await client.get(CRD, key))["spec"]["conversion"]

        found = await eventually(stanza, lambda s: s["strategy"] == "Webhook", timeout=30)
        assert found["webhook"]["conversionReviewVersions"] == ["v1"]
        assert found["webhook"]["clientConfig"]["url"] == f"https://localhost:{installed.port}/convert"
        await trusted(installed)
        await eventually(
            lambda: converts(client, installed.namespace, "a"), lambda _: True, retry=(ApiError, AssertionError)
        )


async def test_a_webhook_configuration_that_comes_back_is_trusted_again(
    installed: Installation, tmp_path: Path
) -> None:
    """CERT-12: deleted and applied again, as an upgrade does."""
    client, namespace = installed.client, installed.namespace
    async with replica(installed, tmp_path):
        await trusted(installed)
        await client.delete(CONFIGURATION, CONFIGURATION_KEY)
        await client.apply(installed.configuration(), field_manager="envtest")
        await trusted(installed)

        async def refused() -> bool:
            with pytest.raises((Forbidden, InternalError)) as caught:
                await client.create(group(namespace, "bad", dependencies=["nobody"]))
            return "denied the request" in str(caught.value)

        await eventually(refused, timeout=20)
