"""Where the way to a cluster comes from."""

import base64
import ssl
from pathlib import Path
from typing import Any

import pytest
import yaml
from structlog.testing import capture_logs

from rbgctl.runtime.config import ClusterConfig, ConfigError
from rbgctl.runtime.credentials import BasicAuth, NoCredential, StaticToken, TokenFile
from rbgctl.runtime.exec_credential import ExecPlugin
from rbgctl.runtime.testing.certificates import Authority


def kubeconfig(path: Path, name: str = "main", *, current: str | None = None, **user: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "current-context": name if current is None else current,
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}:6443"}}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": f"ns-{name}"}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def edited(path: Path, section: str, **fields: Any) -> Path:
    document = yaml.safe_load(path.read_text())
    document[section][0][section[:-1]].update(fields)
    path.write_text(yaml.safe_dump(document))
    return path


def pod(root: Path, *, token: str = "t", ca: bytes | None = None) -> Path:
    root.mkdir(exist_ok=True)
    (root / "token").write_text(token)
    (root / "namespace").write_text("mine\n")
    if ca is not None:
        (root / "ca.crt").write_bytes(ca)
    return root


IN_CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


# -- search order ------------------------------------------------------------------------------------------------


def test_an_explicit_file_wins_over_everything(tmp_path: Path) -> None:
    """RT-CF-01."""
    explicit = kubeconfig(tmp_path / "explicit", "explicit")
    env = {**IN_CLUSTER, "KUBECONFIG": str(kubeconfig(tmp_path / "other", "other"))}
    assert ClusterConfig.load(str(explicit), env=env).server == "https://explicit:6443"


def test_the_variable_wins_over_the_cluster_and_the_home_directory(tmp_path: Path) -> None:
    """RT-CF-01."""
    kubeconfig(tmp_path / ".kube" / "config", "home")
    env = {**IN_CLUSTER, "HOME": str(tmp_path), "KUBECONFIG": str(kubeconfig(tmp_path / "env", "env"))}
    assert ClusterConfig.load(env=env).server == "https://env:6443"


def test_without_the_variable_the_pod_s_account_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RT-CF-01: before the home directory."""
    monkeypatch.setattr("rbgctl.runtime.config.SERVICE_ACCOUNT", pod(tmp_path / "sa"))
    kubeconfig(tmp_path / ".kube" / "config", "home")
    assert ClusterConfig.load(env={**IN_CLUSTER, "HOME": str(tmp_path)}).server == "https://10.96.0.1:443"


def test_the_home_directory_comes_last(tmp_path: Path) -> None:
    """RT-CF-01."""
    kubeconfig(tmp_path / ".kube" / "config", "home")
    found = ClusterConfig.load(env={"HOME": str(tmp_path)})
    assert (found.server, found.namespace) == ("https://home:6443", "ns-home")


def test_several_files_are_merged_and_the_first_wins(tmp_path: Path) -> None:
    """RT-CF-01: missing ones do not matter, a context may point into another file."""
    first = kubeconfig(tmp_path / "first", "a", current="", token="first")
    second = kubeconfig(tmp_path / "second", "a", token="second")
    third = kubeconfig(tmp_path / "third", "c", token="third")
    env = {"KUBECONFIG": ":".join(map(str, (tmp_path / "missing", first, second, third)))}
    merged = ClusterConfig.load(env=env)
    assert merged.credential.headers() == {"Authorization": "Bearer first"}
    assert ClusterConfig.load(env=env, context="c").server == "https://c:6443"


@pytest.mark.parametrize(
    ("env", "text"),
    [({"HOME": "/nowhere"}, "no kubeconfig at /nowhere/.kube/config"), ({"KUBECONFIG": "/no"}, "names no existing")],
)
def test_no_configuration_at_all_says_what_would_help(env: dict[str, str], text: str) -> None:
    """RT-CF-01."""
    with pytest.raises(ConfigError, match=text):
        ClusterConfig.load(env=env)


def test_an_unknown_context_is_named_with_those_there_are(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "c", "main")
    with pytest.raises(ConfigError, match="no context 'other'; it has: main"):
        ClusterConfig.load(str(path), "other", env={})


@pytest.mark.parametrize("text", ["{", "- 1", "clusters: [1]", "clusters: [{name: a, cluster: x}]"])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ConfigError, match=str(path)):
        ClusterConfig.load(str(path), env={})


# -- in the cluster ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", list(IN_CLUSTER))
def test_outside_a_pod_there_is_no_cluster(tmp_path: Path, missing: str) -> None:
    """RT-CF-02."""
    with pytest.raises(ConfigError, match="not in a cluster"):
        ClusterConfig.in_cluster({**IN_CLUSTER, missing: ""}, pod(tmp_path / "sa"))


def test_the_pod_s_account_names_server_token_and_namespace(tmp_path: Path) -> None:
    """RT-CF-02, RT-ID-01: the namespace is read verbatim."""
    authority = Authority()
    env = {**IN_CLUSTER, "KUBERNETES_SERVICE_HOST": "fd00::1"}
    found = ClusterConfig.in_cluster(env, pod(tmp_path / "sa", token=" t \n", ca=authority.pem))
    assert found.server == "https://[fd00::1]:443"
    assert found.host == "[fd00::1]:443"
    assert found.namespace == "mine\n"
    assert found.credential.headers() == {"Authorization": "Bearer t"}
    assert found.ca == authority.pem


def test_a_pod_without_a_readable_token_cannot_start(tmp_path: Path) -> None:
    """RT-CF-02."""
    root = pod(tmp_path / "sa")
    (root / "token").unlink()
    with pytest.raises(ConfigError, match="token"):
        ClusterConfig.in_cluster(IN_CLUSTER, root)


def test_an_unusable_authority_is_logged_and_the_system_s_roots_are_used(tmp_path: Path) -> None:
    """RT-CF-02."""
    with capture_logs() as logs:
        found = ClusterConfig.in_cluster(IN_CLUSTER, pod(tmp_path / "sa", ca=b"nonsense"))
    assert found.ca is None
    assert [entry["log_level"] for entry in logs] == ["warning"]


# -- users -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "kind"),
    [
        ({}, NoCredential),
        ({"token": "t"}, StaticToken),
        ({"username": "u", "password": "p"}, BasicAuth),
        ({"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "x"}}, ExecPlugin),
    ],
)
def test_a_user_logs_in_as_the_file_says(tmp_path: Path, user: dict[str, Any], kind: type) -> None:
    """RT-CF-06, RT-CF-15."""
    found = ClusterConfig.load(str(kubeconfig(tmp_path / "c", **user)), env={})
    assert type(found.credential) is kind


def test_basic_auth_is_sent_encoded(tmp_path: Path) -> None:
    """RT-CF-15."""
    found = ClusterConfig.load(str(kubeconfig(tmp_path / "c", username="u", password="p:q")), env={})
    assert found.credential.headers() == {"Authorization": "Basic " + base64.b64encode(b"u:p:q").decode()}


def test_a_token_file_beside_the_kubeconfig_beats_the_token_in_it(tmp_path: Path) -> None:
    """RT-CF-03: the token in the file is what is left while it cannot be read."""
    (tmp_path / "token").write_text("from file")
    path = kubeconfig(tmp_path / "c", token="embedded", tokenFile="token")
    assert isinstance(ClusterConfig.load(str(path), env={}).credential, TokenFile)
    assert ClusterConfig.load(str(path), env={}).credential.headers() == {"Authorization": "Bearer from file"}
    (tmp_path / "token").unlink()
    assert ClusterConfig.load(str(path), env={}).credential.headers() == {"Authorization": "Bearer embedded"}


def test_acting_as_somebody_else_becomes_headers(tmp_path: Path) -> None:
    """RT-CF-15."""
    user = {"as": "jane", "as-uid": "7", "as-groups": ["a", "b"], "as-user-extra": {"example.com/team": ["x", "y"]}}
    assert ClusterConfig.load(str(kubeconfig(tmp_path / "c", **user)), env={}).impersonate == (
        ("Impersonate-User", "jane"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Extra-example.com%2Fteam", "x"),
        ("Impersonate-Extra-example.com%2Fteam", "y"),
    )


def test_a_removed_login_method_says_what_to_use(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "c", **{"auth-provider": {"name": "gcp"}})
    with pytest.raises(ConfigError, match="'main' logs in through an auth-provider"):
        ClusterConfig.load(str(path), env={})


# -- TLS and proxies ---------------------------------------------------------------------------------------------


def test_certificates_come_embedded_or_from_files_beside_the_kubeconfig(tmp_path: Path) -> None:
    """RT-CF-05, RT-CF-15: embedded data may be wrapped, and wins."""
    authority = Authority()
    cert, key = authority.client("u")
    (tmp_path / "ca").write_bytes(authority.pem)
    (tmp_path / "cert").write_bytes(cert)
    (tmp_path / "key").write_bytes(key)
    path = kubeconfig(tmp_path / "c", **{"client-certificate": "cert", "client-key": "key"})
    wrapped = base64.encodebytes(authority.pem).decode()
    edited(path, "clusters", **{"certificate-authority-data": wrapped, "certificate-authority": "missing"})
    found = ClusterConfig.load(str(path), env={})
    assert (found.ca, found.client_cert, found.ca_file) == (authority.pem, (cert, key), None)
    context = found.ssl_context()
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT


@pytest.mark.parametrize("only", ["client-certificate-data", "client-key-data"])
def test_half_a_client_certificate_is_refused(tmp_path: Path, only: str) -> None:
    path = kubeconfig(tmp_path / "c", **{only: base64.b64encode(b"x").decode()})
    with pytest.raises(ConfigError, match="both client certificate and key"):
        ClusterConfig.load(str(path), env={})


def test_an_insecure_cluster_is_not_verified(tmp_path: Path) -> None:
    """RT-CF-15."""
    path = edited(
        kubeconfig(tmp_path / "c"), "clusters", **{"insecure-skip-tls-verify": True, "tls-server-name": "other"}
    )
    found = ClusterConfig.load(str(path), env={})
    context = found.ssl_context()
    assert context is not None
    assert context.verify_mode == ssl.CERT_NONE
    assert found.tls_server_name == "other"


def test_proxies_come_from_the_file_before_the_environment(tmp_path: Path) -> None:
    """RT-CF-09, RT-CF-15."""
    path = kubeconfig(tmp_path / "c")
    env = {"HTTPS_PROXY": "http://env:3128"}
    assert ClusterConfig.load(str(path), env=env).proxy == "http://env:3128"
    edited(path, "clusters", **{"proxy-url": "http://file:3128"})
    assert ClusterConfig.load(str(path), env=env).proxy == "http://file:3128"
    edited(path, "clusters", **{"proxy-url": "socks5://file"})
    with pytest.raises(ConfigError, match="socks5"):
        ClusterConfig.load(str(path), env=env)


def test_changed_certificate_files_are_read_again_but_broken_ones_are_not_used(tmp_path: Path) -> None:
    """RT-CF-04, RT-CF-05."""
    old, new = Authority("old"), Authority("new")
    (tmp_path / "ca").write_bytes(old.pem)
    path = edited(kubeconfig(tmp_path / "c"), "clusters", **{"certificate-authority": "ca"})
    config = ClusterConfig.load(str(path), env={})
    assert not config.reload()
    (tmp_path / "ca").write_bytes(b"half written")
    assert not config.reload()
    assert config.ca == old.pem
    (tmp_path / "ca").write_bytes(new.pem)
    assert config.reload()
    assert config.ca == new.pem
