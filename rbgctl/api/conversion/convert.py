"""Conversion of whole objects: the fields, and around them what the other version has no place for.

    up:   fields -> apply what v1alpha2 data there is -> find what v1alpha1 data that loses, keep it
    down: fields -> apply what v1alpha1 data there is -> find what v1alpha2 data that loses, keep it

Each direction thus runs the other one too, to see what gets lost; both share all pod templates with the argument, so
that costs little. What is kept is found, not listed: an object of an odd shape survives as well (CV-7).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from rbgctl.api import annotations as a
from rbgctl.api import kinds
from rbgctl.api.conversion.difference import OF_ITEM, Rules, difference, merged
from rbgctl.api.conversion.group import group_down, group_status, group_up
from rbgctl.api.conversion.groupset import set_down, set_status, set_up, with_inherited
from rbgctl.api.conversion.preserved import (
    DERIVED,
    TOTAL_ANNOTATION_BYTES,
    V1ALPHA1_DATA,
    V1ALPHA2_DATA,
    Problem,
    pack,
    size,
    unpacked,
)
from rbgctl.api.identity import RESTART_BASE_DELAY_SECONDS, RESTART_MAX_DELAY_SECONDS
from rbgctl.api.v1alpha2.patterns import SELECT_LEADER_ONLY
from rbgctl.api.v1alpha2.rollout import PARALLEL
from rbgctl.machinery.gvk import RawObject


class NotConvertible(ValueError):
    """The object is of a kind or version that there is no conversion for; the text is shown to the user. CR-7"""


class Converted(NamedTuple):
    """The converted object, which shares parts with the original, and what was odd about it."""

    obj: RawObject
    problems: list[Problem]


def convert(obj: RawObject, desired_api_version: str) -> RawObject:
    """`obj` in another version of its kind. Neither it nor the result may be changed afterwards: they share parts.

    Raises NotConvertible for an unknown kind or version, and nothing else, whatever the object contains.
    """
    return convert_and_report(obj, desired_api_version).obj


def convert_and_report(obj: RawObject, desired_api_version: str) -> Converted:
    """As `convert`, with the problems that it met."""
    before, kind = str(obj.get("apiVersion")), str(obj.get("kind"))
    versions = _VERSIONS.get(kind, frozenset())
    if before not in versions or desired_api_version not in versions:
        raise NotConvertible(f"there is no conversion of {before}, Kind={kind} to {desired_api_version}")
    if before == desired_api_version:
        return Converted(obj, [])
    form = _FORMS.get(kind)
    if form is None:
        return Converted({**obj, "apiVersion": desired_api_version}, [])
    return _up(obj, form) if desired_api_version == kinds.API_VERSION else _down(obj, form)


@dataclass(frozen=True, slots=True)
class _Form:
    """The conversions of one kind: annotations and spec in either direction, status in both."""

    up: Callable[[dict[str, Any], Any], tuple[dict[str, Any], Any, list[Problem]]]
    down: Callable[[dict[str, Any], Any], tuple[dict[str, Any], Any, list[Problem]]]
    status: Callable[[Any], Any]
    as_written_today: Callable[[dict[str, Any], Any, Any], Any] | None = None


_ANY_PATTERN: Final = ("standalonePattern", "leaderWorkerPattern", "customComponentsPattern")

_LOST_IN_DIFFERING_ROLE: Final = Rules(
    exact={
        "restartPolicy": "restartPolicyConfig",
        **dict.fromkeys(set(DERIVED) - {a.GROUP_EXCLUSIVE_TOPOLOGY}, a.CONVERSION_POD_GROUP_POLICY),
    },
    present={
        "templateRef": ("template",),
        **{key: tuple(k for k in _ANY_PATTERN[1:] if k != key) for key in _ANY_PATTERN},
    },
    # With another workload the API server may refuse it. CEL-2
    of_item={"sharedServiceSelection": (SELECT_LEADER_ONLY, f"{OF_ITEM}annotations/{a.ROLE_WORKLOAD_TYPE}")},
)
_LOST_IN_V1ALPHA1: Final = replace(
    _LOST_IN_DIFFERING_ROLE,
    defaults={
        "podManagementPolicy": PARALLEL,
        "baseDelaySeconds": RESTART_BASE_DELAY_SECONDS,
        "maxDelaySeconds": RESTART_MAX_DELAY_SECONDS,
    },
    differing=_LOST_IN_DIFFERING_ROLE,
)
_LOST_IN_V1ALPHA2: Final = Rules(
    # In v1alpha1 these only repeat a field, and where they contradict it the field counts.
    ignored=frozenset({a.ROLE_WORKLOAD_TYPE, *DERIVED}),
    present={
        "restartPolicy": ("leaderWorkerSet", "components"),
        "components": ("leaderWorkerSet",),
        "template": ("leaderWorkerSet", "components"),
        "templateRef": ("leaderWorkerSet", "components", "template"),
        "templatePatch": ("leaderWorkerSet", "components", "template", "templateRef"),
    },
)


def _up(obj: RawObject, form: _Form) -> Converted:
    source = _annotations(obj)
    own, problems = dict(source), list[Problem]()
    kept = _take(own, V1ALPHA2_DATA, problems)
    if not isinstance(unpacked(own.get(V1ALPHA1_DATA)), str):
        del own[V1ALPHA1_DATA]
    annotations, spec, found = form.up(own, obj.get("spec"))
    problems += found
    written = annotations
    annotations, spec = _apply(kept, annotations, spec)
    if size(annotations) > TOTAL_ANNOTATION_BYTES:
        # Fields that grew since then have taken the room; what they say counts.
        annotations = written
        text = f"no room in {TOTAL_ANNOTATION_BYTES} bytes of annotations, those in it are not restored"
        problems.append(Problem(V1ALPHA2_DATA, text))
    annotations = dict(annotations)
    back, back_spec, _ = form.down(annotations, spec)
    lost = difference(_parts(back, back_spec), _parts(own, obj.get("spec")), _LOST_IN_V1ALPHA2)
    if problem := pack(annotations, V1ALPHA1_DATA, lost):
        problems.append(problem)
    return Converted(_assembled(obj, kinds.API_VERSION, source, annotations, spec, form), problems)


def _down(obj: RawObject, form: _Form) -> Converted:
    source = _annotations(obj)
    own, problems = dict(source), list[Problem]()
    own.pop(V1ALPHA2_DATA, None)
    kept = _take(own, V1ALPHA1_DATA, problems)
    annotations, spec, found = form.down(own, obj.get("spec"))
    problems += found
    annotations, spec = _apply(kept, annotations, spec)
    back, back_spec, _ = form.up(annotations, spec)
    original = obj.get("spec")
    if form.as_written_today is not None:
        original = form.as_written_today(own, original, back_spec)
    lost = difference(_parts(back, back_spec), _parts(own, original), _LOST_IN_V1ALPHA1)
    annotations = dict(annotations)
    if problem := pack(annotations, V1ALPHA2_DATA, lost):
        problems.append(problem)
    return Converted(_assembled(obj, _V1ALPHA1, source, annotations, spec, form), problems)


def _annotations(obj: RawObject) -> dict[str, Any]:
    metadata = obj.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    return annotations if isinstance(annotations, dict) else {}


def _take(annotations: dict[str, Any], key: str, problems: list[Problem]) -> dict[str, Any]:
    """The tree under `key`, removed from the annotations; a malformed one of the hub's own stays where it is. CV-7"""
    if key not in annotations:
        return {}
    tree = unpacked(annotations[key])
    if isinstance(tree, str):
        problems.append(Problem(key, tree))
        if key == V1ALPHA2_DATA:
            del annotations[key]
        return {}
    del annotations[key]
    return tree


def _apply(tree: dict[str, Any], annotations: dict[str, Any], spec: Any) -> tuple[dict[str, Any], Any]:
    if not tree:
        return annotations, spec
    both = merged(_parts(annotations, spec), tree)
    return both.get("annotations") or {}, both.get("spec")


def _parts(annotations: dict[str, Any], spec: Any) -> dict[str, Any]:
    return {"annotations": annotations or None, "spec": spec}


def _assembled(
    obj: RawObject, api_version: str, source: dict[str, Any], annotations: dict[str, Any], spec: Any, form: _Form
) -> RawObject:
    out: RawObject = {"apiVersion": api_version, "kind": obj["kind"]}
    metadata = obj.get("metadata")
    if annotations != source:
        metadata = dict(metadata) if isinstance(metadata, dict) else {}
        metadata.pop("annotations", None)
        if annotations:
            metadata["annotations"] = annotations
    if metadata is not None:
        out["metadata"] = metadata
    if spec is not None:
        out["spec"] = spec
    if (status := form.status(obj.get("status"))) is not None:
        out["status"] = status
    return out


_V1ALPHA1: Final = f"{kinds.GROUP}/{kinds.V1ALPHA1}"

_FORMS: Final = {
    kinds.KIND_GROUP: _Form(group_up, group_down, group_status),
    kinds.KIND_GROUP_SET: _Form(set_up, set_down, set_status, with_inherited),
}
"""Kinds whose versions differ; of the others only apiVersion is rewritten. A1-2"""

_VERSIONS: Final = {
    kind: frozenset(r.gvk.api_version for r in kinds.RESOURCES if r.gvk.kind == kind)
    for kind in {r.gvk.kind for r in kinds.RESOURCES}
}
