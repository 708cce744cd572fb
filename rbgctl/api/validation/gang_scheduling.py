"""Two ways of gang scheduling that exclude each other."""

from typing import Final

from rbgctl.api import annotations
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup
from rbgctl.api.validation.problem import FieldError

CHECK: Final = "gang annotations"


def gang_annotations(group: RoleBasedGroup) -> list[FieldError]:
    """Gang scheduling of the whole group and of single instances exclude each other. VLD-20, RBG-30.1"""
    asked = (annotations.GROUP_GANG_SCHEDULING, annotations.ROLE_INSTANCE_GANG_SCHEDULING)
    if any(group.metadata.annotation(key) != annotations.TRUE for key in asked):
        return []
    return [
        FieldError(
            "metadata.annotations",
            f'"{asked[0]}" and "{asked[1]}" are mutually exclusive and both are "true":'
            " keep the first on the group, or set the second on single roles",
            check=CHECK,
        )
    ]
