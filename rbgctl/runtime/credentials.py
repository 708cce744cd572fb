"""What a request carries to say who sends it: tokens, token files, basic auth (RT-CF-03, RT-CF-15)."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import structlog

from rbgctl.runtime.clock import Clock, SystemClock

_log = structlog.get_logger("rbgctl.runtime.credentials")


class ConfigError(Exception):
    """The configuration cannot be used; the text names the file and the entry."""


class Credential(Protocol):
    """Used by one Transport on one event loop."""

    async def ready(self) -> None:
        """Make sure that `headers()` and `client_cert()` can be used now. Raises ConfigError when that fails."""
        ...

    def headers(self) -> Mapping[str, str]:
        """Authentication headers for the next request; may read files, never waits."""
        ...

    def client_cert(self) -> tuple[bytes, bytes] | None:
        """Certificate and key in PEM that this credential brings, if any."""
        ...

    async def on_unauthorized(self, sent: Mapping[str, str]) -> bool:
        """The server answered 401 to a request with the headers `sent`. True when a retry would carry others."""
        ...

    async def close(self) -> None:
        """The Transport closes: end what goes on by itself. May be used again afterwards."""
        ...

    def fresh(self) -> "Credential":
        """The same identity for another event loop; itself when it has no state."""
        ...


class NoCredential:
    """Nothing beyond the TLS client certificate of the configuration, if any."""

    async def ready(self) -> None:
        return None

    def headers(self) -> Mapping[str, str]:
        return {}

    def client_cert(self) -> tuple[bytes, bytes] | None:
        return None

    async def on_unauthorized(self, sent: Mapping[str, str]) -> bool:
        return False

    async def close(self) -> None:
        return None

    def fresh(self) -> Credential:
        return self


class StaticToken(NoCredential):
    """A bearer token that never changes."""

    def __init__(self, token: str) -> None:
        self._headers = {"Authorization": f"Bearer {token}"}

    def headers(self) -> Mapping[str, str]:
        return self._headers


class BasicAuth(NoCredential):
    """User name and password."""

    def __init__(self, username: str, password: str) -> None:
        text = base64.b64encode(f"{username}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {text}"}

    def headers(self) -> Mapping[str, str]:
        return self._headers


class TokenFile(NoCredential):
    """A bearer token in a file that rotates (RT-CF-03).

    Read again about every 50 s and after a 401; an unreadable or empty file keeps the old token. Raises ConfigError
    when the first read fails and no `initial` token is given.
    """

    MAX_AGE = 50.0

    def __init__(self, path: Path, clock: Clock | None = None, *, initial: str = "") -> None:
        self._path = path
        self._clock = clock or SystemClock()
        self._token = initial
        self._read()
        if not self._token:
            raise ConfigError(f"{path} holds no token")

    def _read(self) -> None:
        self._read_at = self._clock.monotonic()
        try:
            token = self._path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            if not self._token:
                raise ConfigError(f"cannot read the token file {self._path}: {error}") from error
            _log.warning("token file unreadable, keeping the old token", path=str(self._path), error=str(error))
            return
        if token:
            self._token = token
        elif self._token:
            _log.warning("token file empty, keeping the old token", path=str(self._path))

    def headers(self) -> Mapping[str, str]:
        if self._clock.monotonic() - self._read_at >= self.MAX_AGE:
            self._read()
        return {"Authorization": f"Bearer {self._token}"}

    async def on_unauthorized(self, sent: Mapping[str, str]) -> bool:
        self._read()
        return sent.get("Authorization") != f"Bearer {self._token}"

    def fresh(self) -> "TokenFile":
        return TokenFile(self._path, self._clock, initial=self._token)
