"""Models of workloads.x-k8s.io/v1alpha1, deprecated (A1-1); one module per kind.

RoleBasedGroup and RoleBasedGroupSet are converted to v1alpha2 (`rbgctl.api.conversion`); adapters and profiles have
the same fields in both versions (A1-2). Instance and InstanceSet have no successor version and are only stored
(A1-4). `Kind.decode(raw)` gives a frozen typed view, `.dump()` the same JSON back, as in `rbgctl.api.v1alpha2`.
"""
