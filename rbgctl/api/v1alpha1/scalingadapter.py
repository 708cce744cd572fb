"""RoleBasedGroupScalingAdapter in its deprecated version: the fields of v1alpha2 (A1-2)."""

from rbgctl.api import kinds
from rbgctl.api.v1alpha2 import scalingadapter as v1alpha2


class RoleBasedGroupScalingAdapter(v1alpha2.RoleBasedGroupScalingAdapter):
    """Gives one role of a group a scale subresource."""

    api_version: str = kinds.API_VERSION_V1ALPHA1
