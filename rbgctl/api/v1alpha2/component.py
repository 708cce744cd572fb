"""A component: pods of one template within an instance (GRP-54 … GRP-58, RI-2 … RI-6)."""

from typing import Annotated

from rbgctl.api.model import Int32, Model, Schema, StringMap
from rbgctl.machinery.gvk import RawObject


class Component(Model):
    """Same shape in customComponentsPattern, RoleInstance and roleInstanceTemplate."""

    annotations: StringMap | None = None
    """Added to the annotations of the pod template. (GRP-57)"""
    labels: StringMap | None = None
    """Added to the labels of the pod template. (GRP-57)"""
    name: Annotated[str, Schema(required=True)] = ""
    """Name of the component, unique in the instance; part of pod names. (GRP-54)"""
    service_name: str | None = None
    """Headless Service that gives the pods their host names; empty means the role's. (GRP-56)"""
    size: Int32 | None = None
    """Pods of this component; 1 when absent. (GRP-55)"""
    template: Annotated[RawObject | None, Schema(required=True, schemaless=True)] = None
    """Pod template, stored as it was sent. (GRP-58)"""
