"""What discovery answers say: groups, their versions in order of preference, and resources (RT-RM-01, RT-RM-04)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from rbgctl.machinery.gvk import GVK, Resource
from rbgctl.runtime.errors import ApiError

ACCEPT: Final = ",".join(
    (
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        "application/json",
    )
)
"""Everything in one answer where the server can do that."""


@dataclass(frozen=True, slots=True)
class Group:
    """An API group. `complete`: the document had the resources of all its versions."""

    name: str
    versions: tuple[str, ...]
    resources: tuple[Resource, ...] = ()
    complete: bool = False


def read_groups(document: bytes) -> list[Group]:
    """The groups in an answer of `/api` or `/apis`, in whatever form it came. Raises ApiError for anything else."""
    answer = _parsed(document)
    match answer.get("kind"):
        case "APIGroupDiscoveryList":
            return [_aggregated(item) for item in answer.get("items") or ()]
        case "APIGroupList":
            return [Group(group["name"], tuple(_ordered(group))) for group in answer.get("groups") or ()]
        case "APIVersions":
            return [Group("", tuple(answer.get("versions") or ()))]
        case _:
            raise ApiError.from_response("GET", 500, {}, document)


def read_versions(document: bytes) -> list[str]:
    """The versions in an answer of `/apis/<group>` or `/api`, the preferred one first."""
    answer = _parsed(document)
    return list(_ordered(answer)) if answer.get("kind") == "APIGroup" else list(answer.get("versions") or ())


def read_resources(document: bytes, group: str, version: str) -> list[Resource]:
    """The resources in an answer of `/apis/<group>/<version>` or `/api/<version>`, without sub-resources."""
    return [
        Resource(GVK(group, version, entry["kind"]), entry["name"], bool(entry.get("namespaced")))
        for entry in _parsed(document).get("resources") or ()
        if "/" not in entry["name"]
    ]


def _parsed(document: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(document)
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise ApiError.from_response("GET", 500, {}, document)
    return answer


def _ordered(group: Mapping[str, Any]) -> Iterator[str]:
    preferred = (group.get("preferredVersion") or {}).get("version")
    versions = [entry["version"] for entry in group.get("versions") or ()]
    yield from (version for version in versions if version == preferred)
    yield from (version for version in versions if version != preferred)


def _aggregated(item: Mapping[str, Any]) -> Group:
    name = (item.get("metadata") or {}).get("name") or ""
    versions = item.get("versions") or ()
    resources = tuple(
        Resource(
            GVK(name, version["version"], entry["responseKind"]["kind"]),
            entry["resource"],
            entry.get("scope") == "Namespaced",
        )
        for version in versions
        for entry in version.get("resources") or ()
        if (entry.get("responseKind") or {}).get("kind")
    )
    # A version whose server did not answer is listed as stale, with what was last known of it.
    complete = all(version.get("freshness") != "Stale" for version in versions)
    return Group(name, tuple(version["version"] for version in versions), resources, complete)
