"""Reads an API path: which verb on which resource it is, and its shape without names. No I/O."""

from collections.abc import Mapping

_VERBS: Mapping[str, str] = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def request_info(method: str, path: str) -> tuple[str, str]:
    """Kubernetes verb and resource (`plural` or `plural/subresource`) of an API path; empty resource: none.

    A path that ends in a query with `watch` is a watch.
    """
    route, _, query = path.partition("?")
    parts = route.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:] if parts[0] == "apis" else []
    if len(parts) > 2 and parts[0] == "namespaces" and parts[2] not in {"status", "finalize"}:
        parts = parts[2:]
    resource = f"{parts[0]}/{parts[2]}" if len(parts) > 2 else parts[0] if parts else ""
    named = len(parts) > 1
    if method == "GET":
        return ("watch" if "watch=" in query else "get" if named or not resource else "list"), resource
    if method == "DELETE" and not named:
        return "deletecollection", resource
    return _VERBS.get(method, method.lower()), resource


def template(path: str) -> str:
    """An API path with the names of objects and namespaces taken out, so that spans can be grouped."""
    parts = path.partition("?")[0].strip("/").split("/")
    start = 2 if parts[0] == "api" else 3 if parts[0] == "apis" else len(parts)
    if len(parts) > start + 1 and parts[start] == "namespaces":
        parts[start + 1] = "{namespace}"
        start += 2
    if len(parts) > start + 1:
        parts[start + 1] = "{name}"
    return "/" + "/".join(parts)
