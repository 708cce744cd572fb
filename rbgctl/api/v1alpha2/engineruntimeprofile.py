"""ClusterEngineRuntimeProfile: sidecars that roles can ask for (KIND-7, ERP-1 … ERP-5)."""

from typing import Annotated, Final

from rbgctl.api import kinds
from rbgctl.api.meta import ObjectMeta
from rbgctl.api.model import Model, Schema
from rbgctl.machinery.gvk import RawObject

NO_UPDATE: Final = "NoUpdate"
ROLLING_UPDATE: Final = "RollingUpdate"
UPDATE_STRATEGIES: Final = (NO_UPDATE, ROLLING_UPDATE)
"""ENUM-13"""


class EngineRuntimeProfileSpec(Model):
    """What is added to the pods of a role."""

    containers: Annotated[list[RawObject] | None, Schema(core="Container")] = None
    """Containers, each unless the pod has one of that name. (ERP-2)"""
    init_containers: Annotated[list[RawObject] | None, Schema(core="Container")] = None
    """Init containers, each unless the pod has one of that name. (ERP-1)"""
    update_strategy: Annotated[str | None, Schema(required=True, default=NO_UPDATE, enum=UPDATE_STRATEGIES)] = None
    """Whether a change of the profile reaches roles at once (RollingUpdate) or with their next change. (ERP-4)"""
    volumes: Annotated[list[RawObject] | None, Schema(core="Volume")] = None
    """Volumes, each unless the pod has one of that name. (ERP-3)"""


class EngineRuntimeProfileStatus(Model):
    """Nothing is reported on a profile (ERP-5)."""


class ClusterEngineRuntimeProfile(Model):
    """Sidecars that roles of any namespace can ask for by name."""

    api_version: str = kinds.API_VERSION
    kind: str = kinds.KIND_ENGINE_RUNTIME_PROFILE
    metadata: ObjectMeta = ObjectMeta()
    spec: EngineRuntimeProfileSpec = EngineRuntimeProfileSpec()
    """What is added to the pods of a role."""
    status: EngineRuntimeProfileStatus = EngineRuntimeProfileStatus()
    """Nothing is reported."""
