"""How to reach a cluster: kubeconfig files, the in-cluster environment, and the credentials they name.

Search order (RT-CF-01): an explicit kubeconfig; in-cluster when $KUBECONFIG is empty; $KUBECONFIG (a list, merged,
the first file wins); ~/.kube/config.
"""

import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import structlog
import yaml

from rbgctl.runtime.clock import Clock, SystemClock

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

_log = structlog.get_logger("rbgctl.runtime.config")


class ConfigError(Exception):
    """The configuration cannot be used; the text names the file and the entry."""


class Credential(Protocol):
    """What a request carries to say who sends it."""

    def headers(self) -> Mapping[str, str]:
        """Authentication headers for the next request; may re-read files, never blocks on the network."""
        ...

    def on_unauthorized(self) -> bool:
        """The server answered 401. True when the credential changed and one retry is worth it (RT-CF-03)."""
        ...


class NoCredential:
    """Nothing beyond the TLS client certificate, if any."""

    def headers(self) -> Mapping[str, str]:
        return {}

    def on_unauthorized(self) -> bool:
        return False


class StaticToken:
    """A bearer token that never changes."""

    def __init__(self, token: str) -> None:
        self._headers = {"Authorization": f"Bearer {token}"}

    def headers(self) -> Mapping[str, str]:
        return self._headers

    def on_unauthorized(self) -> bool:
        return False


class BasicAuth(StaticToken):
    """User name and password."""

    def __init__(self, username: str, password: str) -> None:
        text = base64.b64encode(f"{username}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {text}"}


class TokenFile:
    """A bearer token in a file that rotates (RT-CF-03).

    Read again about every 50 s; an unreadable or empty file keeps the old token. Raises ConfigError when the first
    read fails.
    """

    MAX_AGE = 50.0

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self._path = path
        self._clock = clock or SystemClock()
        self._token = ""
        self._read_at = 0.0
        if not self._read():
            raise ConfigError(f"{path} holds no token")

    def _read(self) -> bool:
        """True when the token changed."""
        self._read_at = self._clock.monotonic()
        try:
            token = self._path.read_text().strip()
        except OSError as error:
            if not self._token:
                raise ConfigError(f"cannot read the token file {self._path}: {error.strerror}") from error
            _log.warning("token file unreadable, keeping the old token", path=str(self._path), error=str(error))
            return False
        if not token or token == self._token:
            return False
        self._token = token
        return True

    def headers(self) -> Mapping[str, str]:
        if self._clock.monotonic() - self._read_at >= self.MAX_AGE:
            self._read()
        return {"Authorization": f"Bearer {self._token}"}

    def on_unauthorized(self) -> bool:
        return self._read()


@dataclass(slots=True)
class ClusterConfig:
    """Everything needed to open connections to one API server."""

    server: str
    ca: bytes | None = None
    insecure: bool = False
    tls_server_name: str | None = None
    client_cert: tuple[bytes, bytes] | None = None
    credential: Credential = field(default_factory=NoCredential)
    namespace: str = "default"
    proxy: str | None = None
    impersonate: Mapping[str, str] = field(default_factory=dict)

    @property
    def host(self) -> str:
        """host[:port] of the server, the `host` label of client metrics (RT-MT-20)."""
        return self.server.partition("://")[2].partition("/")[0]

    def ssl_context(self) -> ssl.SSLContext | None:
        """None for plain http. Raises ConfigError for unusable certificates."""
        if not self.server.startswith("https"):
            return None
        try:
            context = ssl.create_default_context(cadata=self.ca.decode() if self.ca and not self.insecure else None)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if self.client_cert:
                _load_pair(context, *self.client_cert)
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(f"unusable certificate data for {self.server}: {error}") from error
        return context

    @classmethod
    def load(
        cls,
        kubeconfig: str | None = None,
        context: str | None = None,
        env: Mapping[str, str] = os.environ,
    ) -> "ClusterConfig":
        """The configuration to use here. Raises ConfigError when there is none or it is broken."""
        if kubeconfig:
            return _from_files([Path(kubeconfig)], context, must_exist=True)
        if not env.get("KUBECONFIG"):
            if env.get("KUBERNETES_SERVICE_HOST") and env.get("KUBERNETES_SERVICE_PORT"):
                return cls.in_cluster(env)
            return _from_files([Path(env.get("HOME", "~")).expanduser() / ".kube" / "config"], context, must_exist=True)
        paths = [Path(p) for p in env["KUBECONFIG"].split(os.pathsep) if p]
        return _from_files(paths, context, must_exist=False)

    @classmethod
    def in_cluster(cls, env: Mapping[str, str] = os.environ, root: Path = SERVICE_ACCOUNT) -> "ClusterConfig":
        """From the pod's service account (RT-CF-02). Raises ConfigError outside a pod."""
        host, port = env.get("KUBERNETES_SERVICE_HOST"), env.get("KUBERNETES_SERVICE_PORT")
        if not host or not port:
            raise ConfigError("not in a cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not both set")
        if ":" in host:
            host = f"[{host}]"
        ca: bytes | None = None
        try:
            ca = (root / "ca.crt").read_bytes()
        except OSError as error:
            _log.warning("cluster CA unreadable, using the system's roots", error=str(error))
        namespace_file = root / "namespace"
        return cls(
            server=f"https://{host}:{port}",
            ca=ca,
            credential=TokenFile(root / "token"),
            namespace=namespace_file.read_text() if namespace_file.exists() else "default",
        )


def _load_pair(context: ssl.SSLContext, cert: bytes, key: bytes) -> None:
    # SSLContext reads client certificates from files only; the key is on disk for the length of this call.
    with tempfile.NamedTemporaryFile(prefix="client-", suffix=".pem") as file:
        file.write(cert + b"\n" + key)
        file.flush()
        context.load_cert_chain(file.name)


def _from_files(paths: list[Path], context: str | None, *, must_exist: bool) -> ClusterConfig:
    merged: dict[str, dict[str, tuple[Any, Path]]] = {"clusters": {}, "users": {}, "contexts": {}}
    current = ""
    seen = 0
    for path in paths:
        try:
            document = yaml.safe_load(path.read_text()) or {}
        except FileNotFoundError:
            continue
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"cannot read kubeconfig {path}: {error}") from error
        if not isinstance(document, dict):
            raise ConfigError(f"kubeconfig {path} is not a mapping")
        seen += 1
        current = current or document.get("current-context") or ""
        for section, entries in merged.items():
            key = section[:-1]
            for entry in document.get(section) or ():
                entries.setdefault(entry.get("name", ""), (entry.get(key) or {}, path))
    if not seen:
        where = ", ".join(str(p) for p in paths)
        raise ConfigError(
            f"no kubeconfig at {where}: pass --kubeconfig, set KUBECONFIG, or run inside a cluster"
            if must_exist
            else f"KUBECONFIG names no existing file: {where}"
        )
    name = context or current
    chosen, _ = _entry(merged, "contexts", name, "current-context is empty" if not name else "")
    cluster, cluster_file = _entry(merged, "clusters", chosen.get("cluster", ""), f"context {name!r}")
    user: dict[str, Any] = {}
    user_file = cluster_file
    if chosen.get("user"):
        user, user_file = _entry(merged, "users", chosen["user"], f"context {name!r}")
    if not cluster.get("server"):
        raise ConfigError(f"kubeconfig {cluster_file}: cluster {chosen.get('cluster')!r} has no server")
    cert = _data(user, "client-certificate", user_file)
    private = _data(user, "client-key", user_file)
    if (cert is None) != (private is None):
        raise ConfigError(f"kubeconfig {user_file}: user {chosen.get('user')!r} needs both client certificate and key")
    return ClusterConfig(
        server=str(cluster["server"]).rstrip("/"),
        ca=_data(cluster, "certificate-authority", cluster_file),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        tls_server_name=cluster.get("tls-server-name") or None,
        client_cert=(cert, private) if cert is not None and private is not None else None,
        credential=_credential(user, user_file, chosen.get("user", "")),
        namespace=chosen.get("namespace") or "default",
        proxy=cluster.get("proxy-url") or None,
        impersonate={"Impersonate-User": user["as"]} if user.get("as") else {},
    )


def _entry(merged: Mapping[str, Any], section: str, name: str, wanted_by: str) -> tuple[dict[str, Any], Path]:
    found = merged[section].get(name)
    if found is None:
        known = ", ".join(sorted(merged[section])) or "none"
        reason = f" ({wanted_by})" if wanted_by else ""
        raise ConfigError(f"kubeconfig has no {section[:-1]} {name!r}{reason}; it has: {known}")
    return found[0], found[1]


def _data(entry: Mapping[str, Any], key: str, file: Path) -> bytes | None:
    try:
        if entry.get(f"{key}-data"):
            return base64.b64decode(entry[f"{key}-data"], validate=True)
        if entry.get(key):
            return (file.parent / str(entry[key])).read_bytes()
    except (OSError, binascii.Error) as error:
        raise ConfigError(f"kubeconfig {file}: unusable {key}: {error}") from error
    return None


def _credential(user: Mapping[str, Any], file: Path, name: str) -> Credential:
    if user.get("exec") or user.get("auth-provider"):
        kind = "exec" if user.get("exec") else "auth-provider"
        raise ConfigError(
            f"kubeconfig {file}: user {name!r} logs in through {kind}, which this version does not run; use a token, "
            "a token file or a client certificate"
        )
    if user.get("tokenFile"):
        return TokenFile(file.parent / str(user["tokenFile"]))
    if user.get("token"):
        return StaticToken(str(user["token"]))
    if user.get("username"):
        return BasicAuth(str(user["username"]), str(user.get("password") or ""))
    return NoCredential()
