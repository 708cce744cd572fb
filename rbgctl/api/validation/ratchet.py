"""Updates never become impossible because of a new rule: what was wrong before may stay wrong.

    refused = problems of the new object that the old one does not have
    tolerated = the others, which become warnings

Problems are compared by what they are about, not by where they stand: a role may move in its list. One problem
of the old object excuses one of the new. Rules of the Go
operator's own webhook do not go through here.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from rbgctl.api.validation.problem import FieldError


@dataclass(frozen=True, slots=True)
class Settled:
    """Problems of an update, by what becomes of them."""

    refused: tuple[FieldError, ...]
    tolerated: tuple[FieldError, ...]


def settle(new: Iterable[FieldError], old: Iterable[FieldError]) -> Settled:
    """Divide the problems of the new object by whether the old one had them."""
    known = Counter(problem.identity for problem in old)
    refused: list[FieldError] = []
    tolerated: list[FieldError] = []
    for problem in new:
        if known[problem.identity]:
            known[problem.identity] -= 1
            tolerated.append(problem)
        else:
            refused.append(problem)
    return Settled(tuple(refused), tuple(tolerated))
