"""coordination of v1alpha1: JSON in an hub annotation, from which a CoordinatedPolicy is made (CV-22, ANN-61)."""

from typing import Final

from rbgctl.api.conversion.kept_json import Shape

SHAPE: Final[Shape] = [
    {
        "name": str,
        "roles": [str],
        "strategy": {
            "rollingUpdate": {"maxSkew": str, "partition": str, "maxUnavailable": str},
            "scaling": {"maxSkew": str, "progression": str},
        },
    }
]
"""Members in the order of the text."""
ALWAYS: Final = {"name": "", "roles": None}
"""Members that the text always has, with what stands for an absent one."""
