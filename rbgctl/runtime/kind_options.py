"""How kinds are cached, and in which namespaces: options and their inheritance (RT-CA-02, RT-CA-03).

What one namespace of one kind is restricted to and keeps comes, for each option by itself, from the first of these
that says anything:

    KindOptions.namespaces[namespace]     this kind in this namespace
    KindOptions                           this kind
    CacheDefaults.kinds[kind]             this kind, whoever declares it
    CacheDefaults.namespaces[namespace]   this namespace
    CacheDefaults                         everything

A kind without namespaces of its own is cached in those of the defaults, a cluster-scoped one as a whole.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from rbgctl.machinery.gvk import GVK, Resource
from rbgctl.machinery.selectors import LabelSelector
from rbgctl.runtime.client import Form
from rbgctl.runtime.store import Hot, IndexFunction

WATCH_TIMEOUT = (300.0, 600.0)
"""Seconds, the range from which each watch request draws its server-side timeout unless options say otherwise."""

ALL_OTHERS = ""
"""As a key of `namespaces`: every namespace that is not named beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceOptions:
    """What one namespace is restricted to and keeps; None leaves that to the next level, see the module.

    labels, fields: only objects that match are cached; `LabelSelector()` and "" mean all, whatever the levels below
    say. keep_annotations, keep_managers: see `KindOptions`.
    """

    labels: LabelSelector | None = None
    fields: str | None = None
    keep_annotations: tuple[str, ...] | None = None
    keep_managers: frozenset[str] | None = None

    def __post_init__(self) -> None:
        _check_labels(self.labels)

    def over(self, base: "NamespaceOptions") -> "NamespaceOptions":
        """These options, and where they say nothing those of `base`."""
        return NamespaceOptions(
            labels=base.labels if self.labels is None else self.labels,
            fields=base.fields if self.fields is None else self.fields,
            keep_annotations=base.keep_annotations if self.keep_annotations is None else self.keep_annotations,
            keep_managers=base.keep_managers if self.keep_managers is None else self.keep_managers,
        )


Namespaces = Mapping[str, NamespaceOptions]


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheDefaults:
    """What holds for kinds that say nothing themselves.

    namespaces: where namespaced kinds are cached; empty means everywhere, the key `ALL_OTHERS` all that are not named.
    kinds: for single kinds in all namespaces. options: for every kind and namespace.
    """

    namespaces: Namespaces = field(default_factory=dict)
    kinds: Mapping[GVK, NamespaceOptions] = field(default_factory=dict)
    options: NamespaceOptions = field(default_factory=NamespaceOptions)


def only_in(*namespaces: str) -> Namespaces:
    """These namespaces, without options of their own. None at all means everywhere."""
    return {namespace: NamespaceOptions() for namespace in namespaces}


@dataclass(frozen=True, slots=True)
class KindOptions:
    """How a kind is cached.

    namespace: short for `namespaces` with this one. namespaces: where it is cached, None leaves that to the defaults of
    the cache. labels: only objects that match are cached (they may be written, but then get no fence when they do not
    match). fields: a field selector; `metadata.namespace=x` asks that namespace only.
    form: "metadata" fetches no bodies. hot: fields the header carries, see `Header.hot`. keep_annotations: key
    prefixes the header carries. keep_managers: managedFields entries kept in bodies. indexes: see `Indexer`.
    resync: seconds after which handlers are told of every object again, varied by 10 %; 0 never (RT-CA-01).
    compress: keep bodies compressed; for kinds that are large and seldom read (RT-MM-08).
    optional: the kind may not be installed; nobody waits for it then, and it is followed when it comes (RT-RM-07).
    """

    namespace: str = ""
    labels: LabelSelector | None = None
    fields: str | None = None
    form: Form = "full"
    hot: Hot | None = None
    keep_annotations: tuple[str, ...] = ()
    keep_managers: frozenset[str] = frozenset()
    indexes: Mapping[str, IndexFunction] = field(default_factory=dict)
    resync: float = 36_000.0
    namespaces: Namespaces | None = None
    compress: bool = False
    optional: bool = False

    def __post_init__(self) -> None:
        _check_labels(self.labels)
        if self.resync and self.resync < 1:
            raise ValueError(f"a resync every {self.resync:g} s: 1 s is the least, 0 is never")
        if self.namespace and self.namespaces is not None:
            raise ValueError("a kind is cached in one namespace or in several: give namespace or namespaces")
        if self.namespaces is not None and not self.namespaces:
            raise ValueError("a kind that is cached in no namespace cannot be watched")

    @property
    def own_namespaces(self) -> Namespaces | None:
        """Where this kind is cached; None: where all are."""
        return only_in(self.namespace) if self.namespace else self.namespaces

    def merged(self, other: "KindOptions") -> "KindOptions":
        """What satisfies two declarations of the same kind and form. Raises ValueError when they contradict."""
        if self._restrictions() != other._restrictions():
            raise ValueError("two declarations restrict the same kind differently")
        if self.form != other.form:
            raise ValueError("a kind and its metadata are cached apart: declare each by itself")
        if self.hot and other.hot and self.hot is not other.hot:
            raise ValueError("two declarations of the same kind name different hot fields")
        for name in self.indexes.keys() & other.indexes.keys():
            if self.indexes[name] is not other.indexes[name]:
                raise ValueError(f"two declarations of the same kind define index {name!r} differently")
        return KindOptions(
            namespace=self.namespace,
            namespaces=self.namespaces,
            labels=self.labels,
            fields=self.fields,
            form=self.form,
            hot=self.hot or other.hot,
            keep_annotations=tuple(dict.fromkeys(self.keep_annotations + other.keep_annotations)),
            keep_managers=self.keep_managers | other.keep_managers,
            indexes={**self.indexes, **other.indexes},
            resync=min((r for r in (self.resync, other.resync) if r), default=0.0),
            compress=self.compress and other.compress,
            optional=self.optional and other.optional,
        )

    def _restrictions(self) -> tuple[Namespaces | None, str, str | None]:
        return self.own_namespaces, str(self.labels), self.fields

    def _shared(self) -> NamespaceOptions:
        return NamespaceOptions(
            labels=self.labels,
            fields=self.fields,
            keep_annotations=self.keep_annotations or None,
            keep_managers=self.keep_managers or None,
        )


@dataclass(frozen=True, slots=True)
class Scope:
    """What one reflector follows: a namespace ("": all, or all others), and which of its objects.

    namespace: key among the namespaces of the kind. path_namespace: the one whose collection is asked. fields: with
    what keeps the other namespaces out.
    """

    namespace: str
    path_namespace: str
    labels: LabelSelector | None
    fields: str
    keep_annotations: tuple[str, ...]
    keep_managers: frozenset[str]


def scopes(options: KindOptions, defaults: CacheDefaults, resource: Resource) -> tuple[Scope, ...]:
    """What to follow of a kind, one scope per namespace (RT-CA-02, RT-CA-03).

    Raises ValueError for a cluster-scoped kind with namespaces of its own.
    """
    own = options.own_namespaces
    kind = options._shared().over(defaults.kinds.get(resource.gvk, NamespaceOptions()))
    if not resource.namespaced:
        if own is not None:
            raise ValueError(
                f"{resource.gvk.group_kind} is cluster-scoped: it cannot be cached in namespaces ({', '.join(own)})"
            )
        return (_scope(ALL_OTHERS, (), kind.over(defaults.options)),)
    chosen = own if own is not None else defaults.namespaces or only_in(ALL_OTHERS)
    found = []
    for namespace, mine in chosen.items():
        levels = mine.over(kind)
        if namespace in defaults.namespaces:
            levels = levels.over(defaults.namespaces[namespace])
        found.append(_scope(namespace, chosen.keys() - {namespace}, levels.over(defaults.options)))
    return tuple(found)


def _scope(namespace: str, others: Collection[str], options: NamespaceOptions) -> Scope:
    terms = [f"metadata.namespace!={other}" for other in sorted(others)] if namespace == ALL_OTHERS else []
    fields = ",".join([*terms, *([options.fields] if options.fields else [])])
    return Scope(
        namespace=namespace,
        path_namespace=namespace or _named_namespace(fields),
        labels=options.labels if options.labels is not None and options.labels.requirements else None,
        fields=fields,
        keep_annotations=options.keep_annotations or (),
        keep_managers=options.keep_managers or frozenset(),
    )


def _named_namespace(fields: str) -> str:
    """The one namespace that a field selector allows, if it names exactly one."""
    terms = (term.replace("==", "=").partition("=") for term in fields.split(","))
    named = {value.strip() for key, _, value in terms if key.strip() == "metadata.namespace"}
    return named.pop() if len(named) == 1 else ""


def _check_labels(labels: LabelSelector | None) -> None:
    if labels is not None and labels.nothing:
        raise ValueError("a selector that matches nothing cannot be watched")


__all__ = [
    "ALL_OTHERS",
    "CacheDefaults",
    "Form",
    "KindOptions",
    "NamespaceOptions",
    "Namespaces",
    "Scope",
    "only_in",
    "scopes",
]
