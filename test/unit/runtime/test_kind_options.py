"""Where kinds are cached, and what they inherit."""

import pytest

from rbgctl.machinery.gvk import GVK, Resource
from rbgctl.machinery.selectors import LabelSelector
from rbgctl.runtime.kind_options import CacheDefaults, KindOptions, NamespaceOptions, Scope, only_in, scopes

PODS = Resource(GVK("", "v1", "Pod"), "pods", True)
NODES = Resource(GVK("", "v1", "Node"), "nodes", False)


def labels(text: str) -> LabelSelector:
    return LabelSelector.parse(text)


LEVELS = [
    NamespaceOptions(
        labels=labels(f"level={n}"),
        fields=f"spec.nodeName=n{n}",
        keep_annotations=(f"a{n}/",),
        keep_managers=frozenset({f"m{n}"}),
    )
    for n in range(4)
]
OPTIONS = ("labels", "fields", "keep_annotations", "keep_managers")


def without(options: NamespaceOptions, name: str) -> NamespaceOptions:
    return NamespaceOptions(**{o: getattr(options, o) for o in OPTIONS if o != name})


@pytest.mark.parametrize("option", OPTIONS)
def test_each_option_comes_from_the_nearest_level_that_names_it(option: str) -> None:
    """RT-CA-02: kind in namespace, kind, namespace, everything."""
    for said in range(5):
        levels = [without(level, option) if n < said else level for n, level in enumerate(LEVELS)]
        kind = KindOptions(
            namespaces={"ns": levels[0]},
            labels=levels[1].labels,
            fields=levels[1].fields,
            keep_annotations=levels[1].keep_annotations or (),
            keep_managers=levels[1].keep_managers or frozenset(),
        )
        (found,) = scopes(kind, CacheDefaults(namespaces={"ns": levels[2], "x": LEVELS[0]}, options=levels[3]), PODS)
        for name in OPTIONS:
            level = said if name == option else 0
            nothing = {"labels": None, "fields": "", "keep_annotations": (), "keep_managers": frozenset()}
            wanted = getattr(LEVELS[level], name) if level < 4 else nothing[name]
            assert getattr(found, name) == wanted, (name, said)


def test_a_level_can_say_everything_against_the_levels_below() -> None:
    """RT-CA-02."""
    mine = NamespaceOptions(labels=LabelSelector(), fields="")
    (found,) = scopes(KindOptions(namespaces={"ns": mine}, labels=labels("x"), fields="a=b"), CacheDefaults(), PODS)
    assert (found.labels, found.fields) == (None, "")


def test_the_namespaces_of_a_kind_replace_those_of_the_defaults() -> None:
    """RT-CA-02, RT-CA-03: one scope per namespace."""
    defaults = CacheDefaults(namespaces=only_in("a", "b"))
    assert paths(KindOptions(), defaults) == ["a", "b"]
    assert paths(KindOptions(namespaces=only_in("c")), defaults) == ["c"]
    assert paths(KindOptions(namespace="d"), defaults) == ["d"]
    assert paths(KindOptions(), CacheDefaults()) == [""]


def paths(options: KindOptions, defaults: CacheDefaults) -> list[str]:
    return [scope.path_namespace for scope in scopes(options, defaults, PODS)]


def test_all_other_namespaces_leave_out_the_named_ones() -> None:
    """RT-CA-03: in addition to a field selector of its own."""
    found = by_namespace(KindOptions(namespaces=only_in("b", "", "a"), fields="status.phase=Running"))
    assert found[""].fields == "metadata.namespace!=a,metadata.namespace!=b,status.phase=Running"
    assert found[""].path_namespace == ""
    assert found["a"].fields == found["b"].fields == "status.phase=Running"
    assert by_namespace(KindOptions(namespaces=only_in("")))[""].fields == ""


def by_namespace(options: KindOptions) -> dict[str, Scope]:
    return {scope.namespace: scope for scope in scopes(options, CacheDefaults(), PODS)}


@pytest.mark.parametrize(
    ("fields", "namespace"),
    [
        ("metadata.namespace=x", "x"),
        ("metadata.namespace==x", "x"),
        ("status.phase=Running,metadata.namespace=x", "x"),
        ("metadata.namespace!=x", ""),
        ("metadata.namespace=x,metadata.namespace=y", ""),
        ("metadata.name=x", ""),
    ],
)
def test_a_field_selector_that_names_one_namespace_asks_only_that_one(fields: str, namespace: str) -> None:
    """RT-CA-03."""
    (found,) = scopes(KindOptions(fields=fields), CacheDefaults(), PODS)
    assert (found.path_namespace, found.fields) == (namespace, fields)


def test_a_cluster_scoped_kind_has_no_namespaces() -> None:
    """RT-CA-03: of its own, that is an error; those of the defaults do not concern it."""
    for options in (KindOptions(namespaces=only_in("a", "b")), KindOptions(namespace="a")):
        with pytest.raises(ValueError, match=r"Node is cluster-scoped: it cannot be cached in namespaces \(a"):
            scopes(options, CacheDefaults(), NODES)
    defaults = CacheDefaults(namespaces={"a": NamespaceOptions(labels=labels("x"))})
    (found,) = scopes(KindOptions(), defaults, NODES)
    assert (found.namespace, found.path_namespace, found.labels) == ("", "", None)


def test_senseless_namespaces_are_refused() -> None:
    """RT-CA-03."""
    with pytest.raises(ValueError, match="namespace or namespaces"):
        KindOptions(namespace="a", namespaces=only_in("b"))
    with pytest.raises(ValueError, match="no namespace"):
        KindOptions(namespaces={})
    with pytest.raises(ValueError, match="nothing"):
        NamespaceOptions(labels=LabelSelector.from_object(None))
