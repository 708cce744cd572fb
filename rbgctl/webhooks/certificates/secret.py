"""The Secret that all replicas share, and what the Go operator shares with them (CERT-3, CERT-6).

Six keys hold one authority and one leaf, as the Go operator has them. While an authority replaces another one there are
more: the next one with its key, and certificates of previous ones.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.client import Reader, Writer
from rbgctl.runtime.errors import NotFound
from rbgctl.webhooks.certificates.authority import KeyPair, split
from rbgctl.webhooks.certificates.rotation import Bundle

SECRET: Final = GVK("", "v1", "Secret")
OPAQUE: Final = "Opaque"

AUTHORITY_CERTIFICATE: Final = "ca-cert.pem"
AUTHORITY_KEY: Final = "ca-key.pem"
CERTIFICATES: Final = ("cert.pem", "tls.crt")
KEYS: Final = ("key.pem", "tls.key")
NEXT_CERTIFICATE: Final = "next-ca-cert.pem"
NEXT_KEY: Final = "next-ca-key.pem"
PREVIOUS: Final = "previous-ca-cert.pem"


@dataclass(frozen=True, slots=True)
class Stored:
    """The Secret as it was read. tidy: it holds the leaf under both names of each half."""

    secret: RawObject
    bundle: Bundle
    tidy: bool


def read(secret: RawObject) -> Stored:
    """What a Secret holds; whatever is missing or unreadable is empty, and found wanting later."""
    data: Mapping[str, object] = secret.get("data") or {}
    following = KeyPair(_decoded(data, NEXT_CERTIFICATE), _decoded(data, NEXT_KEY))
    bundle = Bundle(
        authority=KeyPair(_decoded(data, AUTHORITY_CERTIFICATE), _decoded(data, AUTHORITY_KEY)),
        leaf=KeyPair(_decoded(data, CERTIFICATES[0]), _decoded(data, KEYS[0])),
        next_authority=following if following.certificate else None,
        previous=split(_decoded(data, PREVIOUS)),
    )
    tidy = all(data.get(first) == data.get(second) for first, second in (CERTIFICATES, KEYS))
    return Stored(secret, bundle, tidy)


def written(bundle: Bundle, key: NN, found: RawObject | None = None) -> RawObject:
    """The whole Secret; in place of `found` it carries its resourceVersion, and its type, which cannot change."""
    data = {AUTHORITY_CERTIFICATE: bundle.authority.certificate, AUTHORITY_KEY: bundle.authority.key}
    data |= dict.fromkeys(CERTIFICATES, bundle.leaf.certificate)
    data |= dict.fromkeys(KEYS, bundle.leaf.key)
    if bundle.next_authority is not None:
        data |= {NEXT_CERTIFICATE: bundle.next_authority.certificate, NEXT_KEY: bundle.next_authority.key}
    if bundle.previous:
        data[PREVIOUS] = b"".join(bundle.previous)
    metadata = {"namespace": key.namespace, "name": key.name}
    if found is not None:
        metadata["resourceVersion"] = found["metadata"]["resourceVersion"]
    return {
        "apiVersion": SECRET.api_version,
        "kind": SECRET.kind,
        "metadata": metadata,
        "type": (found or {}).get("type") or OPAQUE,
        "data": {name: base64.b64encode(value).decode() for name, value in data.items()},
    }


async def load(reader: Reader, key: NN) -> Stored | None:
    """What is stored now, None when there is no Secret. Raises ApiError and TransportError."""
    try:
        return read(await reader.get(SECRET, key))
    except NotFound:
        return None


class SecretStore:
    """Reads and writes the one Secret; needs `get`, `create` and `update` only (RBAC-4)."""

    def __init__(self, reader: Reader, writer: Writer, key: NN) -> None:
        self._reader = reader
        self._writer = writer
        self.key = key

    async def load(self) -> Stored | None:
        """See the function."""
        return await load(self._reader, self.key)

    async def save(self, bundle: Bundle, instead_of: Stored | None) -> Stored:
        """Raises AlreadyExists or Conflict when somebody else was faster: what is there then counts."""
        found = instead_of.secret if instead_of is not None else None
        obj = written(bundle, self.key, found)
        return read(await (self._writer.create(obj) if found is None else self._writer.update(obj)))


def _decoded(data: Mapping[str, object], name: str) -> bytes:
    try:
        return base64.b64decode(str(data.get(name) or ""), validate=True)
    except binascii.Error:
        return b""
