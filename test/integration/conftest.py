"""One etcd and kube-apiserver with our CRDs for the whole session; a namespace of its own for each test."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
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


@pytest.fixture(scope="session")
async def server_version(env: EnvTest) -> str:
    """The Kubernetes version of the API server, with its v."""
    found: str = orjson.loads((await env.transport().request("GET", "/version")).body)["gitVersion"]
    return found


@pytest.fixture(scope="session")
def newest_version() -> str:
    """The one that hack/controlplane pins and everything but `make test-oldest` runs on."""
    go_mod = Path(__file__).parents[2] / "hack" / "controlplane" / "go.mod"
    found = re.search(r"(?m)^\tk8s\.io/kubernetes (v\S+)$", go_mod.read_text())
    assert found is not None
    return found[1]
