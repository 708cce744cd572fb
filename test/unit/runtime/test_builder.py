"""Declarations, and the rights that follow from them."""

import random
from typing import Any

import pytest

from rbgctl.machinery.gvk import GVK, NN, Resource
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
from rbgctl.runtime.source import ChannelSource, InformerSource
from rbgctl.runtime.store import owner_uids

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
    from rbgctl.machinery.owner_references import OwnerRef
    from rbgctl.runtime.store import Entry, Header

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


def test_the_role_is_the_same_for_any_order_of_rules() -> None:
    rules = list(declared().rules(RestMapper(None, *RESOURCES)))
    role = cluster_role("r", rules)
    for seed in range(5):
        random.Random(seed).shuffle(rules)
        assert cluster_role("r", [*rules, *rules]) == role
    assert merged(rules + rules) == merged(rules)
    assert {"apiGroups": ["example.org"], "resources": ["groups/status"], "verbs": ["patch"]} in role["rules"]
