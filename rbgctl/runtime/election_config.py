"""Which Lease an election is about, as whom, and its durations (RT-LE-02, RT-LE-16, RT-LE-30)."""

import math
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

MIN_REQUEST_TIMEOUT = 1.0
MAX_LEASE_SECONDS = 2**31 - 1


def new_identity() -> str:
    """A holder identity of this process start: `<hostname>_<uuid4>` (RT-ID-02, RT-LE-16)."""
    return f"{socket.gethostname()}_{uuid.UUID(bytes=os.urandom(16), version=4)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ElectionConfig:
    """Which Lease, as whom, and how fast. Seconds; raises ValueError for values that are not safe (RT-LE-02, RT-LE-30).

    identity: of this process start, made up by default.
    lease: others may take over so long after the last renewal. renew: a leader whose renewals fail gives up after it.
    retry: between renewals. margin: writes stop so long before `lease` is over. labels: set on the Lease.
    """

    namespace: str
    name: str
    identity: str = field(default_factory=new_identity)
    lease: float = 15.0
    renew: float = 10.0
    retry: float = 2.0
    release_on_stop: bool = True
    margin: float = 2.0
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = {"namespace of the Lease": self.namespace, "name of the Lease": self.name, "identity": self.identity}
        for what, text in given.items():
            if not text:
                raise ValueError(f"leader election needs the {what}")
        durations = {"lease duration": self.lease, "renew deadline": self.renew, "retry period": self.retry}
        for what, seconds in {**durations, "margin": self.margin}.items():
            if seconds <= 0:
                raise ValueError(f"the {what} must be positive, not {seconds:g} s")
        if self.lease != math.floor(self.lease):
            raise ValueError(f"the lease duration is {self.lease:g} s, but a Lease stores whole seconds")
        if self.lease > MAX_LEASE_SECONDS:
            raise ValueError(f"the lease duration is {self.lease:g} s, a Lease stores at most {MAX_LEASE_SECONDS} s")
        if self.lease <= self.renew:
            raise ValueError(
                f"the lease duration ({self.lease:g} s) must be longer than the renew deadline ({self.renew:g} s)"
            )
        if self.renew <= 1.2 * self.retry:
            raise ValueError(
                f"the renew deadline ({self.renew:g} s) must exceed 1.2 times the retry period ({self.retry:g} s)"
            )
        if self.retry + self.renew > self.lease - self.margin:
            raise ValueError(
                f"retry period and renew deadline ({self.retry:g} + {self.renew:g} s) must end {self.margin:g} s "
                f"before the lease duration ({self.lease:g} s)"
            )

    @property
    def request_timeout(self) -> float:
        """Seconds for one request (RT-LE-03)."""
        return max(self.renew / 2, MIN_REQUEST_TIMEOUT)
