"""The ValidatingWebhookConfiguration: which writes the API server shows to us, and what it does without an answer.

Groups and group sets can be refused, so nothing is written without us (failurePolicy Fail, WH-4). For the kinds that
are only warned about there are entries of our own, with failurePolicy Ignore and a short timeout: they never stand in
the way of a write, nor does a Go operator that takes over and answers nothing there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rbgctl.api import identity, kinds
from rbgctl.machinery.gvk import GVK, RawObject
from rbgctl.runtime.webhook_call import admission_path

ADVICE_TIMEOUT_SECONDS: Final = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """One webhook of the configuration. advisory: it warns only, and is done without when it does not answer."""

    name: str
    kind: GVK
    advisory: bool = False

    @property
    def path(self) -> str:
        return admission_path("validate", self.kind)


ENTRIES: Final[Sequence[Entry]] = (
    Entry("vrolebasedgroup.kb.io", kinds.ROLE_BASED_GROUP),
    Entry("vrolebasedgroupset.kb.io", kinds.ROLE_BASED_GROUP_SET),
    Entry("wcoordinatedpolicy.kb.io", kinds.COORDINATED_POLICY, advisory=True),
    Entry("wrolebasedgroupscalingadapter.kb.io", kinds.SCALING_ADAPTER, advisory=True),
    Entry("wrolebasedgroupwarmup.kb.io", kinds.WARMUP, advisory=True),
)


def webhook_configuration(namespace: str) -> RawObject:
    """The whole object; `namespace`: of the Service. The CA bundle is filled in while running."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": identity.VALIDATING_WEBHOOK_CONFIGURATION},
        "webhooks": [webhook(entry, namespace) for entry in ENTRIES],
    }


def webhook(entry: Entry, namespace: str) -> dict[str, Any]:
    """One element of `webhooks`."""
    resource = kinds.resource(entry.kind)
    made: dict[str, Any] = {
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {"name": identity.WEBHOOK_SERVICE, "namespace": namespace, "path": entry.path}},
        "failurePolicy": "Ignore" if entry.advisory else "Fail",
        "name": entry.name,
        "rules": [
            {
                "apiGroups": [entry.kind.group],
                "apiVersions": [entry.kind.version],
                "operations": ["CREATE", "UPDATE"],
                "resources": [resource.plural],
            }
        ],
        "sideEffects": "None",
    }
    if entry.advisory:
        made["timeoutSeconds"] = ADVICE_TIMEOUT_SECONDS
    return made
