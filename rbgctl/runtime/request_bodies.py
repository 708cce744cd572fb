"""Bodies of requests to an API server."""

from collections.abc import Mapping
from typing import Any

import orjson

from rbgctl.machinery.canonical_json import escape_html
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.answers import MetadataOnly
from rbgctl.runtime.client_protocols import Propagation


def encoded(body: Any) -> bytes:
    """A body as JSON."""
    # Go escapes these characters in what it sends, and the API server stores raw extensions (ControllerRevision data)
    # byte by byte: a patch would otherwise look like a change of immutable data.
    return escape_html(orjson.dumps(body))


def written(obj: RawObject) -> tuple[GVK, NN]:
    """Kind and key of an object to write. Raises ValueError for one of which only metadata was read (RT-CL-12)."""
    if isinstance(obj, MetadataOnly) or obj.get("kind") == "PartialObjectMetadata":
        raise ValueError(f"{obj.get('kind')} {NN.of(obj)} holds nothing but metadata: patch or delete it instead")
    return GVK.of(obj), NN.of(obj)


def named(body: RawObject, key: NN) -> RawObject:
    """The body of a sub-resource, with the name and namespace of its parent unless it has its own (RT-CL-10)."""
    meta = {k: v for k, v in (body.get("metadata") or {}).items() if v}
    parent = {"name": key.name, **({"namespace": key.namespace} if key.namespace else {})}
    return {**body, "metadata": {**parent, **meta}}


def delete_options(
    propagation: Propagation | None,
    grace_seconds: int | None,
    dry_run: bool,
    preconditions: Mapping[str, str] | None = None,
) -> RawObject:
    """The body of a deletion (RT-CL-08, RT-CL-09)."""
    options: RawObject = {"kind": "DeleteOptions", "apiVersion": "v1"}
    if preconditions:
        options["preconditions"] = dict(preconditions)
    if propagation:
        options["propagationPolicy"] = propagation
    if grace_seconds is not None:
        options["gracePeriodSeconds"] = grace_seconds
    if dry_run:
        options["dryRun"] = ["All"]
    return options
