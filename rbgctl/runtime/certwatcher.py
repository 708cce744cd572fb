"""Keeps the certificate of a running TLS server equal to its files (RT-CW-01 to RT-CW-06).

The files are polled: every second in the first minute, when a fresh Secret is most likely to arrive, then every 10 s.
Their content decides, so symlink swaps, renames and re-created files are all the same. A pair is loaded into a
scratch context first and only then into the live one, so a pair that does not fit never reaches it. New handshakes
use the new pair, open connections keep theirs.
"""

import contextlib
import os
import ssl
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from prometheus_client import Counter

from rbgctl.runtime.clock import Clock, SystemClock

_log = structlog.get_logger("rbgctl.runtime.certwatcher")

INTERVAL = 10.0
FIRST_INTERVAL = 1.0
FIRST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ServingCertificate:
    """Files of a certificate chain and its key."""

    certificate: Path
    key: Path

    @property
    def exists(self) -> bool:
        """Both files do."""
        return self.certificate.exists() and self.key.exists()


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate chain and its key, PEM. Equal when every certificate of the chain and the key are."""

    certificate: bytes
    key: bytes = field(repr=False)


class CertificateError(ValueError):
    """A certificate or key that cannot be used; the text names the file and says why."""


OnSwap = Callable[[Pair], None]


class CertWatcher:
    """Loads the pair into `ctx` now and again whenever it changes. Raises CertificateError when it cannot now.

    interval: seconds between looks after the first minute. reads and errors: count looks and failures.
    """

    def __init__(
        self,
        cert: Path,
        key: Path,
        ctx: ssl.SSLContext,
        *,
        interval: float = INTERVAL,
        clock: Clock | None = None,
        reads: Counter | None = None,
        errors: Counter | None = None,
    ) -> None:
        self._files = ServingCertificate(cert, key)
        self._ctx = ctx
        self._interval = interval
        self._clock = clock or SystemClock()
        self._reads = reads
        self._errors = errors
        self._callbacks: list[OnSwap] = []
        self._complaint = ""
        self._current = Pair(b"", b"")
        self._look()

    def __str__(self) -> str:
        return f"certificate watcher of {self._files.certificate}"

    @property
    def current(self) -> Pair:
        """The pair in use."""
        return self._current

    def on_swap(self, callback: OnSwap) -> None:
        """Call back now with the current pair, and after each swap."""
        self._callbacks.append(callback)
        self._tell(callback)

    def read(self) -> bool:
        """Look once. True when another pair is now in use; what cannot be used is logged and changes nothing."""
        try:
            swapped = self._look()
        except CertificateError as error:
            if self._errors is not None:
                self._errors.inc()
            if str(error) != self._complaint:  # once per failure, not once per look
                self._complaint = str(error)
                _log.error("keeping the old certificate", error=str(error))
            return False
        self._complaint = ""
        if not swapped:
            return False
        _log.info("certificate replaced", certificate=str(self._files.certificate))
        for callback in self._callbacks:
            self._tell(callback)
        return True

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        began = self._clock.monotonic()
        while True:
            early = self._clock.monotonic() - began < FIRST_SECONDS
            await self._clock.sleep(min(FIRST_INTERVAL, self._interval) if early else self._interval)
            self.read()

    def _tell(self, callback: OnSwap) -> None:
        try:
            callback(self.current)
        except Exception:  # noqa: BLE001 - what a callback raises is its own trouble
            _log.exception("certificate callback failed", watcher=str(self))

    def _look(self) -> bool:
        if self._reads is not None:
            self._reads.inc()
        files = self._files
        try:
            pair = Pair(files.certificate.read_bytes(), files.key.read_bytes())
        except OSError as error:
            raise CertificateError(f"cannot read {error.filename}: {error.strerror}") from error
        if pair == self._current:
            return False
        try:
            load_pair(self._ctx, pair)
        except (OSError, ValueError) as error:  # OSError too: there may be no descriptor left, for now
            why = getattr(error, "reason", None) or error
            raise CertificateError(f"cannot use {files.certificate} with {files.key}: {why}") from error
        self._current = pair
        return True


def load_pair(ctx: ssl.SSLContext, pair: Pair) -> None:
    """Make `ctx` serve the pair. Raises ssl.SSLError and leaves `ctx` as it was when the pair does not fit."""
    # From private copies: the files themselves may be replaced between reading one and loading the other.
    with _as_file(pair.certificate) as certificate, _as_file(pair.key) as key:
        # An empty password turns the prompt for that of an encrypted key into an error.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
        ctx.load_cert_chain(certificate, key, password="")


@contextlib.contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """A path with this content: the ssl module loads keys from files only. In memory where the system can."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("pem"), "wb") as memory:
            memory.write(data)
            memory.flush()
            yield f"/proc/self/fd/{memory.fileno()}"
    else:
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(data)
            file.flush()
            yield file.name


def server_context() -> ssl.SSLContext:
    """For a server: TLS 1.2 or newer and HTTP/1.1. Still without a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
