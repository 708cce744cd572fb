"""Declares a controller in one sentence, before there is a connection (RT-BL-01 to RT-BL-07).

    def declare() -> Builder:
        return (
            Builder()
            .named("workloads-rolebasedgroup")
            .for_(ROLE_BASED_GROUP, generation_changed)
            .owns(ROLE_INSTANCE_SET)
            .reads(CONFIG_MAP)
            .writes(ROLE_INSTANCE_SET, "create", "patch", "delete")
            .writes(ROLE_BASED_GROUP, "patch", subresource="status")
            .reconciles_with(reconcile)
        )

`declare().complete(manager)` makes the controller and adds it to the manager; `declare().rules(mapper)` says what it
may do, the source of config/rbac.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Self

from rbgctl.machinery.gvk import GVK, NN, Resource
from rbgctl.runtime.causes import noting_causes
from rbgctl.runtime.controller import Controller, ControllerOptions, Reconciler
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.handler import EventHandler, enqueue_object, enqueue_owner
from rbgctl.runtime.kind_options import Form, KindOptions
from rbgctl.runtime.predicate import Predicate
from rbgctl.runtime.rbac import READ, PolicyRule, merged
from rbgctl.runtime.served_kinds import CRD
from rbgctl.runtime.sharding.assignment import ShardKey, own_key
from rbgctl.runtime.source import InformerSource, Source

if TYPE_CHECKING:
    from rbgctl.runtime.manager import Manager

Verb = Literal["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]


class BuilderError(Exception):
    """The declaration cannot make a controller."""


@dataclass(frozen=True, slots=True)
class _Watch:
    gvk: GVK
    # From the owner's scope, known once there is a mapper; None only syncs.
    handler: Callable[[Callable[[GVK], Resource]], EventHandler] | None
    predicates: tuple[Predicate, ...] = ()
    # None: as `caches` says, else whole.
    form: Form | None = None


@dataclass(frozen=True, slots=True)
class _Write:
    gvk: GVK
    verbs: tuple[str, ...]
    subresource: str
    names: tuple[str, ...]


class Builder:
    """See the module. Every method returns the builder itself."""

    def __init__(self) -> None:
        self._name = ""
        self._for: GVK | None = None
        self._watches: list[_Watch] = []
        self._sources: list[Callable[[], Source]] = []
        self._needed: list[GVK] = []
        self._cached: dict[tuple[GVK, Form], KindOptions] = {}
        self._optional: set[GVK] = set()
        self._writes: list[_Write] = []
        self._rules: list[PolicyRule] = []
        self._filters: list[Predicate] = []
        self._options = ControllerOptions()
        self._reconciler: Reconciler | None = None
        self._user_agent = ""
        self._owns = False
        self._component = ""
        self._sharding: tuple[ShardKey, Callable[[NN], None] | None] | None = None

    def named(self, name: str) -> Self:
        """Name in metrics and logs; the lower-cased kind of `for_` by default (RT-BL-05)."""
        self._name = name
        return self

    def for_(self, gvk: GVK, *predicates: Predicate, only_metadata: bool = False) -> Self:
        """The kind whose objects are reconciled; once only.

        only_metadata, here and in the other methods: listen to an informer that fetches no bodies (RT-BL-06).
        """
        if self._for is not None:
            raise BuilderError(
                "For(...) should only be called once, could not assign multiple objects for reconciliation"
            )
        self._for = gvk
        return self._watch(gvk, lambda _: enqueue_object(), predicates, only_metadata)

    def owns(self, gvk: GVK, *predicates: Predicate, every_owner: bool = False, only_metadata: bool = False) -> Self:
        """A kind whose objects belong to those of `for_`: a change reconciles the controller (or every owner)."""

        def handler(resource: Callable[[GVK], Resource]) -> EventHandler:
            owner = self._for
            if owner is None:
                raise BuilderError("Owns() can only be used together with For()")
            return enqueue_owner(
                owner.group, owner.kind, namespaced=resource(owner).namespaced, controller_only=not every_owner
            )

        self._owns = True
        return self._watch(gvk, handler, predicates, only_metadata)

    def watches(self, gvk: GVK, handler: EventHandler, *predicates: Predicate, only_metadata: bool = False) -> Self:
        """Any kind; `handler` says which keys an event concerns."""
        return self._watch(gvk, lambda _: handler, predicates, only_metadata)

    def when_served(self, gvk: GVK) -> Self:
        """Nothing waits for this kind while the server does not serve it (RT-RM-07, RBG-24).

        It is followed as soon as its CRD is installed, and no longer than that stays. `Context.served` tells.
        """
        self._optional.add(gvk)
        return self

    def watches_raw_source(self, source: Callable[[], Source]) -> Self:
        """Any other source, made when the controller is. Global filters do not apply to it (RT-BL-04)."""
        self._sources.append(source)
        return self

    def reads(self, gvk: GVK, options: KindOptions | None = None) -> Self:
        """Cached without causing reconciles: synced before workers start, readable in a reconcile."""
        if options is not None:
            self.caches(gvk, options)
        return self._watch(gvk, None, (), only_metadata=False)

    def caches(self, gvk: GVK, options: KindOptions) -> Self:
        """How this controller wants a kind cached (indexes, hot fields, kept annotations and managers)."""
        known = self._cached.get((gvk, options.form))
        self._cached[gvk, options.form] = known.merged(options) if known is not None else options
        self._needed.append(gvk)
        return self

    def _watch(
        self,
        gvk: GVK,
        handler: Callable[[Callable[[GVK], Resource]], EventHandler] | None,
        predicates: tuple[Predicate, ...],
        only_metadata: bool,
    ) -> Self:
        self._watches.append(_Watch(gvk, handler, predicates, "metadata" if only_metadata else None))
        self._needed.append(gvk)
        return self

    def _form(self, watch: _Watch) -> Form:
        """What a watch listens to: what it asks for, the only form that `caches` names, else the whole."""
        if watch.form is not None:
            return watch.form
        own = {form for gvk, form in self._cached if gvk == watch.gvk}
        return "metadata" if own == {"metadata"} else "full"

    def writes(self, gvk: GVK, *verbs: Verb, subresource: str = "", names: tuple[str, ...] = ()) -> Self:
        """What the controller does to a kind besides reading it through the cache; `names`: to these objects only."""
        self._writes.append(_Write(gvk, verbs, subresource, names))
        return self

    def permits(self, *rules: PolicyRule) -> Self:
        """Rights that no other method expresses."""
        self._rules.extend(rules)
        return self

    def with_filter(self, predicate: Predicate) -> Self:
        """Asked about every informer event, before the predicates of the watch (RT-BL-04)."""
        self._filters.append(predicate)
        return self

    def with_options(self, options: ControllerOptions) -> Self:
        """Concurrency, deadlines, warm-up."""
        self._options = options
        return self

    def acts_as(self, user_agent: str) -> Self:
        """Product name of the client's User-Agent: the field manager of plain writes (RT-ID-04, RT-ID-05)."""
        self._user_agent = user_agent
        return self

    def reports_as(self, component: str) -> Self:
        """Source component of the controller's events (RT-ID-07); the controller name by default."""
        self._component = component
        return self

    def sharded_by(self, shard_key: ShardKey, *, forgets: Callable[[NN], None] | None = None) -> Self:
        """Which keys belong together when several managers share the work, by default each for itself; `forgets` is
        told of every key that another manager takes over.
        """
        self._sharding = shard_key, forgets
        return self

    def reconciles_with(self, reconciler: Reconciler) -> Self:
        """The function that is called with a Context for each key."""
        self._reconciler = reconciler
        return self

    # -- what comes out ---------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Raises BuilderError when there is neither a name nor a kind."""
        if not self._name and self._for is None:
            raise BuilderError("one of For() or Named() must be called")
        return self._name or (self._for.kind.lower() if self._for else "")

    @property
    def informers(self) -> Mapping[tuple[GVK, Form], KindOptions | None]:
        """The kinds it needs cached, and how; None leaves that to others."""
        wanted: dict[tuple[GVK, Form], KindOptions | None] = dict.fromkeys(
            (w.gvk, self._form(w)) for w in self._watches
        )
        wanted.update(self._cached)
        for (gvk, form), options in wanted.items():
            if gvk in self._optional:
                wanted[gvk, form] = replace(options or KindOptions(form=form), optional=True)
        return wanted

    def rules(self, mapper: RestMapper) -> tuple[PolicyRule, ...]:
        """All that the controller may do; watched and read kinds can be got, listed and watched, owners be named.

        `mapper` needs no connection. Raises BuilderError for a kind it does not know.
        """
        known = _known(mapper)
        rules = [PolicyRule(r.gvk.group, r.plural, READ) for r in map(known, dict.fromkeys(self._needed))]
        if any(options is not None and options.optional for options in self.informers.values()):
            rules.append(PolicyRule(CRD.group, known(CRD).plural, READ))
        if self._owns and self._for is not None:
            # Children name it with blockOwnerDeletion, which OwnerReferencesPermissionEnforcement checks.
            rules.append(PolicyRule(self._for.group, f"{known(self._for).plural}/finalizers", ("update",)))
        for write in self._writes:
            plural = known(write.gvk).plural
            resource = f"{plural}/{write.subresource}" if write.subresource else plural
            rules.append(PolicyRule(write.gvk.group, resource, write.verbs, write.names))
        return tuple(merged([*rules, *self._rules]))

    def check(self) -> None:
        """Raises BuilderError when the sentence is not complete."""
        _ = self.name
        if self._reconciler is None:
            raise BuilderError("must provide a non-nil Reconciler")
        if not any(w.handler for w in self._watches) and not self._sources:
            raise BuilderError(
                "there are no watches configured, controller will never get triggered. "
                "Use For(), Owns(), Watches() or WatchesRawSource() to set them up"
            )

    def _all_options(self) -> ControllerOptions:
        if self._sharding is None:
            return self._options
        if self._options.shard_key is not own_key or self._options.forgets is not None:
            raise BuilderError("sharded_by and the options both say which keys belong together: say it once")
        shard_key, forgets = self._sharding
        return replace(self._options, shard_key=shard_key, forgets=forgets)

    def complete(self, manager: "Manager", reconciler: Reconciler | None = None) -> Controller:
        """Make the controller and add it to `manager`.

        Raises BuilderError for an incomplete declaration, ValueError when the name is taken or informers contradict.
        """
        if reconciler is not None:
            self._reconciler = reconciler
        self.check()
        known = _known(manager.mapper)
        sources: list[Source] = []
        for watch in self._watches:
            handler = watch.handler(known) if watch.handler is not None else None
            if handler is not None and manager.tracing.enabled:
                handler = noting_causes(handler)
            predicates = (*self._filters, *watch.predicates)
            sources.append(InformerSource(manager.cache, watch.gvk, handler, predicates, self._form(watch)))
        sources += [make() for make in self._sources]
        for (gvk, form), options in self.informers.items():
            manager.need(gvk, options, form=form)
        assert self._reconciler is not None  # noqa: S101 - check() made sure
        controller = manager.new_controller(
            self.name,
            self._reconciler,
            replace(self._all_options(), max_concurrent=self._options.max_concurrent or manager.concurrency(self._for)),
            kind=self._for,
            event_component=self._component,
            user_agent=self._user_agent,
        )
        for source in sources:
            controller.watch(source)
        manager.add_controller(controller)
        return controller


def _known(mapper: RestMapper) -> Callable[[GVK], Resource]:
    def find(gvk: GVK) -> Resource:
        resource = mapper.known(gvk)
        if resource is None:
            raise BuilderError(f"{gvk} is in no table of resources: give its Resource to the RestMapper")
        return resource

    return find
