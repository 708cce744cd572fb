"""Manifests with one mistake each, from test/corpus/malformed: all are refused, in words, and nothing is stored."""

import copy
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
import yaml
from integration.admission_server import admission_server

from rbgctl.api import kinds
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.errors import ApiError, NotFound
from rbgctl.runtime.testing.envtest import EnvTest, new_namespace

CORPUS = Path(__file__).parents[1] / "corpus" / "malformed"
BASES: dict[str, RawObject] = yaml.safe_load((CORPUS / "bases.yaml").read_text())
NEW = ("group", "group_v1alpha1", "group_set", "group_set_v1alpha1", "other_kinds")


@dataclass(frozen=True)
class Case:
    """A mistake: what is done to which valid manifest, which path the refusal names, and who refuses."""

    base: str
    operations: list[dict[str, Any]]
    path: str
    by: str

    @staticmethod
    def read(base: str, row: dict[str, Any]) -> "Case":
        put = [{"op": "add", "path": pointer, "value": value} for pointer, value in row.get("put", {}).items()]
        drop = [{"op": "remove", "path": row["drop"]}] if "drop" in row else []
        return Case(base, [*put, *drop], row["path"], row["by"])

    def __str__(self) -> str:
        return f"{self.base} {'; '.join(_told(operation) for operation in self.operations)}"

    def spoil(self, valid: RawObject) -> RawObject:
        spoilt: RawObject = jsonpatch.apply_patch(copy.deepcopy(valid), self.operations)
        return spoilt


def _told(operation: dict[str, Any]) -> str:
    value = repr(operation["value"]) if "value" in operation else "out"
    return f"{operation['path']} {value}"


def cases(*files: str) -> Iterator[Case]:
    for file in files:
        content = yaml.safe_load((CORPUS / f"{file}.yaml").read_text())
        for part in content if isinstance(content, list) else [content]:
            yield from (Case.read(part["base"], row) for row in part["cases"])


CREATED = list(cases(*NEW))
UPDATED = list(cases("updates"))


@pytest.fixture(scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EnvTest]:
    async with admission_server(tmp_path_factory.mktemp("webhooks")) as env:
        yield env


@pytest.fixture
def client(guarded: EnvTest) -> LiveClient:
    return guarded.client()


@pytest.fixture(scope="module")
async def namespace(guarded: EnvTest) -> str:
    return await new_namespace(guarded.client())


def placed(obj: RawObject, namespace: str) -> RawObject:
    """In that namespace, if its kind has one."""
    new = copy.deepcopy(obj)
    if kinds.resource(GVK.of(new)).namespaced:
        new["metadata"]["namespace"] = namespace
    return new


def assert_refused_in_words(error: ApiError, case: Case) -> None:
    message = error.message
    assert 400 <= error.code < 500, message
    assert case.path in message, message
    assert not any(trace in message for trace in ("Traceback", "panic", 'File "', "KeyError", "NoneType")), message
    denied = "denied the request: " in message
    assert denied is (case.by == "admission"), message
    assert error.code == (403 if denied else 422), message
    if denied:
        told = message.partition("denied the request: ")[2]
        assert told.lstrip("[").startswith(("spec", "metadata")), message


def test_the_corpus_is_large_enough_and_covers_every_kind() -> None:
    assert len({(str(case), case.path) for case in CREATED}) == len(CREATED) >= 200
    served = {(r.gvk.kind, r.gvk.version) for r in kinds.RESOURCES}
    met = {(BASES[case.base]["kind"], BASES[case.base]["apiVersion"].partition("/")[2]) for case in CREATED}
    assert served == met


@pytest.mark.parametrize("base", BASES)
async def test_the_manifests_are_valid_before_the_mistake(client: LiveClient, namespace: str, base: str) -> None:
    made = await client.create(placed(BASES[base], namespace), dry_run=True, field_validation="Strict")
    assert made["metadata"]["name"]


@pytest.mark.parametrize("case", CREATED, ids=str)
async def test_a_new_object_with_a_mistake_is_refused(client: LiveClient, namespace: str, case: Case) -> None:
    """GRP-60, GRP-61, IMP-6, NAM-30, VAL-1, VAL-2, A1-14, AR-4: the path is named and nothing gets stored."""
    spoilt = case.spoil(placed(BASES[case.base], namespace))
    with pytest.raises(ApiError) as refused:
        await client.create(spoilt)
    assert_refused_in_words(refused.value, case)
    with pytest.raises(NotFound):
        await client.get(GVK.of(spoilt), NN.of(spoilt))


@pytest.mark.parametrize("case", UPDATED, ids=str)
async def test_a_mistake_in_a_stored_object_is_refused_and_loses_nothing(client: LiveClient, case: Case) -> None:
    manifest = placed(BASES[case.base], await new_namespace(client))
    gvk, key = GVK.of(manifest), NN.of(manifest)
    await client.create(manifest)
    stored = await client.get(gvk, key)
    with pytest.raises(ApiError) as refused:
        await client.update(case.spoil(stored))
    assert_refused_in_words(refused.value, case)
    assert await client.get(gvk, key) == stored
    # A write without the mistake passes, through the other version as well.
    for version in ("v1alpha1", "v1alpha2"):
        served = GVK(gvk.group, version, gvk.kind)
        if any(r.gvk == served for r in kinds.RESOURCES):
            current = await client.get(served, key)
            current["metadata"].setdefault("labels", {})["touched"] = version
            assert (await client.update(current))["metadata"]["labels"]["touched"] == version
