"""What an instance asks for that this controller does not do yet; it says so instead of ignoring it.

Everything else about such an instance works as usual.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from rbgctl.api import annotations
from rbgctl.api.v1alpha2.component import Component
from rbgctl.api.v1alpha2.roleinstance import RoleInstance

REASON: Final = "UnsupportedFeature"


def unsupported(instance: RoleInstance) -> str:
    """A sentence naming all of it; empty when there is none."""
    found = dict.fromkeys(_of_instance(instance))
    for component in instance.components:
        found |= dict.fromkeys(f"{what} of component {component.name}" for what in _of_component(component))
    return f"not supported yet, ignored: {', '.join(found)}" if found else ""


def _of_instance(instance: RoleInstance) -> Iterator[str]:
    if instance.metadata.annotation(annotations.ROLE_INSTANCE_GANG_SCHEDULING) == annotations.TRUE:
        yield f"gang scheduling ({annotations.ROLE_INSTANCE_GANG_SCHEDULING})"
    if instance.metadata.annotation(annotations.ROLE_INPLACE_SCHEDULING):
        yield f"in-place scheduling ({annotations.ROLE_INPLACE_SCHEDULING})"


def _of_component(component: Component) -> Iterator[str]:
    template: Mapping[str, Any] = (component.template or {}).get("metadata") or {}
    given: Mapping[str, Any] = template.get("annotations") or {}
    order = (component.annotations or {}).get(annotations.COMPONENT_DEPENDS_ON)
    if _orders(order or given.get(annotations.COMPONENT_DEPENDS_ON)):
        yield f"ordering ({annotations.COMPONENT_DEPENDS_ON})"
    if annotations.COMPONENT_DISCOVERY in given:
        yield f"discovery ({annotations.COMPONENT_DISCOVERY})"
    if annotations.PORT_ALLOCATOR in given:
        yield f"port allocation ({annotations.PORT_ALLOCATOR})"


def _orders(text: str | None) -> bool:
    """Whether a depends-on annotation orders anything (CMP-1, CMP-2)."""
    if not text:
        return False
    try:
        return any(json.loads(text).get(key) for key in ("startAfter", "deleteAfter"))
    except (ValueError, AttributeError):
        return True
