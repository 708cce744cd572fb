"""Condition types and reasons (CND-1 … CND-16), by the kind that carries them."""

from typing import Final

TRUE: Final = "True"
FALSE: Final = "False"
UNKNOWN: Final = "Unknown"

# RoleBasedGroup, CND-1 and CND-2
GROUP_READY: Final = "Ready"
GROUP_PROGRESSING: Final = "Progressing"
GROUP_ROLLING_UPDATE_IN_PROGRESS: Final = "RollingUpdateInProgress"
ALL_ROLES_READY: Final = "AllRolesReady"
ROLE_NOT_READY: Final = "RoleNotReady"

# RoleBasedGroupSet, CND-3
GROUP_SET_READY: Final = "Ready"
ALL_REPLICAS_READY: Final = "AllReplicasReady"
REPLICAS_NOT_READY: Final = "ReplicasNotReady"

# RoleInstanceSet and RoleInstance, CND-4 and CND-9
FAILED_SCALE: Final = "FailedScale"
FAILED_UPDATE: Final = "FailedUpdate"

# RoleInstance, CND-5 … CND-10
INSTANCE_READY: Final = "RoleInstanceReady"
INSTANCE_ALL_PODS_READY: Final = "RoleInstanceAllPodsReady"
INSTANCE_IN_PLACE_UPDATE_READY: Final = "RoleInstanceInPlaceUpdateReady"
INSTANCE_CUSTOM_READY: Final = "RoleInstanceCustomReady"
INSTANCE_RESTARTING: Final = "Restarting"
REASON_READY: Final = "Ready"
PODS_NOT_READY: Final = "PodsNotReady"
IN_PLACE_UPDATE_NOT_READY: Final = "InplaceUpdateNotReady"
READINESS_GATES_NOT_READY: Final = "ReadinessGatesNotReady"
PODS_READY: Final = "PodsReady"
AT_LEAST_ONE_POD_NOT_READY: Final = "AtLeastOnePodNotReady"
START_IN_PLACE_UPDATE: Final = "StartInPlaceUpdate"
START_INSTANCE_UPDATE: Final = "StartInstanceUpdate"
RESTART_POLICY_TRIGGERED: Final = "RestartPolicyTriggered"

# Pod, CND-11 … CND-13: the first two are readiness gates of every pod of an instance
POD_IN_PLACE_UPDATE_READY: Final = "InPlaceUpdateReady"
POD_INSTANCE_READY: Final = "InstancePodReady"
POD_READY: Final = "Ready"
POD_CONTAINERS_READY: Final = "ContainersReady"

# Entries of the JSON message of POD_INSTANCE_READY and INSTANCE_CUSTOM_READY, PAY-7
GATE_USER_AGENT: Final = "Lifecycle"
GATE_KEY_INSTANCE_READY: Final = "InstanceReady"
GATE_KEY_PRE_DELETE: Final = "preDeleteHook"
GATE_KEY_PRE_UPDATE: Final = "preUpdateHook"

# Not known to the Go operator (docs/api-additions.md)
PROGRESSING: Final = "Progressing"
"""On group sets, RoleInstanceSets and RoleInstances: a rollout is under way; the message says what it waits for."""
RESTART_LIMIT_REACHED: Final = "RestartLimitReached"
"""On RoleInstances: failed too often, left as it is."""
SCALE_DOWN_HELD: Final = "ScaleDownHeld"
"""On scaling adapters: a scale-down waits for the role's rollout."""
POLICY_ACCEPTED: Final = "Accepted"
"""On policies: in force for a group, or why not."""
POLICY_HOLDING: Final = "Holding"
"""On policies: what is held back now."""
WARMUP_TARGET_FOUND: Final = "TargetFound"
"""On warm-ups: whether the group they are for exists. WU-26"""

# RoleBasedGroupWarmup, CND-14 … CND-16
WARMUP_COMPLETE: Final = "Complete"
WARMUP_FAILED: Final = "Failed"
WARMUP_VOLUME_CONFLICT: Final = "VolumeConflict"
WARMUP_COMPLETED: Final = "WarmupCompleted"
NO_NODES_MATCHED: Final = "NoNodesMatched"
MAX_FAILED_NODES_EXCEEDED: Final = "MaxFailedNodesExceeded"
GLOBAL_TIMEOUT_EXCEEDED: Final = "GlobalTimeoutExceeded"
CONFLICTING_VOLUME_DEFINITIONS: Final = "ConflictingVolumeDefinitions"
