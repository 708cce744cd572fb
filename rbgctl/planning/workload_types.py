"""How Go encodes the specs of our own kinds: the hand-written part of typed_encoding's tables (RBG-36, API-10).

Same form as core_types.json: per type and JSON field the kind, whether the Go field is a pointer, and whether it
carries `omitempty`.
"""

from typing import Any, Final

Shape = dict[str, Any]


def _optional(kind: str, **more: Any) -> Shape:
    return {"kind": kind, "omit": "empty", **more}


def _pointer(kind: str, **more: Any) -> Shape:
    return {"kind": kind, "omit": "empty", "pointer": True, **more}


def _struct(type_name: str) -> Shape:
    return {"kind": "struct", "type": type_name}


_STRING: Final[Shape] = {"kind": "string"}
_STRING_MAP: Final = _optional("map", of=_STRING)
_RESTART_POLICY: Final[dict[str, Shape]] = {
    "restartPolicy": _optional("string"),
    "restartPolicyConfig": _pointer("struct", type="RestartPolicyConfig"),
}
_TEMPLATE_SOURCE: Final[dict[str, Shape]] = {
    "template": _pointer("struct", type="PodTemplateSpec"),
    "templateRef": _pointer("struct", type="TemplateRef"),
}
_COMPONENT: Final[dict[str, Shape]] = {
    "name": _STRING,
    "size": _pointer("int32"),
    "serviceName": _optional("string"),
    "labels": _STRING_MAP,
    "annotations": _STRING_MAP,
    "template": _struct("PodTemplateSpec"),
}

WORKLOAD_TYPES: Final[dict[str, dict[str, Shape]]] = {
    "RoleSpec": {
        "name": _STRING,
        "labels": _STRING_MAP,
        "annotations": _STRING_MAP,
        "replicas": {"kind": "int32", "pointer": True},
        "rolloutStrategy": _pointer("struct", type="RolloutStrategy"),
        "dependencies": _optional("slice", of=_STRING),
        "servicePorts": _optional("slice", of=_struct("ServicePort")),
        "engineRuntimes": _optional("slice", of=_struct("EngineRuntime")),
        "scalingAdapter": _pointer("struct", type="ScalingAdapter"),
        "minReadySeconds": _optional("int32"),
        "podManagementPolicy": _optional("string"),
        "standalonePattern": _pointer("struct", type="StandalonePattern"),
        "leaderWorkerPattern": _pointer("struct", type="LeaderWorkerPattern"),
        "customComponentsPattern": _pointer("struct", type="CustomComponentsPattern"),
    },
    "RoleTemplate": {"name": _STRING, "template": _struct("PodTemplateSpec")},
    "RolloutStrategy": {"type": _STRING, "rollingUpdate": _pointer("struct", type="RollingUpdate")},
    "RollingUpdate": {
        "type": _optional("string"),
        "partition": _pointer("intorstring"),
        "maxUnavailable": _pointer("intorstring"),
        "maxSurge": _pointer("intorstring"),
        "paused": _optional("bool"),
        "inPlaceUpdateStrategy": _pointer("struct", type="InPlaceUpdateStrategy"),
    },
    "InPlaceUpdateStrategy": {"gracePeriodSeconds": _optional("int32")},
    "EngineRuntime": {
        "profileName": _STRING,
        "injectContainers": _optional("slice", of=_STRING),
        "containers": _optional("slice", of=_struct("Container")),
    },
    "ScalingAdapter": {"enable": _optional("bool"), "labels": _STRING_MAP},
    "TemplateRef": {"name": _STRING, "patch": _pointer("any")},
    "RestartPolicyConfig": {
        "type": _optional("string"),
        "baseDelaySeconds": _pointer("int32"),
        "maxDelaySeconds": _pointer("int32"),
    },
    "StandalonePattern": _TEMPLATE_SOURCE,
    "LeaderWorkerPattern": {
        **_TEMPLATE_SOURCE,
        "size": _pointer("int32"),
        "leaderTemplatePatch": _pointer("any"),
        "workerTemplatePatch": _pointer("any"),
        "sharedServiceSelection": _optional("string"),
        **_RESTART_POLICY,
    },
    "CustomComponentsPattern": {
        "components": _optional("slice", of=_struct("Component")),
        **_RESTART_POLICY,
    },
    "Component": _COMPONENT,
    "RoleInstanceSpec": {
        "components": {"kind": "slice", "of": _struct("Component")},
        "readyPolicy": _optional("string"),
        **_RESTART_POLICY,
        "readinessGates": _optional("slice", of=_struct("RoleInstanceReadinessGate")),
    },
    "RoleInstanceReadinessGate": {"conditionType": _STRING},
}

OBJECT_RESTART_POLICY: Final = frozenset({"LeaderWorkerPattern", "CustomComponentsPattern", "RoleInstanceSpec"})
"""Types whose `restartPolicy` was an object in two alpha releases; read as `restartPolicyConfig` then (RP-3)."""
