"""Properties of revision contents and of resolving them, over random templates and random edit sequences."""

import copy
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rbgctl.machinery.canonical_json import canonical_json
from rbgctl.planning.group_revision import group_content
from rbgctl.planning.instance_revision import instance_content
from rbgctl.planning.revisions import Content, name_of, number_of
from rbgctl.planning.set_revision import resolve_set, set_content, truncate_set
from rbgctl.planning.typed_encoding import encode, rendered

QUANTITIES = st.sampled_from(["1", "1000m", 1, 0.5, "500m", "1.500", "1500m", "1Gi", "1024Mi", "100k", 100000])
TEXTS = st.sampled_from(["", "a", "b", "x && y > z", "é\u2028"])
CONTAINERS = st.fixed_dictionaries(
    {"name": st.sampled_from(["c", "d"]), "image": TEXTS},
    optional={
        "args": st.lists(TEXTS, max_size=2),
        "env": st.lists(st.fixed_dictionaries({"name": TEXTS}, optional={"value": TEXTS}), max_size=2),
        "resources": st.fixed_dictionaries({}, optional={"limits": st.dictionaries(TEXTS, QUANTITIES, max_size=2)}),
        "tty": st.booleans(),
        "ports": st.lists(st.fixed_dictionaries({"containerPort": st.integers(0, 2)}), max_size=1),
    },
)
TEMPLATES = st.fixed_dictionaries(
    {"spec": st.fixed_dictionaries({"containers": st.lists(CONTAINERS, min_size=1, max_size=2)})},
    optional={"metadata": st.fixed_dictionaries({}, optional={"labels": st.dictionaries(TEXTS, TEXTS, max_size=2)})},
)
SPECS = st.builds(
    lambda template, size: {"components": [{"name": "m", "size": size, "template": template}]},
    TEMPLATES,
    st.integers(0, 3),
)

SPELLINGS = {"1": "1000m", "1000m": 1, "500m": 0.5, "1.500": "1500m", "1Gi": "1024Mi", "100k": 100000}


def respelled(value: Any, rng: random.Random) -> Any:
    """The same spec written differently: other key order, zero values and nulls added, quantities respelled."""
    if isinstance(value, list):
        return [respelled(item, rng) for item in value]
    if not isinstance(value, dict):
        return value
    result = {key: respelled(item, rng) for key, item in value.items()}
    if "limits" in result:
        result["limits"] = {k: SPELLINGS.get(q, q) if isinstance(q, str) else q for k, q in result["limits"].items()}
    if "image" in result:
        result |= {k: v for k, v in (("stdin", False), ("workingDir", ""), ("volumeMounts", [])) if rng.random() < 0.5}
        result |= {"lifecycle": None, "unknownToGo": {"x": 1}}
    keys = list(result)
    rng.shuffle(keys)
    return {key: result[key] for key in keys}


def stored(content: Content) -> dict[str, Any]:
    return {"metadata": {"name": "n"}, "data": content.payload}


@given(SPECS)
def test_encoding_is_idempotent(spec: Any) -> None:
    # RBG-36, RBG-141
    once = encode("RoleInstanceSpec", spec)
    assert encode("RoleInstanceSpec", once) == once
    assert rendered("RoleInstanceSpec", rendered("RoleInstanceSpec", spec)) == rendered("RoleInstanceSpec", spec)


@given(SPECS)
def test_storing_a_content_loses_nothing(spec: Any) -> None:
    # REV-1
    for make in (set_content, instance_content):
        content = make(spec)
        assert canonical_json(content.payload) == content.encoded
        assert content.same_bytes(stored(content))


@given(SPECS, SPECS, st.randoms(use_true_random=False))
def test_equality_is_reflexive_symmetric_and_blind_to_spelling(one: Any, other: Any, rng: random.Random) -> None:
    # REV-6.2 improvement, RBG-38 improvement
    def as_group(spec: Any) -> Any:
        return {"roles": [{"name": "r", "standalonePattern": {"template": spec["components"][0]["template"]}}]}

    makers = [set_content, instance_content, lambda spec: group_content(as_group(spec))]
    for make in makers:
        a, b = make(one), make(other)
        assert a.same_as(stored(a))
        assert a.same_as(stored(b)) == b.same_as(stored(a))
        again = make(respelled(one, rng))
        assert a.same_as(stored(again))
        assert again.same_as(stored(a))


def owner(spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "workloads.x-k8s.io/v1alpha2",
        "kind": "RoleInstanceSet",
        "metadata": {"name": "g-r", "namespace": "ns", "uid": "u"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "roleInstanceTemplate": spec, "revisionHistoryLimit": 2},
    }


@pytest.fixture
def stores(store: Any) -> Any:
    return type(store)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.randoms(use_true_random=False)), min_size=1, max_size=12)
)
def test_any_sequence_of_edits_settles_and_reuses(stores: Any, edits: Any) -> None:
    # REV-6, REV-7, REV-9: after the writes the plan is empty, each template has one revision, the newest is the update
    store = stores()
    names: dict[int, str] = {}
    for image, stateless, rng in edits:
        spec = {
            "components": [{"name": "m", "template": {"spec": {"containers": [{"name": "c", "image": f"i{image}"}]}}}]
        }
        ris = owner(respelled(spec, rng))
        first = resolve_set(ris, store.all(), stateless=stateless, adopt=True)
        assert first == resolve_set(copy.deepcopy(ris), store.all()[::-1], stateless=stateless, adopt=True)
        store.run(first.steps)
        store.run(truncate_set(ris, first, [], stateless=stateless))
        again = resolve_set(ris, store.all(), stateless=stateless, adopt=True)
        assert again.steps == []
        assert truncate_set(ris, again, [], stateless=stateless) == []
        assert name_of(again.update) == name_of(again.history[-1]) == names.setdefault(image, name_of(again.update))
        assert len({number_of(r) for r in again.history}) == len(again.history) <= 3
