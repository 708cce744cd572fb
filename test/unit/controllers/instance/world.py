"""A model of everything around the planner: an API server that checks preconditions, kubelets, the set controller.

`pass_` runs the planner once as the controller would. `kubelet` lets one pod move on by one stage. `to_rest` does both;
like the controller it looks again only after something has changed.
"""

import copy
import dataclasses
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from rbgctl.api import conditions, kinds, labels
from rbgctl.api.v1alpha2.roleinstance import RoleInstance
from rbgctl.controllers.instance.observed import Observed
from rbgctl.controllers.instance.plan import plan
from rbgctl.controllers.instance.pods import Pod, slots
from rbgctl.machinery.gvk import RawObject
from rbgctl.machinery.merge_patch import apply_merge_patch
from rbgctl.machinery.owner_references import controlled_by
from rbgctl.machinery.plan import (
    Create,
    Delete,
    InOrder,
    MergePatch,
    Plan,
    SingleWrite,
    Step,
    StrategicPatch,
    Together,
    writes,
)
from rbgctl.machinery.timestamps import format_time

START = datetime(2026, 1, 1, tzinfo=UTC)
NAME = "shop-web-0"
GATE = conditions.INSTANCE_IN_PLACE_UPDATE_READY


class Refused(Exception):
    """The API server said no."""


def component(name: str = "web", size: int | None = 1, image: str = "web:1", **more: Any) -> RawObject:
    found: RawObject = {"name": name, "template": {"spec": {"containers": [{"name": "main", "image": image}]}}, **more}
    return found if size is None else {**found, "size": size}


def instance(*components: RawObject, role_type: str | None = labels.ROLE_TYPE_COMPONENTS, **more: Any) -> RawObject:
    """A RoleInstance as the API server would hand it out."""
    meta = more.pop("metadata", {})
    given = {} if role_type is None else {labels.ROLE_TYPE: role_type}
    return {
        "apiVersion": kinds.API_VERSION,
        "kind": kinds.KIND_INSTANCE,
        "metadata": {
            "name": NAME,
            "namespace": "ns",
            "uid": "instance-uid",
            "resourceVersion": "1",
            "generation": 1,
            "labels": given,
            **meta,
        },
        "spec": {"components": list(components), "readyPolicy": "AllPodReady", **more.pop("spec", {})},
        **more,
    }


def pod(name: str, component_name: str = "web", id_: int = 0, **more: Any) -> RawObject:
    """A pod of `instance()`; `more`: hash, phase, deleted, gates, conditions, uid, owner, annotations, created."""
    conditions_ = more.get("conditions", {})
    meta: RawObject = {
        "name": name,
        "namespace": "ns",
        "uid": more.get("uid", f"uid-{name}"),
        "creationTimestamp": more.get("created", "2026-01-01T00:00:00Z"),
        "labels": {
            labels.COMPONENT_NAME: component_name,
            labels.COMPONENT_ID: str(id_),
            labels.CONTROLLER_REVISION_HASH: more.get("hash", "h"),
        },
        "annotations": more.get("annotations", {}),
        "ownerReferences": [
            {
                "apiVersion": kinds.API_VERSION,
                "kind": kinds.KIND_INSTANCE,
                "name": NAME,
                "uid": more.get("owner", "instance-uid"),
                "controller": True,
            }
        ],
    }
    if more.get("deleted"):
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    gates = more.get("gates", (conditions.POD_IN_PLACE_UPDATE_READY, conditions.POD_INSTANCE_READY))
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {
            "containers": [{"name": "main", "image": "web:1"}],
            "readinessGates": [{"conditionType": g} for g in gates],
        },
        "status": {
            "phase": more.get("phase", "Running"),
            "conditions": [{"type": k, "status": v} for k, v in conditions_.items()],
            **more.get("status", {}),
        },
    }


SERVING = {
    "PodScheduled": "True",
    "ContainersReady": "True",
    "Ready": "True",
    "InPlaceUpdateReady": "True",
    "InstancePodReady": "True",
}


class World:
    """One instance and what belongs to it."""

    def __init__(self, *components: RawObject, fail: Callable[[SingleWrite], bool] = lambda _: False, **more: Any):
        self.now = START
        self.fail = fail
        self.store: dict[tuple[str, str], RawObject] = {}
        self.log: list[SingleWrite] = []
        self.events: list[tuple[str, str]] = []
        self.failures: list[Exception] = []
        self.dirty = True
        self._rv = 10
        self.put(instance(*(components or (component(),)), **more))

    # -- API server -------------------------------------------------------------------------------------------

    @property
    def raw(self) -> RawObject:
        return self.store[kinds.KIND_INSTANCE, NAME]

    @property
    def status(self) -> RawObject:
        status: RawObject = self.raw.get("status") or {}
        return status

    def condition(self, type_: str) -> RawObject:
        found = self.status.get("conditions") or ()
        return next((c for c in found if c["type"] == type_), {})

    def pods(self) -> dict[str, RawObject]:
        return {name: obj for (kind, name), obj in sorted(self.store.items()) if kind == "Pod"}

    def put(self, obj: RawObject) -> RawObject:
        stored = copy.deepcopy(obj)
        self._rv += 1
        meta = stored["metadata"]
        meta["uid"] = meta.get("uid") or f"uid-{self._rv}"
        meta |= {"resourceVersion": str(self._rv), "generation": 1, "creationTimestamp": format_time(self.now)}
        if stored["kind"] == "Pod":
            stored.setdefault("status", {"phase": "Pending", "conditions": []})
        assert (stored["kind"], meta["name"]) not in self.store
        self.store[stored["kind"], meta["name"]] = stored
        self.dirty = True
        return stored

    def set(self, kind: str, name: str, change: Callable[[RawObject], None]) -> None:
        """Somebody else changes an object."""
        old = self.store[kind, name]
        new = copy.deepcopy(old)
        change(new)
        if new == old:
            return
        self._rv += 1
        new["metadata"]["resourceVersion"] = str(self._rv)
        if new.get("spec") != old.get("spec"):
            new["metadata"]["generation"] = old["metadata"]["generation"] + 1
        self.store[kind, name] = new
        self.dirty = True

    def gone(self, kind: str, name: str) -> None:
        del self.store[kind, name]
        self.dirty = True

    def delete_pod(self, name: str) -> None:
        """Gracefully when a kubelet has it."""
        found = self.store["Pod", name]
        running = found["status"]["phase"] == "Running"
        if not running:
            self.gone("Pod", name)
        elif not found["metadata"].get("deletionTimestamp"):
            self.set("Pod", name, lambda p: p["metadata"].update(deletionTimestamp=format_time(self.now)))

    def send(self, write: SingleWrite) -> bool:
        if self.fail(write):
            raise Refused("this write fails")
        assert write.field_manager == "roleinstance"
        self.log.append(write)
        match write:
            case Create():
                live = self.store.get((write.obj["kind"], write.obj["metadata"]["name"]))
                if live is None:
                    self.put(write.obj)
                    return True
                if write.accept_existing is None or not write.accept_existing(copy.deepcopy(live)):
                    raise Refused(f"{write.obj['metadata']['name']} already exists")
                return False
            case Delete():
                live = self.store.get((write.gvk.kind, write.key.name))
                if live is None:
                    return False
                self._check(live, {"uid": write.uid})
                if write.gvk.kind == "Pod":
                    self.delete_pod(write.key.name)
                else:
                    self.gone(write.gvk.kind, write.key.name)
                return True
            case MergePatch() | StrategicPatch():
                live = self.store.get((write.gvk.kind, write.key.name))
                if live is None:
                    raise Refused(f"{write.key} not found")
                self._check(live, write.patch["metadata"])
                self.set(write.gvk.kind, write.key.name, lambda obj: _patched(obj, write))
                return True
        raise AssertionError(f"unexpected write {write}")

    def _check(self, live: RawObject, given: RawObject) -> None:
        for key in ("uid", "resourceVersion"):
            if given.get(key) not in (None, live["metadata"][key]):
                raise Refused(f"{live['metadata']['name']}: another {key}")

    # -- controller -------------------------------------------------------------------------------------------

    def observe(self) -> Observed:
        raw = copy.deepcopy(self.raw)
        view = RoleInstance.decode(raw)
        uid = raw["metadata"]["uid"]
        pods = {name: Pod(copy.deepcopy(p)) for name, p in self.pods().items()}
        mine = [p for p in pods.values() if controlled_by(p.raw, uid)]
        wanted = {slot.name for slot in slots(view)}
        return Observed(
            raw=raw,
            instance=view,
            pods=mine,
            foreign={n: p for n, p in pods.items() if n in wanted and p not in mine},
            revisions=[copy.deepcopy(o) for (k, _), o in self.store.items() if k == "ControllerRevision"],
        )

    def plan(self) -> Plan:
        """Decide, and make sure that deciding changed nothing and is the same twice."""
        observed = self.observe()
        untouched = copy.deepcopy(observed)
        planned = plan(observed, self.now)
        again = plan(untouched, self.now)
        assert writes(planned.steps) == writes(again.steps)
        assert planned.finally_ is not None
        planned.finally_(())
        assert _raws(observed) == _raws(untouched)
        return planned

    def pass_(self, observed: Observed | None = None) -> list[SingleWrite]:
        """One reconcile, from `observed` if given (a stale view). Returns what was written."""
        self.dirty = False
        before = len(self.log)
        planned = plan(observed, self.now) if observed is not None else self.plan()
        run = _Run(self)
        run.steps(planned.steps)
        if planned.finally_ is not None:
            run.steps(planned.finally_(tuple(run.errors)))
        self.failures = [*run.errors, *([planned.failure] if planned.failure else [])]
        self.dirty = self.dirty or bool(self.failures)
        return self.log[before:]

    # -- kubelets ---------------------------------------------------------------------------------------------

    def kubelet(self, name: str) -> bool:
        """The next thing that happens to a pod by itself; False when it stays as it is."""
        found = self.store["Pod", name]
        if found["metadata"].get("deletionTimestamp"):
            self.gone("Pod", name)
            return True
        phase, given = found["status"]["phase"], {c["type"]: c["status"] for c in found["status"]["conditions"]}
        if phase == "Pending":
            if given.get("PodScheduled") != "True":
                self.conditions(name, PodScheduled="True")
            else:
                self.set("Pod", name, lambda p: p["status"].update(phase="Running"))
                self.conditions(name, ContainersReady="True")
            return True
        if phase != "Running":
            return False
        if given.get("ContainersReady") != "True":
            self.conditions(name, ContainersReady="True", Ready=_ready({**given, "ContainersReady": "True"}))
            return True
        if given.get("Ready") != _ready(given):
            self.conditions(name, Ready=_ready(given))
            return True
        return False

    def conditions(self, name: str, **given: str) -> None:
        """Set conditions of a pod."""

        def change(p: RawObject) -> None:
            kept = [c for c in p["status"]["conditions"] if c["type"] not in given]
            p["status"]["conditions"] = [*kept, *({"type": k, "status": v} for k, v in given.items())]

        self.set("Pod", name, change)

    def fail_pod(self, name: str) -> None:
        self.set("Pod", name, lambda p: p["status"].update(phase="Failed"))
        self.conditions(name, Ready="False", ContainersReady="False")

    def to_rest(self, limit: int = 300) -> None:
        """Until nothing moves any more. Then a further pass must write nothing."""
        for _ in range(limit):
            self.now += timedelta(seconds=1)
            if self.dirty:
                self.pass_()
                assert self.failures == []
            elif not sum(self.kubelet(name) for name in self.pods()):
                break
        else:
            raise AssertionError("does not come to rest")
        assert self.pass_() == []
        self.dirty = False


class _Run:
    """The executor's order of things, without concurrency."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.errors: list[Exception] = []

    def steps(self, steps: Sequence[Step], *, keep_going: bool = False) -> bool:
        done = True
        for step in steps:
            if not self._step(step):
                done = False
                if not keep_going:
                    break
        return done

    def _step(self, step: Step) -> bool:
        if isinstance(step, InOrder):
            return self.steps(step.steps, keep_going=step.keep_going)
        if isinstance(step, Together):
            return self._together(step)
        try:
            event = step.on_success if self.world.send(step) else None
            done = True
        except Refused as error:
            self.errors.append(error)
            event, done = step.on_failure, False
        if event is not None:
            self.world.events.append((event.type, event.reason))
        return done

    def _together(self, step: Together) -> bool:
        rest, size, done = list(step.branches), step.slow_start or len(step.branches), True
        while rest and done:
            batch, rest = rest[:size], rest[size:]
            results = [self._step(one) for one in batch]
            done = all(results)
            size *= 2
        return done


def _patched(obj: RawObject, write: MergePatch | StrategicPatch) -> None:
    patch = copy.deepcopy(write.patch)
    patch["metadata"].pop("resourceVersion", None)
    if isinstance(write, MergePatch):
        obj.update(apply_merge_patch(obj, patch))
        return
    assert write.subresource == "status"
    assert patch.keys() == {"metadata", "status"}
    for changed in patch["status"]["conditions"]:
        found = next((c for c in obj["status"]["conditions"] if c["type"] == changed["type"]), None)
        if found is None:
            found = {"type": changed["type"]}
            obj["status"]["conditions"].append(found)
        for key, value in changed.items():
            if value is None:
                found.pop(key, None)
            else:
                found[key] = value


def _ready(given: dict[str, str]) -> str:
    return str(all(given.get(t) == "True" for t in ("ContainersReady", "InPlaceUpdateReady", "InstancePodReady")))


def _raws(observed: Observed) -> RawObject:
    return {
        **dataclasses.asdict(observed),
        "instance": observed.instance.dump(),
        "pods": [p.raw for p in observed.pods],
        "foreign": {n: p.raw for n, p in observed.foreign.items()},
    }
