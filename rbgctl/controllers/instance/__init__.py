"""RoleInstance controller: makes the pods of one instance, keeps them at its template and says how they are.

In: a RoleInstance, its pods and its ControllerRevisions. Out: those pods and revisions, the two readiness gates of
every pod, and the instance's status. It never looks at the RoleInstanceSet above it.

controller.py says what is watched, observe.py what is read, plan.py what is decided and in which order; every other
file holds one rule of that decision and is pure. May import rbgctl.planning, api, machinery and the runtime, never
another controller.
"""
