"""Writing a ClusterConfig down as a kubeconfig document."""

import base64
from typing import Any

from rbgctl.runtime.config import ClusterConfig, NoCredential, StaticToken


def kubeconfig(config: ClusterConfig, *, user: str) -> dict[str, Any]:
    """The kubeconfig mapping of a config with embedded credentials. Raises ValueError for other credentials."""
    account: dict[str, Any] = {}
    if config.client_cert:
        account["client-certificate-data"] = _b64(config.client_cert[0])
        account["client-key-data"] = _b64(config.client_cert[1])
    if isinstance(config.credential, StaticToken):
        account["token"] = config.credential.headers()["Authorization"].removeprefix("Bearer ")
    elif not isinstance(config.credential, NoCredential):
        raise ValueError(f"{type(config.credential).__name__} cannot be embedded in a kubeconfig")
    cluster: dict[str, Any] = {"server": config.server}
    if config.ca:
        cluster["certificate-authority-data"] = _b64(config.ca)
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": cluster}],
        "users": [{"name": user, "user": account}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": user, "namespace": config.namespace}}],
        "current-context": "local",
    }


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
