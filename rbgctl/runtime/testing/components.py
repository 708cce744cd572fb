"""Command lines of the components of a local control plane (RT-ET-03). Pure: no process is started here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rbgctl.runtime.testing.loopback import LOOPBACK

AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "rules": [
        {"level": "Metadata", "verbs": ["watch"], "omitStages": ["RequestReceived"]},
        {"level": "Metadata", "omitStages": ["RequestReceived", "ResponseStarted"]},
    ],
}
"""One entry per request when it is done; a watch has one when it begins too, for its end may be minutes away."""
API_SERVER_ENVIRONMENT = {"GOGC": "400", "GOMEMLIMIT": "768MiB"}
"""What Go's garbage collector may use: half of the CPU time that large CRDs cost went into collecting below this limit,
which is the peak that the defaults reached as well."""
SERVING_NAMES = (
    LOOPBACK,
    "localhost",
    "10.96.0.1",
    "kubernetes.default.svc",
    "kubernetes.default",
    "kubernetes",
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie in the directory of a control plane."""

    directory: Path

    @property
    def pki(self) -> Path:
        return self.directory / "pki"

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "admin.kubeconfig"

    @property
    def audit_policy(self) -> Path:
        return self.directory / "audit-policy.yaml"

    @property
    def audit_log(self) -> Path:
        return self.directory / "audit.log"


def etcd(at: Layout, *, port: int, peer_port: int) -> list[str]:
    url, peer = f"http://{LOOPBACK}:{port}", f"http://{LOOPBACK}:{peer_port}"
    return [
        "--name=default",
        f"--data-dir={at.directory / 'etcd'}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def kube_apiserver(at: Layout, *, port: int, etcd_port: int, whole: bool, audit: bool) -> list[str]:
    """whole: a controller-manager will give every namespace its service account, so pods may be held to one."""
    return [
        f"--etcd-servers=http://{LOOPBACK}:{etcd_port}",
        f"--bind-address={LOOPBACK}",
        f"--advertise-address={LOOPBACK}",
        f"--secure-port={port}",
        f"--tls-cert-file={at.pki / 'server.crt'}",
        f"--tls-private-key-file={at.pki / 'server.key'}",
        f"--client-ca-file={at.pki / 'ca.crt'}",
        f"--cert-dir={at.pki}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={at.pki / 'sa.pub'}",
        f"--service-account-signing-key-file={at.pki / 'sa.key'}",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--allow-privileged=true",
        "--endpoint-reconciler-type=none",
        *([] if whole else ["--disable-admission-plugins=ServiceAccount"]),
        *(
            [
                f"--audit-policy-file={at.audit_policy}",
                f"--audit-log-path={at.audit_log}",
                "--audit-log-mode=blocking",
            ]
            if audit
            else []
        ),
    ]


def kube_controller_manager(at: Layout) -> list[str]:
    return [
        *_common(at),
        f"--root-ca-file={at.pki / 'ca.crt'}",
        f"--service-account-private-key-file={at.pki / 'sa.key'}",
        "--use-service-account-credentials=false",
        "--controllers=*,-nodeipam,-cloud-node-lifecycle,-service-lb-controller,-node-route-controller",
        "--horizontal-pod-autoscaler-sync-period=1s",
    ]


def kube_scheduler(at: Layout) -> list[str]:
    return _common(at)


def kwok(at: Layout, stages: Sequence[Path]) -> list[str]:
    """stages: Stage files; none means that kwok follows the Stage objects of the API server."""
    return [
        f"--kubeconfig={at.kubeconfig}",
        "--manage-all-nodes",
        "--cidr=10.64.0.0/14",
        f"--node-ip={LOOPBACK}",
        "--node-lease-duration-seconds=40",
        *(f"--config={f}" for f in stages),
        *([] if stages else ["--enable-crds=Stage"]),
    ]


def _common(at: Layout) -> list[str]:
    # The default client limits would make scaling three times slower.
    return [
        f"--kubeconfig={at.kubeconfig}",
        "--leader-elect=false",
        "--secure-port=0",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    ]
