"""Who we are to the API server and to other operators: managers, lease, controllers, defaults (RES-1 … RES-13)."""

from typing import Final

FIELD_MANAGER: Final = "rbg"
"""Manager of every server-side apply, always forced. API-11, RES-3"""
LEADER_ELECTION_LEASE: Final = "rbg-controller"
"""Name of the leader election Lease. RES-1"""

CONTROLLER_GROUP: Final = "workloads-rolebasedgroup"
CONTROLLER_SCALING_ADAPTER: Final = "workloads-rolebasedgroup-scalingadapter"
CONTROLLER_GROUP_SET: Final = "rbgset-controller"
CONTROLLER_WARMUP: Final = "rbgwarmup-controller"
CONTROLLER_INSTANCE: Final = "roleinstance"
CONTROLLER_INSTANCE_SET: Final = "roleinstanceset"
CONTROLLER_WEBHOOK_CERT: Final = "webhook-cert"

# Managers of writes that are not applies: the product of each user agent. RES-4, API-11
MANAGER_GROUP: Final = "rolebasedgroup"
MANAGER_GROUP_SET: Final = "rolebasedgroupset"
MANAGER_SCALING_ADAPTER: Final = "rolebasedgroupscalingadapter"
MANAGER_INSTANCE_SET_STATELESS: Final = "roleinstanceset"
MANAGER_INSTANCE_SET_STATEFUL: Final = "instanceset-manager"
MANAGER_INSTANCE: Final = "roleinstance"
MANAGER_WEBHOOK_CERT: Final = "webhook-cert"
USER_AGENT_INSTANCE_SET_STATEFUL: Final = "instanceset-manager/stateful-instanceset-controller"

NAMESPACE: Final = "rbgs-system"
NAME_PREFIX: Final = "rbgs-"
SERVICE_ACCOUNT: Final = "rbgs-controller-sa"
WEBHOOK_SERVICE: Final = "rbgs-webhook-service"
WEBHOOK_CERT_SECRET: Final = "rbgs-webhook-cert"  # noqa: S105 - the name of a Secret
WEBHOOK_CERT_DIR: Final = "/tmp/k8s-webhook-server/certs"  # noqa: S108 - the directory operators expect
VALIDATING_WEBHOOK_CONFIGURATION: Final = "rbgs-validating-webhook-configuration"

CRD_LEADER_WORKER_SET: Final = "leaderworkersets.leaderworkerset.x-k8s.io"
CRD_POD_GROUP_SCHEDULER_PLUGINS: Final = "podgroups.scheduling.x-k8s.io"
CRD_POD_GROUP_VOLCANO: Final = "podgroups.scheduling.volcano.sh"
"""Optional CRDs whose presence the manager looks for. RES-9"""

SCHEDULER_PLUGINS: Final = "scheduler-plugins"
SCHEDULER_VOLCANO: Final = "volcano"
"""Values of --scheduler-name. ENUM-15"""

GROUP_REVISION_HISTORY_LIMIT: Final = 5
INSTANCE_REVISION_HISTORY_LIMIT: Final = 5
INSTANCE_SET_REVISION_HISTORY_LIMIT: Final = 10
RESTART_BASE_DELAY_SECONDS: Final = 30
RESTART_MAX_DELAY_SECONDS: Final = 600
GANG_TIMEOUT_SECONDS: Final = 60
"""Defaults that no CRD fills. RES-12"""


def user_agent(product: str, version: str, commit: str, platform: str) -> str:
    """The User-Agent of a controller's client; `platform` is `<os>/<arch>`. RES-4"""
    short_version = version.partition("-")[0] or "unknown"
    return f"{product}/{short_version} ({platform}) {LEADER_ELECTION_LEASE}/{commit[:7] or 'unknown'}"
