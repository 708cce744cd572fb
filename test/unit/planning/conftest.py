"""A small API server for revisions: carries out planned writes on plain objects."""

import copy
from typing import Any

import pytest

from rbgctl.machinery.gvk import RawObject
from rbgctl.machinery.merge_patch import apply_merge_patch
from rbgctl.machinery.plan import Create, Delete, MergePatch, SingleWrite


class Conflict(Exception):
    """A precondition did not hold."""


class AlreadyExists(Exception):
    """The name is taken by something that the plan does not accept."""


class RevisionStore:
    """Keeps ControllerRevisions and enforces preconditions as the API server does."""

    def __init__(self) -> None:
        self._objects: dict[str, RawObject] = {}
        self._clock = 0

    def all(self) -> list[RawObject]:
        return copy.deepcopy([*self._objects.values()])

    def names(self) -> list[str]:
        return list(self._objects)

    def put(self, revision: RawObject) -> None:
        """Store as created by somebody else."""
        self._clock += 1
        stored = copy.deepcopy(revision)
        stored["metadata"] |= {
            "uid": f"uid-{self._clock}",
            "resourceVersion": str(self._clock),
            "creationTimestamp": f"2024-01-01T00:{self._clock // 60:02}:{self._clock % 60:02}Z",
        }
        self._objects[stored["metadata"]["name"]] = stored

    def change(self, name: str, **metadata: Any) -> None:
        """Change metadata behind the planner's back."""
        self._clock += 1
        self._objects[name]["metadata"] |= {**metadata, "resourceVersion": str(self._clock)}

    def run(self, steps: list[SingleWrite]) -> None:
        for step in steps:
            match step:
                case Create():
                    self._create(step)
                case MergePatch():
                    self._patch(step)
                case Delete():
                    self._delete(step)
                case _:
                    raise AssertionError(f"unexpected write {step}")

    def _create(self, step: Create) -> None:
        taken = self._objects.get(step.obj["metadata"]["name"])
        if taken is None:
            self.put(step.obj)
        elif step.accept_existing is None or not step.accept_existing(copy.deepcopy(taken)):
            raise AlreadyExists(step.obj["metadata"]["name"])

    def _patch(self, step: MergePatch) -> None:
        live = self._objects[step.key.name]
        for key in ("uid", "resourceVersion"):
            if step.patch["metadata"].get(key) != live["metadata"][key]:
                raise Conflict(f"{step.key}: {key}")
        self._clock += 1
        changed = apply_merge_patch(live, step.patch)
        changed["metadata"]["resourceVersion"] = str(self._clock)
        self._objects[step.key.name] = changed

    def _delete(self, step: Delete) -> None:
        if (live := self._objects.get(step.key.name)) is None:
            return
        if step.uid != live["metadata"]["uid"]:
            raise Conflict(f"{step.key}: uid")
        del self._objects[step.key.name]


@pytest.fixture
def store() -> RevisionStore:
    return RevisionStore()
