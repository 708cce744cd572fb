"""What in a CRD names another object: kustomize follows it when an overlay gives that another name (DEP-1)."""

from typing import Final

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
                    "path": "spec/conversion/webhook/clientConfig/service/name",
                }
            ],
        }
    ],
    "namespace": [
        {
            "kind": "CustomResourceDefinition",
            "group": "apiextensions.k8s.io",
            "version": "v1",
            "path": "spec/conversion/webhook/clientConfig/service/namespace",
            "create": False,
        }
    ],
}
"""The conversion webhook is called through a Service."""
