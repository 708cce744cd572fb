"""What a manager may do that works in some namespaces only (--namespaces): Roles instead of the ClusterRole.

python -m rbgctl.namespaced_rbac team-a,team-b     prints them as YAML for kubectl apply

Cluster-scoped kinds that controllers read keep a ClusterRole. The checks of CRDs at the start and of those who read
the metrics (--metrics-secure) need rights on the whole cluster; the manager does without the first, and without
the others when metrics are off or not secure. Webhooks serve the whole cluster: --enable-webhooks=none here.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Final

import yaml

from rbgctl import rbac
from rbgctl.api.kinds import RESOURCES
from rbgctl.machinery.gvk import RawObject
from rbgctl.runtime.discovery import BUILT_IN
from rbgctl.runtime.rbac import PolicyRule, cluster_role
from rbgctl.splitting import select_namespaces

CLUSTER_SCOPED_ROLE: Final = "rbgs-controller-cluster-scoped-role"

_NAMESPACED: Final = {(r.gvk.group, r.plural): r.namespaced for r in (*BUILT_IN, *RESOURCES)}


def objects(namespaces: Sequence[str]) -> list[RawObject]:
    """The Roles and bindings of the service account that config/rbac ships, for these namespaces. They must exist."""
    rules = [*rbac.controller_rules(), rbac.EVENTS]
    inside = [r for r in rules if _is_namespaced(r)]
    outside = [r for r in rules if not _is_namespaced(r)]
    made: list[RawObject] = []
    for namespace in namespaces:
        role = cluster_role(rbac.CLUSTER_ROLE, inside)
        made.append({**role, "kind": "Role", "metadata": {"name": rbac.CLUSTER_ROLE, "namespace": namespace}})
        made.append(rbac.binding(f"{rbac.CLUSTER_ROLE}-binding", "Role", rbac.CLUSTER_ROLE, namespace))
    if outside:
        named = f"{CLUSTER_SCOPED_ROLE}-binding"
        made += [cluster_role(CLUSTER_SCOPED_ROLE, outside), rbac.binding(named, "ClusterRole", CLUSTER_SCOPED_ROLE)]
    made.append(rbac.lease_role())
    made.append(rbac.binding(f"{rbac.LEASE_ROLE}-binding", "Role", rbac.LEASE_ROLE, rbac.NAMESPACE))
    return made


def _is_namespaced(rule: PolicyRule) -> bool:
    return _NAMESPACED[rule.group, rule.resource.partition("/")[0]]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("namespaces", help="comma-separated")
    try:
        namespaces = select_namespaces(parser.parse_args().namespaces)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    yaml.safe_dump_all(objects(namespaces), sys.stdout, sort_keys=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
