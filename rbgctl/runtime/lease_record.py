"""A Lease as the record of an election (RT-LE-01, RT-LE-05).

Only differences between two readings matter: times that others wrote are texts here and are never interpreted. What
the election does not own - `strategy`, `preferredHolder`, labels, annotations, fields of the future - is written back
as it was found.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from rbgctl.machinery.gvk import GVK, RawObject

LEASE: Final = GVK("coordination.k8s.io", "v1", "Lease")

MAX_TRANSITIONS: Final = 2**31 - 1
RELEASED_SECONDS: Final = 1
"""Duration in a record without holder; zero is not a valid one."""


def micro_time(moment: datetime) -> str:
    """The API's metav1.MicroTime text: UTC, exactly six digits of a second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """Who leads, for how many seconds after the last renewal, since when, and how often that changed.

    holder: empty when nobody does. acquire_time, renew_time: MicroTime texts.
    """

    holder: str = ""
    seconds: int = 0
    acquire_time: str = ""
    renew_time: str = ""
    transitions: int = 0

    @classmethod
    def of(cls, lease: Mapping[str, Any]) -> "LeaseRecord":
        """What a Lease says; absent fields are empty or zero."""
        spec = lease.get("spec") or {}
        return cls(
            holder=spec.get("holderIdentity") or "",
            seconds=int(spec.get("leaseDurationSeconds") or 0),
            acquire_time=spec.get("acquireTime") or "",
            renew_time=spec.get("renewTime") or "",
            transitions=int(spec.get("leaseTransitions") or 0),
        )

    def claimed(self, identity: str, seconds: int, now: str) -> "LeaseRecord":
        """The record after `identity` took or renewed it at `now`: only a change of the holder counts."""
        mine = self.holder == identity
        return LeaseRecord(
            holder=identity,
            seconds=seconds,
            acquire_time=self.acquire_time if mine and self.acquire_time else now,
            renew_time=now,
            transitions=self.transitions if mine else _next(self.transitions),
        )

    def released(self, now: str) -> "LeaseRecord":
        """The record of a Lease that anybody may take at once (RT-LE-15)."""
        return LeaseRecord(seconds=RELEASED_SECONDS, acquire_time=now, renew_time=now, transitions=self.transitions)

    def written_to(self, lease: Mapping[str, Any], labels: Mapping[str, str]) -> RawObject:
        """A copy of `lease` with this record, and with `labels` added to those that it has."""
        meta = dict(lease["metadata"])
        if labels:
            meta["labels"] = {**(meta.get("labels") or {}), **labels}
        spec = {
            **(lease.get("spec") or {}),
            "holderIdentity": self.holder,
            "leaseDurationSeconds": self.seconds,
            "acquireTime": self.acquire_time,
            "renewTime": self.renew_time,
            "leaseTransitions": self.transitions,
        }
        return {**lease, "apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": meta, "spec": spec}


def _next(transitions: int) -> int:
    # The API server stores 32 bits and refuses more: somebody's edit must not lock all replicas out.
    return transitions + 1 if transitions < MAX_TRANSITIONS else 0
