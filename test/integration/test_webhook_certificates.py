"""The API server calls our webhooks over TLS with the certificates that we manage: made, repaired, rotated."""

import asyncio
import base64
import contextlib
import stat
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest
from integration.webhook_overlay import CONFIGURATION_KEY, Installation, client_configs, replica

from rbgctl.api.kinds import RESOURCES, ROLE_BASED_GROUP
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.client import LiveClient, Patch
from rbgctl.runtime.errors import ApiError, Forbidden, InternalError
from rbgctl.runtime.rbac import cluster_role
from rbgctl.runtime.served_kinds import CRD
from rbgctl.runtime.testing.asserts import consistently, eventually, update
from rbgctl.runtime.testing.certificates import Authority
from rbgctl.runtime.testing.envtest import EnvTest, new_namespace
from rbgctl.runtime.testing.loopback import free_port
from rbgctl.webhooks import rights
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
    """CERT-1 to CERT-3, CERT-6 to CERT-8, CERT-10, WH-1, WH-6, WH-9, AR-9, MGR-10: from nothing to good reviews."""
    client, namespace = installed.client, installed.namespace
    installed.whole_schemas = True
    await installed.install()
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
        # A write in v1alpha1 is converted first and judged as v1alpha2; a dry run is judged all the same.
        for gvk in (ROLE_BASED_GROUP, V1ALPHA1):
            for dry in (True, False):
                with pytest.raises(Forbidden, match=r'admission webhook "vrolebasedgroup.kb.io" denied the request'):
                    await client.create(group(namespace, "bad", gvk, dependencies=["nobody"]), dry_run=dry)
        await client.create(group(namespace, "dry"), dry_run=True)
        assert [o["metadata"]["name"] for o in (await client.list(ROLE_BASED_GROUP, namespace)).items] == ["a"]
    # Nobody is left to answer, so nothing is written, by whomever.
    for gvk in (ROLE_BASED_GROUP, V1ALPHA1):
        with pytest.raises(InternalError, match="webhook"):
            await client.create(group(namespace, "b", gvk))


async def test_replicas_that_start_together_share_one_secret_and_do_not_fight(
    installed: Installation, tmp_path: Path
) -> None:
    """CERT-3, CERT-13: and a replica that does not lead may write nothing but this (the gate is shut)."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(index: int) -> None:
            port = installed.port if index == 0 else free_port()
            await stack.enter_async_context(replica(installed, tmp_path / str(index), leads=index == 0, port=port))

        await asyncio.gather(*(start(index) for index in range(3)))
        await trusted(installed)
        data = await installed.secret()
        served = {(tmp_path / str(index) / "tls.crt").read_bytes() for index in range(3)}
        assert served == {data["tls.crt"]}
        before = await installed.versions()
        await consistently(installed.versions, lambda now: now == before, during=3.0)
        await converts(installed.client, installed.namespace, "a")


def with_bundle(value: str | None) -> Callable[[RawObject], None]:
    """An edit that gives the last webhook of an object another caBundle, or none."""

    def change(obj: RawObject) -> None:
        config = client_configs(obj)[-1]
        config.pop("caBundle", None)
        if value is not None:
            config["caBundle"] = value

    return change


async def test_a_ca_bundle_that_was_tampered_with_is_repaired(installed: Installation, tmp_path: Path) -> None:
    """CERT-9, CERT-10, CERT-12: the leader hears of it; a foreign bundle goes, none at all is filled."""
    client = installed.client
    foreign = base64.b64encode(Authority("foreign").pem).decode()
    async with replica(installed, tmp_path):
        await trusted(installed)
        for bundle in (foreign, None):
            for gvk, key in installed.objects():
                before = await client.get(gvk, key)
                await update(client, gvk, key, with_bundle(bundle))
                await trusted(installed)
                after = await client.get(gvk, key)
                assert after["metadata"]["generation"] == before["metadata"]["generation"] + 2  # ours and that edit
        await eventually(partial(converts, client, installed.namespace, "a"), lambda _: True, retry=(ApiError,))


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


async def test_the_least_rights_are_enough(installed: Installation, tmp_path: Path) -> None:
    """RBAC-4, CERT-15: as a service account that may list and watch those objects by name only."""
    client, namespace = installed.client, installed.namespace
    role = cluster_role("webhook-secret", rights.SECRET_RULES)
    meta = {"namespace": namespace, "name": "webhooks"}
    subjects = [{"kind": "ServiceAccount", **meta}]

    def binding(kind: str, name: str) -> RawObject:
        where = {"namespace": namespace} if kind == "Role" else {}
        return {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": f"{kind}Binding",
            "metadata": {"name": namespace, **where},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
            "subjects": subjects,
        }

    objects = (
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        cluster_role(f"webhooks-{namespace}", rights.CLUSTER_RULES),
        binding("ClusterRole", f"webhooks-{namespace}"),
        {**role, "kind": "Role", "metadata": {"namespace": namespace, "name": "webhook-secret"}},
        binding("Role", "webhook-secret"),
    )
    for obj in objects:
        await client.create(obj)
    config = await installed.env.config_for_service_account(namespace, "webhooks")
    async with replica(installed, tmp_path, config=config):
        await trusted(installed)
        for gvk, key in installed.objects():
            await update(client, gvk, key, with_bundle(None))
            await trusted(installed)
        await eventually(partial(converts, client, namespace, "a"), lambda _: True, retry=(ApiError,))
