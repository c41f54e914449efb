"""The score below which a decoder should give no answer, calibrated to a wanted precision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ..errors import InputError

_Z = 1.959964  # of a 95% interval


@dataclass(frozen=True)
class CalibratedThreshold:
    """A threshold on the score of an answer, and its precision and coverage on the questions it was calibrated on.

    Attributes:
        threshold: the lowest score of an answer that is given; None: no threshold reaches the precision.
        precision: the precision that was wanted: the share of right answers among those given.
        right: the precision that was reached; None without a threshold.
        answered: the coverage: the share of the questions whose best answer scores at least the threshold; 0 where
            there is no threshold, although all questions are then answered.
        questions: the number of questions.
    """

    threshold: Annotated[float, Field(ge=-1, le=1)] | None
    precision: Annotated[float, Field(gt=0, le=1)]
    right: Annotated[float, Field(ge=0, le=1)] | None
    answered: Annotated[float, Field(ge=0, le=1)]
    questions: Annotated[int, Field(ge=1)]

    @property
    def interval(self) -> tuple[float, float] | None:
        """A 95% interval of the precision on questions like those it was calibrated on, None without a threshold.

        It is Wilson's score interval (1927) for the share of right answers among those given. The threshold was chosen
        on the same questions, and that choice is not in the interval: on new questions the precision is rather lower.
        """
        if self.right is None:
            return None
        given = max(1, round(self.answered * self.questions))
        spread = _Z**2 / given
        centre = (self.right + spread / 2) / (1 + spread)
        half = _Z / (1 + spread) * math.sqrt(self.right * (1 - self.right) / given + spread / (4 * given))
        return max(0.0, centre - half), min(1.0, centre + half)

    def describe(self) -> str:
        """A phrase that says when an answer is given."""
        if self.threshold is None or self.interval is None:
            return f"always: no score keeps {self.precision:.0%} of what is answered on validation right"
        low, high = self.interval
        return (
            f"from a score of {self.threshold:.3f} on: {self.answered:.0%} of the {self.questions} questions of "
            f"validation, {self.right:.0%} of those rightly (95% interval {low:.0%} to {high:.0%})"
        )

    def as_dict(self) -> dict[str, float | int | None]:
        """The fields as a dict for JSON."""
        return asdict(self)


def calibrate_threshold(
    scores: Sequence[float] | NDArray[np.floating],
    correct: Sequence[bool] | NDArray[np.bool_],
    precision: float = 0.9,
) -> CalibratedThreshold:
    """The lowest threshold that reaches a precision, so that as many questions as possible are answered::

        threshold = min { t in scores : sum_i correct_i [score_i >= t] / sum_i [score_i >= t] >= precision }

    Args:
        scores: [n], the cosine of each question's best answer.
        correct: [n], whether that answer is the right one.
        precision: the wanted share of right answers among those given, more than 0 and at most 1.

    Raises InputError if there are no questions, for NaN, lengths that differ, or a precision out of range.
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
        return CalibratedThreshold(None, precision, None, 0.0, len(values))
    last = int(enough[-1])
    return CalibratedThreshold(
        float(values[last]), precision, float(share[last]), (last + 1) / len(values), len(values)
    )
