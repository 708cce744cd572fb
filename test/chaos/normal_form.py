"""Objects without what differs between two runs that did the same: uids, versions, times, places, random tokens."""

import re
from collections.abc import Iterable
from typing import Any

from rbgctl.machinery.gvk import GVK, RawObject
from rbgctl.runtime.client import LiveClient

POD = GVK("", "v1", "Pod")
_DROPPED = {
    "metadata": {"uid", "resourceVersion", "creationTimestamp", "managedFields", "generation", "selfLink"},
    "ownerReferences": {"uid"},
    "conditions": {"lastTransitionTime", "lastProbeTime", "lastUpdateTime", "observedGeneration", "message"},
    "spec": {"nodeName", "clusterIP", "clusterIPs"},
    "status": {"observedGeneration", "collisionCount"},
    "labels": {"topology.kubernetes.io/zone", "topology.kubernetes.io/region"},
}
_TOKEN = re.compile(r"kube-api-access-[a-z0-9]{5}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def normal(value: Any, at: str = "") -> Any:
    """`value` in normal form; `at` is the field that holds it."""
    match value:
        case dict():
            return {k: normal(v, k) for k, v in value.items() if k not in _DROPPED.get(at, ())}
        case list():
            found = [normal(v, at) for v in value if not (at == "conditions" and _is_overcome(v))]
            return sorted(found, key=str) if at == "conditions" else found
        case str():
            return _TIME.sub("TIME", _TOKEN.sub("kube-api-access", value))
        case _:
            return value


def _is_overcome(condition: dict[str, Any]) -> bool:
    """A failure that is over stays as a condition that is False; a calm run never had it."""
    return condition["type"] in {"FailedScale", "FailedUpdate"} and condition["status"] == "False"


async def snapshot(client: LiveClient, kinds: Iterable[GVK], namespace: str) -> dict[str, RawObject]:
    """All objects of these kinds in normal form, by kind and name. Of pods what runs in them, not how it fares."""
    found: dict[str, RawObject] = {}
    for gvk in kinds:
        for obj in (await client.list(gvk, namespace)).items:
            kept = normal(obj)
            if gvk == POD:
                conditions = kept.get("status", {}).get("conditions", ())
                kept["status"] = {c["type"]: c["status"] for c in conditions if c["type"] == "Ready"}
            found[f"{gvk.kind}/{obj['metadata']['name']}"] = kept
    return found


def difference(one: Any, other: Any, at: str = "") -> list[str]:
    """Where two normal forms differ, one line each."""
    if isinstance(one, dict) and isinstance(other, dict):
        return [
            line
            for key in sorted(one.keys() | other.keys())
            for line in difference(one.get(key), other.get(key), f"{at}.{key}")
        ]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [line for n, (a, b) in pairs for line in difference(a, b, f"{at}[{n}]")]
    return [] if one == other else [f"{at}: {one!r} != {other!r}"[:500]]
