"""Replicas that belong to a scaling adapter (VAL-3, VLD-4), as far as it can be decided without reading it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rbgctl.api import names
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup
from rbgctl.api.validation.problem import FieldError
from rbgctl.machinery.gvk import NN


@dataclass(frozen=True, slots=True)
class Contested:
    """A role whose replicas an update changes although an adapter may own them."""

    path: str
    role: str
    replicas: int
    adapter: NN

    def problem(self, adapter: Mapping[str, Any]) -> FieldError | None:
        """None when the adapter as it is wants these replicas too, or none at all."""
        spec = adapter.get("spec")
        wanted = spec.get("replicas") if isinstance(spec, Mapping) else None
        if wanted is None or wanted == self.replicas:
            return None
        return self._problem(
            f"{self.replicas} is not what scaling adapter {self.adapter} says ({wanted}), which owns the replicas of"
            f" this role: scale the adapter instead, or set {self.path}.scalingAdapter.enable to false first"
        )

    def unreadable(self, reason: object) -> FieldError:
        """The adapter could not be read."""
        return self._problem(f"failed to get ScalingAdapter {self.adapter}: {reason}")

    def _problem(self, text: str) -> FieldError:
        return FieldError(f'{self.path}.replicas (role "{self.role}")', text, self.role, "adapter replicas")


def contested(old: RoleBasedGroup, new: RoleBasedGroup) -> list[Contested]:
    """The roles whose adapters have to be looked at before an update is accepted. VAL-3, steps 1 and 2"""
    found: list[Contested] = []
    stored = {role.name: role for role in old.roles}
    for index, role in enumerate(new.roles):
        before = stored.get(role.name)
        if not (role.scaling_adapter and role.scaling_adapter.enable) or before is None:
            continue
        if role.replicas is None or before.replicas == role.replicas:
            continue
        adapter = NN(new.metadata.namespace, names.scaling_adapter_name(new.metadata.name, role.name))
        found.append(Contested(f"spec.roles[{index}]", role.name, role.replicas, adapter))
    return found
