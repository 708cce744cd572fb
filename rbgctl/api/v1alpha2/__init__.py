"""Models of workloads.x-k8s.io/v1alpha2, the hub and storage version; one module per kind.

`Kind.decode(raw)` gives a frozen typed view, `.dump()` the same JSON back. See `rbgctl.api.model`.
"""
