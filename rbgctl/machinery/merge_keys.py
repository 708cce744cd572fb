"""Which lists of built-in kinds merge under a strategic merge patch, and by what (RBG-71, RT-CL-07)."""

from typing import Final

from rbgctl.machinery.strategic_merge import Schema

_BY_NAME: Final = Schema(key="name")
_CONTAINERS: Final = Schema(
    key="name",
    fields={
        "env": _BY_NAME,
        "ports": Schema(key="containerPort"),
        "volumeMounts": Schema(key="mountPath"),
        "volumeDevices": Schema(key="devicePath"),
    },
)

_METADATA: Final = Schema(fields={"ownerReferences": Schema(key="uid"), "finalizers": Schema(a_set=True)})

POD_TEMPLATE: Final = Schema(
    fields={
        "metadata": _METADATA,
        "spec": Schema(
            fields={
                "containers": _CONTAINERS,
                "initContainers": _CONTAINERS,
                "ephemeralContainers": _CONTAINERS,
                "volumes": _BY_NAME,
                "imagePullSecrets": _BY_NAME,
                "schedulingGates": _BY_NAME,
                "resourceClaims": _BY_NAME,
                "hostAliases": Schema(key="ip"),
                "topologySpreadConstraints": Schema(key="topologyKey"),
            }
        ),
    }
)
"""The lists of a PodTemplateSpec that merge; all others are replaced (RBG-71)."""

EVENT: Final = Schema(fields={"metadata": _METADATA})
"""A core/v1 Event has no lists of its own."""
