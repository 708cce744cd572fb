"""v1alpha1 to v1alpha2 and back, as pure functions over JSON objects (CV-1 … CV-55).

v1alpha2 is the stored version, the hub. One module per subject knows what the two versions call it: `role`,
`pod_group_policy`, `coordination`, `derived_annotations`, `group`, `groupset`. Whatever the other version has no
place for travels in an annotation: `difference` finds it, `preserved` packs it, `convert` does so for whole objects.
Imports rbgctl.machinery and names from rbgctl.api; no I/O, no clock, no models: an object that no model would accept
is converted too (CV-7).
"""

from rbgctl.api.conversion.convert import Converted, NotConvertible, convert, convert_and_report
from rbgctl.api.conversion.malformed import malformed_preservation
from rbgctl.api.conversion.preserved import Problem

__all__ = ["Converted", "NotConvertible", "Problem", "convert", "convert_and_report", "malformed_preservation"]
