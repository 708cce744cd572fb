"""One etcd and kube-apiserver with our CRDs for the whole session; a namespace of its own for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rbgctl.api.kinds import RESOURCES
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.testing.envtest import EnvTest, new_namespace

CRDS = Path(__file__).parents[2] / "config" / "crd" / "bases"


@pytest.fixture(scope="session")
async def env() -> AsyncIterator[EnvTest]:
    async with EnvTest(crds=[CRDS], static=RESOURCES, audit=True) as started:
        yield started


@pytest.fixture
def client(env: EnvTest) -> LiveClient:
    return env.client()


@pytest.fixture
async def namespace(client: LiveClient) -> str:
    return await new_namespace(client)
