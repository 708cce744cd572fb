"""Models are lossless views: what was decoded comes out again, whatever it was."""

import types
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rbgctl.api.crd.definitions import DEFINITIONS
from rbgctl.api.model import DecodeError, Model
from rbgctl.api.v1alpha2.restart_policy import RestartPolicyConfig
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup, RoleSpec
from rbgctl.api.v1alpha2.roleinstance import ContainerBaseline, RoleInstanceStatus

KINDS = [version.model for definition in DEFINITIONS for version in definition.versions]

texts = st.text(max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
# Unknown keys, among them such as are spelled like Python fields and methods of a model.
unknown_keys = texts | st.sampled_from(
    ["min_ready_seconds", "owner_references", "model_dump", "decode", "model_fields", "spec_", "__class__"]
)


def values(annotation: Any) -> st.SearchStrategy[Any]:
    if get_origin(annotation) is Annotated:
        return values(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return st.one_of(*(values(branch) for branch in get_args(annotation)))
    if get_origin(annotation) is list:
        return st.lists(values(get_args(annotation)[0]), max_size=3)
    if get_origin(annotation) is dict:
        return st.dictionaries(texts, values(get_args(annotation)[1]), max_size=3)
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return st.deferred(lambda: objects(annotation))
    return {
        str: texts,
        int: st.integers(),
        bool: st.booleans(),
        type(None): st.none(),
        Any: json_values,
    }[annotation]


def objects(model: type[Model]) -> st.SearchStrategy[dict[str, Any]]:
    fields = {str(field.alias): values(field.annotation) for field in model.model_fields.values()}
    known = st.fixed_dictionaries({}, optional=fields)
    unknown = st.dictionaries(unknown_keys.filter(lambda key: key not in fields), json_values, max_size=2)
    return st.builds(lambda a, b: {**b, **a}, known, unknown)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.__module__.split('.')[2]}-{kind.__name__}")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_dump_gives_back_what_was_decoded(kind: type[Model], data: st.DataObject) -> None:  # IMP-1 IMP-2
    raw = data.draw(objects(kind))
    model = kind.decode(raw)
    assert model.dump() == raw
    assert kind.decode(model.dump()) == model


def test_absent_null_and_zero_stay_different() -> None:  # IMP-2
    for raw in ({}, {"replicas": None}, {"replicas": 0}):
        assert RoleSpec.decode(raw).dump() == raw


def test_unknown_keys_of_a_role_survive() -> None:  # API-07
    role = {"name": "a", "workload": {"kind": "StatefulSet"}, "template": {"spec": {}}, "restartPolicy": "None"}
    group = {"spec": {"roles": [role]}}
    decoded = RoleBasedGroup.decode(group)
    assert decoded.dump() == group
    assert decoded.roles[0].template is None


def test_int_or_string_keeps_its_type() -> None:  # API-02
    for value in (5, "5", "10%", -1):
        raw = {"rolloutStrategy": {"rollingUpdate": {"partition": value}}}
        decoded = RoleSpec.decode(raw)
        assert decoded.dump() == raw
        assert decoded.rollout_strategy
        assert decoded.rollout_strategy.rolling_update
        assert decoded.rollout_strategy.rolling_update.partition == value
        assert type(decoded.rollout_strategy.rolling_update.partition) is type(value)


def test_restart_policy_is_read_as_string_or_as_object() -> None:  # RP-3 OLD-8 OLD-10
    for stored in ("RecreateRBGOnPodRestart", {"type": "None", "maxDelaySeconds": 9, "else": 1}):
        raw = {"spec": {"roles": [{"name": "a", "leaderWorkerPattern": {"restartPolicy": stored}}]}}
        assert RoleBasedGroup.decode(raw).dump() == raw


def test_a_group_without_spec_has_no_roles() -> None:  # GRP-60
    assert RoleBasedGroup.decode({"metadata": {"name": "a"}}).roles == []
    assert RoleBasedGroup.decode({"spec": {"roles": None}}).roles == []


def test_what_cannot_be_decoded_is_told_by_object_and_field() -> None:
    raw = {
        "metadata": {"namespace": "shop", "name": "front"},
        "spec": {
            "roles": [
                {
                    "name": "a",
                    "replicas": "3",
                    "leaderWorkerPattern": {"size": True, "restartPolicy": 7},
                    "rolloutStrategy": {"rollingUpdate": {"partition": 1.5}},
                }
            ]
        },
    }
    with pytest.raises(DecodeError) as caught:
        RoleBasedGroup.decode(raw)
    assert str(caught.value).startswith("RoleBasedGroup shop/front: ")
    assert {problem.partition(": ")[0] for problem in caught.value.problems} == {
        "spec.roles[0].replicas",
        "spec.roles[0].leaderWorkerPattern.size",
        "spec.roles[0].leaderWorkerPattern.restartPolicy",
        "spec.roles[0].rolloutStrategy.rollingUpdate.partition",
    }
    assert any(problem.endswith("found '3'") for problem in caught.value.problems)


def test_models_made_in_code_dump_only_what_was_given() -> None:
    status = RoleInstanceStatus(
        observed_generation=3,
        in_place_update_container_baselines={"p": {"c": ContainerBaseline(restart_count=0, image_id="sha")}},
    )
    assert status.dump() == {
        "observedGeneration": 3,
        "inPlaceUpdateContainerBaselines": {"p": {"c": {"restartCount": 0, "imageID": "sha"}}},
    }
    assert RestartPolicyConfig(type="None").dump() == {"type": "None"}
