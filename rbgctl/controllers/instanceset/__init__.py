"""RoleInstanceSet controller: makes the RoleInstances of one role and keeps them at its replicas and template.

In: a RoleInstanceSet, the RoleInstances and ControllerRevisions it controls, orphans it may adopt. Out: those
instances and revisions, and the set's status. It never looks at pods (RIS-8).

controller.py says what is watched, observe.py what is read, plan.py what is decided and in which order; every other
file holds one rule of that decision and is pure. May import rbgctl.planning, api, machinery and the runtime, never
another controller.
"""
