"""From kinds to REST resources: a static table for what is known, discovery for the rest (RT-RM-01..08)."""

import asyncio
from typing import Any

import orjson

from rbgctl.machinery.gvk import GVK, Resource
from rbgctl.runtime.clock import Clock, SystemClock
from rbgctl.runtime.errors import ApiError, NoKindMatch, NotFound
from rbgctl.runtime.transport import Transport

NEGATIVE_CACHE_SECONDS = 5.0


def _core(kind: str, plural: str, *, namespaced: bool = True) -> Resource:
    return Resource(GVK("", "v1", kind), plural, namespaced)


def _in(group: str, version: str, kind: str, plural: str, *, namespaced: bool = True) -> Resource:
    return Resource(GVK(group, version, kind), plural, namespaced)


BUILT_IN = (
    _core("Pod", "pods"),
    _core("Service", "services"),
    _core("ConfigMap", "configmaps"),
    _core("Secret", "secrets"),
    _core("Event", "events"),
    _core("ServiceAccount", "serviceaccounts"),
    _core("Node", "nodes", namespaced=False),
    _core("Namespace", "namespaces", namespaced=False),
    _in("apps", "v1", "ControllerRevision", "controllerrevisions"),
    _in("apps", "v1", "Deployment", "deployments"),
    _in("apps", "v1", "StatefulSet", "statefulsets"),
    _in("coordination.k8s.io", "v1", "Lease", "leases"),
    _in("rbac.authorization.k8s.io", "v1", "Role", "roles"),
    _in("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
    _in("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", namespaced=False),
    _in("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False),
    _in(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        namespaced=False,
    ),
    _in(
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        namespaced=False,
    ),
    _in(
        "admissionregistration.k8s.io",
        "v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        namespaced=False,
    ),
)


class RestMapper:
    """Maps kinds to resources. Kinds of the static table cost no request.

    `static` is what the caller knows in addition to the built-in kinds, its own custom resources for instance.
    """

    def __init__(self, transport: Transport | None = None, *static: Resource, clock: Clock | None = None) -> None:
        self._transport = transport
        self._clock = clock or SystemClock()
        self._known: dict[GVK, Resource] = {r.gvk: r for r in BUILT_IN}
        self._missing: dict[str, float] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self.add_static(*static)

    def add_static(self, *resources: Resource) -> None:
        self._known.update({r.gvk: r for r in resources})

    def known(self, gvk: GVK) -> Resource | None:
        """From the table alone, without I/O."""
        return self._known.get(gvk)

    async def resource(self, gvk: GVK) -> Resource:
        """Raises NoKindMatch when the server does not serve the kind."""
        found = self._known.get(gvk)
        if found is not None:
            return found
        if self._transport is None:
            raise NoKindMatch(gvk)
        lock = self._locks.setdefault(gvk.api_version, asyncio.Lock())
        async with lock:
            if gvk not in self._known and not self._recently_missing(gvk.api_version):
                await self._discover(gvk)
        if gvk not in self._known:
            raise NoKindMatch(gvk)
        return self._known[gvk]

    def invalidate(self) -> None:
        """Forget failures, so that a kind installed just now is found at once."""
        self._missing.clear()

    def _recently_missing(self, api_version: str) -> bool:
        until = self._missing.get(api_version)
        return until is not None and self._clock.monotonic() < until

    async def _discover(self, gvk: GVK) -> None:
        assert self._transport is not None  # noqa: S101 - checked by the caller
        path = f"/apis/{gvk.api_version}" if gvk.group else f"/api/{gvk.version}"
        answer = await self._transport.request("GET", path)
        if answer.status == 200:
            for entry in orjson.loads(answer.body).get("resources") or ():
                self._add(gvk, entry)
        else:
            error = ApiError.from_response("GET", answer.status, answer.headers, answer.body)
            if not isinstance(error, NotFound):
                raise error
        if gvk not in self._known:
            self._missing[gvk.api_version] = self._clock.monotonic() + NEGATIVE_CACHE_SECONDS

    def _add(self, gvk: GVK, entry: dict[str, Any]) -> None:
        if "/" in entry["name"]:
            return
        kind = GVK(gvk.group, gvk.version, entry["kind"])
        self._known.setdefault(kind, Resource(kind, entry["name"], bool(entry.get("namespaced"))))
