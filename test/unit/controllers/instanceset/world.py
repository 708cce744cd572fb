"""A model of everything around the planner: an API server that checks preconditions, an instance controller, a clock.

`pass_` runs the planner once as the controller would. `instance_step` lets the instance controller and its pods move on
by one stage. `run_to_rest` does both, and lets time pass only when a timer is all that is left to wait for.
"""

import copy
import dataclasses
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from rbgctl.api import annotations, conditions, kinds, labels
from rbgctl.api.v1alpha2.roleinstance import RoleInstance
from rbgctl.api.v1alpha2.roleinstanceset import RoleInstanceSet
from rbgctl.controllers.instanceset.health import Timers
from rbgctl.controllers.instanceset.members import member_of
from rbgctl.controllers.instanceset.observed import Observed
from rbgctl.controllers.instanceset.plan import plan
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.machinery.merge_patch import apply_merge_patch
from rbgctl.machinery.plan import Create, Delete, InOrder, MergePatch, Plan, SingleWrite, Step, Together, writes
from rbgctl.machinery.timestamps import format_time

START = datetime(2026, 1, 1, tzinfo=UTC)
GATE = conditions.INSTANCE_IN_PLACE_UPDATE_READY
SELECTOR = {labels.GROUP_NAME: "shop", labels.ROLE_NAME: "web"}
NAME = "shop-web"


class Refused(Exception):
    """The API server said no."""


def template(image: str = "web:1", *, size: int = 1, **spec: Any) -> RawObject:
    pod = {"metadata": {}, "spec": {"containers": [{"name": "main", "image": image, "resources": {}}]}}
    return {"components": [{"name": "web", "size": size, "template": pod}], **spec}


class World:
    """One set and what belongs to it."""

    def __init__(
        self,
        *,
        replicas: int | None = 3,
        parallel: bool = True,
        strategy: dict[str, Any] | None = None,
        image: str = "web:1",
        fail: Callable[[SingleWrite], bool] = lambda _: False,
        **spec: Any,
    ) -> None:
        self.now = START
        self.timers = Timers()
        self.fail = fail
        self.store: dict[tuple[str, str], RawObject] = {}
        self.pods: dict[str, Any] = {}
        self.healthy: Callable[[str], bool] = lambda _image: True
        self.events: list[tuple[str, str]] = []
        self.failures: list[Exception] = []
        self.next_look: datetime | None = None
        self.dirty = True
        self.last: Plan | None = None
        self._rv = 0
        self.put(
            {
                "apiVersion": kinds.API_VERSION,
                "kind": kinds.KIND_INSTANCE_SET,
                "metadata": {
                    "name": NAME,
                    "namespace": "ns",
                    "labels": {**SELECTOR, labels.ROLE_TYPE: "PodTemplate", labels.role_revision("web"): "r1"},
                    "annotations": {annotations.ROLE_INSTANCE_PATTERN: "Stateful"},
                },
                "spec": {
                    **({} if replicas is None else {"replicas": replicas}),
                    "selector": {"matchLabels": dict(SELECTOR)},
                    "podManagementPolicy": "Parallel" if parallel else "OrderedReady",
                    "roleInstanceTemplate": template(image),
                    "updateStrategy": {"type": "RecreatePod", "maxUnavailable": 1, **(strategy or {})},
                    **spec,
                },
            }
        )

    # -- API server -------------------------------------------------------------------------------------------

    def put(self, obj: RawObject) -> RawObject:
        stored = copy.deepcopy(obj)
        self._rv += 1
        stored["metadata"] |= {
            "uid": f"{stored['kind']}-{self._rv}",
            "resourceVersion": str(self._rv),
            "generation": 1,
            "creationTimestamp": format_time(self.now),
        }
        if stored["kind"] == kinds.KIND_INSTANCE:
            stored["spec"].setdefault("readyPolicy", "AllPodReady")
        self.store[stored["kind"], stored["metadata"]["name"]] = stored
        self.dirty = True
        return stored

    def change(self, kind: str, name: str, patch: RawObject, *, subresource: str = "") -> None:
        old = self.store.get((kind, name))
        if old is None:
            raise Refused(f"{kind} {name} not found")
        patch = copy.deepcopy(patch)
        meta = patch.setdefault("metadata", {})
        for field in ("uid", "resourceVersion"):
            if meta.pop(field, old["metadata"][field]) != old["metadata"][field]:
                raise Refused(f"{kind} {name}: {field} is another")
        if subresource == "status":
            new = {**old, "status": apply_merge_patch(old.get("status") or {}, patch["status"])}
        else:
            patch.pop("status", None)
            new = apply_merge_patch(old, patch)
            if kind == kinds.KIND_INSTANCE:
                new["spec"] = {"readyPolicy": "AllPodReady", **new["spec"]}
        if new == old:
            return
        self._rv += 1
        generation = old["metadata"]["generation"] + (new.get("spec") != old.get("spec"))
        new["metadata"] = {**new["metadata"], "resourceVersion": str(self._rv), "generation": generation}
        self.store[kind, name] = new
        self.dirty = True

    def delete(self, kind: str, name: str) -> None:
        old = self.store[kind, name]
        if old["metadata"].get("finalizers"):
            if not old["metadata"].get("deletionTimestamp"):
                self.change(kind, name, {"metadata": {"deletionTimestamp": format_time(self.now)}})
            return
        del self.store[kind, name]
        self.pods.pop(name, None)
        self.dirty = True

    def _send(self, write: SingleWrite) -> None:
        if self.fail(write):
            raise Refused("this write fails")
        match write:
            case Create():
                kind, name = write.obj["kind"], write.obj["metadata"]["name"]
                live = self.store.get((kind, name))
                if live is None:
                    self.put(write.obj)
                elif write.accept_existing is None or not write.accept_existing(live):
                    raise Refused(f"{kind} {name} already exists")
            case MergePatch():
                assert write.field_manager
                self.change(write.gvk.kind, write.key.name, write.patch, subresource=write.subresource)
            case Delete():
                live = self.store.get((write.gvk.kind, write.key.name))
                if live is None:
                    return
                if write.uid not in (None, live["metadata"]["uid"]):
                    raise Refused("another uid")
                self.delete(write.gvk.kind, write.key.name)
            case _:
                raise AssertionError(f"unexpected write {write}")

    def _run(self, steps: Sequence[Step], *, keep_going: bool = False) -> bool:
        done = True
        for step in steps:
            if isinstance(step, InOrder):
                worked = self._run(step.steps, keep_going=step.keep_going)
            elif isinstance(step, Together):
                outcomes = [self._run([s]) for s in step.branches]
                worked = all(outcomes)
            else:
                worked = self._single(step)
            done = done and worked
            if not worked and not keep_going:
                break
        return done

    def _single(self, write: SingleWrite) -> bool:
        try:
            self._send(write)
        except Refused as error:
            self.failures.append(error)
            if write.on_failure:
                self.events.append((write.on_failure.type, write.on_failure.reason))
            return False
        if write.on_success:
            self.events.append((write.on_success.type, write.on_success.reason))
        return True

    # -- the set controller -----------------------------------------------------------------------------------

    @property
    def raw(self) -> RawObject:
        return self.store[kinds.KIND_INSTANCE_SET, NAME]

    @property
    def status(self) -> RawObject:
        return self.raw.get("status") or {}

    def instances(self) -> dict[str, RawObject]:
        return {name: obj for (kind, name), obj in self.store.items() if kind == kinds.KIND_INSTANCE}

    def revisions(self) -> list[RawObject]:
        return [obj for (kind, _), obj in self.store.items() if kind == "ControllerRevision"]

    def observe(self, *, confirmed: bool = True) -> Observed:
        raw = copy.deepcopy(self.raw)
        instances = [RoleInstance.decode(copy.deepcopy(o)) for o in self.instances().values()]
        uid = raw["metadata"]["uid"]
        members = [member_of(i) for i in instances]
        return Observed(
            owner=RoleInstanceSet.decode(raw),
            raw=raw,
            instances=instances,
            revisions=copy.deepcopy(self.revisions()),
            confirmed=confirmed,
            unhealthy_since=self.timers.look(NN("ns", NAME), uid, members, self.now),
        )

    def plan(self) -> Plan:
        observed = self.observe()
        before = repr(observed)
        planned = plan(observed, self.now)
        assert repr(observed) == before, "the planner changed what it was given"
        return planned

    def pass_(self) -> list[SingleWrite]:
        """One reconcile; returns what it wrote or tried to write."""
        self.dirty = False
        planned = self.last = self.plan()
        failed = len(self.failures)
        self._run(planned.steps)
        final = planned.finally_(self.failures[failed:]) if planned.finally_ else []
        self._run(final)
        if planned.refused:
            self.failures.append(ValueError(planned.refused))
        if planned.failure is not None:
            self.failures.append(planned.failure)
        if len(self.failures) > failed or planned.requeue:
            self.dirty = True
        after = planned.requeue_after
        self.next_look = self.now + timedelta(seconds=after) if after is not None else None
        return writes([*planned.steps, *final])

    def passes(self, most: int = 20) -> None:
        """Reconcile until nothing wakes the controller any more."""
        for _ in range(most):
            if not self.dirty:
                return
            self.pass_()
        raise AssertionError("the controller keeps itself busy")

    # -- the instance controller ------------------------------------------------------------------------------

    def instance_step(self, name: str) -> bool:
        """One stage: see the spec, replace the pods, become Ready. False when nothing is left to do."""
        instance = self.instances()[name]
        if instance["metadata"].get("deletionTimestamp"):
            return False
        before = self._rv
        components = instance["spec"]["components"]
        image = components[0]["template"]["spec"]["containers"][0]["image"]
        pods = self.pods.setdefault(name, {"of": None, "ready": False})
        status = instance.get("status") or {}
        seen = status.get("observedGeneration") == instance["metadata"]["generation"]
        if seen and pods["of"] != components:
            pods |= {"of": copy.deepcopy(components), "ready": False}
        elif seen:
            pods["ready"] = self.healthy(image)
        self._report(instance, pods)
        return self._rv != before

    def _report(self, instance: RawObject, pods: dict[str, Any]) -> None:
        status = instance.get("status") or {}
        old = {c["type"]: c for c in status.get("conditions") or ()}
        updated = pods["of"] == instance["spec"]["components"]
        gates = [g["conditionType"] for g in instance["spec"].get("readinessGates") or ()]
        closed = GATE in gates and old.get(GATE, {}).get("status") != "True"
        ready = "True" if pods["ready"] and updated and not closed else "False"
        known = old.get(conditions.INSTANCE_READY)
        since = known["lastTransitionTime"] if known and known["status"] == ready else format_time(self.now)
        old[conditions.INSTANCE_READY] = {
            "type": conditions.INSTANCE_READY,
            "status": ready,
            "lastTransitionTime": since,
        }
        self.change(
            kinds.KIND_INSTANCE,
            instance["metadata"]["name"],
            {
                "status": {
                    "observedGeneration": instance["metadata"]["generation"],
                    "conditions": list(old.values()),
                    "componentStatuses": [
                        {"name": c["name"], "size": 1, "updatedReplicas": c.get("size", 1) if updated else 0}
                        for c in instance["spec"]["components"]
                    ],
                }
            },
            subresource="status",
        )

    def make_ready(self, *ordinals: int) -> None:
        """Let these instances (all by default) come as far as they can."""
        for name in list(self.instances()):
            if not ordinals or int(name.rpartition("-")[2]) in ordinals:
                while self.instance_step(name):
                    pass

    def break_(self, ordinal: int) -> None:
        """Its pods stop being ready, and do not recover before the next `instance_step`."""
        instance = self.instances()[f"{NAME}-{ordinal}"]
        self.pods[instance["metadata"]["name"]]["ready"] = False
        self._report(instance, self.pods[instance["metadata"]["name"]])

    # -- users and time ---------------------------------------------------------------------------------------

    def edit(self, **spec: Any) -> None:
        self.change(kinds.KIND_INSTANCE_SET, NAME, {"spec": spec})

    def edit_image(self, image: str) -> None:
        self.edit(roleInstanceTemplate=template(image))

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        if self.next_look is not None and self.next_look <= self.now:
            self.dirty = True

    def settle(self) -> None:
        """To rest, with every instance as Ready as it can be."""
        self.run_to_rest(lambda names: names[0])

    def run_to_rest(
        self, choose: Callable[[list[str]], str], *, check: Callable[[], None] = lambda: None, most: int = 600
    ) -> None:
        """Until nothing is left to do and no timer runs; raises AssertionError when that does not come."""
        for _ in range(most):
            if self.dirty:
                self.pass_()
                check()
                continue
            restless = [n for n in self.instances() if self._would_move(n)]
            if restless:
                self.instance_step(choose(restless))
            elif self.next_look is not None:
                self.wait(max(0.0, (self.next_look - self.now).total_seconds()))
            else:
                return
        raise AssertionError("the set does not come to rest")

    def _would_move(self, name: str) -> bool:
        trial = copy.copy(self)
        trial.store, trial.pods = dict(self.store), copy.deepcopy(self.pods)
        return trial.instance_step(name)

    # -- looking ----------------------------------------------------------------------------------------------

    def ordinals(self) -> list[int]:
        return sorted(int(n.rpartition("-")[2]) for n in self.instances())

    def images(self) -> dict[int, str]:
        return {
            int(n.rpartition("-")[2]): o["spec"]["components"][0]["template"]["spec"]["containers"][0]["image"]
            for n, o in sorted(self.instances().items())
        }

    def uids(self) -> dict[int, str]:
        return {int(n.rpartition("-")[2]): o["metadata"]["uid"] for n, o in self.instances().items()}

    def serving(self, ordinal: int) -> bool:
        instance = self.instances().get(f"{NAME}-{ordinal}")
        if instance is None:
            return False
        member = member_of(RoleInstance.decode(instance))
        return member.serving and member.complete


def created(planned: Sequence[SingleWrite], kind: str = kinds.KIND_INSTANCE) -> list[str]:
    return [w.obj["metadata"]["name"] for w in planned if isinstance(w, Create) and w.obj["kind"] == kind]


def deleted(planned: Sequence[SingleWrite]) -> list[str]:
    return [w.key.name for w in planned if isinstance(w, Delete) and w.gvk.kind == kinds.KIND_INSTANCE]


def patched(planned: Sequence[SingleWrite], gvk: GVK, subresource: str = "") -> list[MergePatch]:
    return [w for w in planned if isinstance(w, MergePatch) and (w.gvk, w.subresource) == (gvk, subresource)]


def replaced(world: World, **changes: Any) -> Observed:
    """What the planner sees, with some of it changed."""
    return dataclasses.replace(world.observe(), **changes)
