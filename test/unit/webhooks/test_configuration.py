"""The entries of the webhook configuration."""

import pytest

from rbgctl.runtime.cached_client import CachedClient
from rbgctl.webhooks import admission
from rbgctl.webhooks.configuration import ENTRIES, webhook_configuration


@pytest.mark.parametrize(
    ("index", "name", "plural", "path"),
    [
        (0, "vrolebasedgroup.kb.io", "rolebasedgroups", "/validate-workloads-x-k8s-io-v1alpha2-rolebasedgroup"),
        (
            1,
            "vrolebasedgroupset.kb.io",
            "rolebasedgroupsets",
            "/validate-workloads-x-k8s-io-v1alpha2-rolebasedgroupset",
        ),
    ],
)
def test_entries_that_the_go_operator_has(index: int, name: str, plural: str, path: str) -> None:
    """API-23, WH-4; WH-7: neither sub-resources nor deletions are shown to us."""
    made = webhook_configuration("rbgs-system")
    assert made["metadata"] == {"name": "rbgs-validating-webhook-configuration"}
    assert made["webhooks"][index] == {
        "name": name,
        "clientConfig": {"service": {"name": "rbgs-webhook-service", "namespace": "rbgs-system", "path": path}},
        "rules": [
            {
                "apiGroups": ["workloads.x-k8s.io"],
                "apiVersions": ["v1alpha2"],
                "resources": [plural],
                "operations": ["CREATE", "UPDATE"],
            }
        ],
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }


def test_further_entries_never_stand_in_the_way() -> None:
    for made in webhook_configuration("x")["webhooks"][2:]:
        assert made["failurePolicy"] == "Ignore"
        assert made["timeoutSeconds"] <= 2


def test_every_entry_has_a_validator() -> None:
    kinds = [entry.kind for entry in ENTRIES]
    reader: CachedClient = None  # type: ignore[assignment]
    assert kinds == list(admission.validators(reader))
