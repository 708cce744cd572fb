"""Environment variables that the operator injects into containers (ENV-1 … ENV-23)."""

from typing import Final

RESERVED_PREFIX: Final = "RBG_"
LWP_PREFIX: Final = "RBG_LWP_"
"""Reserved prefixes; user variables must not start with them. ENV-20"""

GROUP_NAME: Final = "RBG_GROUP_NAME"
ROLE_NAME: Final = "RBG_ROLE_NAME"
ROLE_INDEX: Final = "RBG_ROLE_INDEX"
"""Ordinal of the instance, stateful roles only. ENV-3"""
ROLE_INSTANCE_NAME: Final = "RBG_ROLE_INSTANCE_NAME"
COMPONENT_NAME: Final = "RBG_COMPONENT_NAME"
COMPONENT_INDEX: Final = "RBG_COMPONENT_INDEX"
"""Number of the pod within its component, from label component-id. ENV-6"""
LWP_LEADER_ADDRESS: Final = "RBG_LWP_LEADER_ADDRESS"
LWP_WORKER_INDEX: Final = "RBG_LWP_WORKER_INDEX"
LWP_GROUP_SIZE: Final = "RBG_LWP_GROUP_SIZE"
POD_NAMESPACE: Final = "POD_NAMESPACE"
"""Read by the manager itself: its own namespace. ENV-23"""

REMOVED_V1ALPHA1: Final = (
    "GROUP_NAME",
    "ROLE_NAME",
    "ROLE_INDEX",
    "INSTANCE_NAME",
    "COMPONENT_NAME",
    "COMPONENT_INDEX",
    "LWS_LEADER_ADDRESS",
    "LWS_WORKER_INDEX",
    "LWS_GROUP_SIZE",
)
"""Names that older releases injected and this one does not. ENV-22"""


def label_field_path(label: str) -> str:
    """The downward API path of a label, as upstream spells it (single quotes). ENV-3"""
    return f"metadata.labels['{label}']"
