"""Whom the API server trusts when it calls us: the caBundles of two CRDs and of the webhook configuration (CERT-9,
CERT-10, CERT-14).

Pure: a live object and the wanted certificates to the JSON patch that puts them there, empty when they are. Each patch
tests what it was computed from, so that it never undoes what somebody else wrote meanwhile.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from rbgctl.api import identity, kinds
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.served_kinds import CRD
from rbgctl.webhooks.certificates.authority import split, unexpired

CONFIGURATION: Final = GVK("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration")
CONVERTED: Final = tuple(
    f"{kinds.resource(gvk).plural}.{kinds.GROUP}" for gvk in (kinds.ROLE_BASED_GROUP, kinds.ROLE_BASED_GROUP_SET)
)
"""CRDs with a conversion webhook (WH-5)."""

CONVERT_PATH: Final = "/convert"
Operations = list[dict[str, Any]]

_CONVERSION: Final = "/spec/conversion"
_CLIENT: Final = "/spec/conversion/webhook/clientConfig"


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects that have to trust us, by name."""

    crds: tuple[str, ...] = CONVERTED
    configuration: str = identity.VALIDATING_WEBHOOK_CONFIGURATION

    def __iter__(self) -> Iterator[tuple[GVK, NN]]:
        """CRDs first, in the order in which they are patched."""
        yield from ((CRD, NN("", name)) for name in self.crds)
        yield CONFIGURATION, NN("", self.configuration)


@dataclass(frozen=True, slots=True)
class Trust:
    """What a caBundle should be.

    wanted: certificates of authorities. ca_bundle: these as PEM. keeps_others: leave other good authorities in it, as a
    replica does that does not lead: it may not know yet of those that are about to be used.
    """

    wanted: tuple[bytes, ...]
    ca_bundle: bytes
    keeps_others: bool = False

    def over(self, found: str | None, now: datetime) -> str | None:
        """The caBundle (base64) that belongs in the place of `found`; None when that is right."""
        current = decoded(found)
        if not self.keeps_others:
            return None if current == self.ca_bundle else _encoded(self.ca_bundle)
        there = split(current)
        if set(self.wanted) <= set(there):
            return None
        others = [c for c in unexpired(there, now) if c not in self.wanted]
        return _encoded(b"".join([self.ca_bundle, *others]))


def patch_for(obj: RawObject, trust: Trust, now: datetime, conversion: RawObject | None = None) -> Operations:
    """The patch of a CRD or webhook configuration. conversion: a client configuration for CRDs that convert by none."""
    if obj["kind"] == CONFIGURATION.kind:
        return _patch_of_configuration(obj, trust, now)
    return _patch_of_crd(obj, trust, now, conversion)


def _patch_of_crd(crd: RawObject, trust: Trust, now: datetime, conversion: RawObject | None) -> Operations:
    found = (crd["spec"].get("conversion") or {}).get("webhook") or {}
    client = found.get("clientConfig")
    if client is not None:
        return _change(_CLIENT, client, trust, now)
    if conversion is None:
        return []
    stanza = {
        "strategy": "Webhook",
        "webhook": {
            "conversionReviewVersions": ["v1"],
            "clientConfig": {**conversion, "caBundle": _encoded(trust.ca_bundle)},
        },
    }
    unchanged = {"op": "test", "path": "/metadata/resourceVersion", "value": crd["metadata"]["resourceVersion"]}
    return [unchanged, {"op": "add", "path": _CONVERSION, "value": stanza}]


def _patch_of_configuration(configuration: RawObject, trust: Trust, now: datetime) -> Operations:
    operations: Operations = []
    for index, webhook in enumerate(configuration.get("webhooks") or ()):
        change = _change(f"/webhooks/{index}/clientConfig", webhook["clientConfig"], trust, now)
        if change:
            operations += [{"op": "test", "path": f"/webhooks/{index}/name", "value": webhook["name"]}, *change]
    return operations


def _change(path: str, client: Mapping[str, Any], trust: Trust, now: datetime) -> Operations:
    wanted = trust.over(client.get("caBundle"), now)
    if wanted is None:
        return []
    # A test for null holds when there is no such member.
    return [
        {"op": "test", "path": f"{path}/caBundle", "value": client.get("caBundle")},
        {"op": "add", "path": f"{path}/caBundle", "value": wanted},
    ]


def ca_bundles(obj: RawObject) -> Sequence[bytes]:
    """Those of an object that is called by webhook: one per webhook, PEM."""
    if obj["kind"] == CONFIGURATION.kind:
        return [decoded(w["clientConfig"].get("caBundle")) for w in obj.get("webhooks") or ()]
    client = ((obj["spec"].get("conversion") or {}).get("webhook") or {}).get("clientConfig")
    return [decoded(client.get("caBundle"))] if client is not None else []


def trusts(obj: RawObject, authority: bytes) -> bool:
    """Whether every webhook of the object would accept what the authority signed."""
    wanted = set(split(authority))
    return all(wanted <= set(split(bundle)) for bundle in ca_bundles(obj))


def decoded(ca_bundle: str | None) -> bytes:
    """PEM of a caBundle; empty for none and for what is no base64."""
    try:
        return base64.b64decode(ca_bundle or "", validate=True)
    except binascii.Error:
        return b""


def _encoded(pem: bytes) -> str:
    return base64.b64encode(pem).decode()
