"""The trust in a core: full on inputs like those it was trained on, less on others."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

_ITERATIONS = 10  # of k-means; the prototypes hardly move after these
_SHARPNESS = 50.0  # of the attention over the remembered answers
FULL_TRUST = (0.0, 1.0, 1.0, 1.0)
NO_REPULSION = (0.0, 1.0, 0.0, 0.0)


class Trust(nn.Module):
    """The trust in a core: weights [n, 1] from 0 to 1 by which its change to inputs [n, D] is multiplied.

    An adapter knows nothing about topics that it was not trained on, and yet it pulls their questions towards the
    answers that it knows. A few prototypes of the training questions are a compact density of what was trained; the
    cosine to the nearest of them is how familiar an input is, and the weight rises with it::

        familiarity = max over prototypes p of cos(x, p)
        weight = low + (high - low) * sigmoid((familiarity - centre) / width)

    An index holds the answers of training beside others. A core has been pulled to the former alone, so a question of a
    new topic finds them too often. Where validation shows that, the core remembers them, and its output y of unit
    length is moved away from those that are nearest, by an attention over them::

        repulsion = strength(familiarity) * sum_j softmax_j(50 y . answer_j) answer_j

    with a curve of the same form for the strength. An answer that is new is near to few of them and loses less.

    Nothing here is trained by gradients. :meth:`fit` finds the prototypes, and the numbers of the curves are chosen on
    validation, whose topics were partly not trained (``cubefast.training.trust_choice``). Before that the weight is 1
    everywhere, and nothing is remembered.

    Args:
        dim: D.
        prototypes: how many, at least 1.
        memory: how many answers.

    Attributes:
        prototypes: float32 [prototypes, D], of unit length; zeros before :meth:`fit`.
        curve: float32 [4]: centre, width, low, high of the weight.
        answers: float32 [memory, D], of unit length.
        strength: float32 [4]: the same four of the repulsion's strength, of which high is that for familiar inputs.
    """

    prototypes: Tensor
    curve: Tensor
    answers: Tensor
    strength: Tensor

    def __init__(self, dim: int, prototypes: int, memory: int = 0) -> None:
        super().__init__()
        self.register_buffer("prototypes", torch.zeros(prototypes, dim))
        self.register_buffer("curve", torch.tensor(FULL_TRUST))
        self.register_buffer("answers", torch.zeros(memory, dim))
        self.register_buffer("strength", torch.tensor(NO_REPULSION))

    def familiarity(self, inputs: Tensor) -> Tensor:
        """The cosine of each input [n, D] to the nearest prototype: [n]."""
        return (normalize(inputs, dim=1) @ self.prototypes.T).amax(dim=1)

    def forward(self, inputs: Tensor) -> Tensor:
        """The weight of each input: [n, D] -> [n, 1]; see the class."""
        return evaluate_curve(self.familiarity(inputs), self.curve)[:, None]

    def repel(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """Move ``outputs`` [n, D] of unit length away from the remembered answers; see the class."""
        return repel(outputs, self.answers, evaluate_curve(self.familiarity(inputs), self.strength))

    def remember(self, answers: Tensor, strength: Tensor) -> None:
        """Store ``answers`` [m, D], of any length, and the curve of the repulsion, float32 [4]."""
        self.answers = normalize(answers.to(self.prototypes), dim=1)
        self.strength = strength.to(self.prototypes)

    @torch.no_grad()
    def fit(self, questions: Tensor, seed: int = 0) -> None:
        """Prototypes of ``questions`` [n, D] by spherical k-means (Dhillon and Modha 2001): unit vectors to which the
        questions have a high cosine. With fewer questions than prototypes, these are the questions, repeated.

        Args:
            questions: what the core is trained on; a sample is enough.
            seed: of the questions that it begins with; the process's own random numbers are left alone.
        """
        units = normalize(questions.to(self.prototypes.dtype), dim=1)
        count = len(self.prototypes)
        if len(units) <= count:
            self.prototypes.copy_(units[torch.arange(count) % len(units)])
            return
        generator = torch.Generator().manual_seed(seed)
        centres = units[torch.randperm(len(units), generator=generator)[:count]]
        for _ in range(_ITERATIONS):
            nearest = (units @ centres.T).argmax(dim=1)
            sums = torch.zeros_like(centres).index_add_(0, nearest, units)
            # A prototype that is nobody's nearest stays where it is.
            centres = torch.where(sums.any(dim=1, keepdim=True), normalize(sums, dim=1), centres)
        self.prototypes.copy_(centres)

    def extra_repr(self) -> str:
        """The arguments in ``print(trust)``."""
        centre, width, low, high = self.curve.tolist()
        kept = f"prototypes={len(self.prototypes)}, memory={len(self.answers)}"
        return f"{kept}, {centre=:.3f}, {width=:.3f}, {low=:g}, {high=:g}"


def repel(outputs: Tensor, answers: Tensor, strength: Tensor) -> Tensor:
    """Move ``outputs`` [n, D] off the nearest ``answers`` [m, D] by ``strength`` [n]; all of unit length."""
    nearest = torch.softmax(_SHARPNESS * outputs @ answers.T, dim=1) @ answers
    return normalize(outputs - strength[:, None] * nearest, dim=1)


def evaluate_curve(familiarity: Tensor, curve: Tensor) -> Tensor:
    """The weight at each familiarity [n]; ``curve`` [4] holds centre, width, low and high."""
    centre, width, low, high = curve.unbind()
    return low + (high - low) * torch.sigmoid((familiarity - centre) / width)
