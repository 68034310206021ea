"""How differently two members err (Kuncheva & Whitaker, 2003), and limits on who may vote."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from muster.errors import UserError

Correct = NDArray[np.bool_]
MEMBERS = 10


def disagreement(first: Correct, second: Correct) -> float:
    """The share of rows on which one of the two is right and the other wrong; 0 to 1."""
    return float((first != second).mean())


def q_statistic(first: Correct, second: Correct) -> float:
    """Yule's Q of two members' hits: 1 they err together, 0 independently, -1 in turns.

    Where the formula divides 0 by 0: 1 for members that never differ, else 0.
    """
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    one, other = int((first & ~second).sum()), int((~first & second).sum())
    if one == other == 0:
        return 1.0
    below = both * neither + one * other
    return (both * neither - one * other) / below if below else 0.0


@dataclass(frozen=True)
class Limits:
    """Who may vote together.

    members: at most so many. per_architecture: at most so many of one; None for any number.
    min_disagreement, max_q: of each two members. Raises UserError for limits that leave nobody.
    """

    members: int = MEMBERS
    per_architecture: int | None = None
    min_disagreement: float = 0.0
    max_q: float = 1.0

    def __post_init__(self) -> None:
        problems = []
        if self.members < 1:
            problems.append(f"at most {self.members} members is nobody; allow 1 or more")
        if self.per_architecture is not None and self.per_architecture < 1:
            problems.append(
                f"at most {self.per_architecture} of one architecture is nobody; allow 1 or more"
            )
        if not 0 <= self.min_disagreement <= 1:
            problems.append(f"a disagreement of {self.min_disagreement} is not within 0 and 1")
        if not -1 <= self.max_q <= 1:
            problems.append(f"a Q statistic of {self.max_q} is not within -1 and 1")
        if problems:
            raise UserError("limits of the ensemble: " + "; ".join(problems))

    def admit(
        self,
        entry: int,
        chosen: Sequence[int],
        *,
        architectures: Sequence[str],
        correct: Correct,
    ) -> bool:
        """Whether entry may join the chosen ones. correct: (entries, rows)."""
        if len(chosen) >= self.members:
            return False
        same = sum(architectures[each] == architectures[entry] for each in chosen)
        if self.per_architecture is not None and same >= self.per_architecture:
            return False
        for each in chosen if self._asks_for_difference() else ():
            if disagreement(correct[each], correct[entry]) < self.min_disagreement:
                return False
            if q_statistic(correct[each], correct[entry]) > self.max_q:
                return False
        return True

    def _asks_for_difference(self) -> bool:
        return self.min_disagreement > 0 or not math.isclose(self.max_q, 1.0)
