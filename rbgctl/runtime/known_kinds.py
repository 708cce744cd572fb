"""Kinds of Kubernetes itself whose REST resources need no discovery (RT-RM-08)."""

from rbgctl.machinery.gvk import GVK, Resource


def _core(kind: str, plural: str, *, namespaced: bool = True) -> Resource:
    return Resource(GVK("", "v1", kind), plural, namespaced)


def _in(group: str, version: str, kind: str, plural: str, *, namespaced: bool = True) -> Resource:
    return Resource(GVK(group, version, kind), plural, namespaced)


BUILT_IN = (
    _core("Pod", "pods"),
    _core("Service", "services"),
    _core("ConfigMap", "configmaps"),
    _core("Secret", "secrets"),
    _core("Event", "events"),
    _core("ServiceAccount", "serviceaccounts"),
    _core("Node", "nodes", namespaced=False),
    _core("Namespace", "namespaces", namespaced=False),
    _in("apps", "v1", "ControllerRevision", "controllerrevisions"),
    _in("apps", "v1", "Deployment", "deployments"),
    _in("apps", "v1", "StatefulSet", "statefulsets"),
    _in("coordination.k8s.io", "v1", "Lease", "leases"),
    _in("rbac.authorization.k8s.io", "v1", "Role", "roles"),
    _in("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
    _in("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", namespaced=False),
    _in("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False),
    _in(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        namespaced=False,
    ),
    _in(
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        namespaced=False,
    ),
    _in(
        "admissionregistration.k8s.io",
        "v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        namespaced=False,
    ),
)
