"""Puts together what a manager needs to be one of several replicas of which one works: an election on its thread."""

from collections.abc import Callable
from typing import Final

from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.elector_thread import Election, ElectorThread
from rbgctl.runtime.leaderelection import ElectionConfig, new_identity
from rbgctl.runtime.manager import Manager
from rbgctl.runtime.rbac import PolicyRule

ELECTION_RIGHTS: Final = (PolicyRule("coordination.k8s.io", "leases", ("create", "get", "list", "update", "watch")),)
"""What a replica may do besides its work, for `Builder.permits`; in the namespace of the Lease is enough."""


def elector_thread(cluster: ClusterConfig) -> Callable[[Manager], ElectorThread]:
    """Makes a manager's thread for elections, with its product name and metrics.

    cluster: loaded anew, because credentials serve one event loop and the thread has its own.
    """

    def make(manager: Manager) -> ElectorThread:
        agent = manager.options.user_agent(manager.options.name)
        return ElectorThread(cluster, user_agent=agent, registry=manager.metrics)

    return make


def single_leader(cluster: ClusterConfig, election: ElectionConfig) -> Callable[[Manager], Election]:
    """What `ManagerOptions.elector` is when one replica works and the others stand by. cluster: see `elector_thread`.

    Replicas compete for the Lease that `election` names, each with an identity of its own.
    """
    thread = elector_thread(cluster)
    return lambda manager: thread(manager).election(election)


def replica_of(name: str, namespace: str) -> Callable[[Manager], Election]:
    """`single_leader` with all defaults: the Lease `name` in `namespace`, on the cluster that `ClusterConfig.load`
    finds. Raises ConfigError when it finds none.
    """
    config = ElectionConfig(namespace=namespace, name=name, identity=new_identity())
    return single_leader(ClusterConfig.load(), config)
