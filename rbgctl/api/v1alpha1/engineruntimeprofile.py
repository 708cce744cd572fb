"""ClusterEngineRuntimeProfile in its deprecated version: the fields of v1alpha2 (A1-2)."""

from rbgctl.api import kinds
from rbgctl.api.v1alpha2 import engineruntimeprofile as v1alpha2


class ClusterEngineRuntimeProfile(v1alpha2.ClusterEngineRuntimeProfile):
    """Sidecars that roles of any namespace can ask for by name."""

    api_version: str = kinds.API_VERSION_V1ALPHA1
