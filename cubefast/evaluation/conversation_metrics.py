"""Conversations of several turns: do predicted answers keep to what was said, and do they follow from each other?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data.pairs import PairDataset
from ..data.reading.dialogues import Dialogue
from .metrics import cosine


@dataclass(frozen=True)
class TurnMetric:
    """A mean cosine of predicted answers and that of the true ones: a model is good where the two are close.

    Attributes:
        predicted, true: the two means.
        count: how many cosines each is the mean of.
    """

    predicted: float
    true: float
    count: int

    def __str__(self) -> str:
        return f"{self.predicted:.3f} (true answers {self.true:.3f}; {self.count:,} of them)"


def context_preservation(predicted: Tensor, target: Tensor, context: Tensor) -> TurnMetric | None:
    """Does an answer stay with what was said before? The mean of cos(answer_i, context_i) over the answers that have
    turns before their question, predicted answers beside true ones. context_i is the mean embedding of those turns.

    The question itself is not of the context: every model is given it. Far below the true answers, the conversation is
    forgotten; far above, the model repeats it.

    Args:
        predicted, target: [n, D].
        context: [n, D]; a row of zeros where nothing was said before.

    Returns:
        None if no answer has turns before its question.
    """
    has_context = context.any(dim=1)
    if not has_context.any():
        return None
    predicted, target, context = predicted[has_context], target[has_context], context[has_context]
    return TurnMetric(float(cosine(predicted, context).mean()), float(cosine(target, context).mean()), len(context))


def dialogue_coherence(predicted: Tensor, target: Tensor, conversations: Tensor) -> TurnMetric | None:
    """Do the answers of one conversation hang together? The mean of cos(answer_k, answer_k+1) over consecutive answers
    of each conversation, predicted answers beside true ones.

    Args:
        predicted, target: [n, D]; the answers of one conversation in the order they were given, not necessarily side
            by side.
        conversations: int64 [n], equal where two answers are of one conversation.

    Returns:
        None if no conversation has two answers.
    """
    order = torch.argsort(conversations, stable=True)
    follows = conversations[order[1:]] == conversations[order[:-1]]
    before, after = order[:-1][follows], order[1:][follows]
    if len(after) == 0:
        return None
    return TurnMetric(
        float(cosine(predicted[before], predicted[after]).mean()),
        float(cosine(target[before], target[after]).mean()),
        len(after),
    )


@dataclass(frozen=True)
class PairStructure:
    """How the n pairs of a test belong together; a field is None where that is not known.

    Attributes:
        groups: int64 [n], the group of each pair; groups are resampled as a whole for an interval.
        conversations: int64 [n], the conversation of each pair.
        context: [n, D], the mean of the turns before each question; a row of zeros where there are none.
    """

    groups: Tensor | None = None
    conversations: Tensor | None = None
    context: Tensor | None = None

    @classmethod
    def of(cls, dialogues: Sequence[Dialogue], pairs: PairDataset) -> PairStructure:
        """The structure of n pairs, given the n dialogues that they were made from, in the same order.

        The context is known where the data set has the turns' embeddings (``data.context.mode=mean``).
        """
        _, groups = np.unique([dialogue.group for dialogue in dialogues], return_inverse=True)
        conversations = torch.tensor([dialogue.row for dialogue in dialogues])
        return cls(torch.from_numpy(groups), conversations, context_embeddings(pairs))


def context_embeddings(pairs: PairDataset) -> Tensor | None:
    """float32 [n, D]: the mean of the prepared embeddings of the turns before each question, zeros where there are
    none; None if the inputs of the pairs are one embedding each.
    """
    turns = pairs.input_rows[:, 1:]
    if turns.shape[1] == 0:
        return None
    total = np.zeros((len(pairs), pairs.dim), np.float32)
    for column in turns.T:
        there = np.flatnonzero(column >= 0)
        total[there] += pairs.prepare(pairs.vectors.gather(column[there]))
    return torch.from_numpy(total / np.maximum((turns >= 0).sum(axis=1, keepdims=True), 1).astype(np.float32))
