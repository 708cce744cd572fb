"""Discovery against servers that are old, partly broken, or change."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from aiohttp import web
from unit.runtime.conftest import ManualClock
from unit.runtime.scripted import Answer, ScriptedServer, answer, refused

from rbgctl.machinery.gvk import GVK, Resource
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.errors import DiscoveryFailed, NoKindMatch
from rbgctl.runtime.transport import Transport

BOAT = GVK("sea.example.com", "v1", "Boat")
SHIP = GVK("sea.example.com", "v2", "Ship")
CAR = GVK("land.example.com", "v1", "Car")
GROUPS = ("sea.example.com", "land.example.com")


def given(body: Any) -> Answer:
    return answer(200, orjson.dumps(body))


def aggregated(*groups: tuple[str, Mapping[str, list[tuple[str, str]]]], stale: tuple[str, ...] = ()) -> Answer:
    """Per group its versions, each with (kind, plural) of its resources."""
    items = [
        {
            "metadata": {"name": name},
            "versions": [
                {
                    "version": version,
                    "freshness": "Stale" if name in stale else "Current",
                    "resources": [
                        {
                            "resource": plural,
                            "responseKind": {"group": name, "version": version, "kind": kind},
                            "scope": "Namespaced",
                            "subresources": [{"subresource": "status", "responseKind": {"kind": kind}}],
                        }
                        for kind, plural in resources
                    ],
                }
                for version, resources in versions.items()
            ],
        }
        for name, versions in groups
    ]
    return given({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": items})


def resources(*kinds: tuple[str, str]) -> Answer:
    named = [{"kind": kind, "name": plural, "namespaced": True} for kind, plural in kinds]
    below = [{"kind": kind, "name": f"{plural}/status", "namespaced": True} for kind, plural in kinds]
    return given({"kind": "APIResourceList", "resources": [*below[:1], *named, *below]})


def legacy(name: str, preferred: str, *versions: str) -> dict[str, Any]:
    return {
        "name": name,
        "preferredVersion": {"version": preferred},
        "versions": [{"version": version} for version in versions],
    }


@dataclass
class Rig:
    server: ScriptedServer
    mapper: RestMapper
    clock: ManualClock
    routes: dict[str, Answer] = field(default_factory=dict)

    @property
    def asked(self) -> list[str]:
        return [asked.path for asked in self.server.asked]

    async def route(self, request: web.Request) -> web.StreamResponse:
        return await self.routes.get(request.path, refused(404, "NotFound"))(request)

    def old_server(self) -> None:
        """One that knows nothing of aggregated discovery and prefers v2 in the sea."""
        groups = [legacy("sea.example.com", "v2", "v1", "v2"), legacy("land.example.com", "v1", "v1")]
        self.routes |= {
            "/api": given({"kind": "APIVersions", "versions": ["v1"]}),
            "/apis": given({"kind": "APIGroupList", "groups": groups}),
            "/apis/sea.example.com": given({"kind": "APIGroup", **groups[0]}),
            "/apis/land.example.com": given({"kind": "APIGroup", **groups[1]}),
            "/apis/sea.example.com/v1": resources(("Boat", "boats"), ("Ship", "ships")),
            "/apis/sea.example.com/v2": resources(("Ship", "ships")),
            "/apis/land.example.com/v1": resources(("Car", "cars")),
        }

    def new_server(self, *, stale: tuple[str, ...] = ()) -> None:
        self.routes["/api"] = aggregated(("", {"v1": [("Thing", "things")]}))
        self.routes["/apis"] = aggregated(
            ("sea.example.com", {"v2": [("Ship", "ships")], "v1": [("Boat", "boats"), ("Ship", "ships")]}),
            ("land.example.com", {"v1": [] if stale else [("Car", "cars")]}),
            stale=stale,
        )


@pytest.fixture
async def rig(manual_clock: ManualClock) -> AsyncIterator[Rig]:
    async with (
        ScriptedServer().running() as server,
        Transport(ClusterConfig(server.url), clock=manual_clock) as transport,
    ):
        rig = Rig(server, RestMapper(transport, clock=manual_clock), manual_clock)
        server.answers(*[rig.route] * 200)
        yield rig


async def test_old_and_new_servers_give_the_same_mapping(rig: Rig) -> None:
    """RT-RM-01, RT-RM-04: sub-resources are no resources, the preferred version comes first."""
    rig.old_server()
    old = [await rig.mapper.resource(gvk) for gvk in (BOAT, SHIP, CAR)]
    old.append(await rig.mapper.preferred("sea.example.com", "Ship"))
    old.append(await rig.mapper.preferred("sea.example.com", "Boat"))
    assert rig.asked[:3] == ["/api", "/apis", "/apis/sea.example.com/v1"]
    rig.new_server()
    rig.mapper.invalidate()
    rig.server.asked.clear()
    new = [await rig.mapper.resource(gvk) for gvk in (BOAT, SHIP, CAR)]
    new.append(await rig.mapper.preferred("sea.example.com", "Ship"))
    new.append(await rig.mapper.preferred("sea.example.com", "Boat"))
    assert old == new
    assert [(r.plural, r.gvk.version) for r in new[3:]] == [("ships", "v2"), ("boats", "v1")]
    assert rig.asked == ["/api", "/apis"]
    forms = [
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        "application/json",
    ]
    assert [asked.headers["Accept"].split(",") for asked in rig.server.asked] == [forms, forms]


async def test_many_misses_at_once_discover_once(rig: Rig) -> None:
    """RT-RM-01: of different groups too."""
    rig.new_server()
    await asyncio.gather(*(rig.mapper.resource(gvk) for gvk in (BOAT, SHIP, CAR) for _ in range(20)))
    assert rig.asked == ["/api", "/apis"]


@pytest.mark.parametrize("age", ["old", "new"])
async def test_a_broken_group_breaks_no_other(rig: Rig, age: str) -> None:
    """RT-RM-02: what it serves is unknown, not absent."""
    rig.old_server()
    if age == "new":
        rig.new_server(stale=("land.example.com",))
    rig.routes["/apis/land.example.com/v1"] = refused(503, "ServiceUnavailable")
    for _ in range(2):
        with pytest.raises(DiscoveryFailed, match=r"discovery failed for land\.example\.com/v1: ServiceUnavailable"):
            await rig.mapper.resource(CAR)
    assert (await rig.mapper.resource(BOAT)).plural == "boats"
    rig.routes["/apis/land.example.com/v1"] = resources(("Car", "cars"))
    assert (await rig.mapper.resource(CAR)).plural == "cars"


async def test_a_broken_version_breaks_no_other_version(rig: Rig) -> None:
    """RT-RM-02."""
    rig.old_server()
    rig.routes["/apis/sea.example.com/v2"] = refused(503, "ServiceUnavailable")
    assert (await rig.mapper.preferred("sea.example.com", "Boat")).gvk == BOAT
    with pytest.raises(DiscoveryFailed, match=r"sea\.example\.com/v2"):
        await rig.mapper.preferred("sea.example.com", "Raft")


async def test_a_group_that_hangs_holds_up_no_other(rig: Rig) -> None:
    """RT-RM-02."""
    rig.new_server(stale=("land.example.com",))
    reached = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError

    rig.routes["/apis/land.example.com/v1"] = hang
    stuck = asyncio.create_task(rig.mapper.resource(CAR))
    await reached.wait()
    async with asyncio.timeout(5):
        assert (await rig.mapper.resource(BOAT)).plural == "boats"
    stuck.cancel()
    await asyncio.wait([stuck])


async def test_a_version_that_is_gone_is_forgotten(rig: Rig) -> None:
    """RT-RM-02: as soon as the server says so, with every kind it had."""
    rig.new_server()
    assert (await rig.mapper.preferred("sea.example.com", "Ship")).gvk == SHIP
    with pytest.raises(NoKindMatch):
        await rig.mapper.resource(GVK("sea.example.com", "v2", "Raft"))
    assert rig.mapper.known(SHIP) is None
    assert (await rig.mapper.preferred("sea.example.com", "Ship")).gvk.version == "v1"


async def test_a_kind_installed_after_a_miss_is_found_within_seconds(rig: Rig) -> None:
    """RT-RM-03, RT-RM-06."""
    rig.new_server()
    plane = GVK("air.example.com", "v1", "Plane")
    for _ in range(3):
        with pytest.raises(NoKindMatch, match=r'^no matches for kind "Plane" in version "air\.example\.com/v1"$'):
            await rig.mapper.resource(plane)
    assert rig.asked == ["/api", "/apis"]
    rig.routes["/apis/air.example.com/v1"] = resources(("Plane", "planes"))
    rig.clock.time += 5
    assert (await rig.mapper.resource(plane)).plural == "planes"
    assert rig.asked[2:] == ["/apis/air.example.com/v1"]


async def test_who_may_not_list_groups_still_finds_the_one_it_names(rig: Rig) -> None:
    """RT-RM-01."""
    rig.old_server()
    rig.routes["/apis"] = refused(403, "Forbidden")
    assert (await rig.mapper.resource(BOAT)).plural == "boats"


async def test_the_table_needs_no_server(rig: Rig) -> None:
    """RT-RM-08."""
    own = Resource(BOAT, "boaten", True)
    rig.mapper.add_static(own)
    assert await rig.mapper.resource(BOAT) == own
    assert await rig.mapper.preferred("sea.example.com", "Boat") == own
    assert (await rig.mapper.preferred("apps", "Deployment")).plural == "deployments"
    assert rig.asked == []


async def test_forgetting_one_group_leaves_the_others_alone(rig: Rig) -> None:
    rig.old_server()
    for gvk in (BOAT, CAR):
        await rig.mapper.resource(gvk)
    rig.mapper.invalidate("sea.example.com")
    assert rig.mapper.known(BOAT) is None
    assert rig.mapper.known(CAR) is not None


@pytest.mark.parametrize("odd", [answer(200, b"<html>"), given([]), given({"kind": "Pod"})])
async def test_an_answer_that_is_no_discovery_is_told(rig: Rig, odd: Answer) -> None:
    """Not an exception of the JSON library."""
    rig.old_server()
    rig.routes["/apis"] = rig.routes["/apis/sea.example.com/v1"] = odd
    with pytest.raises((DiscoveryFailed, NoKindMatch)):
        await rig.mapper.resource(BOAT)


def test_a_kind_that_was_added_to_the_table_can_be_taken_out_again() -> None:
    """RT-RM-07: an optional kind whose CRD is gone is not known any more."""
    kind = Resource(GVK("example.com", "v1", "Car"), "cars", True)
    mapper = RestMapper()
    mapper.add_static(kind)
    assert mapper.known(kind.gvk) == kind
    mapper.remove_static(kind.gvk)
    assert mapper.known(kind.gvk) is None
