"""What is wrong with a v1alpha2 RoleBasedGroup or group set beyond what its schema can say. Pure.

One module per concept; each function takes a group and returns problems as values: JSON path, what was found, what
would work. `pre_check` puts together what the group controller refuses to act on (RBG-30), `judgement` what admission
refuses or warns of, with `ratchet` for updates. Imports models, names and defaults; no I/O.
"""

from rbgctl.api.validation.dependency_graph import dependencies
from rbgctl.api.validation.gang_scheduling import gang_annotations
from rbgctl.api.validation.naming import group_name, longest_pod_name, role_names
from rbgctl.api.validation.pod_templates import role_templates, template_references
from rbgctl.api.validation.pre_check import PreCheckFailure, pre_check
from rbgctl.api.validation.problem import FieldError, aggregate
from rbgctl.api.validation.role_patterns import patterns
from rbgctl.api.validation.rollout_budgets import rollouts
from rbgctl.api.validation.workload_kinds import workload_types

__all__ = [
    "FieldError",
    "PreCheckFailure",
    "aggregate",
    "dependencies",
    "gang_annotations",
    "group_name",
    "longest_pod_name",
    "patterns",
    "pre_check",
    "role_names",
    "role_templates",
    "rollouts",
    "template_references",
    "workload_types",
]
