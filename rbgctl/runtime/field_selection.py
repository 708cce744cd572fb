"""Field selectors on cached lists, by index (RT-CA-09).

A cache can only select by what its headers carry, so each field needs an index that says what an object has there:

    KindOptions(indexes={field("spec.nodeName"): field_index(lambda header: [header.hot[0]])})
"""

from collections.abc import Callable, Iterable

from rbgctl.machinery.gvk import NN
from rbgctl.runtime.store import Entry, Header, Indexer, IndexFunction

ALL_NAMESPACES = "__all_namespaces"


def field(path: str) -> str:
    """The name of the index for a field, `metadata.name` for instance."""
    return f"field:{path}"


def field_index(values: Callable[[Header], Iterable[str]]) -> IndexFunction:
    """An index function for a field: each value is found within the namespace of the object, and in all of them."""

    def function(header: Header) -> Iterable[str]:
        for value in values(header):
            yield f"{ALL_NAMESPACES}/{value}"
            if header.namespace:
                yield f"{header.namespace}/{value}"

    return function


def matching_fields(store: Indexer, selector: str, namespace: str) -> dict[NN, Entry]:
    """What meets every term of a field selector, in one namespace or in all ("").

    Raises ValueError for anything but equalities, and for a field without an index.
    """
    found: dict[NN, Entry] | None = None
    for term in selector.split(","):
        path, equals, value = term.replace("==", "=").partition("=")
        if not equals or path.endswith("!"):
            raise ValueError(f"field selector {selector!r}: a cache only selects by equality (field=value)")
        if not store.has_index(field(path)):
            raise ValueError(f"Index with name {field(path)} does not exist")
        entries = {e.header.key: e for e in store.by_index(field(path), f"{namespace or ALL_NAMESPACES}/{value}")}
        found = entries if found is None else {key: e for key, e in found.items() if key in entries}
    return found or {}
