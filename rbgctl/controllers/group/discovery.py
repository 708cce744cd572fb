"""How a group's instances find each other: the mode annotation and the ConfigMap (03 §7)."""

from collections.abc import Callable, Mapping, Sequence

from rbgctl.api import annotations, events, identity, names
from rbgctl.api.kinds import ROLE_BASED_GROUP
from rbgctl.api.v1alpha2.defaults import role_replicas
from rbgctl.api.v1alpha2.workload_type import is_stateful
from rbgctl.controllers.group.observe import AppliedConfig, Observed
from rbgctl.controllers.group.takeover import guarded, refuse_foreign_config_map
from rbgctl.machinery.gvk import NN, RawObject
from rbgctl.machinery.owner_references import controller_reference
from rbgctl.machinery.plan import Apply, MergePatch, PlannedEvent
from rbgctl.planning.discovery_config import DiscoveredRole, discovery_config

MODES = (annotations.DISCOVERY_LEGACY, annotations.DISCOVERY_REFINE)


def mode(observed: Observed) -> str:
    """The annotation when it is valid, else what the group's past says (RBG-44).

    A group that has a status or per-role ConfigMaps comes from an old release, unless it owns a ConfigMap of the
    new kind: then somebody stripped its annotation.
    """
    given = observed.group.metadata.annotation(annotations.DISCOVERY_CONFIG_MODE)
    if given in MODES:
        return given
    if observed.config_map_owned:
        return annotations.DISCOVERY_REFINE
    status = observed.group.status
    old = bool(status.observed_generation) or bool(status.role_statuses) or observed.legacy_config_map
    return annotations.DISCOVERY_LEGACY if old else annotations.DISCOVERY_REFINE


def mode_step(observed: Observed) -> MergePatch | None:
    """Persist a mode that was not there yet."""
    chosen = mode(observed)
    if observed.group.metadata.annotation(annotations.DISCOVERY_CONFIG_MODE) == chosen:
        return None
    return MergePatch(
        gvk=ROLE_BASED_GROUP,
        key=NN.of(observed.raw),
        patch={
            "metadata": {
                "uid": observed.group.metadata.uid,
                "annotations": {annotations.DISCOVERY_CONFIG_MODE: chosen},
            }
        },
        field_manager=identity.MANAGER_GROUP,
    )


def discovered_roles(observed: Observed, services: Mapping[str, str]) -> tuple[DiscoveredRole, ...]:
    """The stateful roles, whose instances have names to list. `services`: role to effective Service name."""
    return tuple(
        DiscoveredRole(role.name, role_replicas(role), services[role.name], tuple(role.service_ports or ()))
        for role in observed.group.roles
        if is_stateful(role.annotations)
    )


def config_map(observed: Observed, roles: Sequence[DiscoveredRole]) -> RawObject:
    """The ConfigMap to apply (RBG-45, RBG-46)."""
    group = observed.group.metadata
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": names.config_map_name(group.name),
            "namespace": group.namespace,
            "ownerReferences": [controller_reference(observed.raw)],
        },
        "data": {names.CONFIG_MAP_KEY: discovery_config(group.name, roles)},
    }


def config_map_step(
    observed: Observed, services: Mapping[str, str], remember: Callable[[AppliedConfig], None]
) -> Apply | None:
    """Apply it unless this process applied the same and nobody touched it since (RBG-46).

    It is kept in legacy mode too, because pods mount it in both (RBG-44, RBG-75); a group without stateful roles has
    none. The text is made only when it is needed: it grows with the replicas.
    """
    owner, roles = observed.group.metadata.uid, discovered_roles(observed, services)
    last = observed.applied_config
    if not roles or (last is not None and last == AppliedConfig(owner, roles, observed.config_map_version)):
        return None

    def answered(answer: RawObject) -> None:
        remember(AppliedConfig(owner, roles, answer["metadata"]["resourceVersion"]))

    apply = Apply(
        obj=config_map(observed, roles),
        field_manager=identity.FIELD_MANAGER,
        answered=answered,
        on_failure=PlannedEvent(observed.raw, "Warning", events.FAILED_RECONCILE_DISCOVERY_CONFIG_MAP, ""),
    )
    foreign = observed.config_map_version and not observed.config_map_owned
    return guarded(apply, refuse_foreign_config_map, observed.told) if foreign else apply
