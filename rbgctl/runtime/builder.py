"""Says what a controller is, without a connection: what it watches, what it writes, under which names (RT-BL-01..07).

spec = (
    Builder("replicasets")
    .for_(REPLICA_SET, generation_changed)
    .owns(POD)
    .writes(POD, "create", "delete")
    .reconciles(reconcile)
)
manager.add_controller(spec)
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from rbgctl.machinery.gvk import GVK
from rbgctl.runtime.controller import Controller, ControllerOptions, Identity, Reconciler, Services
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.handler import EventHandler, enqueue_object, enqueue_owner
from rbgctl.runtime.informer import KindOptions
from rbgctl.runtime.predicate import Predicate
from rbgctl.runtime.ratelimit import controller_limiter
from rbgctl.runtime.rbac import READ, PolicyRule
from rbgctl.runtime.source import InformerSource, Source


@dataclass(frozen=True, slots=True)
class Watch:
    """One watched kind: which events pass, and to which keys they map."""

    gvk: GVK
    handler: EventHandler
    predicates: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class Writes:
    """Verbs a controller needs beyond reading what it watches."""

    gvk: GVK
    verbs: tuple[str, ...]
    subresource: str = ""
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ControllerSpec:
    """A complete declaration. `build` needs a running process, `rules` does not."""

    identity: Identity
    options: ControllerOptions
    watches: tuple[Watch, ...]
    sources: tuple[Source, ...]
    cached: tuple[tuple[GVK, KindOptions], ...]
    written: tuple[Writes, ...]
    reconciler: Reconciler
    required_crds: tuple[str, ...] = ()

    def declare(self, services: Services) -> None:
        """Declare every cached kind, before the cache starts."""
        for gvk, options in self.cached:
            services.cache.declare(gvk, options)
        for watch in self.watches:
            services.cache.declare(watch.gvk)

    async def build(self, services: Services, *, options: ControllerOptions | None = None) -> Controller:
        """A controller with its sources attached, not started."""
        self.declare(services)
        chosen = options or self.options
        limiter = chosen.limiter() if chosen.limiter is not None else controller_limiter(random.Random())
        controller = Controller(self.identity, self.reconciler, services, chosen, limiter)
        for watch in self.watches:
            await controller.watch(InformerSource(services.cache, watch.gvk, watch.handler, watch.predicates))
        for source in self.sources:
            await controller.watch(source)
        return controller

    def rules(self, mapper: RestMapper) -> list[PolicyRule]:
        """RBAC the controller needs. Raises KeyError for a kind that is not in the mapper's static table."""
        read = dict.fromkeys([g for g, _ in self.cached] + [w.gvk for w in self.watches])
        rules = [PolicyRule(g.group, _plural(mapper, g), READ) for g in read]
        for written in self.written:
            plural = _plural(mapper, written.gvk)
            resource = f"{plural}/{written.subresource}" if written.subresource else plural
            rules.append(PolicyRule(written.gvk.group, resource, written.verbs, written.names))
        return rules


def _plural(mapper: RestMapper, gvk: GVK) -> str:
    resource = mapper.known(gvk)
    if resource is None:
        raise KeyError(f"{gvk} is not in the static resource table")
    return resource.plural


@dataclass(slots=True)
class Builder:
    """Collects a ControllerSpec; every method returns the builder."""

    name: str
    _for: Watch | None = None
    _watches: list[Watch] = field(default_factory=list)
    _sources: list[Source] = field(default_factory=list)
    _cached: list[tuple[GVK, KindOptions]] = field(default_factory=list)
    _written: list[Writes] = field(default_factory=list)
    _filters: list[Predicate] = field(default_factory=list)
    _options: ControllerOptions = field(default_factory=ControllerOptions)
    _user_agent: str = "rbgctl"
    _component: str = ""
    _crds: tuple[str, ...] = ()

    def for_(self, gvk: GVK, *predicates: Predicate) -> "Builder":
        """The kind whose objects are the keys. At most once."""
        if self._for is not None:
            raise ValueError(f"controller {self.name}: for_ can only be used once")
        self._for = Watch(gvk, enqueue_object(), predicates)
        return self

    def owns(self, gvk: GVK, *predicates: Predicate, every_owner: bool = False) -> "Builder":
        """Events of a kind map to its owner of the `for_` kind; only the controller owner unless `every_owner`."""
        if self._for is None:
            raise ValueError(f"controller {self.name}: owns can only be used together with for_")
        owner = self._for.gvk
        handler = enqueue_owner(owner.group, owner.kind, namespaced=True, controller_only=not every_owner)
        self._watches.append(Watch(gvk, handler, predicates))
        return self

    def watches(self, gvk: GVK, handler: EventHandler, *predicates: Predicate) -> "Builder":
        """Events of a kind map to keys by `handler`."""
        self._watches.append(Watch(gvk, handler, predicates))
        return self

    def watches_source(self, source: Source) -> "Builder":
        """Any other source; `with_filter` does not apply to it."""
        self._sources.append(source)
        return self

    def caches(self, gvk: GVK, options: KindOptions | None = None) -> "Builder":
        """How a kind is cached; also kinds that are read without being watched."""
        self._cached.append((gvk, options or KindOptions()))
        return self

    def writes(self, gvk: GVK, *verbs: str, subresource: str = "", names: tuple[str, ...] = ()) -> "Builder":
        """Verbs needed beyond get, list and watch on cached kinds; they become RBAC rules."""
        self._written.append(Writes(gvk, verbs, subresource, names))
        return self

    def with_filter(self, predicate: Predicate) -> "Builder":
        """Put before the predicates of every watched kind."""
        self._filters.append(predicate)
        return self

    def options(self, **changes: Any) -> "Builder":
        """Change ControllerOptions by name."""
        self._options = replace(self._options, **changes)
        return self

    def identified(self, *, user_agent: str, component: str) -> "Builder":
        """User-Agent of its requests and source component of its events."""
        self._user_agent, self._component = user_agent, component
        return self

    def requires(self, *crds: str) -> "Builder":
        """CRD names that must be established before the process starts."""
        self._crds += crds
        return self

    def reconciles(self, reconciler: Reconciler) -> ControllerSpec:
        """Complete the declaration. Raises ValueError when nothing would ever trigger it."""
        watches = [*([self._for] if self._for else []), *self._watches]
        if not watches and not self._sources:
            raise ValueError(
                f"controller {self.name}: there are no watches configured, controller will never get triggered"
            )
        filters = tuple(self._filters)
        return ControllerSpec(
            identity=Identity(
                self.name, self._for.gvk if self._for else None, self._user_agent, self._component or self.name
            ),
            options=self._options,
            watches=tuple(replace(w, predicates=filters + w.predicates) for w in watches),
            sources=tuple(self._sources),
            cached=tuple(self._cached),
            written=tuple(self._written),
            reconciler=reconciler,
            required_crds=self._crds,
        )


OptionsFor = Callable[[ControllerSpec], ControllerOptions]
