"""Credentials from a program that the kubeconfig names (RT-CF-06..08).

The program gets an ExecCredential in KUBERNETES_EXEC_INFO and prints one with a token, a client certificate, or both.
What it printed is kept until it expires; without an expiry until the server answers 401.
"""

import asyncio
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

import orjson
import structlog

from rbgctl.runtime.clock import Clock, SystemClock, parse_rfc3339
from rbgctl.runtime.credentials import ConfigError

_log = structlog.get_logger("rbgctl.runtime.exec_credential")

V1, V1BETA1 = "client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"
TIMEOUT = 60.0
HINTS_PER_HOUR = 10

InteractiveMode = Literal["Never", "IfAvailable", "Always"]


@dataclass(frozen=True, slots=True)
class ExecSpec:
    """The `exec` entry of a kubeconfig user. `cluster` is what provideClusterInfo passes on, None when off."""

    command: str
    args: Sequence[str] = ()
    env: Mapping[str, str] | None = None
    api_version: str = V1
    interactive_mode: InteractiveMode = "IfAvailable"
    install_hint: str = ""
    cluster: Mapping[str, Any] | None = None

    @classmethod
    def parse(cls, entry: Mapping[str, Any], *, cluster: Mapping[str, Any], where: str) -> "ExecSpec":
        """From the kubeconfig. Raises ConfigError naming `where` for an unusable entry."""
        version, command = entry.get("apiVersion") or "", entry.get("command") or ""
        if version not in {V1, V1BETA1}:
            raise ConfigError(f"{where}: exec apiVersion is {version!r}, wanted {V1} or {V1BETA1}")
        if not command:
            raise ConfigError(f"{where}: exec has no command")
        mode = entry.get("interactiveMode") or ("" if version == V1 else "IfAvailable")
        if mode not in {"Never", "IfAvailable", "Always"}:
            raise ConfigError(f"{where}: exec interactiveMode is {mode!r}, wanted Never, IfAvailable or Always")
        return cls(
            command=str(command),
            args=tuple(str(a) for a in entry.get("args") or ()),
            env={str(e["name"]): str(e.get("value") or "") for e in entry.get("env") or ()},
            api_version=version,
            interactive_mode=cast("InteractiveMode", mode),
            install_hint=str(entry.get("installHint") or ""),
            cluster=cluster if entry.get("provideClusterInfo") else None,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Issued:
    """One generation. `headers` is its own object: it tells by identity which one a request was sent with."""

    headers: Mapping[str, str]
    pair: tuple[bytes, bytes] | None
    expires: datetime | None


class ExecPlugin:
    """Runs the program off the loop, one run at a time, which belongs to nobody who waits for it.

    Whoever needs a credential meanwhile joins that run and shares its result or its error. A caller with less patience
    than the program needs (the elector has five seconds for a request) goes away without it and finds the credential
    when it comes back; only `timeout` seconds and `close` end a run.
    """

    def __init__(
        self,
        spec: ExecSpec,
        *,
        clock: Clock | None = None,
        timeout: float = TIMEOUT,
        is_terminal: Callable[[], bool] = sys.stdin.isatty,
    ) -> None:
        self._spec = spec
        self._clock = clock or SystemClock()
        self._timeout = timeout
        self._is_terminal = is_terminal
        self._issued: _Issued | None = None
        self._running: asyncio.Task[None] | None = None
        self._hints: deque[float] = deque(maxlen=HINTS_PER_HOUR)

    async def ready(self) -> None:
        if self._expired():
            await self._renewed()

    def headers(self) -> Mapping[str, str]:
        return self._issued.headers if self._issued else {}

    def client_cert(self) -> tuple[bytes, bytes] | None:
        return self._issued.pair if self._issued else None

    async def on_unauthorized(self, sent: Mapping[str, str]) -> bool:
        if self._running is not None:
            await self._renewed()
        before = self._issued
        if before is None or sent is not before.headers:
            # Sent with an earlier generation, which somebody else has renewed meanwhile (RT-CF-08).
            return before is None or before.pair is not None or sent != before.headers
        await self._renewed()
        issued = self._issued
        return issued is None or (issued.headers, issued.pair) != (before.headers, before.pair)

    async def close(self) -> None:
        """End a run that is under way; those who wait for it get a ConfigError."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    def fresh(self) -> "ExecPlugin":
        return ExecPlugin(self._spec, clock=self._clock, timeout=self._timeout, is_terminal=self._is_terminal)

    def _expired(self) -> bool:
        issued = self._issued
        return issued is None or (issued.expires is not None and self._clock.now() >= issued.expires)

    async def _renewed(self) -> None:
        """Until the run under way, or else a new one, has ended. A cancellation only ends the waiting."""
        running = self._running
        if running is None:
            running = self._running = asyncio.create_task(self._renew(), name=f"exec plugin {self._spec.command}")
            running.add_done_callback(self._ran)
        await asyncio.wait([running])
        if running.cancelled():
            raise ConfigError(f"exec plugin {self._spec.command} was ended before it answered")
        running.result()

    async def _renew(self) -> None:
        self._issued = await self._run()

    def _ran(self, running: asyncio.Task[None]) -> None:
        self._running = None
        if not running.cancelled():
            running.exception()  # Told to all who waited; there may be none left.

    async def _run(self) -> _Issued:
        spec = self._spec
        terminal = spec.interactive_mode != "Never" and self._is_terminal()
        if spec.interactive_mode == "Always" and not terminal:
            raise ConfigError(f"exec plugin {spec.command} needs a terminal (interactiveMode Always)")
        request: dict[str, Any] = {
            "apiVersion": spec.api_version,
            "kind": "ExecCredential",
            "spec": {"interactive": terminal, **({"cluster": spec.cluster} if spec.cluster is not None else {})},
        }
        environment = {**os.environ, **(spec.env or {}), "KUBERNETES_EXEC_INFO": orjson.dumps(request).decode()}
        try:
            process = await asyncio.create_subprocess_exec(
                spec.command,
                *spec.args,
                env=environment,
                stdin=None if terminal else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
            )
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                self._hint()
            raise ConfigError(f"exec plugin {spec.command} cannot be started: {error.strerror}") from error
        try:
            async with asyncio.timeout(self._timeout):
                output, _ = await process.communicate()
        except TimeoutError:
            raise ConfigError(f"exec plugin {spec.command} did not answer within {self._timeout:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise ConfigError(f"exec plugin {spec.command} failed with exit code {process.returncode}")
        return self._parse(output)

    def _parse(self, output: bytes) -> _Issued:
        spec = self._spec
        try:
            answer = orjson.loads(output)
            version, status = answer["apiVersion"], answer.get("status")
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"exec plugin {spec.command} printed no ExecCredential: {error}") from error
        if version != spec.api_version:
            raise ConfigError(f"exec plugin {spec.command} answered apiVersion {version!r}, wanted {spec.api_version}")
        if not status:
            raise ConfigError(f"exec plugin {spec.command} answered without a status")
        token = status.get("token") or ""
        cert, key = status.get("clientCertificateData") or "", status.get("clientKeyData") or ""
        if not token and not cert and not key:
            raise ConfigError(f"exec plugin {spec.command} answered neither a token nor a client certificate")
        if bool(cert) != bool(key):
            raise ConfigError(f"exec plugin {spec.command} answered only one of client certificate and key")
        try:
            expires = parse_rfc3339(status["expirationTimestamp"]) if status.get("expirationTimestamp") else None
        except ValueError as error:
            raise ConfigError(f"exec plugin {spec.command}: unusable expirationTimestamp: {error}") from error
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return _Issued(headers, (cert.encode(), key.encode()) if cert else None, expires)

    def _hint(self) -> None:
        now = self._clock.monotonic()
        full = len(self._hints) == HINTS_PER_HOUR and now - self._hints[0] < 3600.0
        if self._spec.install_hint and not full:
            self._hints.append(now)
            _log.error("exec plugin not found", command=self._spec.command, hint=self._spec.install_hint)
