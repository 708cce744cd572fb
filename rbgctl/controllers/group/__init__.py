"""RoleBasedGroup: makes a RoleInstanceSet and a headless Service for every role, in the order of dependencies.

In: the group, its revisions, its roles' workloads and Services, from the cache (`observe`).
Out: a plan (`plan`): revision, discovery ConfigMap, workloads, Services, clean-up, status.
Watches RoleInstanceSets, Services and the ConfigMap; see `controller` for what triggers what.
"""
