"""The whole control plane with four simulated nodes for the session, and the manager under its service account."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rbgctl.api.kinds import RESOURCES
from rbgctl.playground.deployment import ManagerProcess, deploy
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.testing.envtest import EnvTest, new_namespace

CRDS = Path(__file__).parents[2] / "config" / "crd" / "bases"


@pytest.fixture(scope="session")
async def cluster() -> AsyncIterator[EnvTest]:
    async with EnvTest(nodes=4, crds=[CRDS], static=RESOURCES, audit=True, stage_crd=True) as started:
        yield started


@pytest.fixture
def client(cluster: EnvTest) -> LiveClient:
    return cluster.client(user_agent="user")


@pytest.fixture
async def namespace(client: LiveClient) -> str:
    return await new_namespace(client)


@pytest.fixture(scope="session")
async def manager(cluster: EnvTest) -> AsyncIterator[ManagerProcess]:
    process = await deploy(cluster, "--watch-timeout=10s")
    yield process
    await process.stop()
