"""The RoleInstanceSet of a role (RBG-12, RBG-82..88)."""

from typing import Any

from rbgctl.api import annotations, labels, names
from rbgctl.api.kinds import API_VERSION, KIND_INSTANCE_SET
from rbgctl.api.v1alpha2.defaults import Rollout, budgets, role_replicas, role_restart_policy, role_rollout
from rbgctl.api.v1alpha2.legacy_keys import instance_pattern
from rbgctl.api.v1alpha2.rolebasedgroup import RoleSpec
from rbgctl.api.v1alpha2.rollout import PARALLEL
from rbgctl.controllers.group.components import shape_of
from rbgctl.controllers.group.observe import Observed
from rbgctl.machinery.gvk import RawObject
from rbgctl.machinery.owner_references import controller_reference


class RoleError(ValueError):
    """A role whose workload cannot be made; the text says what is wrong and what would work."""


def role_instance_set(observed: Observed, role: RoleSpec, *, service: str, revision: str) -> RawObject:
    """The object to apply. `service`: the role's effective Service name; `revision`: the role's revision hash.

    Raises RoleError for a rollout that cannot work; for templates what `shape_of` raises. All are ValueErrors.
    """
    group = observed.group.metadata
    common = labels.common(group.namespace, group.name, role.name)
    rollout = role_rollout(role)
    _check_budgets(role, rollout)
    shape = shape_of(observed.group, role, service)
    return {
        "apiVersion": API_VERSION,
        "kind": KIND_INSTANCE_SET,
        "metadata": {
            "name": names.workload_name(group.name, role.name),
            "namespace": group.namespace,
            "labels": {
                **(role.labels or {}),
                **common,
                labels.role_revision(role.name): revision,
                labels.ROLE_TYPE: shape.role_type,
                **_owner_uid(observed, role),
            },
            "annotations": _annotations(role, rollout),
            "ownerReferences": [controller_reference(observed.raw)],
        },
        "spec": {
            "selector": {"matchLabels": common},
            "replicas": role_replicas(role),
            "minReadySeconds": role.min_ready_seconds or 0,
            "podManagementPolicy": role.pod_management_policy or PARALLEL,
            "updateStrategy": _update_strategy(rollout),
            "roleInstanceTemplate": {
                "restartPolicyConfig": role_restart_policy(role).config().dump(),
                "components": shape.components,
            },
        },
    }


def _annotations(role: RoleSpec, rollout: Rollout) -> dict[str, str]:
    made = {**(role.annotations or {}), **annotations.common(role_replicas(role), role.annotations)}
    made[annotations.ROLE_INSTANCE_PATTERN] = instance_pattern(role.annotations)
    if rollout.grace_period_seconds is not None:
        made[annotations.INPLACE_UPDATE_GRACE_PERIOD_SECONDS] = str(rollout.grace_period_seconds)
    return made


def _owner_uid(observed: Observed, role: RoleSpec) -> dict[str, str]:
    if not role.annotation(annotations.ROLE_INPLACE_SCHEDULING):
        return {}
    return {labels.RBG_OWNER_UID: observed.group.metadata.uid}


def _check_budgets(role: RoleSpec, rollout: Rollout) -> None:
    """No rollout could ever move with both budgets 0; without replicas it does not matter (RBG-84)."""
    replicas = role_replicas(role)
    try:
        unavailable, surge = budgets(rollout.max_unavailable, rollout.max_surge, replicas)
    except ValueError as error:
        raise RoleError(f"RollingUpdate is invalid: {error}") from None
    if replicas > 0 and unavailable == 0 and surge == 0:
        raise RoleError(
            "RollingUpdate is invalid: rolloutStrategy.rollingUpdate.maxUnavailable may not be 0 when maxSurge is 0"
        )


def _update_strategy(rollout: Rollout) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": rollout.type,
        "paused": rollout.paused,
        "partition": rollout.partition,
        "maxUnavailable": rollout.max_unavailable,
        "maxSurge": rollout.max_surge,
    }
    if rollout.grace_period_seconds is not None:
        made["inPlaceUpdateStrategy"] = {"gracePeriodSeconds": rollout.grace_period_seconds}
    return made
