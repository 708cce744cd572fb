"""A pod of an instance, reduced to what decisions about it need, and the slots that pods fill.

Active: neither ended nor on its way out. Ready: serves, by the kubelet's word. Runtime-ready: its containers are, so
that it could serve once our own gate opens (RDY-4, STA-1).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from rbgctl.api import conditions, labels, names
from rbgctl.api.v1alpha2.component import Component
from rbgctl.api.v1alpha2.defaults import component_size
from rbgctl.api.v1alpha2.roleinstance import RoleInstance
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.machinery.owner_references import controller_of

POD: Final = GVK("", "v1", "Pod")

NO_ID: Final = -1
"""Id of a pod that carries none."""

_RUNNING: Final = "Running"
_SUCCEEDED: Final = "Succeeded"
_FAILED: Final = "Failed"


@dataclass(frozen=True)
class Pod:
    """A pod as read; `raw` must not be changed."""

    raw: RawObject

    @property
    def name(self) -> str:
        return str(self._meta["name"])

    @property
    def key(self) -> NN:
        return NN.of(self.raw)

    @property
    def uid(self) -> str:
        return str(self._meta.get("uid") or "")

    @property
    def controller_uid(self) -> str:
        """uid of the controller; empty when it has none."""
        return str((controller_of(self.raw) or {}).get("uid") or "")

    @property
    def hash(self) -> str:
        """Short hash of the instance revision it was made from or updated to (LBL-21)."""
        return self._label(labels.CONTROLLER_REVISION_HASH)

    def annotation(self, key: str) -> str:
        """Empty when it is absent."""
        return str((self._meta.get("annotations") or {}).get(key) or "")

    @cached_property
    def component(self) -> str:
        """Name of its component: the label, else the second-last part of its name (RIN-10)."""
        parts = self.name.split("-")
        return self._label(labels.COMPONENT_NAME) or (parts[-2] if len(parts) > 1 else "")

    @cached_property
    def id(self) -> int:
        """Its number within the component: the label, else the end of its name; NO_ID without a number (RIN-7)."""
        text = self._label(labels.COMPONENT_ID) or self.name.rpartition("-")[2]
        return int(text) if text.isascii() and text.isdigit() else NO_ID

    @property
    def phase(self) -> str:
        return str(self._status.get("phase") or "")

    @property
    def terminating(self) -> bool:
        return bool(self._meta.get("deletionTimestamp"))

    @property
    def active(self) -> bool:
        return self.phase not in {_SUCCEEDED, _FAILED} and not self.terminating

    @property
    def failed(self) -> bool:
        """Ended with an error and not on its way out yet."""
        return self.phase == _FAILED and not self.terminating

    @property
    def reason(self) -> str:
        """Why it is in its phase, in one word where the kubelet gave one: `Evicted`, else the phase."""
        return str(self._status.get("reason") or self.phase)

    def has_gate(self, condition_type: str) -> bool:
        """Whether the kubelet waits for this condition."""
        gates = self._spec.get("readinessGates") or ()
        return any(gate.get("conditionType") == condition_type for gate in gates)

    def condition(self, condition_type: str) -> Mapping[str, Any] | None:
        """The condition of that type."""
        found = self._status.get("conditions") or ()
        return next((c for c in found if c.get("type") == condition_type), None)

    def is_true(self, condition_type: str) -> bool:
        return (self.condition(condition_type) or {}).get("status") == conditions.TRUE

    @cached_property
    def ready(self) -> bool:
        """Running, Ready, and not in the middle of an in-place update (STA-1)."""
        updated = self.condition(conditions.POD_IN_PLACE_UPDATE_READY)
        return (
            self.phase == _RUNNING
            and self.is_true(conditions.POD_READY)
            and (updated is None or updated.get("status") == conditions.TRUE)
        )

    @cached_property
    def runtime_ready(self) -> bool:
        """Running, containers ready, no in-place update going on, not on its way out (RDY-4)."""
        return (
            not self.terminating
            and self.phase == _RUNNING
            and self.is_true(conditions.POD_CONTAINERS_READY)
            and self.is_true(conditions.POD_IN_PLACE_UPDATE_READY)
        )

    @property
    def scheduled(self) -> bool:
        return self.is_true("PodScheduled")

    @property
    def container_statuses(self) -> Mapping[str, Mapping[str, Any]]:
        """By container name; init containers are left out."""
        return {c["name"]: c for c in self._status.get("containerStatuses") or ()}

    @property
    def images(self) -> Mapping[str, str]:
        """Image in the spec, by container name."""
        return {c["name"]: c.get("image") or "" for c in self._spec.get("containers") or ()}

    @property
    def _meta(self) -> Mapping[str, Any]:
        meta: Mapping[str, Any] = self.raw["metadata"]
        return meta

    @property
    def _spec(self) -> Mapping[str, Any]:
        return self.raw.get("spec") or {}

    @property
    def _status(self) -> Mapping[str, Any]:
        return self.raw.get("status") or {}

    def _label(self, key: str) -> str:
        return str((self._meta.get("labels") or {}).get(key) or "")


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one pod: number `id` of `component`, under `name`."""

    component: Component
    id: int
    name: str


def slots(instance: RoleInstance) -> list[Slot]:
    """The pods an instance asks for: components in the order of the spec, ids ascending (RIN-7, RIN-14)."""
    role_type = (instance.metadata.labels or {}).get(labels.ROLE_TYPE)
    return [
        Slot(component, id_, names.pod_name(instance.metadata.name, role_type, component.name, id_))
        for component in instance.components
        for id_ in range(component_size(component))
    ]


def active(pods: Iterable[Pod]) -> list[Pod]:
    """Those that are neither ended nor on their way out."""
    return [p for p in pods if p.active]
