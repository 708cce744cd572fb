"""A tiny world for the group planner: applies a plan to plain objects, lets workloads act at will."""

import copy
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from rbgctl.api.v1alpha2.workload_type import ROLE_INSTANCE_SET
from rbgctl.controllers.group.observe import AppliedConfig, Observed, Readable
from rbgctl.controllers.group.plan import plan
from rbgctl.machinery.gvk import RawObject
from rbgctl.machinery.merge_patch import apply_merge_patch
from rbgctl.machinery.plan import Apply, Create, Delete, MergePatch, Plan, SingleWrite, UidOf, writes


def role(name: str, replicas: int = 1, *dependencies: str, image: str = "a:1", **fields: Any) -> RawObject:
    return {
        "name": name,
        "replicas": replicas,
        **({"dependencies": list(dependencies)} if dependencies else {}),
        "podManagementPolicy": "Parallel",
        "minReadySeconds": 0,
        "standalonePattern": {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}},
        **fields,
    }


def group(*roles: RawObject, **metadata: Any) -> RawObject:
    return {
        "apiVersion": "workloads.x-k8s.io/v1alpha2",
        "kind": "RoleBasedGroup",
        "metadata": {"name": "shop", "namespace": "ns", "uid": "group-uid", "generation": 1, **metadata},
        "spec": {"roles": list(roles)},
    }


class World:
    """The group and what has been made of it. Server-side apply owns whole objects here, which the plan sees."""

    def __init__(self, raw: RawObject) -> None:
        self.group = raw
        self.workloads: dict[str, RawObject] = {}
        self.services: dict[str, RawObject] = {}
        self.revisions: list[RawObject] = []
        self.config: RawObject | None = None
        self.applied: AppliedConfig | None = None
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self._version = 0

    def observed(self) -> Observed:
        read = Readable.of(copy.deepcopy(self.group))
        return Observed(
            raw=read.raw,
            group=read.group,
            malformed=read.malformed,
            revisions=tuple(copy.deepcopy(self.revisions)),
            workloads={ROLE_INSTANCE_SET: copy.deepcopy(self.workloads)},
            services=copy.deepcopy(self.services),
            config_map_version=self.config["metadata"]["resourceVersion"] if self.config else "",
            config_map_owned=self.config is not None,
            applied_config=self.applied,
        )

    def step(self) -> tuple[Plan, list[SingleWrite]]:
        """One pass: decide, check that nothing observed was changed, do it."""
        observed = self.observed()
        before = copy.deepcopy(observed)
        decided = plan(observed, self.now, self._remember)
        reported = list(decided.finally_(())) if decided.finally_ else []
        assert observed == before, "the planner changed what it was given"
        done = writes([*decided.steps, *reported])
        for write in done:
            self._do(write)
        self.now += timedelta(seconds=1)
        return decided, done

    def _remember(self, applied: AppliedConfig) -> None:
        self.applied = applied

    def _do(self, write: SingleWrite) -> None:
        match write:
            case Create():
                self.revisions.append(self._stored(write.obj))
            case MergePatch():
                self.group = apply_merge_patch(self.group, write.patch)
            case Delete():
                self.workloads.pop(write.key.name, None)
                self.revisions = [r for r in self.revisions if r["metadata"]["name"] != write.key.name]
            case Apply() if write.subresource == "status":
                self.group["status"] = copy.deepcopy(write.obj["status"])
            case Apply():
                self._apply(write)

    def _apply(self, write: Apply) -> None:
        obj = copy.deepcopy(write.obj)
        for owner in obj["metadata"].get("ownerReferences", ()):
            if isinstance(owner["uid"], UidOf):
                owner["uid"] = self.workloads[owner["uid"].key.name]["metadata"]["uid"]
        name = obj["metadata"]["name"]
        if obj["kind"] == "ConfigMap":
            self.config = self._stored(obj)
            if write.answered is not None:
                write.answered(self.config)
            return
        kept = self.services if obj["kind"] == "Service" else self.workloads
        old = kept.get(name)
        new = self._stored(obj)
        new["metadata"]["managedFields"] = [
            {"manager": "rbg", "operation": "Apply", "fieldsV1": _owned({k: obj[k] for k in ("metadata", "spec")})}
        ]
        if old is not None:
            new["metadata"]["uid"] = old["metadata"]["uid"]
            changed = old["spec"] != new["spec"]
            new["metadata"]["generation"] = old["metadata"].get("generation", 1) + changed
            new["status"] = old.get("status")
        kept[name] = new

    def _stored(self, obj: RawObject) -> RawObject:
        self._version += 1
        stored = copy.deepcopy(obj)
        stored["metadata"].setdefault("uid", f"uid-{stored['metadata']['name']}-{self._version}")
        stored["metadata"]["resourceVersion"] = str(self._version)
        stored["metadata"].setdefault("generation", 1)
        stored["metadata"].setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        return stored

    def act(self, name: str, *, ready: int | None = None) -> None:
        """The set controller brings a workload to its spec; `ready` instances are ready (all by default)."""
        workload = self.workloads[name]
        replicas = workload["spec"]["replicas"]
        workload["status"] = {
            "observedGeneration": workload["metadata"]["generation"],
            "replicas": replicas,
            "readyReplicas": replicas if ready is None else ready,
            "updatedReplicas": replicas,
        }

    def settle(self, limit: int = 20) -> int:
        """Passes until nothing is written, every workload acting in between."""
        for count in range(limit):
            _, done = self.step()
            for name in list(self.workloads):
                self.act(name)
            if not done and not self.step()[1]:
                return count
        raise AssertionError("never at rest")

    @property
    def ready(self) -> RawObject:
        found: RawObject = next(c for c in self.group["status"]["conditions"] if c["type"] == "Ready")
        return found


def _owned(value: Any) -> RawObject:
    """The fieldsV1 tree of an applied object without list maps."""
    identity = {"name", "namespace"}
    tree: RawObject = {}
    for key, item in value.items():
        if key in identity and "kind" not in value:
            continue
        leaf = not isinstance(item, dict) or not item or key in {"selector"}
        tree[f"f:{key}"] = {} if leaf else _owned(item)
    return tree


def applied(done: Iterable[Any]) -> list[str]:
    """What the applies among `done` are for: `Kind/name`, with the sub-resource behind it."""
    return [f"{w.obj['kind']}/{w.obj['metadata']['name']}{w.subresource}" for w in done if isinstance(w, Apply)]
