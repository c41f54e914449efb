"""Below which score a decoder had better say that it does not know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ..errors import InputError


@dataclass(frozen=True)
class Calibration:
    """A threshold, and what it came to on the questions it was found with.

    Attributes:
        threshold: the least score of an answer that is given; None: no threshold reaches the precision.
        precision: how often what is answered had to be right.
        right: how often it was; None without a threshold.
        answered: which share of the questions was answered.
        questions: how many there were.
    """

    threshold: Annotated[float, Field(ge=-1, le=1)] | None
    precision: Annotated[float, Field(gt=0, le=1)]
    right: Annotated[float, Field(ge=0, le=1)] | None
    answered: Annotated[float, Field(ge=0, le=1)]
    questions: Annotated[int, Field(ge=1)]

    def in_words(self) -> str:
        """When an answer is given."""
        if self.threshold is None:
            return f"always: no score keeps {self.precision:.0%} of what is answered on validation right"
        return (
            f"from a score of {self.threshold:.3f} on: {self.answered:.0%} of the {self.questions} questions of "
            f"validation, {self.right:.0%} of those rightly"
        )

    def as_dict(self) -> dict[str, float | int | None]:
        """For JSON."""
        return asdict(self)


def calibrate_threshold(
    scores: Sequence[float] | NDArray[np.floating],
    correct: Sequence[bool] | NDArray[np.bool_],
    precision: float = 0.9,
) -> Calibration:
    """The lowest threshold above which answers are right often enough, so that as many as possible are given::

        threshold = min { t in scores : sum_i correct_i [score_i >= t] / sum_i [score_i >= t] >= precision }

    Args:
        scores: [n], the cosine of each question's best answer.
        correct: [n], whether that was the right one.
        precision: more than 0 and at most 1.

    Raises InputError for no questions, NaN, lengths that differ, or another precision.
    """
    values, right = np.asarray(scores, np.float64), np.asarray(correct, np.bool_)
    if values.ndim != 1 or values.shape != right.shape or len(values) == 0 or np.isnan(values).any():
        raise InputError(
            "a threshold is calibrated on at least one score and, for each, whether it was right; got scores "
            f"{list(values.shape)} ({int(np.isnan(values).sum())} NaN) and correct {list(right.shape)}"
        )
    if not 0 < precision <= 1:
        raise InputError(f"precision must be more than 0 and at most 1; got {precision}")
    order = np.argsort(-values, kind="stable")
    values, right = values[order], right[order]
    share = np.cumsum(right) / np.arange(1, len(values) + 1)  # of the first 1, 2, ... that are right
    last_of_equals = np.append(values[1:] != values[:-1], True)
    enough = np.flatnonzero(last_of_equals & (share >= precision))
    if not len(enough):
        return Calibration(None, precision, None, 0.0, len(values))
    last = int(enough[-1])
    return Calibration(float(values[last]), precision, float(share[last]), (last + 1) / len(values), len(values))
