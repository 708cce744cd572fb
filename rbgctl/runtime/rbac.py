"""What a process may do, as RBAC rules collected from what its controllers declare."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from rbgctl.machinery.gvk import RawObject

READ = ("get", "list", "watch")


@dataclass(frozen=True, slots=True, order=True)
class PolicyRule:
    """Verbs on one resource. `resource` is a plural or `plural/subresource`; `names` restricts to these objects."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()


def merged(rules: Iterable[PolicyRule]) -> list[PolicyRule]:
    """One rule per resource and set of names, verbs united, sorted."""
    verbs: dict[tuple[str, str, tuple[str, ...]], set[str]] = defaultdict(set)
    for rule in rules:
        verbs[rule.group, rule.resource, rule.names].update(rule.verbs)
    return sorted(PolicyRule(g, r, tuple(sorted(v)), n) for (g, r, n), v in verbs.items())


def cluster_role(name: str, rules: Iterable[PolicyRule]) -> RawObject:
    """The ClusterRole object that grants exactly `rules`; same input, same output."""
    by_verbs: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for rule in merged(rules):
        by_verbs.setdefault((rule.group, rule.verbs, rule.names), []).append(rule.resource)
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": [
            {
                "apiGroups": [group],
                "resources": resources,
                "verbs": list(verbs),
                **({"resourceNames": list(names)} if names else {}),
            }
            for (group, verbs, names), resources in sorted(by_verbs.items())
        ],
    }
