"""From kinds to REST resources: a table for what is known, discovery for the rest (RT-RM-01 to RT-RM-08).

The first kind that is not in the table costs one discovery of everything (`/api` and `/apis`); servers that cannot
answer with all resources at once, and later misses, are asked for the group's versions one by one.
"""

import asyncio
from collections.abc import Sequence

import structlog

from rbgctl.machinery.gvk import GVK, Resource
from rbgctl.runtime.clock import Clock, SystemClock
from rbgctl.runtime.discovery_documents import ACCEPT, Group, read_groups, read_resources, read_versions
from rbgctl.runtime.errors import ApiError, DiscoveryFailed, NoKindMatch, NotFound
from rbgctl.runtime.known_kinds import BUILT_IN
from rbgctl.runtime.transport import Transport

__all__ = ["BUILT_IN", "RestMapper"]

_log = structlog.get_logger("rbgctl.runtime.discovery")

NEGATIVE_CACHE_SECONDS = 5.0


class RestMapper:
    """Maps kinds to resources. Kinds of the table cost no request.

    `static` is what the caller knows in addition to the built-in kinds, its own custom resources for instance.
    """

    def __init__(self, transport: Transport | None = None, *static: Resource, clock: Clock | None = None) -> None:
        self._transport = transport
        self._clock = clock or SystemClock()
        self._static: dict[GVK, Resource] = {r.gvk: r for r in BUILT_IN}
        self._found: dict[GVK, Resource] = {}
        self._versions: dict[str, list[str]] = {}
        self._discovered = False
        self._missing: dict[str, float] = {}
        self._incomplete: set[str] | None = None
        self._everything = asyncio.Lock()
        # One per group: an API server behind one group that hangs must not hold up the others.
        self._groups: dict[str, asyncio.Lock] = {}
        self.add_static(*static)

    def add_static(self, *resources: Resource) -> None:
        self._static.update({r.gvk: r for r in resources})

    def remove_static(self, gvk: GVK) -> None:
        """Take a kind out of the table again; what was discovered of it is forgotten too."""
        self._static.pop(gvk, None)
        self._found.pop(gvk, None)

    def known(self, gvk: GVK) -> Resource | None:
        """From the table and what has been discovered, without I/O."""
        return self._static.get(gvk) or self._found.get(gvk)

    async def resource(self, gvk: GVK) -> Resource:
        """Raises NoKindMatch when the server does not serve the kind, DiscoveryFailed when it did not say."""
        found = self.known(gvk)
        if found is not None:
            return found
        async with self._lock(gvk.group):
            if self.known(gvk) is None and not self._recently_missing(gvk.api_version):
                await self._look_for(gvk.group, [gvk.version])
                if self.known(gvk) is None:
                    self._missing[gvk.api_version] = self._clock.monotonic() + NEGATIVE_CACHE_SECONDS
        found = self.known(gvk)
        if found is None:
            raise NoKindMatch(gvk)
        return found

    async def preferred(self, group: str, kind: str) -> Resource:
        """The kind in the version that the server prefers among those that have it, or in the table's first one.

        Raises like `resource`.
        """
        for gvk, resource in self._static.items():
            if (gvk.group, gvk.kind) == (group, kind):
                return resource
        async with self._lock(group):
            found = self._preferred(group, kind)
            if found is None and not self._recently_missing(group):
                await self._look_for(group, [], kind)
                found = self._preferred(group, kind)
                if found is None:
                    self._missing[group] = self._clock.monotonic() + NEGATIVE_CACHE_SECONDS
        if found is None:
            raise NoKindMatch(GVK(group, next(iter(self._versions.get(group, ())), ""), kind))
        return found

    def invalidate(self, group: str | None = None) -> None:
        """Forget what was discovered, and what was missed, about a group or all of them: a CRD came or went."""
        if group is None:
            self._found.clear()
            self._versions.clear()
            self._missing.clear()
            self._discovered = False
            return
        self._found = {gvk: resource for gvk, resource in self._found.items() if gvk.group != group}
        self._versions.pop(group, None)
        self._missing = {name: until for name, until in self._missing.items() if name.rpartition("/")[0] != group}
        self._missing.pop(group, None)

    def _preferred(self, group: str, kind: str) -> Resource | None:
        candidates = (self._found.get(GVK(group, version, kind)) for version in self._versions.get(group, ()))
        return next((resource for resource in candidates if resource is not None), None)

    def _lock(self, group: str) -> asyncio.Lock:
        return self._groups.setdefault(group, asyncio.Lock())

    def _recently_missing(self, name: str) -> bool:
        until = self._missing.get(name)
        return self._transport is None or (until is not None and self._clock.monotonic() < until)

    async def _look_for(self, group: str, versions: Sequence[str], kind: str = "") -> None:
        """Read the given versions of a group, all of them when none are given.

        Raises DiscoveryFailed for versions that gave no answer, unless `kind` turned up in another one.
        """
        if not self._discovered:
            async with self._everything:
                if not self._discovered:
                    self._incomplete = await self._discover_all()
            if self._incomplete is not None and group not in self._incomplete:
                return
        if not versions:
            versions = await self._list_versions(group)
        failed: dict[str, Exception] = {}
        for version in versions:
            try:
                await self._read_version(group, version)
            except ApiError as error:
                failed[f"{group}/{version}" if group else version] = error
        if failed and self._preferred(group, kind) is None:
            raise DiscoveryFailed(failed)

    async def _discover_all(self) -> set[str] | None:
        """One discovery of everything; the groups whose resources are not all known by it, None for all of them."""
        groups: list[Group] = []
        for path in ("/api", "/apis"):
            try:
                groups += read_groups(await self._get(path, ACCEPT))
            except ApiError as error:
                # Whoever may not list groups may still read the one it needs.
                _log.info("cannot discover all kinds", path=path, error=str(error))
                return None
        self._discovered = True
        for group in groups:
            self._versions[group.name] = list(group.versions)
            self._found.update({resource.gvk: resource for resource in group.resources})
        if not any(group.complete for group in groups):
            return None
        return {group.name for group in groups if not group.complete}

    async def _list_versions(self, group: str) -> Sequence[str]:
        try:
            self._versions[group] = read_versions(await self._get(f"/apis/{group}" if group else "/api"))
        except NotFound:
            self._versions.pop(group, None)
        return self._versions.get(group, ())

    async def _read_version(self, group: str, version: str) -> None:
        try:
            document = await self._get(f"/apis/{group}/{version}" if group else f"/api/{version}")
        except NotFound:
            document = b'{"resources": []}'
        served = read_resources(document, group, version)
        self._found = {g: r for g, r in self._found.items() if (g.group, g.version) != (group, version)}
        self._found.update({resource.gvk: resource for resource in served})
        versions = self._versions.setdefault(group, [])
        if not served and version in versions:
            versions.remove(version)
        elif served and version not in versions:
            versions.append(version)

    async def _get(self, path: str, accept: str = "application/json") -> bytes:
        assert self._transport is not None  # noqa: S101 - without one everything counts as missing
        answer = await self._transport.request("GET", path, accept=accept)
        if answer.status != 200:
            raise ApiError.from_response("GET", answer.status, answer.headers, answer.body)
        return answer.body
