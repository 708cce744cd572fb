"""How to reach a cluster: kubeconfig files, the in-cluster environment, and the credentials they name.

Search order (RT-CF-01): an explicit kubeconfig; in-cluster when $KUBECONFIG is empty; $KUBECONFIG (a list, merged,
the first file wins); ~/.kube/config.
"""

import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import structlog
import yaml

from rbgctl.runtime.clock import Clock
from rbgctl.runtime.credentials import BasicAuth, ConfigError, Credential, NoCredential, StaticToken, TokenFile
from rbgctl.runtime.exec_credential import ExecPlugin, ExecSpec
from rbgctl.runtime.proxy import proxy_from_environment

__all__ = ["BasicAuth", "ClusterConfig", "ConfigError", "Credential", "NoCredential", "StaticToken", "TokenFile"]

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

EXEC_EXTENSION = "client.authentication.k8s.io/exec"

_log = structlog.get_logger("rbgctl.runtime.config")

Files = tuple[Path, ...]


@dataclass(slots=True)
class ClusterConfig:
    """Everything needed to open connections to one API server.

    ca_file, client_cert_files: where `ca` and `client_cert` came from, read again when they change. proxy: URL of an
    HTTP proxy, None connects directly. impersonate: headers that ask to act as somebody else, in order.
    """

    server: str
    ca: bytes | None = None
    insecure: bool = False
    tls_server_name: str | None = None
    client_cert: tuple[bytes, bytes] | None = None
    credential: Credential = field(default_factory=NoCredential)
    namespace: str = "default"
    proxy: str | None = None
    impersonate: Sequence[tuple[str, str]] = ()
    ca_file: Path | None = None
    client_cert_files: tuple[Path, Path] | None = None
    _stamps: dict[Path, tuple[int, int, int]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._stamps = {path: _stamp(path) for path in self._files()}

    @property
    def host(self) -> str:
        """host[:port] of the server, the `host` label of client metrics (RT-MT-20)."""
        return self.server.partition("://")[2].partition("/")[0]

    def fresh(self) -> "ClusterConfig":
        """The same cluster as the same user, for another event loop: nothing that changes is shared."""
        other = replace(self, credential=self.credential.fresh())
        # Of the files as they were when their content was read, or a change since then would go unnoticed.
        other._stamps = dict(self._stamps)
        return other

    def ssl_context(self) -> ssl.SSLContext | None:
        """None for plain http. Raises ConfigError for unusable certificates."""
        if not self.server.startswith("https"):
            return None
        try:
            context = ssl.create_default_context(cadata=self.ca.decode() if self.ca and not self.insecure else None)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            # On by default from Python 3.13; Go programs accept authorities without key identifiers.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            if self.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            pair = self.credential.client_cert() or self.client_cert
            if pair:
                _load_pair(context, *pair)
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(f"unusable certificate data for {self.server}: {error}") from error
        return context

    def reload(self) -> bool:
        """Read certificate files that changed on disk; True when their content did (RT-CF-04, RT-CF-05).

        A file that cannot be read or used keeps the old content.
        """
        changed = [path for path in self._files() if _stamp(path) != self._stamps.get(path)]
        if not changed:
            return False
        self._stamps.update((path, _stamp(path)) for path in changed)
        before = self.ca, self.client_cert
        try:
            if self.ca_file is not None:
                self.ca = self.ca_file.read_bytes()
            if self.client_cert_files is not None:
                cert, key = self.client_cert_files
                self.client_cert = cert.read_bytes(), key.read_bytes()
            self.ssl_context()
        except (OSError, ConfigError) as error:
            _log.warning("changed certificate files are unusable, keeping the old ones", error=str(error))
            self.ca, self.client_cert = before
        return (self.ca, self.client_cert) != before

    def _files(self) -> Files:
        return (*((self.ca_file,) if self.ca_file is not None else ()), *(self.client_cert_files or ()))

    @classmethod
    def load(
        cls,
        kubeconfig: str | None = None,
        context: str | None = None,
        env: Mapping[str, str] = os.environ,
    ) -> "ClusterConfig":
        """The configuration to use here. Raises ConfigError when there is none or it is broken."""
        if kubeconfig:
            return _from_files([Path(kubeconfig)], context, env, must_exist=True)
        if not env.get("KUBECONFIG"):
            if env.get("KUBERNETES_SERVICE_HOST") and env.get("KUBERNETES_SERVICE_PORT"):
                return cls.in_cluster(env)
            home = Path(env.get("HOME", "~")).expanduser()
            return _from_files([home / ".kube" / "config"], context, env, must_exist=True)
        paths = [Path(p) for p in env["KUBECONFIG"].split(os.pathsep) if p]
        return _from_files(paths, context, env, must_exist=False)

    @classmethod
    def in_cluster(
        cls, env: Mapping[str, str] = os.environ, root: Path | None = None, clock: Clock | None = None
    ) -> "ClusterConfig":
        """From the pod's service account (RT-CF-02), mounted at `root`. Raises ConfigError outside a pod."""
        root = root or SERVICE_ACCOUNT
        host, port = env.get("KUBERNETES_SERVICE_HOST"), env.get("KUBERNETES_SERVICE_PORT")
        if not host or not port:
            raise ConfigError("not in a cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not both set")
        if ":" in host:
            host = f"[{host}]"
        server = f"https://{host}:{port}"
        namespace_file = root / "namespace"
        config = cls(
            server=server,
            credential=TokenFile(root / "token", clock),
            namespace=namespace_file.read_text() if namespace_file.exists() else "default",
            proxy=proxy_from_environment(server, env),
            ca_file=root / "ca.crt",
        )
        try:
            config.ca = (root / "ca.crt").read_bytes()
            config.ssl_context()
        except (OSError, ConfigError) as error:
            config.ca = None
            _log.warning("cluster CA unusable, using the system's roots", error=str(error))
        return config


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _load_pair(context: ssl.SSLContext, cert: bytes, key: bytes) -> None:
    # SSLContext reads client certificates from files only; the key is on disk for the length of this call.
    with tempfile.NamedTemporaryFile(prefix="client-", suffix=".pem") as file:
        file.write(cert + b"\n" + key)
        file.flush()
        context.load_cert_chain(file.name)


def _from_files(paths: list[Path], context: str | None, env: Mapping[str, str], *, must_exist: bool) -> ClusterConfig:
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
                if not isinstance(entry, dict) or not isinstance(entry.get(key) or {}, dict):
                    raise ConfigError(f"kubeconfig {path}: {section} must be a list of named mappings")
                entries.setdefault(str(entry.get("name", "")), (entry.get(key) or {}, path))
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
    server = str(cluster["server"]).rstrip("/")
    server = server if "://" in server else f"https://{server}"
    proxy = str(cluster.get("proxy-url") or "") or proxy_from_environment(server, env)
    if proxy and not proxy.startswith(("http://", "https://")):
        raise ConfigError(f"kubeconfig {cluster_file}: proxy {proxy} is neither http:// nor https://")
    return ClusterConfig(
        server=server,
        ca=_data(cluster, "certificate-authority", cluster_file),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        tls_server_name=cluster.get("tls-server-name") or None,
        client_cert=(cert, private) if cert is not None and private is not None else None,
        credential=_credential(user, user_file, chosen.get("user", ""), _exec_cluster(cluster, cluster_file)),
        namespace=chosen.get("namespace") or "default",
        proxy=proxy,
        impersonate=_impersonation(user),
        ca_file=_file(cluster, "certificate-authority", cluster_file),
        client_cert_files=_pair_files(user, user_file),
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
            return base64.b64decode("".join(str(entry[f"{key}-data"]).split()), validate=True)
        if entry.get(key):
            return (file.parent / str(entry[key])).read_bytes()
    except (OSError, binascii.Error) as error:
        raise ConfigError(f"kubeconfig {file}: unusable {key}: {error}") from error
    return None


def _file(entry: Mapping[str, Any], key: str, file: Path) -> Path | None:
    """The file `key` is read from: none when the data is embedded, which wins."""
    return file.parent / str(entry[key]) if entry.get(key) and not entry.get(f"{key}-data") else None


def _pair_files(user: Mapping[str, Any], file: Path) -> tuple[Path, Path] | None:
    cert, key = _file(user, "client-certificate", file), _file(user, "client-key", file)
    return (cert, key) if cert is not None and key is not None else None


def _impersonation(user: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    headers = [("Impersonate-User", str(user["as"]))] if user.get("as") else []
    if user.get("as-uid"):
        headers.append(("Impersonate-Uid", str(user["as-uid"])))
    headers += [("Impersonate-Group", str(group)) for group in user.get("as-groups") or ()]
    for key, values in (user.get("as-user-extra") or {}).items():
        headers += [(f"Impersonate-Extra-{quote(str(key), safe='')}", str(value)) for value in values or ()]
    return tuple(headers)


def _exec_cluster(cluster: Mapping[str, Any], file: Path) -> dict[str, Any]:
    ca = _data(cluster, "certificate-authority", file)
    extension = next(
        (e.get("extension") for e in cluster.get("extensions") or () if e.get("name") == EXEC_EXTENSION), None
    )
    found = {
        "server": cluster.get("server"),
        "tls-server-name": cluster.get("tls-server-name"),
        "insecure-skip-tls-verify": cluster.get("insecure-skip-tls-verify"),
        "certificate-authority-data": base64.b64encode(ca).decode() if ca else None,
        "proxy-url": cluster.get("proxy-url"),
        "config": extension,
    }
    return {key: value for key, value in found.items() if value}


def _credential(user: Mapping[str, Any], file: Path, name: str, cluster: Mapping[str, Any]) -> Credential:
    if user.get("auth-provider"):
        raise ConfigError(
            f"kubeconfig {file}: user {name!r} logs in through an auth-provider, which Kubernetes has removed; use an "
            "exec plugin, a token or a client certificate"
        )
    if user.get("exec"):
        entry = dict(user["exec"])
        command = str(entry.get("command") or "")
        if "/" in command:
            entry["command"] = str(file.parent / command)
        return ExecPlugin(ExecSpec.parse(entry, cluster=cluster, where=f"kubeconfig {file}: user {name!r}"))
    if user.get("tokenFile"):
        return TokenFile(file.parent / str(user["tokenFile"]), initial=str(user.get("token") or ""))
    if user.get("token"):
        return StaticToken(str(user["token"]))
    if user.get("username"):
        return BasicAuth(str(user["username"]), str(user.get("password") or ""))
    return NoCredential()
