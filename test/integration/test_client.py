"""The live client against a real API server."""

import asyncio
import copy
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.testing import capture_logs

from rbgctl.api.kinds import ROLE_INSTANCE
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.machinery.selectors import LabelSelector
from rbgctl.runtime.client import LiveClient, Patch, retry_on_conflict
from rbgctl.runtime.conflict_retry import Steps
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.errors import ApiError, BadRequest, Conflict, Invalid, NotFound, UnsupportedMediaType
from rbgctl.runtime.testing.envtest import EnvTest
from rbgctl.runtime.transport import Transport

CONFIG_MAP = GVK("", "v1", "ConfigMap")
DEPLOYMENT = GVK("apps", "v1", "Deployment")
POD = GVK("", "v1", "Pod")
PDB = GVK("policy", "v1", "PodDisruptionBudget")


@dataclass
class Requests:
    """Method and path of every attempt."""

    sent: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, method: str, code: str, host: str, path: str, seconds: float) -> None:
        self.sent.append((method, path))


@pytest.fixture
def requests() -> Requests:
    return Requests()


@pytest.fixture
async def client(env: EnvTest, requests: Requests) -> AsyncIterator[LiveClient]:
    async with Transport(env.config, observer=requests) as transport:
        yield LiveClient(transport, RestMapper(transport, *env._static), user_agent="tester/v1 (linux/amd64)")


def config_map(namespace: str, name: str = "a", **meta: Any) -> RawObject:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": namespace, "name": name, **meta},
        "data": {"k": "v"},
    }


def deployment(namespace: str) -> RawObject:
    labels = {"app": "a"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "a", "namespace": namespace},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template},
    }


EVICTION: RawObject = {"apiVersion": "policy/v1", "kind": "Eviction"}


def pod_named(namespace: str, name: str = "p") -> RawObject:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }


def instance(namespace: str) -> RawObject:
    return {
        "apiVersion": ROLE_INSTANCE.api_version,
        "kind": ROLE_INSTANCE.kind,
        "metadata": {"name": "i", "namespace": namespace},
        "spec": {"components": [{"name": "c", "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}]},
    }


# -- reading ---------------------------------------------------------------------------------------------------------


async def test_an_incomplete_key_is_refused_before_any_request(client: LiveClient, requests: Requests) -> None:
    """RT-CL-01."""
    with pytest.raises(ValueError, match="a name is required"):
        await client.get(CONFIG_MAP, NN("ns", ""))
    with pytest.raises(ValueError, match="a namespace is required"):
        await client.get(CONFIG_MAP, NN("", "a"))
    with pytest.raises(ValueError, match="a namespace is required"):
        await client.create(config_map(""))
    with pytest.raises(ValueError, match="field manager"):
        await client.apply(config_map("ns"), field_manager="")
    assert requests.sent == []


async def test_what_is_missing_is_named_by_resource(client: LiveClient, namespace: str) -> None:
    """RT-ER-05."""
    with pytest.raises(NotFound, match='configmaps "a" not found'):
        await client.get(CONFIG_MAP, NN(namespace, "a"))
    with pytest.raises(NotFound):
        await client.delete(CONFIG_MAP, NN(namespace, "a"))


async def test_a_list_is_read_in_pages_of_one_snapshot(client: LiveClient, requests: Requests, namespace: str) -> None:
    """RT-CL-02."""
    for n in range(7):
        await client.create(config_map(namespace, f"m{n}"))
    requests.sent.clear()
    found = await client.list(CONFIG_MAP, namespace, limit=2)
    assert [o["metadata"]["name"] for o in found.items] == [f"m{n}" for n in range(7)]
    assert {(o["apiVersion"], o["kind"]) for o in found.items} == {("v1", "ConfigMap")}
    assert len(requests.sent) == 4
    assert int(found.resource_version) >= max(int(o["metadata"]["resourceVersion"]) for o in found.items)


async def test_selectors_narrow_lists_and_watches(client: LiveClient, namespace: str) -> None:
    """RT-CL-02, RT-SL-02."""
    for name, labels in (("a", {"x": "1"}), ("b", {"x": "2"}), ("c", {})):
        await client.create(config_map(namespace, name, labels=labels))

    async def names(**narrow: Any) -> list[str]:
        return [o["metadata"]["name"] for o in (await client.list(CONFIG_MAP, namespace, **narrow)).items]

    assert await names(labels=LabelSelector.parse("x in (1,2),x!=2")) == ["a"]
    assert await names(labels=LabelSelector.has("x")) == ["a", "b"]
    assert await names(fields="metadata.name=c") == ["c"]
    async for kind, obj in client.watch(CONFIG_MAP, namespace, labels=LabelSelector.labels({"x": "2"}), timeout=10):
        assert (kind, obj["metadata"]["name"]) == ("ADDED", "b")
        break


async def test_a_watch_from_a_lists_version_shows_only_what_came_later(client: LiveClient, namespace: str) -> None:
    """RT-RV-05."""
    await client.create(config_map(namespace, "before"))
    listed = await client.list(CONFIG_MAP, namespace)
    await client.create(config_map(namespace, "after"))
    await client.delete(CONFIG_MAP, NN(namespace, "before"))
    seen = []
    async for kind, obj in client.watch(CONFIG_MAP, namespace, rv=listed.resource_version, timeout=10):
        seen.append((kind, obj["metadata"]["name"]))
        if len(seen) == 2:
            break
    assert seen == [("ADDED", "after"), ("DELETED", "before")]


# -- create, update, patch -------------------------------------------------------------------------------------------


async def test_create_gives_a_new_object_and_leaves_the_argument_alone(client: LiveClient, namespace: str) -> None:
    """RT-CL-03, RT-CL-14."""
    wanted = config_map(namespace)
    del wanted["metadata"]["name"]
    wanted["metadata"]["generateName"] = "some-"
    made = await client.create(wanted)
    assert made["metadata"]["name"].startswith("some-")
    assert made["metadata"]["uid"]
    assert wanted["metadata"] == {"namespace": namespace, "generateName": "some-"}


async def test_a_dry_run_stores_nothing(client: LiveClient, namespace: str) -> None:
    """RT-CL-11: whatever the verb."""
    made = await client.create(config_map(namespace), dry_run=True)
    assert made["metadata"]["uid"]
    with pytest.raises(NotFound):
        await client.get(CONFIG_MAP, NN(namespace, "a"))
    stored = await client.create(config_map(namespace))
    key, changed = NN.of(stored), {**stored, "data": {"k": "dry"}}
    assert (await client.update(changed, dry_run=True))["data"] == {"k": "dry"}
    assert (await client.patch(CONFIG_MAP, key, Patch.merge({"data": {"k": "dry"}}), dry_run=True))["data"][
        "k"
    ] == "dry"
    applied = {**config_map(namespace), "data": {"k": "dry"}}
    assert (await client.apply(applied, field_manager="one", dry_run=True))["data"] == {"k": "dry"}
    await client.delete(CONFIG_MAP, key, dry_run=True)
    await client.delete_collection(CONFIG_MAP, namespace, dry_run=True)
    assert await client.get(CONFIG_MAP, key) == stored
    pod = await client.create(pod_named(namespace))
    await client.create_subresource(POD, NN.of(pod), "eviction", EVICTION, dry_run=True)
    assert (await client.get(POD, NN.of(pod)))["metadata"]["uid"] == pod["metadata"]["uid"]


async def test_unknown_fields_are_dropped_told_or_refused(client: LiveClient, namespace: str) -> None:
    """RT-CL-11: as the caller wants it, for every verb that has a body."""
    odd = {**config_map(namespace), "colour": "red"}
    with capture_logs() as logs:
        made = await client.create(odd, field_validation="Ignore")
        assert logs == []
        await client.update({**made, "colour": "red"}, field_validation="Warn")
    assert [entry["warning"] for entry in logs] == ['unknown field "colour"']
    calls = (
        lambda: client.create(odd, field_validation="Strict"),
        lambda: client.update({**made, "colour": "red"}, field_validation="Strict"),
        lambda: client.patch(CONFIG_MAP, NN.of(made), Patch.merge({"colour": "red"}), field_validation="Strict"),
    )
    for call in calls:
        with pytest.raises((BadRequest, Invalid), match='strict decoding error: unknown field "colour"'):
            await call()


async def test_no_verb_changes_its_arguments(client: LiveClient, namespace: str) -> None:
    """RT-CL-14: every answer is an object of its own."""
    made = await client.create(config_map(namespace))
    dep = await client.create(deployment(namespace))
    pod = await client.create(pod_named(namespace))
    scale = await client.get_scale(DEPLOYMENT, NN.of(dep))
    patch = Patch.merge({"metadata": {"labels": {"x": "1"}}})
    given = (made, dep, scale, patch.body, EVICTION, applied := config_map(namespace))
    before = copy.deepcopy(given)
    answers = [
        await client.update(made),
        await client.update(dep, subresource="status"),
        await client.patch(CONFIG_MAP, NN.of(made), patch),
        await client.apply(applied, field_manager="one"),
        await client.update_subresource(DEPLOYMENT, NN.of(dep), "scale", scale),
        await client.create_subresource(POD, NN.of(pod), "eviction", EVICTION),
    ]
    assert given == before
    assert not {id(answer) for answer in answers} & {id(argument) for argument in given}


async def test_what_was_read_as_metadata_can_be_patched_and_deleted_but_not_written(
    client: LiveClient, requests: Requests, namespace: str
) -> None:
    """RT-CL-12: writing it back would wipe everything else."""
    made = await client.create(config_map(namespace))
    key = NN.of(made)
    (listed,) = [o for o in (await client.list(CONFIG_MAP, namespace, form="metadata")).items if NN.of(o) == key]
    read = await client.get(CONFIG_MAP, key, form="metadata")
    assert read == listed
    assert set(read) == {"apiVersion", "kind", "metadata"}
    assert (read["apiVersion"], read["kind"]) == ("v1", "ConfigMap")
    requests.sent.clear()
    for partial in (read, listed, {**read, "kind": "PartialObjectMetadata"}):
        for write in (client.create, client.update):
            with pytest.raises(ValueError, match="nothing but metadata"):
                await write(partial)
        with pytest.raises(ValueError, match="nothing but metadata"):
            await client.apply(partial, field_manager="one")
    assert requests.sent == []
    patched = await client.patch(CONFIG_MAP, key, Patch.merge({"metadata": {"labels": {"x": "1"}}}))
    assert patched["data"] == {"k": "v"}
    assert await client.delete(CONFIG_MAP, key) is None


async def test_an_update_needs_the_current_version(client: LiveClient, namespace: str) -> None:
    """RT-CL-04: without a version it is unconditional where the kind permits, and refused for custom resources."""
    made = await client.create(config_map(namespace))
    await client.update({**made, "data": {"k": "2"}})
    with pytest.raises(Conflict):
        await client.update({**made, "data": {"k": "3"}})
    free = await client.update({**config_map(namespace), "data": {"k": "4"}})
    assert free["data"] == {"k": "4"}
    custom = await client.create(instance(namespace))
    del custom["metadata"]["resourceVersion"]
    with pytest.raises(Invalid, match="resourceVersion"):
        await client.update(custom)


async def test_a_status_write_changes_only_the_status(client: LiveClient, namespace: str) -> None:
    """RT-CL-10."""
    made = await client.create(deployment(namespace))
    changed = {**made, "spec": {**made["spec"], "replicas": 9}, "status": {"replicas": 5, "readyReplicas": 5}}
    after = await client.update(changed, subresource="status")
    assert after["spec"]["replicas"] == 2
    assert after["status"]["replicas"] == 5
    patched = await client.patch(
        DEPLOYMENT, NN.of(made), Patch.merge({"spec": {"replicas": 7}, "status": {"replicas": 6}}), subresource="status"
    )
    assert (patched["spec"]["replicas"], patched["status"]["replicas"]) == (2, 6)


async def test_patches_of_each_type(client: LiveClient, namespace: str) -> None:
    """RT-CL-05, RT-CL-06: custom resources know no strategic merge."""
    key = NN.of(await client.create(config_map(namespace)))
    merged = await client.patch(CONFIG_MAP, key, Patch.merge({"data": {"k": None, "m": "1"}}))
    assert merged["data"] == {"m": "1"}
    replaced = await client.patch(CONFIG_MAP, key, Patch.json([{"op": "replace", "path": "/data/m", "value": "2"}]))
    assert replaced["data"] == {"m": "2"}
    same = await client.patch(CONFIG_MAP, key, Patch.merge({}))
    assert same["metadata"]["resourceVersion"] == replaced["metadata"]["resourceVersion"]
    dep = await client.create(deployment(namespace))
    container = {"name": "c", "env": [{"name": "E", "value": "1"}]}
    strategic = Patch.strategic({"spec": {"template": {"spec": {"containers": [container]}}}})
    after = await client.patch(DEPLOYMENT, NN.of(dep), strategic)
    assert after["spec"]["template"]["spec"]["containers"][0]["image"] == "i"
    custom = await client.create(instance(namespace))
    with pytest.raises(UnsupportedMediaType):
        await client.patch(ROLE_INSTANCE, NN.of(custom), Patch.strategic({"spec": {}}))


async def test_a_patch_may_name_the_version_and_uid_it_is_meant_for(client: LiveClient, namespace: str) -> None:
    """RT-CL-06."""
    made = await client.create(config_map(namespace))
    key, rv = NN.of(made), made["metadata"]["resourceVersion"]
    await client.patch(CONFIG_MAP, key, Patch.merge({"metadata": {"resourceVersion": rv}, "data": {"k": "2"}}))
    with pytest.raises(Conflict):
        await client.patch(CONFIG_MAP, key, Patch.merge({"metadata": {"resourceVersion": rv}, "data": {"k": "3"}}))
    with pytest.raises(Invalid, match=r"metadata\.uid"):
        await client.patch(CONFIG_MAP, key, Patch.merge({"metadata": {"uid": "other"}, "data": {"k": "3"}}))


async def test_plain_writes_are_recorded_under_the_first_word_of_the_user_agent(
    client: LiveClient, namespace: str
) -> None:
    """RT-ID-04, RT-ID-05: unless the caller names a manager."""
    made = await client.create(config_map(namespace))
    await client.patch(CONFIG_MAP, NN.of(made), Patch.merge({"data": {"x": "1"}}), field_manager="named")
    live = await client.get(CONFIG_MAP, NN.of(made))
    assert {m["manager"] for m in live["metadata"]["managedFields"]} == {"tester", "named"}


async def test_what_is_wrong_with_an_object_is_told_by_field(client: LiveClient, namespace: str) -> None:
    """RT-ER-14."""
    bad = config_map(namespace)
    bad["metadata"]["labels"] = {"x": "not a label!"}
    with pytest.raises(Invalid) as refused:
        await client.create(bad)
    assert [c.field for c in refused.value.causes] == ["metadata.labels"]


async def test_a_refusal_says_everything_a_status_can(client: LiveClient, namespace: str) -> None:
    """RT-ER-01: what, of which kind and group, and every cause with its reason, text and field."""
    bad = deployment(namespace)
    bad["spec"]["replicas"] = -1
    bad["metadata"]["labels"] = {"x": "not a label!"}
    with pytest.raises(Invalid) as refused:
        await client.create(bad)
    error = refused.value
    assert (error.status["status"], error.reason, error.code) == ("Failure", "Invalid", 422)
    assert error.message.startswith('Deployment.apps "a" is invalid')
    assert (error.details["name"], error.details["group"], error.details["kind"]) == ("a", "apps", "Deployment")
    causes = {cause.field: cause for cause in error.causes}
    assert set(causes) == {"spec.replicas", "metadata.labels"}
    assert causes["spec.replicas"].reason == "FieldValueInvalid"
    assert "must be greater than or equal to 0" in causes["spec.replicas"].message
    made = await client.create(config_map(namespace))
    with pytest.raises(Conflict) as conflict:
        await client.delete(CONFIG_MAP, NN.of(made), uid="other")
    assert (conflict.value.reason, conflict.value.code) == ("Conflict", 409)
    assert conflict.value.details["name"] == "a"


async def test_go_readers_find_the_bytes_that_go_would_have_sent(client: LiveClient, namespace: str) -> None:
    """Markup in raw extensions must survive a later patch of the same object."""
    revision = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {"name": "r", "namespace": namespace},
        "revision": 1,
        "data": {"spec": {"text": "<a> & b"}},
    }
    made = await client.create(revision)
    gvk = GVK.of(revision)
    after = await client.patch(gvk, NN.of(made), Patch.merge({"revision": 2}))
    assert after["revision"] == 2
    assert after["data"] == revision["data"]


async def test_warnings_of_the_server_are_logged_once(client: LiveClient, namespace: str) -> None:
    """RT-CF-14."""
    with capture_logs() as logs:
        for name in ("a", "b"):
            await client.create({**config_map(namespace, name), "colour": "blue"})
    warnings = [entry["warning"] for entry in logs if entry["event"] == "the API server warns"]
    assert warnings == ['unknown field "colour"']


# -- server-side apply -----------------------------------------------------------------------------------------------


async def test_apply_creates_and_a_second_apply_changes_nothing(client: LiveClient, namespace: str) -> None:
    """RT-CL-13."""
    first = await client.apply(config_map(namespace), field_manager="one")
    again = await client.apply(config_map(namespace), field_manager="one")
    assert first["metadata"]["resourceVersion"] == again["metadata"]["resourceVersion"]
    assert first["metadata"]["managedFields"] == again["metadata"]["managedFields"]


async def test_an_unforced_apply_names_field_and_owner_in_conflict(client: LiveClient, namespace: str) -> None:
    """RT-CL-13, RT-CL-05."""
    await client.apply(config_map(namespace), field_manager="one")
    other = {**config_map(namespace), "data": {"k": "other"}}
    with pytest.raises(Conflict) as refused:
        await client.apply(other, field_manager="two", force=False)
    assert [(c.reason, c.field) for c in refused.value.causes] == [("FieldManagerConflict", ".data.k")]
    assert '"one"' in refused.value.causes[0].message
    forced = await client.apply(other, field_manager="two")
    assert forced["data"] == {"k": "other"}
    # What a manager no longer applies and nobody else owns goes away.
    dropped = await client.apply({**config_map(namespace), "data": {}}, field_manager="two")
    assert "data" not in dropped


async def test_an_apply_names_an_unknown_field(client: LiveClient, namespace: str) -> None:
    """RT-CL-11: with or without the strict check, which the API server answers alike for custom resources."""
    wrong = {**instance(namespace), "spec": {**instance(namespace)["spec"], "colour": "blue"}}
    for strict in (True, False):
        with pytest.raises(ApiError, match=r"\.spec\.colour: field not declared in schema"):
            await client.apply(wrong, field_manager="one", strict=strict)
    known = {**config_map(namespace), "colour": "blue"}
    with pytest.raises(ApiError, match="colour"):
        await client.apply(known, field_manager="one", strict=True)


# -- delete ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precondition", [{"uid": "other"}, {"rv": "1"}])
async def test_a_failed_precondition_of_a_deletion_is_a_conflict(
    client: LiveClient, namespace: str, precondition: dict[str, str]
) -> None:
    """RT-CL-08."""
    made = await client.create(config_map(namespace))
    with pytest.raises(Conflict):
        await client.delete(CONFIG_MAP, NN.of(made), **precondition)  # type: ignore[arg-type]
    meta = made["metadata"]
    assert await client.delete(CONFIG_MAP, NN.of(made), uid=meta["uid"], rv=meta["resourceVersion"]) is None


async def test_a_deletion_gives_the_object_when_it_lives_on(client: LiveClient, namespace: str) -> None:
    """RT-CL-08."""
    made = await client.create(config_map(namespace, finalizers=["example.com/hold"]))
    left = await client.delete(CONFIG_MAP, NN.of(made))
    assert left is not None
    assert left["metadata"]["deletionTimestamp"]
    await client.patch(CONFIG_MAP, NN.of(made), Patch.merge({"metadata": {"finalizers": []}}))
    with pytest.raises(NotFound):
        await client.get(CONFIG_MAP, NN.of(made))


@pytest.mark.parametrize(("propagation", "finalizer"), [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")])
async def test_the_propagation_asked_for_is_used(
    client: LiveClient, namespace: str, propagation: Any, finalizer: str
) -> None:
    """RT-CL-08. Without a garbage collector the finalizer stays (RT-ET-06)."""
    made = await client.create(deployment(namespace))
    left = await client.delete(DEPLOYMENT, NN.of(made), propagation=propagation)
    assert left is not None
    assert left["metadata"]["finalizers"] == [finalizer]


async def test_a_collection_is_deleted_by_selector(client: LiveClient, namespace: str) -> None:
    """RT-CL-09."""
    for name, x in (("a", "1"), ("b", "2"), ("c", "1")):
        await client.create(config_map(namespace, name, labels={"x": x}))
    await client.delete_collection(CONFIG_MAP, namespace, labels=LabelSelector.labels({"x": "1"}))
    assert [o["metadata"]["name"] for o in (await client.list(CONFIG_MAP, namespace)).items] == ["b"]


# -- sub-resources ---------------------------------------------------------------------------------------------------


async def test_scale_is_read_set_and_replaced(client: LiveClient, namespace: str) -> None:
    """RT-CL-10: as autoscaling/v1 Scale; a replacement may be locked to a version."""
    key = NN.of(await client.create(deployment(namespace)))
    read = await client.get_scale(DEPLOYMENT, key)
    assert (read["apiVersion"], read["kind"], read["spec"]["replicas"]) == ("autoscaling/v1", "Scale", 2)
    scale = await client.set_scale(DEPLOYMENT, key, 3)
    assert (scale["kind"], scale["spec"]["replicas"]) == ("Scale", 3)
    assert (await client.get(DEPLOYMENT, key))["spec"]["replicas"] == 3
    with pytest.raises(Conflict):
        await client.update_subresource(DEPLOYMENT, key, "scale", read)
    free: RawObject = {"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 4}}
    assert (await client.update_subresource(DEPLOYMENT, key, "scale", free))["spec"]["replicas"] == 4
    assert (await client.get(DEPLOYMENT, key))["spec"]["replicas"] == 4


async def test_a_pod_is_evicted_bound_and_an_account_gets_a_token(client: LiveClient, namespace: str) -> None:
    """RT-CL-10: a body without name and namespace has those of its parent, one with another name is refused."""
    pod = await client.create(pod_named(namespace))
    with pytest.raises(BadRequest, match="name"):
        await client.create_subresource(POD, NN.of(pod), "eviction", {**EVICTION, "metadata": {"name": "other"}})
    await client.create_subresource(POD, NN.of(pod), "eviction", {**EVICTION, "metadata": {"name": ""}})
    with pytest.raises(NotFound):
        await client.get(POD, NN.of(pod))
    pod = await client.create(pod_named(namespace))
    binding: RawObject = {"apiVersion": "v1", "kind": "Binding", "target": {"kind": "Node", "name": "n"}}
    await client.create_subresource(POD, NN.of(pod), "binding", binding)
    assert (await client.get(POD, NN.of(pod)))["spec"]["nodeName"] == "n"
    meta = {"name": "sa", "namespace": namespace}
    await client.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})
    request: RawObject = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    issued = await client.create_subresource(GVK("", "v1", "ServiceAccount"), NN(namespace, "sa"), "token", request)
    assert issued["status"]["token"].count(".") == 2


# -- helpers ---------------------------------------------------------------------------------------------------------


async def test_a_read_modify_write_is_repeated_while_it_conflicts(client: LiveClient, namespace: str) -> None:
    """RT-CL-23."""
    key = NN.of(await client.create({**config_map(namespace), "data": {"n": "0"}}))
    attempts = 0

    async def increment() -> None:
        nonlocal attempts
        attempts += 1
        live = await client.get(CONFIG_MAP, key)
        await client.update({**live, "data": {"n": str(int(live["data"]["n"]) + 1)}})

    await asyncio.gather(*(retry_on_conflict(increment, Steps(steps=50, base=0.005)) for _ in range(5)))
    assert (await client.get(CONFIG_MAP, key))["data"] == {"n": "5"}
    assert attempts >= 5
