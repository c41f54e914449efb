"""From texts to what is trained on: dialogues encoded once, split, and paired for the mode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..errors import InputError
from .cache import EmbeddingCache
from .dialogues import Dialogue, normalize
from .encoders import Embeddings, TextEncoder
from .pairs import EmbeddingPairs
from .splits import split_dialogues


@dataclass(frozen=True)
class Task:
    """Everything a run needs of its data.

    Attributes:
        train, validation: what is learnt from, what selects.
        tests: held-out pairs by the name of what is new in them; empty ones are left out.
        answers: each different answer once, the bank that a question's embedding is matched with.
        answer_vectors: float32 [answers, D].
    """

    train: EmbeddingPairs
    validation: EmbeddingPairs
    tests: dict[str, EmbeddingPairs]
    answers: list[str]
    answer_vectors: Embeddings


def texts_of(dialogues: list[Dialogue]) -> list[str]:
    """Each different text once, in the order of its first appearance."""
    return list(dict.fromkeys(text for d in dialogues for text in (d.question, d.answer)))


def build_task(
    dialogues: list[Dialogue],
    mode: str,
    encoder: TextEncoder,
    cache: EmbeddingCache,
    progress: Callable[[int], None] = lambda done: None,
) -> Task:
    """Encode and pair.

    dialogue: a question's embedding -> its answer's. autoencoder: an embedding -> itself (the trainer adds the
    noise), for questions and, where all of an answer's group is in one part, answers.
    """
    texts = texts_of(dialogues)
    vectors = torch.from_numpy(cache.encode(encoder, texts, progress=progress))
    place = {text: i for i, text in enumerate(texts)}
    answers: dict[str, str] = {}  # by normal form, the first spelling
    for dialogue in dialogues:
        answers.setdefault(normalize(dialogue.answer), dialogue.answer)
    answer_place = {form: i for i, form in enumerate(answers)}
    answer_vectors = vectors[[place[text] for text in answers.values()]]
    split = split_dialogues(dialogues)

    def dialogue_pairs(rows: list[int]) -> EmbeddingPairs:
        ids = torch.tensor([answer_place[normalize(dialogues[row].answer)] for row in rows])
        questions = vectors[[place[dialogues[row].question] for row in rows]]
        return EmbeddingPairs(questions, answer_vectors[ids], ids)

    def text_pairs(rows: list[int], with_answers: bool) -> EmbeddingPairs:
        kept = dict.fromkeys(dialogues[row].question for row in rows)
        if with_answers:
            kept |= dict.fromkeys(answers[normalize(dialogues[row].answer)] for row in rows)
        ids = torch.tensor([place[text] for text in kept])
        return EmbeddingPairs(vectors[ids], vectors[ids], ids)

    if mode == "dialogue":
        parts = [
            dialogue_pairs(rows) if rows else None
            for rows in (split.train, split.validation, split.unseen_paraphrase, split.unseen_group)
        ]
    else:
        parts = [
            text_pairs(rows, with_answers) if rows else None
            for rows, with_answers in (
                (split.train, True),
                (split.validation, False),
                (split.unseen_paraphrase, False),
                (split.unseen_group, True),
            )
        ]
    train, validation, paraphrase, group = parts
    named = {"unseen paraphrase": paraphrase, "unseen group": group}
    tests = {name: pairs for name, pairs in named.items() if pairs is not None}
    if train is None or validation is None or not tests:
        raise InputError(
            f"{len(dialogues)} pairs are too few to split into train, validation and test; "
            "a few dozen groups are needed"
        )
    return Task(train, validation, tests, list(answers.values()), answer_vectors.numpy())
