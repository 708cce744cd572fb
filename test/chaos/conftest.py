"""A control plane with two simulated nodes for the session; clients under test reach it through a fault proxy."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rbgctl.api.kinds import RESOURCES
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.testing.envtest import EnvTest, new_namespace
from rbgctl.runtime.testing.fault_proxy import FaultProxy

CRDS = Path(__file__).parents[2] / "config" / "crd" / "bases"


@pytest.fixture(scope="session")
async def cluster() -> AsyncIterator[EnvTest]:
    async with EnvTest(nodes=2, crds=[CRDS], static=RESOURCES) as started:
        yield started


@pytest.fixture
def client(cluster: EnvTest) -> LiveClient:
    return cluster.client(user_agent="user")


@pytest.fixture
async def namespace(client: LiveClient) -> str:
    return await new_namespace(client, "chaos")


@pytest.fixture
async def proxy(cluster: EnvTest) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(cluster.config, seed=random.randrange(1 << 32)) as started:
        print(f"seed {started.seed}")  # shown when the test fails
        yield started
