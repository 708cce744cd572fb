"""What the webhook server and its certificates need to be allowed (RBAC-2, RBAC-4): the least that works.

`list` and `watch` with names are granted to requests with a field selector for such a name, and we send no others.
"""

from typing import Final

from rbgctl.api import identity, kinds
from rbgctl.runtime.rbac import READ, PolicyRule
from rbgctl.webhooks.certificates.bundles import CONVERTED

CLUSTER_RULES: Final = (
    PolicyRule(kinds.GROUP, "rolebasedgroups", ("get",)),
    PolicyRule(kinds.GROUP, "rolebasedgroupsets", ("get",)),
    PolicyRule(kinds.GROUP, "rolebasedgroupscalingadapters", ("get",)),
    PolicyRule("apiextensions.k8s.io", "customresourcedefinitions", (*READ, "patch"), CONVERTED),
    PolicyRule(
        "admissionregistration.k8s.io",
        "validatingwebhookconfigurations",
        (*READ, "patch"),
        (identity.VALIDATING_WEBHOOK_CONFIGURATION,),
    ),
)
"""In the ClusterRole: what validators read, and who trusts the certificates, which is read and repaired."""

SECRET_RULES: Final = (
    PolicyRule("", "secrets", ("create",)),
    PolicyRule("", "secrets", ("get", "update"), (identity.WEBHOOK_CERT_SECRET,)),
)
"""In a Role of the manager's namespace, and nothing else there (RBAC-4). A creation cannot be limited to a name."""
