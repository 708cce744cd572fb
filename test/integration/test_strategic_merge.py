"""Our strategic merge of pod templates against the API server's own, on random templates and patches."""

import random
from typing import Any

import pytest

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.machinery.merge_keys import POD_TEMPLATE
from rbgctl.machinery.strategic_merge import StrategicMergeError, strategic_merge
from rbgctl.planning.typed_encoding import TypedEncodingError, rendered_pod_template
from rbgctl.runtime.client import LiveClient, Patch
from rbgctl.runtime.errors import ApiError

KIND = GVK("", "v1", "PodTemplate")
CASES = 20


class Maker:
    """Random pod templates and patches that hit each other's elements often."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def some(self, values: str | list[Any], least: int = 0) -> list[Any]:
        return self.random.sample(list(values), self.random.randint(least, len(values)))

    def maybe(self, key: str, value: Any, chance: float = 0.5) -> dict[str, Any]:
        return {key: value} if self.random.random() < chance else {}

    def env(self) -> list[RawObject]:
        return [{"name": n, "value": str(self.random.randint(1, 3))} for n in self.some("XYZ")]

    def mounts(self) -> list[RawObject]:
        return [{"name": self.random.choice(["v1", "v2"]), "mountPath": p} for p in self.some(["/p", "/q"])]

    def container(self, name: str) -> RawObject:
        return {
            "name": name,
            **self.maybe("image", f"{name}:{self.random.randint(1, 3)}", 0.8),
            **self.maybe("args", self.some("ijk")),
            **self.maybe("env", self.env()),
            **self.maybe("ports", [{"containerPort": p, "protocol": "UDP"} for p in self.some([80, 81, 82])]),
            **self.maybe("volumeMounts", self.mounts()),
            **self.maybe("resources", {"limits": dict.fromkeys(self.some(["cpu", "memory"]), "1")}, 0.3),
        }

    def template(self) -> RawObject:
        containers = [{"image": "i", **self.container(n)} for n in self.some("abc", 1)]
        spec = {
            "containers": containers,
            "volumes": [{"name": "v1", "emptyDir": {}}, {"name": "v2", "hostPath": {"path": "/h"}}],
            **self.pod_fields(),
        }
        return {"metadata": {"labels": dict.fromkeys(self.some("xy"), "l")}, "spec": spec}

    def pod_fields(self) -> dict[str, Any]:
        return {
            **self.maybe("nodeSelector", dict.fromkeys(self.some("xy"), "s")),
            **self.maybe("tolerations", [{"key": n, "operator": "Exists"} for n in self.some("xy")]),
            **self.maybe("imagePullSecrets", [{"name": n} for n in self.some("pqr")]),
            **self.maybe("hostAliases", [{"ip": i, "hostnames": self.some("mn", 1)} for i in self.some(IPS)]),
            **self.maybe("initContainers", [{"image": "i", **self.container(n)} for n in self.some("de")], 0.3),
        }

    def patch(self) -> RawObject:
        spec: dict[str, Any] = {
            **self.maybe("containers", self.elements([self.container(n) for n in self.some("abcd")]), 0.8),
            **self.maybe("volumes", self.volumes(), 0.4),
            **self.pod_fields(),
            **self.maybe("nodeSelector", None, 0.1),
            **self.maybe("$setElementOrder/containers", [{"name": n} for n in self.some("abcd", 1)], 0.2),
        }
        labels: dict[str, Any] = {n: self.random.choice(["k", None]) for n in self.some("xyz")}
        return {**self.maybe("metadata", {"labels": self.directed(labels)}), "spec": spec}

    def elements(self, items: list[RawObject]) -> list[RawObject]:
        made = [self.element(item) for item in items]
        return [*made, {"$patch": "replace"}] if self.random.random() < 0.1 else made

    def element(self, item: RawObject) -> RawObject:
        chance = self.random.random()
        if chance < 0.15:
            return {"$patch": "delete", "name": item["name"]}
        if chance < 0.2:
            return {k: v for k, v in item.items() if k != "name"}
        if chance < 0.3:
            # Together with `args` it is up to the server's map order what comes out.
            rest = {k: v for k, v in item.items() if k != "args"}
            return {**rest, "$deleteFromPrimitiveList/args": self.some("ijk"), **self.maybe("env", None)}
        return item

    def directed(self, value: RawObject) -> RawObject:
        directive = self.random.choice(["replace", "delete", "merge", *[""] * 9])
        return {**value, "$patch": directive} if directive else value

    def volumes(self) -> list[RawObject]:
        kept = {"$retainKeys": ["name", "emptyDir"]} if self.random.random() < 0.7 else {}
        return [{"name": "v2", "emptyDir": {}, **kept}, *self.some([{"name": "v3", "emptyDir": {}}])]


IPS = ["10.0.0.1", "10.0.0.2"]


@pytest.mark.parametrize("seed", range(CASES))
async def test_we_merge_as_the_api_server_does(client: LiveClient, namespace: str, seed: int) -> None:
    """RBG-71, RBG-72, RBG-73: same result, or both refuse."""
    maker = Maker(seed)
    compared = 0
    while compared < 10:
        stored = await created(client, namespace, maker.template())
        if stored is None:
            continue
        patch = maker.patch()
        theirs = await patched(client, stored, patch)
        ours = merged(stored["template"], patch)
        filled = await created(client, namespace, ours) if ours is not None else None
        compared += 1
        assert (filled or {}).get("template") == (theirs or {}).get("template"), (stored["template"], patch)


def merged(template: RawObject, patch: RawObject) -> RawObject | None:
    try:
        return rendered_pod_template(strategic_merge(rendered_pod_template(template), patch, POD_TEMPLATE))
    except (StrategicMergeError, TypedEncodingError):
        return None


async def created(client: LiveClient, namespace: str, template: RawObject) -> RawObject | None:
    """A stored PodTemplate with all defaults, None when the API server refuses it."""
    meta = {"generateName": "t-", "namespace": namespace}
    try:
        return await client.create({"apiVersion": "v1", "kind": "PodTemplate", "metadata": meta, "template": template})
    except ApiError:
        return None


async def patched(client: LiveClient, stored: RawObject, patch: RawObject) -> RawObject | None:
    try:
        return await client.patch(KIND, NN.of(stored), Patch.strategic({"template": patch}))
    except ApiError:
        return None
