"""From kinds to resources with a real server's discovery."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from rbgctl.machinery.gvk import GVK
from rbgctl.runtime.discovery import BUILT_IN, RestMapper
from rbgctl.runtime.errors import NoKindMatch
from rbgctl.runtime.testing.envtest import EnvTest
from rbgctl.runtime.transport import Transport

JOB = GVK("batch", "v1", "Job")


@dataclass
class Discovery:
    mapper: RestMapper
    asked: list[str] = field(default_factory=list)


@pytest.fixture
async def discovery(env: EnvTest) -> AsyncIterator[Discovery]:
    asked: list[str] = []
    async with Transport(env.config, observer=lambda _method, _code, _host, path, _s: asked.append(path)) as transport:
        yield Discovery(RestMapper(transport), asked)


async def test_the_table_of_known_kinds_is_what_the_server_says(discovery: Discovery) -> None:
    """RT-RM-08."""
    bare = RestMapper(discovery.mapper._transport)
    bare._static.clear()
    for resource in BUILT_IN:
        assert await bare.resource(resource.gvk) == resource


async def test_known_kinds_cost_no_request(discovery: Discovery) -> None:
    """RT-RM-01, RT-RM-08."""
    for resource in BUILT_IN:
        await discovery.mapper.resource(resource.gvk)
    assert discovery.asked == []


async def test_many_misses_at_once_cost_one_request(discovery: Discovery) -> None:
    """RT-RM-01, RT-RM-04: everything is discovered at once, and never again."""
    found = await asyncio.gather(*(discovery.mapper.resource(JOB) for _ in range(50)))
    assert {(r.plural, r.namespaced) for r in found} == {("jobs", True)}
    assert (await discovery.mapper.preferred("autoscaling", "HorizontalPodAutoscaler")).gvk.version == "v2"
    assert (await discovery.mapper.resource(GVK("", "v1", "PersistentVolume"))).namespaced is False
    assert discovery.asked == ["/api", "/apis"]


async def test_one_answer_says_what_the_single_ones_say(discovery: Discovery) -> None:
    """RT-RM-01, RT-RM-04: aggregated discovery, version by version, and no sub-resource among them."""
    await discovery.mapper.resource(JOB)
    together = dict(discovery.mapper._found)
    single = RestMapper(discovery.mapper._transport)
    for group, version in {(gvk.group, gvk.version) for gvk in together}:
        await single._read_version(group, version)
    assert together == single._found
    assert len(together) > 50
    assert not any("/" in resource.plural for resource in together.values())


async def test_an_unknown_kind_is_named_and_not_asked_for_in_a_loop(discovery: Discovery) -> None:
    """RT-RM-03, RT-RM-06."""
    for _ in range(3):
        with pytest.raises(NoKindMatch, match=r'no matches for kind "Ghost" in version "example\.com/v1"'):
            await discovery.mapper.resource(GVK("example.com", "v1", "Ghost"))
    assert discovery.asked == ["/api", "/apis"]


async def test_a_kind_installed_after_a_miss_is_found(discovery: Discovery, env: EnvTest) -> None:
    """RT-RM-03."""
    group = f"g{time.monotonic_ns()}.example.com"
    gvk = GVK(group, "v1", "Boat")
    with pytest.raises(NoKindMatch):
        await discovery.mapper.resource(gvk)
    schema = {"openAPIV3Schema": {"type": "object"}}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"boats.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": "Boat", "plural": "boats"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
    await env.install_crds([crd])
    discovery.mapper.invalidate()
    assert (await discovery.mapper.resource(gvk)).plural == "boats"
