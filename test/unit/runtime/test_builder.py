"""Declarations, and the rights that follow from them."""

import random
from typing import Any

import pytest

from rbgctl.machinery.gvk import GVK, NN, Resource
from rbgctl.machinery.owner_references import OwnerRef
from rbgctl.machinery.selectors import LabelSelector
from rbgctl.runtime.builder import Builder, BuilderError
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.controller import Context, ControllerOptions
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.handler import enqueue_object
from rbgctl.runtime.informer import KindOptions
from rbgctl.runtime.manager import Manager, ManagerOptions
from rbgctl.runtime.predicate import Event
from rbgctl.runtime.rbac import PolicyRule, cluster_role, merged
from rbgctl.runtime.sharding.assignment import by_label
from rbgctl.runtime.source import ChannelSource, InformerSource
from rbgctl.runtime.store import Entry, Header, owner_uids

POD = GVK("", "v1", "Pod")
SERVICE = GVK("", "v1", "Service")
CONFIG_MAP = GVK("", "v1", "ConfigMap")
GROUP = GVK("example.org", "v1", "Group")
CLUSTER_GROUP = GVK("example.org", "v1", "ClusterGroup")
RESOURCES = (Resource(GROUP, "groups", True), Resource(CLUSTER_GROUP, "clustergroups", False))


async def reconcile(ctx: Context) -> None:
    raise AssertionError("nothing runs here")


def manager(**options: Any) -> Manager:
    return Manager(ClusterConfig("http://127.0.0.1:1"), ManagerOptions(**options), resources=RESOURCES)


def complete() -> Builder:
    return Builder().for_(GROUP).reconciles_with(reconcile)


def test_for_may_be_called_once() -> None:  # RT-BL-01
    with pytest.raises(BuilderError, match="should only be called once"):
        Builder().for_(GROUP).for_(POD)


@pytest.mark.parametrize(
    ("builder", "text"),
    [
        (Builder().named("x").owns(POD).reconciles_with(reconcile), r"Owns\(\) can only be used together with For\(\)"),
        (Builder().for_(GROUP), "must provide a non-nil Reconciler"),
        (Builder().watches(POD, enqueue_object()).reconciles_with(reconcile), r"one of For\(\) or Named\(\)"),
        (Builder().named("x").reconciles_with(reconcile), "there are no watches configured"),
        (Builder().named("x").reads(POD).reconciles_with(reconcile), "there are no watches configured"),
        (Builder().for_(GVK("x", "v1", "Unknown")).owns(POD).reconciles_with(reconcile), "no table of resources"),
    ],
)
def test_incomplete_sentences_are_refused(builder: Builder, text: str) -> None:  # RT-BL-01
    with pytest.raises(BuilderError, match=text):
        builder.complete(manager())


def test_name_defaults_to_the_lower_cased_kind() -> None:  # RT-BL-05
    assert complete().name == "group"
    assert complete().named("other").name == "other"


def test_a_name_is_taken_once() -> None:  # RT-CT-07
    m = manager()
    complete().complete(m)
    with pytest.raises(ValueError, match="controller with name group already exists"):
        complete().complete(m)


def test_global_filters_come_before_those_of_a_watch_and_not_on_raw_sources() -> None:  # RT-BL-04
    asked: list[str] = []

    def says(name: str, answer: bool) -> Any:
        def judge(_: Event) -> bool:
            asked.append(name)
            return answer

        return judge

    raw = ChannelSource(enqueue_object())
    builder = (
        Builder()
        .for_(GROUP, says("local", True))
        .owns(POD, says("never asked", True))
        .watches_raw_source(lambda: raw)
        .with_filter(says("first", True))
        .with_filter(says("second", False))
        .reconciles_with(reconcile)
    )
    controller = builder.complete(manager())
    source = controller._sources[0]
    assert isinstance(source, InformerSource)
    source._queue = controller.queue
    source._feed(Event("generic", None))
    assert asked == ["first", "second"]
    assert raw in controller._sources
    assert raw._predicates == ()


@pytest.mark.parametrize(
    ("option", "kinds", "expected"),
    [(5, {"Group.example.org": 4}, 5), (None, {"Group.example.org": 4}, 4), (None, {"Pod": 4}, 3)],
)
def test_concurrency_is_looked_up_option_kind_default(option: int | None, kinds: Any, expected: int) -> None:
    # RT-BL-07
    m = manager(max_concurrent=3, concurrency=kinds)
    controller = complete().with_options(ControllerOptions(max_concurrent=option)).complete(m)
    assert controller.max_concurrent == expected
    assert manager().concurrency(GROUP) == 1


def test_owner_scope_follows_the_kind() -> None:  # RT-EH-02
    for gvk, namespace in ((GROUP, "ns"), (CLUSTER_GROUP, "")):
        controller = Builder().for_(gvk).owns(POD).reconciles_with(reconcile).complete(manager())
        source = controller._sources[1]
        assert isinstance(source, InformerSource)
        source._queue = controller.queue
        source._feed(Event("create", owned_pod(gvk)))
        assert list(controller.queue._items) == [NN(namespace, "owner")]


def owned_pod(gvk: GVK) -> Any:
    ref = OwnerRef(api_version=gvk.api_version, kind=gvk.kind, name="owner", uid="u", controller=True)
    return Entry(Header(namespace="ns", name="p", uid="p", rv="1", owners=(ref,)), b"{")


def test_one_controller_may_leave_to_another_how_a_kind_is_cached() -> None:
    selector = LabelSelector.parse("mine")
    m = manager()
    complete().watches(SERVICE, enqueue_object()).complete(m)
    wishes = KindOptions(labels=selector, indexes={"owner": owner_uids})
    Builder().named("b").watches(SERVICE, enqueue_object()).caches(SERVICE, wishes).reconciles_with(reconcile).complete(
        m
    )
    assert m.cache.informer(SERVICE).options.labels == selector
    assert "owner" in m.cache.informer(SERVICE).options.indexes


def fed(controller: Any, number: int, event: Event) -> list[NN]:
    """The keys that an event of one of its sources adds."""
    source = controller._sources[number]
    assert isinstance(source, InformerSource)
    source._queue = controller.queue
    source._feed(event)
    keys = list(controller.queue._items)
    controller.queue._items.clear()
    return keys


def test_for_queues_the_object_and_owns_its_owner() -> None:
    """RT-BL-02: by default only the controller among the owners, on request every one of the kind."""
    ref = {"api_version": GROUP.api_version, "kind": GROUP.kind}
    owners = (
        OwnerRef(**ref, name="other", uid="o"),
        OwnerRef(**ref, name="mine", uid="m", controller=True),
        OwnerRef(api_version="apps/v1", kind="Group", name="stranger", uid="s"),
    )
    entry = Entry(Header(namespace="ns", name="p", uid="p", rv="1", owners=owners), b"{}")
    controller = complete().owns(POD).owns(SERVICE, every_owner=True).complete(manager())
    assert fed(controller, 0, Event("create", entry)) == [NN("ns", "p")]
    assert fed(controller, 1, Event("create", entry)) == [NN("ns", "mine")]
    assert set(fed(controller, 2, Event("create", entry))) == {NN("ns", "other"), NN("ns", "mine")}


def test_any_kind_any_metadata_and_any_source_can_be_watched() -> None:
    """RT-BL-03: with a handler of its own."""
    raw = ChannelSource(enqueue_object())

    def to(name: str) -> Any:
        return lambda event, queue: queue.add(NN("to", name))

    m = manager()
    controller = (
        Builder()
        .named("x")
        .watches(POD, to("pod"))
        .watches(CONFIG_MAP, to("config"), only_metadata=True)
        .watches_raw_source(lambda: raw)
        .reconciles_with(reconcile)
        .complete(m)
    )
    entry = Entry(Header("ns", "a", "u", "1"), b"{}")
    assert fed(controller, 0, Event("create", entry)) == [NN("to", "pod")]
    assert fed(controller, 1, Event("create", entry)) == [NN("to", "config")]
    assert controller._sources[2] is raw
    assert declared_forms(m) == {(POD, "full"), (CONFIG_MAP, "metadata")}


def declared_forms(m: Manager) -> set[tuple[GVK, str]]:
    for gvk, form in m._needed:
        m.cache.declare(gvk, form=form)
    return set(m.cache.informers)


def test_each_watch_can_do_without_bodies() -> None:
    """RT-BL-06, RT-CA-04: beside another one of the same kind that needs them."""
    m = manager()
    controller = (
        Builder()
        .for_(GROUP, only_metadata=True)
        .owns(POD, only_metadata=True)
        .watches(POD, enqueue_object())
        .watches(SERVICE, enqueue_object(), only_metadata=True)
        .reconciles_with(reconcile)
        .complete(m)
    )
    assert declared_forms(m) == {(GROUP, "metadata"), (POD, "metadata"), (POD, "full"), (SERVICE, "metadata")}
    for source, form in zip(controller._sources, ("metadata", "metadata", "full", "metadata"), strict=True):
        assert isinstance(source, InformerSource)
        assert source._informer().options.form == form


def test_one_controller_s_bodies_do_not_depend_on_another_that_needs_none() -> None:
    """RT-CA-04: in whatever order they were declared."""
    meta = KindOptions(form="metadata")
    for first_is_meta in (True, False):
        m = manager()
        builders = [
            Builder().named("meta").for_(GROUP).reads(POD, meta).reconciles_with(reconcile),
            Builder().named("full").for_(GROUP).watches(POD, enqueue_object()).reconciles_with(reconcile),
        ]
        for builder in builders if first_is_meta else reversed(builders):
            builder.complete(m)
        assert declared_forms(m) == {(GROUP, "full"), (POD, "full"), (POD, "metadata")}


def test_optional_kinds_are_declared_as_such() -> None:
    """RT-RM-07: for this controller's other wishes about the kind too, unless another cannot do without."""
    m = manager()
    wishes = KindOptions(indexes={"owner": owner_uids})
    complete().when_served(SERVICE).watches(SERVICE, enqueue_object()).caches(SERVICE, wishes).complete(m)
    assert m.cache.informer(SERVICE).options.optional
    assert "owner" in m.cache.informer(SERVICE).options.indexes
    Builder().named("needs").watches(SERVICE, enqueue_object()).reconciles_with(reconcile).complete(m)
    declared_forms(m)
    assert not m.cache.informer(SERVICE).options.optional


# ---- rights ----


def declared() -> Builder:
    return (
        Builder()
        .for_(GROUP)
        .owns(POD)
        .watches(SERVICE, enqueue_object())
        .reads(CONFIG_MAP)
        .writes(POD, "create", "delete")
        .writes(GROUP, "patch", subresource="status")
        .writes(CONFIG_MAP, "update", names=("only-this",))
        .permits(PolicyRule("", "nodes", ("get",)))
        .reconciles_with(reconcile)
    )


def test_rights_follow_from_the_declaration_without_a_connection() -> None:
    rules = declared().rules(RestMapper(None, *RESOURCES))
    read = ("get", "list", "watch")
    assert rules == (
        PolicyRule("", "configmaps", read),
        PolicyRule("", "configmaps", ("update",), ("only-this",)),
        PolicyRule("", "nodes", ("get",)),
        PolicyRule("", "pods", ("create", "delete", *read)),
        PolicyRule("", "services", read),
        PolicyRule("example.org", "groups", read),
        PolicyRule("example.org", "groups/finalizers", ("update",)),
        PolicyRule("example.org", "groups/status", ("patch",)),
    )


@pytest.mark.parametrize("declare", ["when_served", "caches", "reads"])
def test_whoever_follows_an_optional_kind_may_watch_crds(declare: str) -> None:
    """RT-RM-07: in whichever way it was said that the kind is optional."""
    builder, optional = complete(), KindOptions(optional=True)
    match declare:
        case "when_served":
            builder.when_served(SERVICE).reads(SERVICE)
        case "caches":
            builder.caches(SERVICE, optional)
        case _:
            builder.reads(SERVICE, optional)
    rule = PolicyRule("apiextensions.k8s.io", "customresourcedefinitions", ("get", "list", "watch"))
    assert rule in builder.rules(RestMapper(None, *RESOURCES))
    assert rule not in complete().rules(RestMapper(None, *RESOURCES))


def test_the_role_is_the_same_for_any_order_of_rules() -> None:
    rules = list(declared().rules(RestMapper(None, *RESOURCES)))
    role = cluster_role("r", rules)
    for seed in range(5):
        random.Random(seed).shuffle(rules)
        assert cluster_role("r", [*rules, *rules]) == role
    assert merged(rules + rules) == merged(rules)
    assert {"apiGroups": ["example.org"], "resources": ["groups/status"], "verbs": ["patch"]} in role["rules"]


@pytest.mark.looptime
async def test_a_kind_that_never_syncs_is_named_as_the_source_it_is(loop_clock: Any) -> None:  # RT-EH-08
    m = Manager(ClusterConfig("http://127.0.0.1:1"), resources=RESOURCES, clock=loop_clock)
    controller = complete().with_options(ControllerOptions(cache_sync_timeout=3.0)).complete(m)
    m.cache.declare(GROUP)
    text = r"failed to wait for group caches to sync kind source: Group\.example\.org: timed out waiting for cache"
    with pytest.raises(TimeoutError, match=text):
        await controller.run()


def test_what_belongs_together_is_said_once_in_either_place() -> None:
    together = by_label("team")
    in_options = ControllerOptions(shard_key=together)
    assert complete().with_options(in_options).complete(manager()).options.shard_key is together
    assert complete().sharded_by(together).complete(manager()).options.shard_key is together
    with pytest.raises(BuilderError, match="say it once"):
        complete().sharded_by(together).with_options(in_options).complete(manager())
