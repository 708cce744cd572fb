"""What in a CRD names another object: kustomize follows it when an installation gives that another name (DEP-1)."""

from typing import Any, Final

from rbgctl.api import identity

NEUTRAL_NAMESPACE: Final = "system"
"""In place of NAMESPACE in those parts of config/ into which kustomize puts that of the installation."""
SERVICE_PATH: Final = "/spec/conversion/webhook/clientConfig/service"
"""Where a CRD names the Service of its conversion webhook, as a JSON pointer."""

REFERENCES: Final = {
    "nameReference": [
        {
            "kind": "Service",
            "version": "v1",
            "fieldSpecs": [
                {
                    "kind": "CustomResourceDefinition",
                    "group": "apiextensions.k8s.io",
                    "version": "v1",
                    "path": f"{SERVICE_PATH[1:]}/name",
                }
            ],
        }
    ],
    "namespace": [
        {
            "kind": "CustomResourceDefinition",
            "group": "apiextensions.k8s.io",
            "version": "v1",
            "path": f"{SERVICE_PATH[1:]}/namespace",
            "create": False,
        }
    ],
}
"""The conversion webhook is called through a Service."""


def calls_service(crd: dict[str, Any]) -> bool:
    """Whether its versions are converted by a webhook."""
    strategy: str | None = crd["spec"].get("conversion", {}).get("strategy")
    return strategy == "Webhook"


def neutral(crd: dict[str, Any]) -> dict[str, Any]:
    """The CRD with the names that an installation's prefix and namespace complete."""
    if not calls_service(crd):
        return crd
    conversion = crd["spec"]["conversion"]
    webhook = conversion["webhook"]
    service = webhook["clientConfig"]["service"]
    named = {
        **service,
        "name": service["name"].removeprefix(identity.NAME_PREFIX),
        "namespace": NEUTRAL_NAMESPACE,
    }
    client = {**webhook["clientConfig"], "service": named}
    made = {**conversion, "webhook": {**webhook, "clientConfig": client}}
    return {**crd, "spec": {**crd["spec"], "conversion": made}}
