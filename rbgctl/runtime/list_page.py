"""A list answer cut into raw items: one pass over the bytes, no object is built (RT-MM-06)."""

import msgspec


class ListMeta(msgspec.Struct, rename="camel"):
    """`continue_` is empty on the last page."""

    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class ListPage(msgspec.Struct):
    """Items are slices of the body, which lives as long as any of them."""

    metadata: ListMeta
    items: list[msgspec.Raw] | None = None


_DECODER = msgspec.json.Decoder(ListPage)


def list_page(body: bytes) -> ListPage:
    """Raises msgspec.DecodeError for anything that is no list."""
    return _DECODER.decode(body)
