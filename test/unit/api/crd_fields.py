"""Every field of every kind and version with what its schema says, as the API documents it; one line per field.

Columns: path, schema, rules; `WORDS` stand for texts that are long. Fields that the Go operator's API lacks are marked
`addition`. Left out: the fields of metav1 conditions (`CONDITION`), and the spec of a group inside a group set, which
equals that of a group.
"""

from typing import Final

WORDS: Final = {
    "=NAME": r"=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
    "=PERCENT": r"=^([0-9]|[1-9][0-9]|100)%$",
    "=GROUP_VERSION": (
        r"=^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/v[0-9]+((alpha|beta)[0-9]+)?$"
    ),
    "=QUALIFIED": (
        r"=^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
        r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
    ),
    "=REASON": r"=^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
    "=RESTARTS": "=None|RecreateRoleInstanceOnPodRestart",
}

CONDITION: Final = r"""
lastTransitionTime  date-time required
message             string required maxLength=32768
observedGeneration  int64 minimum=0
reason              string required minLength=1 maxLength=1024 pattern=REASON
status              string required one-of=True|False|Unknown
type                string required maxLength=316 pattern=QUALIFIED
"""
"""GRP-71, RBGS-12, POL-10, WRM-33"""

FIELDS: Final = {
    ("RoleBasedGroup", "v1alpha1"): r"""
spec  object
spec.coordination  []object list=name
spec.coordination[].name  string required
spec.coordination[].roles  []string required
spec.coordination[].strategy  object
spec.coordination[].strategy.rollingUpdate  object
spec.coordination[].strategy.rollingUpdate.maxSkew  string pattern=PERCENT
spec.coordination[].strategy.rollingUpdate.maxUnavailable  string pattern=PERCENT
spec.coordination[].strategy.rollingUpdate.partition  string pattern=PERCENT
spec.coordination[].strategy.scaling  object
spec.coordination[].strategy.scaling.maxSkew  string pattern=PERCENT
spec.coordination[].strategy.scaling.progression  string default='OrderScheduled' one-of=OrderScheduled|OrderReady
spec.podGroupPolicy  object
spec.podGroupPolicy.kubeScheduling  object
spec.podGroupPolicy.kubeScheduling.scheduleTimeoutSeconds  int32 default=60
spec.podGroupPolicy.volcanoScheduling  object
spec.podGroupPolicy.volcanoScheduling.priorityClassName  string
spec.podGroupPolicy.volcanoScheduling.queue  string
spec.roleTemplates  []object list=name
spec.roleTemplates[].name  string required minLength=1 maxLength=63 pattern=NAME
spec.roleTemplates[].template  PodTemplateSpec required
spec.roles  []object required minItems=1 keeps-unknown list=name  A1-10
spec.roles[]  rules=4  A1-5 A1-6 A1-7 A1-8
spec.roles[].annotations  map:string
spec.roles[].components  []object
spec.roles[].components[].name  string required
spec.roles[].components[].serviceName  string
spec.roles[].components[].size  int32
spec.roles[].components[].template  any required
spec.roles[].dependencies  []string
spec.roles[].engineRuntimes  []object
spec.roles[].engineRuntimes[].containers  []Container
spec.roles[].engineRuntimes[].injectContainers  []string
spec.roles[].engineRuntimes[].profileName  string required
spec.roles[].labels  map:string
spec.roles[].leaderWorkerSet  object
spec.roles[].leaderWorkerSet.patchLeaderTemplate  any
spec.roles[].leaderWorkerSet.patchWorkerTemplate  any
spec.roles[].leaderWorkerSet.size  int32 default=1
spec.roles[].minReadySeconds  int32 default=0
spec.roles[].name  string required minLength=1
spec.roles[].replicas  int32 required default=1 minimum=0
spec.roles[].restartPolicy  string one-of=RESTARTS
spec.roles[].rolloutStrategy  object
spec.roles[].rolloutStrategy.rollingUpdate  object
spec.roles[].rolloutStrategy.rollingUpdate.inPlaceUpdateStrategy  object
spec.roles[].rolloutStrategy.rollingUpdate.inPlaceUpdateStrategy.gracePeriodSeconds  int32
spec.roles[].rolloutStrategy.rollingUpdate.maxSurge  int-or-string default=0
spec.roles[].rolloutStrategy.rollingUpdate.maxUnavailable  int-or-string default=1
spec.roles[].rolloutStrategy.rollingUpdate.partition  int-or-string default=0
spec.roles[].rolloutStrategy.rollingUpdate.paused  boolean
spec.roles[].rolloutStrategy.rollingUpdate.type  string
spec.roles[].rolloutStrategy.type  string required default='RollingUpdate' one-of=RollingUpdate
spec.roles[].scalingAdapter  object
spec.roles[].scalingAdapter.enable  boolean default=False
spec.roles[].servicePorts  []object list=atomic
spec.roles[].servicePorts[].appProtocol  string
spec.roles[].servicePorts[].name  string
spec.roles[].servicePorts[].nodePort  int32
spec.roles[].servicePorts[].port  int32 required
spec.roles[].servicePorts[].protocol  string default='TCP'
spec.roles[].servicePorts[].targetPort  int-or-string
spec.roles[].template  PodTemplateSpec
spec.roles[].templatePatch  any
spec.roles[].templateRef  object
spec.roles[].templateRef.name  string required minLength=1 maxLength=63 pattern=NAME
spec.roles[].workload  object default={'apiVersion': 'apps/v1', 'kind': 'StatefulSet'}
spec.roles[].workload.apiVersion  string default='apps/v1' pattern=GROUP_VERSION
spec.roles[].workload.kind  string default='StatefulSet'
status  object
status.conditions  []object list=type
status.observedGeneration  int64
status.roleStatuses  []object required list=atomic
status.roleStatuses[].name  string required
status.roleStatuses[].readyReplicas  int32 required
status.roleStatuses[].replicas  int32 required
status.roleStatuses[].updatedReplicas  int32 required
""",
    ("RoleBasedGroup", "v1alpha2"): r"""
spec  object  GRP-1
spec.roleTemplates  []object list=name  GRP-3
spec.roleTemplates[].name  string required minLength=1 maxLength=63 pattern=NAME  GRP-4
spec.roleTemplates[].template  PodTemplateSpec required  GRP-5
spec.roles  []object required minItems=1 keeps-unknown list=name  GRP-2 API-07
spec.roles[]  rules=2  CEL-1 CEL-2
spec.roles[].annotations  map:string  GRP-12
spec.roles[].customComponentsPattern  object  GRP-26
spec.roles[].customComponentsPattern.components  []object  GRP-53
spec.roles[].customComponentsPattern.components[].annotations  map:string  GRP-57
spec.roles[].customComponentsPattern.components[].labels  map:string  GRP-57
spec.roles[].customComponentsPattern.components[].name  string required  GRP-54
spec.roles[].customComponentsPattern.components[].serviceName  string  GRP-56
spec.roles[].customComponentsPattern.components[].size  int32  GRP-55
spec.roles[].customComponentsPattern.components[].template  any required  GRP-58
spec.roles[].customComponentsPattern.restartPolicy  string one-of=RESTARTS  GRP-48 RP-1
spec.roles[].customComponentsPattern.restartPolicyConfig  object rules=1  GRP-49
spec.roles[].customComponentsPattern.restartPolicyConfig.baseDelaySeconds  int32 default=30 minimum=0  GRP-51
spec.roles[].customComponentsPattern.restartPolicyConfig.maxDelaySeconds  int32 default=600 minimum=0  GRP-52
spec.roles[].customComponentsPattern.restartPolicyConfig.type  string one-of=RESTARTS  GRP-50
spec.roles[].dependencies  []string  GRP-23
spec.roles[].engineRuntimes  []object  GRP-28
spec.roles[].engineRuntimes[].containers  []Container  GRP-31
spec.roles[].engineRuntimes[].injectContainers  []string  GRP-30
spec.roles[].engineRuntimes[].profileName  string required  GRP-29
spec.roles[].labels  map:string  GRP-11
spec.roles[].leaderWorkerPattern  object rules=1  GRP-25
spec.roles[].leaderWorkerPattern.leaderTemplatePatch  any  GRP-45
spec.roles[].leaderWorkerPattern.restartPolicy  string one-of=RESTARTS  GRP-48 RP-1
spec.roles[].leaderWorkerPattern.restartPolicyConfig  object rules=1  GRP-49
spec.roles[].leaderWorkerPattern.restartPolicyConfig.baseDelaySeconds  int32 default=30 minimum=0  GRP-51
spec.roles[].leaderWorkerPattern.restartPolicyConfig.maxDelaySeconds  int32 default=600 minimum=0  GRP-52
spec.roles[].leaderWorkerPattern.restartPolicyConfig.type  string one-of=RESTARTS  GRP-50
spec.roles[].leaderWorkerPattern.sharedServiceSelection  string one-of=All|LeaderOnly  GRP-47
spec.roles[].leaderWorkerPattern.size  int32 default=1  GRP-44
spec.roles[].leaderWorkerPattern.template  PodTemplateSpec  GRP-40
spec.roles[].leaderWorkerPattern.templateRef  object  GRP-41
spec.roles[].leaderWorkerPattern.templateRef.name  string required minLength=1 maxLength=63 pattern=NAME  GRP-42
spec.roles[].leaderWorkerPattern.templateRef.patch  any  GRP-43
spec.roles[].leaderWorkerPattern.workerTemplatePatch  any  GRP-46
spec.roles[].minReadySeconds  int32 default=0  GRP-34
spec.roles[].name  string required minLength=1  GRP-10
spec.roles[].podManagementPolicy  string default='Parallel' one-of=OrderedReady|Parallel  GRP-35
spec.roles[].replicas  int32 required default=1 minimum=0  GRP-13
spec.roles[].rolloutStrategy  object  GRP-14
spec.roles[].rolloutStrategy.rollingUpdate  object  GRP-16
spec.roles[].rolloutStrategy.rollingUpdate.inPlaceUpdateStrategy  object
spec.roles[].rolloutStrategy.rollingUpdate.inPlaceUpdateStrategy.gracePeriodSeconds  int32  GRP-22
spec.roles[].rolloutStrategy.rollingUpdate.maxSurge  int-or-string default=0  GRP-20
spec.roles[].rolloutStrategy.rollingUpdate.maxUnavailable  int-or-string default=1  GRP-19
spec.roles[].rolloutStrategy.rollingUpdate.partition  int-or-string default=0  GRP-18
spec.roles[].rolloutStrategy.rollingUpdate.paused  boolean  GRP-21
spec.roles[].rolloutStrategy.rollingUpdate.type  string  GRP-17
spec.roles[].rolloutStrategy.type  string required default='RollingUpdate' one-of=RollingUpdate  GRP-15
spec.roles[].scalingAdapter  object
spec.roles[].scalingAdapter.enable  boolean default=False  GRP-32
spec.roles[].scalingAdapter.labels  map:string  GRP-33
spec.roles[].servicePorts  []object list=atomic  GRP-27
spec.roles[].servicePorts[].appProtocol  string  GRP-27
spec.roles[].servicePorts[].name  string  GRP-27
spec.roles[].servicePorts[].nodePort  int32  GRP-27
spec.roles[].servicePorts[].port  int32 required  GRP-27
spec.roles[].servicePorts[].protocol  string default='TCP'  GRP-27
spec.roles[].servicePorts[].targetPort  int-or-string  GRP-27
spec.roles[].standalonePattern  object rules=1  GRP-24
spec.roles[].standalonePattern.template  PodTemplateSpec  GRP-40
spec.roles[].standalonePattern.templateRef  object  GRP-41
spec.roles[].standalonePattern.templateRef.name  string required minLength=1 maxLength=63 pattern=NAME  GRP-42
spec.roles[].standalonePattern.templateRef.patch  any  GRP-43
status  object
status.conditions  []object list=type  GRP-71
status.observedGeneration  int64  GRP-70
status.roleStatuses  []object required list=atomic  GRP-72
status.roleStatuses[].name  string required  GRP-73
status.roleStatuses[].readyReplicas  int32 required  GRP-75
status.roleStatuses[].replicas  int32 required  GRP-74
status.roleStatuses[].updatedReplicas  int32 required  GRP-76
""",
    ("RoleBasedGroupSet", "v1alpha1"): r"""
spec  object
spec.replicas  int32 default=1
spec.template  object required
status  object
status.conditions  []object list=type
status.observedGeneration  int64
status.readyReplicas  int32
status.replicas  int32
""",
    ("RoleBasedGroupSet", "v1alpha2"): r"""
spec  object
spec.groupTemplate  object required  RBGS-2
spec.groupTemplate.annotations  map:string  RBGS-3
spec.groupTemplate.labels  map:string  RBGS-3
spec.groupTemplate.spec  object  RBGS-4
spec.replicas  int32 default=1  RBGS-1
spec.rolloutStrategy  object  addition
spec.rolloutStrategy.maxSurge  int-or-string  addition
spec.rolloutStrategy.maxUnavailable  int-or-string  addition
spec.rolloutStrategy.partition  int-or-string  addition
spec.rolloutStrategy.paused  boolean  addition
spec.rolloutStrategy.type  string one-of=RollingUpdate  addition
status  object
status.conditions  []object list=type  RBGS-12
status.observedGeneration  int64  RBGS-10
status.readyReplicas  int32  RBGS-11
status.replicas  int32  RBGS-11
status.updatedReadyReplicas  int32  addition
status.updatedReplicas  int32  addition
""",
    ("RoleBasedGroupScalingAdapter", "v1alpha1"): r"""
spec  object
spec.replicas  int32
spec.scaleTargetRef  object required
spec.scaleTargetRef.name  string required
spec.scaleTargetRef.role  string required
status  object
status.conditions  []object list=type  addition
status.lastScaleTime  date-time
status.phase  string
status.readyReplicas  int32
status.replicas  int32
status.selector  string
""",
    ("RoleBasedGroupScalingAdapter", "v1alpha2"): r"""
spec  object
spec.replicas  int32  ADP-1
spec.scaleTargetRef  object required  ADP-2
spec.scaleTargetRef.name  string required  ADP-3
spec.scaleTargetRef.role  string required  ADP-3
status  object
status.conditions  []object list=type  addition
status.lastScaleTime  date-time  ADP-14
status.phase  string  ADP-10
status.readyReplicas  int32  ADP-12
status.replicas  int32  ADP-11
status.selector  string  ADP-13
""",
    ("RoleInstanceSet", "v1alpha2"): r"""
spec  object
spec.lifecycle  object
spec.lifecycle.inPlaceUpdate  object  SET-15
spec.lifecycle.inPlaceUpdate.finalizersHandler  []string  SET-17
spec.lifecycle.inPlaceUpdate.labelsHandler  map:string  SET-16
spec.lifecycle.inPlaceUpdate.markPodNotReady  boolean  SET-18
spec.lifecycle.preDelete  object  SET-15
spec.lifecycle.preDelete.finalizersHandler  []string  SET-17
spec.lifecycle.preDelete.labelsHandler  map:string  SET-16
spec.lifecycle.preDelete.markPodNotReady  boolean  SET-18
spec.minReadySeconds  int32  SET-14
spec.podManagementPolicy  string default='Parallel' one-of=OrderedReady|Parallel  SET-4
spec.replicas  int32  SET-1
spec.revisionHistoryLimit  int32 default=10 minimum=0  SET-13
spec.roleInstanceTemplate  any required  SET-3
spec.scaleStrategy  object
spec.scaleStrategy.maxUnavailable  int-or-string  SET-6
spec.scaleStrategy.roleInstanceToDelete  []string  SET-5
spec.selector  object map=atomic  SET-2
spec.selector.matchExpressions  []object list=atomic  SET-2
spec.selector.matchExpressions[].key  string required  SET-2
spec.selector.matchExpressions[].operator  string required  SET-2
spec.selector.matchExpressions[].values  []string list=atomic  SET-2
spec.selector.matchLabels  map:string  SET-2
spec.updateStrategy  object
spec.updateStrategy.inPlaceUpdateStrategy  object
spec.updateStrategy.inPlaceUpdateStrategy.gracePeriodSeconds  int32  SET-12
spec.updateStrategy.maxSurge  int-or-string  SET-10
spec.updateStrategy.maxUnavailable  int-or-string  SET-9
spec.updateStrategy.partition  int-or-string  SET-8
spec.updateStrategy.paused  boolean  SET-11
spec.updateStrategy.type  string  SET-7
status  object
status.availableReplicas  int32 required  SET-31
status.collisionCount  int32  SET-34
status.conditions  []object  SET-35
status.conditions[].lastTransitionTime  date-time  SET-35
status.conditions[].message  string  SET-35
status.conditions[].reason  string  SET-35
status.conditions[].status  string required  SET-35
status.conditions[].type  string required  SET-35
status.currentReplicas  int32 required  SET-31
status.currentRevision  string  SET-33
status.expectedUpdatedReplicas  int32  SET-32
status.labelSelector  string  SET-36
status.observedGeneration  int64  SET-30
status.readyReplicas  int32 required  SET-31
status.replicas  int32 required  SET-31
status.updateRevision  string  SET-33
status.updatedReadyReplicas  int32 required  SET-31
status.updatedReplicas  int32 required  SET-31
""",
    ("RoleInstance", "v1alpha2"): r"""
spec  object
spec.components  []object required  RI-1
spec.components[].annotations  map:string  RI-5
spec.components[].labels  map:string  RI-5
spec.components[].name  string required  RI-2
spec.components[].serviceName  string  RI-4
spec.components[].size  int32  RI-3
spec.components[].template  any required  RI-6
spec.readinessGates  []object
spec.readinessGates[].conditionType  string required  RI-10
spec.readyPolicy  string default='AllPodReady'  RI-7
spec.restartPolicy  string one-of=RESTARTS  RI-8
spec.restartPolicyConfig  object rules=1  RI-9
spec.restartPolicyConfig.baseDelaySeconds  int32 default=30 minimum=0  RI-9
spec.restartPolicyConfig.maxDelaySeconds  int32 default=600 minimum=0  RI-9
spec.restartPolicyConfig.type  string one-of=RESTARTS  RI-9
status  object
status.collisionCount  int32  RI-25
status.componentStatuses  []object  RI-22
status.componentStatuses[].availableReplicas  int32 required  RI-22
status.componentStatuses[].name  string required  RI-22
status.componentStatuses[].readyReplicas  int32 required  RI-22
status.componentStatuses[].scheduledReplicas  int32 required  RI-22
status.componentStatuses[].size  int32 required  RI-22
status.componentStatuses[].updatedReadyReplicas  int32 required  RI-22
status.componentStatuses[].updatedReplicas  int32 required  RI-22
status.conditions  []object  RI-21
status.conditions[].lastTransitionTime  date-time  RI-21
status.conditions[].message  string  RI-21
status.conditions[].reason  string  RI-21
status.conditions[].status  string required  RI-21
status.conditions[].type  string required  RI-21
status.currentRevision  string  RI-24
status.inPlaceUpdateContainerBaselines  map:map:object  RI-26
status.inPlaceUpdateContainerBaselines{}{}.imageID  string  RI-26
status.inPlaceUpdateContainerBaselines{}{}.restartCount  int32 required  RI-26
status.labelSelector  string  RI-23
status.lastRestartTime  date-time  RI-28
status.observedGeneration  int64  RI-20
status.recentFailures  []object list=atomic  addition
status.recentFailures[].component  string  addition
status.recentFailures[].container  string  addition
status.recentFailures[].exitCode  int32  addition
status.recentFailures[].message  string  addition
status.recentFailures[].node  string  addition
status.recentFailures[].pod  string required  addition
status.recentFailures[].podUID  string  addition
status.recentFailures[].reason  string  addition
status.recentFailures[].restartCount  int32  addition
status.recentFailures[].signal  int32  addition
status.recentFailures[].time  date-time required  addition
status.restartCount  int32  RI-27
status.restartWindow  object  addition
status.restartWindow.restarts  int32 required  addition
status.restartWindow.startTime  date-time required  addition
status.updateRevision  string  RI-24
""",
    ("CoordinatedPolicy", "v1alpha2"): r"""
spec  object
spec.policies  []object required minItems=1 list=name  POL-1
spec.policies[].name  string required minLength=1  POL-2
spec.policies[].roles  []string required minItems=1  POL-3
spec.policies[].strategy  object required  POL-4
spec.policies[].strategy.rollingUpdate  object
spec.policies[].strategy.rollingUpdate.maxSkew  int-or-string  POL-5
spec.policies[].strategy.rollingUpdate.maxUnavailable  int-or-string  POL-5
spec.policies[].strategy.rollingUpdate.partition  int-or-string  POL-5
spec.policies[].strategy.scaling  object
spec.policies[].strategy.scaling.maxSkew  int-or-string  POL-6
spec.policies[].strategy.scaling.progression  string one-of=OrderScheduled|OrderReady  POL-7
spec.targetRoleBasedGroup  object  addition
spec.targetRoleBasedGroup.name  string required minLength=1  addition
status  object
status.conditions  []object list=type  POL-10
status.observedGeneration  int64  POL-10
""",
    ("ClusterEngineRuntimeProfile", "v1alpha1"): r"""
spec  object
spec.containers  []Container
spec.initContainers  []Container
spec.updateStrategy  string required default='NoUpdate' one-of=NoUpdate|RollingUpdate
spec.volumes  []Volume
status  object
""",
    ("ClusterEngineRuntimeProfile", "v1alpha2"): r"""
spec  object
spec.containers  []Container  ERP-2
spec.initContainers  []Container  ERP-1
spec.updateStrategy  string required default='NoUpdate' one-of=NoUpdate|RollingUpdate  ERP-4
spec.volumes  []Volume  ERP-3
status  object  ERP-5
""",
    ("RoleBasedGroupWarmup", "v1alpha2"): r"""
spec  object required rules=2  WRM-1
spec.paused  boolean  WRM-2
spec.policies  object rules=1  WRM-3
spec.policies.backoffLimitPerNode  int32 minimum=0  WRM-5
spec.policies.globalTimeoutSeconds  int64 minimum=1  WRM-7
spec.policies.maxFailedNodes  int32 minimum=0  WRM-6
spec.policies.parallelism  int32 minimum=1  WRM-4
spec.policies.ttlSecondsAfterFinished  int32 minimum=0  WRM-8
spec.targetNodes  object rules=3  WRM-9
spec.targetNodes.customizedAction  object
spec.targetNodes.customizedAction.containers  []Container required minItems=1  WRM-14
spec.targetNodes.customizedAction.volumes  []Volume  WRM-15
spec.targetNodes.imagePreload  object
spec.targetNodes.imagePreload.images  []string required minItems=1  WRM-12
spec.targetNodes.imagePreload.pullSecrets  []LocalObjectReference  WRM-13
spec.targetNodes.nodeNames  []string minItems=1  WRM-10
spec.targetNodes.nodeSelector  map:string minProperties=1  WRM-11
spec.targetRoleBasedGroup  object
spec.targetRoleBasedGroup.name  string required minLength=1  WRM-16
spec.targetRoleBasedGroup.roles  map:object required minProperties=1  WRM-17
spec.targetRoleBasedGroup.roles{}  rules=1  WRM-17
spec.targetRoleBasedGroup.roles{}.customizedAction  object
spec.targetRoleBasedGroup.roles{}.customizedAction.containers  []Container required minItems=1  WRM-14
spec.targetRoleBasedGroup.roles{}.customizedAction.volumes  []Volume  WRM-15
spec.targetRoleBasedGroup.roles{}.imagePreload  object
spec.targetRoleBasedGroup.roles{}.imagePreload.images  []string required minItems=1  WRM-12
spec.targetRoleBasedGroup.roles{}.imagePreload.pullSecrets  []LocalObjectReference  WRM-13
spec.tolerations  []Toleration  WRM-18
status  object
status.active  int32 required  WRM-32
status.completionTime  date-time  WRM-30
status.conditions  []object list=type  WRM-33
status.desired  int32 required  WRM-32
status.failed  int32 required  WRM-32
status.phase  string required  WRM-31
status.startTime  date-time  WRM-30
status.succeeded  int32 required  WRM-32
""",
    ("Instance", "v1alpha1"): r"""
spec  object
spec.components  []object required
spec.components[].name  string required
spec.components[].serviceName  string
spec.components[].size  int32
spec.components[].template  any required
spec.podGroupPolicy  object
spec.podGroupPolicy.kubeScheduling  object
spec.podGroupPolicy.kubeScheduling.scheduleTimeoutSeconds  int32 default=60
spec.podGroupPolicy.volcanoScheduling  object
spec.podGroupPolicy.volcanoScheduling.priorityClassName  string
spec.podGroupPolicy.volcanoScheduling.queue  string
spec.readinessGates  []object
spec.readinessGates[].conditionType  string required
spec.readyPolicy  string default='AllPodReady'
spec.restartPolicy  string
status  object
status.collisionCount  int32
status.componentStatuses  []object
status.componentStatuses[].availableReplicas  int32 required
status.componentStatuses[].name  string required
status.componentStatuses[].readyReplicas  int32 required
status.componentStatuses[].replicas  int32 required
status.componentStatuses[].scheduledReplicas  int32 required
status.componentStatuses[].updatedReadyReplicas  int32 required
status.componentStatuses[].updatedReplicas  int32 required
status.conditions  []object
status.conditions[].lastTransitionTime  date-time
status.conditions[].message  string
status.conditions[].reason  string
status.conditions[].status  string required
status.conditions[].type  string required
status.currentRevision  string
status.labelSelector  string
status.observedGeneration  int64
status.updateRevision  string
""",
    ("InstanceSet", "v1alpha1"): r"""
spec  object
spec.instanceTemplate  any required
spec.lifecycle  object
spec.lifecycle.inPlaceUpdate  object
spec.lifecycle.inPlaceUpdate.finalizersHandler  []string
spec.lifecycle.inPlaceUpdate.labelsHandler  map:string
spec.lifecycle.inPlaceUpdate.markPodNotReady  boolean
spec.lifecycle.preDelete  object
spec.lifecycle.preDelete.finalizersHandler  []string
spec.lifecycle.preDelete.labelsHandler  map:string
spec.lifecycle.preDelete.markPodNotReady  boolean
spec.minReadySeconds  int32
spec.replicas  int32
spec.revisionHistoryLimit  int32
spec.scaleStrategy  object
spec.scaleStrategy.instanceToDelete  []string
spec.scaleStrategy.maxUnavailable  int-or-string
spec.selector  object map=atomic
spec.selector.matchExpressions  []object list=atomic
spec.selector.matchExpressions[].key  string required
spec.selector.matchExpressions[].operator  string required
spec.selector.matchExpressions[].values  []string list=atomic
spec.selector.matchLabels  map:string
spec.updateStrategy  object
spec.updateStrategy.inPlaceUpdateStrategy  object
spec.updateStrategy.inPlaceUpdateStrategy.gracePeriodSeconds  int32
spec.updateStrategy.maxSurge  int-or-string
spec.updateStrategy.maxUnavailable  int-or-string
spec.updateStrategy.partition  int-or-string
spec.updateStrategy.paused  boolean
spec.updateStrategy.type  string
status  object
status.availableReplicas  int32 required
status.collisionCount  int32
status.conditions  []object
status.conditions[].lastTransitionTime  date-time
status.conditions[].message  string
status.conditions[].reason  string
status.conditions[].status  string required
status.conditions[].type  string required
status.currentReplicas  int32 required
status.currentRevision  string
status.expectedUpdatedReplicas  int32
status.labelSelector  string
status.observedGeneration  int64
status.readyReplicas  int32 required
status.replicas  int32 required
status.updateRevision  string
status.updatedReadyReplicas  int32 required
status.updatedReplicas  int32 required
""",
}
