"""Annotations in which conversion keeps what only v1alpha1 can say: malformed ones hide it (A1-14, ANN-60)."""

from collections.abc import Mapping

from rbgctl.api.conversion import malformed_preservation
from rbgctl.api.validation.problem import FieldError, shown


def conversion_annotations(path: str, given: Mapping[str, str] | None) -> list[FieldError]:
    """Conversion annotations that v1alpha1 could not be restored from. `path`: of the annotations."""
    annotations = dict(given or {})
    return [
        FieldError(
            f'{path}["{problem.annotation}"]',
            f'{problem.text}; found "{shown(annotations[problem.annotation])}": conversion writes this annotation,'
            " take it out",
            check=problem.annotation,
            value=annotations[problem.annotation],
        )
        for problem in malformed_preservation({"metadata": {"annotations": annotations}})
    ]
