"""Train, validation and test: by group, never by row, so that a test question is new in the way its name says.

Two things are held out (after the honest-evaluation protocol of the README):

- *unseen group*: everything about a topic, its answers too;
- *unseen paraphrase*: one question of an answer that was trained with other questions.

Both are chosen by hashing texts, so a data set splits the same way on every machine, and adding rows moves none.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from .dialogues import Dialogue, normalize

TEST_PERCENT = 10  # of the groups
VALIDATION_PERCENT = 5  # of the groups
VALIDATION_PARAPHRASE_PERCENT = 40  # of the answers with three questions or more


@dataclass(frozen=True)
class Split:
    """Row numbers of each part; the parts share no question, and unseen_group shares no answer with train."""

    train: list[int]
    validation: list[int]
    unseen_paraphrase: list[int]
    unseen_group: list[int]


def split_dialogues(dialogues: Sequence[Dialogue]) -> Split:
    """Split by ``sha256 % 100``: 10% of the groups are unseen groups, 5% validation. Of each answer left with three
    questions or more, one question becomes an unseen paraphrase and, for 40% of them, another one validation.

    Groups that share an answer or a question (in normal form) are taken as one.
    """
    split = Split([], [], [], [])
    rest: dict[tuple[str, str], list[int]] = defaultdict(list)  # rows of each answer still to be divided
    for row, (dialogue, group) in enumerate(zip(dialogues, _joined_groups(dialogues), strict=True)):
        percent = _hash(group) % 100
        if percent < TEST_PERCENT:
            split.unseen_group.append(row)
        elif percent < TEST_PERCENT + VALIDATION_PERCENT:
            split.validation.append(row)
        else:
            rest[group, normalize(dialogue.answer)].append(row)

    asked = defaultdict(set)  # the rest's rows of each question: the same one may have several answers
    for rows in rest.values():
        for row in rows:
            asked[normalize(dialogues[row].question)].add(row)
    for (_, answer), rows in rest.items():
        rows.sort(key=lambda row: _hash(normalize(dialogues[row].question)))
        movable = [row for row in rows if len(asked[normalize(dialogues[row].question)]) == 1]
        held_out = set()
        if len(rows) >= 3 and movable:
            split.unseen_paraphrase.append(movable[0])
            held_out.add(movable[0])
            if len(movable) > 1 and _hash(answer) % 100 < VALIDATION_PARAPHRASE_PERCENT:
                split.validation.append(movable[1])
                held_out.add(movable[1])
        split.train.extend(row for row in rows if row not in held_out)
    for part in (split.train, split.validation, split.unseen_paraphrase):
        part.sort()
    return split


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _joined_groups(dialogues: Sequence[Dialogue]) -> list[str]:
    """The group of each row, where groups that share a text are one (named after the first of them)."""
    parent: dict[Hashable, Hashable] = {}

    def find(item: Hashable) -> Hashable:
        parent.setdefault(item, item)
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for dialogue in dialogues:
        group = find(("group", dialogue.group))
        for text in (dialogue.question, dialogue.answer):
            parent[find(("text", normalize(text)))] = group
    names: dict[Hashable, str] = {}
    return [names.setdefault(find(("group", d.group)), d.group) for d in dialogues]
