"""The RBAC objects under which the manager runs, generated from what its controllers declare.

Three grants, so that each reaches no further than its reason:

    ClusterRole rbgs-controller-role               what the controllers and webhooks do, in all namespaces
    Role        rbgs-controller-secret-role        the Secret with the webhook certificates, in the manager's namespace
    Role        rbgs-leader-election-role          Leases, there too

and rbgs-metrics-reader, bound to nobody, for those who may read the metrics. `python -m rbgctl.manifests` writes them
to config/rbac/base.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from rbgctl.api import identity
from rbgctl.api.kinds import GROUP, RESOURCES, resource
from rbgctl.machinery.gvk import RawObject
from rbgctl.manager import CONTROLLERS, checked_kinds
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.rbac import PolicyRule, cluster_role
from rbgctl.webhooks import rights

NAMESPACE: Final = identity.NAMESPACE
SERVICE_ACCOUNT: Final = identity.SERVICE_ACCOUNT
CLUSTER_ROLE: Final = "rbgs-controller-role"
CLUSTER_ROLE_BINDING: Final = "rbgs-controller-rolebinding"
LEASE_ROLE: Final = "rbgs-leader-election-role"
LEASE_ROLE_BINDING: Final = "rbgs-leader-election-rolebinding"
SECRET_ROLE: Final = "rbgs-controller-secret-role"  # noqa: S105 - the name of a Role
SECRET_ROLE_BINDING: Final = "rbgs-controller-secret-rolebinding"  # noqa: S105 - the name of a RoleBinding
METRICS_READER: Final = "rbgs-metrics-reader"

LABELS: Final = {"app.kubernetes.io/name": "rbgs", "app.kubernetes.io/managed-by": "kustomize"}
"""On all but the generated ClusterRole (DEP-3)."""

EVENTS: Final = PolicyRule("", "events", ("create", "patch"))
REVIEWS: Final = (
    PolicyRule("authentication.k8s.io", "tokenreviews", ("create",)),
    PolicyRule("authorization.k8s.io", "subjectaccessreviews", ("create",)),
)
"""Of those who read the metrics (RBAC-5)."""

LEASE_RULES: Final = (
    PolicyRule("coordination.k8s.io", "leases", ("create", "delete", "get", "list", "update", "watch")),
    EVENTS,
)
"""Leader election, in the operator's namespace only (RBAC-6). Who stands by watches the Lease to hear of its release;
managers that share the work list all Leases and delete those of members that are gone. Events tell who leads, where a
manager may work in other namespaces only too."""


def controller_rules() -> list[PolicyRule]:
    """All that the controllers declare."""
    mapper = RestMapper(None, *RESOURCES)
    return [rule for make in CONTROLLERS.values() for rule in make().rules(mapper)]


def process_rules() -> list[PolicyRule]:
    """What the process needs in the cluster besides, whichever controllers run: events, the check that its CRDs are
    there, reviews, and to keep the trust in its webhook certificates.
    """
    crds = sorted(f"{resource(kind).plural}.{kind.group}" for kind in checked_kinds(tuple(CONTROLLERS)))
    checks = PolicyRule("apiextensions.k8s.io", "customresourcedefinitions", ("get",), tuple(crds))
    return [EVENTS, checks, *REVIEWS, *rights.CLUSTER_RULES]


def role() -> RawObject:
    """The ClusterRole (RBAC-2)."""
    return cluster_role(CLUSTER_ROLE, [*controller_rules(), *process_rules()])


def lease_role() -> RawObject:
    """The Role for leader election."""
    return _local_role(LEASE_ROLE, LEASE_RULES)


def secret_role() -> RawObject:
    """The Role for the Secret of the webhook certificates (RBAC-4)."""
    return _local_role(SECRET_ROLE, rights.SECRET_RULES)


def metrics_reader() -> RawObject:
    """For whoever scrapes: bind it to a Prometheus (RBAC-5)."""
    rule = {"nonResourceURLs": ["/metrics"], "verbs": ["get"]}
    made = cluster_role(METRICS_READER, ())
    return {**made, "metadata": {"name": METRICS_READER, "labels": LABELS}, "rules": [rule]}


def binding(name: str, kind: str, role_name: str, namespace: str = "") -> RawObject:
    """Gives a role to the manager's service account, in one namespace or, without, everywhere."""
    where = {"namespace": namespace} if namespace else {}
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
        "metadata": {"name": name, **where, "labels": LABELS},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role_name},
        "subjects": [{"kind": "ServiceAccount", "name": SERVICE_ACCOUNT, "namespace": NAMESPACE}],
    }


def grants() -> list[RawObject]:
    """Service account, roles and bindings."""
    return [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": SERVICE_ACCOUNT, "namespace": NAMESPACE, "labels": LABELS},
        },
        role(),
        binding(CLUSTER_ROLE_BINDING, "ClusterRole", CLUSTER_ROLE),
        secret_role(),
        binding(SECRET_ROLE_BINDING, "Role", SECRET_ROLE, NAMESPACE),
        lease_role(),
        binding(LEASE_ROLE_BINDING, "Role", LEASE_ROLE, NAMESPACE),
        metrics_reader(),
    ]


def objects() -> list[RawObject]:
    """What config/rbac installs, in the order in which it can be applied."""
    return [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}, *grants()]


_OWN: Final = tuple((GROUP, plural) for plural in ("rolebasedgroups", "roleinstancesets", "roleinstances"))
_FOLLOWED: Final = (
    ("", "configmaps"),
    ("", "pods"),
    ("", "services"),
    ("apps", "controllerrevisions"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    *_OWN,
)
"""Kinds that informers follow."""

SELDOM: Final[Mapping[tuple[str, str, str], str]] = {
    **{(*kind, "list"): "API servers before 1.32 stream no lists, others may refuse to" for kind in _FOLLOWED},
    **{(*kind, "get"): "read live when the cache does not show an own write in time" for kind in _FOLLOWED},
    **{
        (group, f"{plural}/finalizers", "update"): "OwnerReferencesPermissionEnforcement asks for it, if it is on"
        for group, plural in _OWN
    },
    ("", "events", "patch"): "an event that repeats",
    (GROUP, "rolebasedgroupsets", "get"): "a new group says it is of a set, and breaks a rule",
    (GROUP, "rolebasedgroupscalingadapters", "get"): "a change of replicas that an adapter may own is validated",
    ("", "pods", "patch"): "a new revision that leaves the pod as it is: its label",
    ("", "secrets", "update"): "webhook certificates are renewed",
}
"""Rights (group, resource, verb) that a short life in which nothing goes wrong may not need, and what needs them. What
is not used in test/cluster/test_rights.py and is not here is too much (`make rights`)."""


def all_rules() -> list[PolicyRule]:
    """Every rule of every role, wherever it holds."""
    return [*controller_rules(), *process_rules(), *rights.SECRET_RULES, *LEASE_RULES]


def _local_role(name: str, rules: Sequence[PolicyRule]) -> RawObject:
    metadata = {"name": name, "namespace": NAMESPACE, "labels": LABELS}
    return {**cluster_role(name, rules), "kind": "Role", "metadata": metadata}
