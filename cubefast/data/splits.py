"""Splits into train, validation and test by group, never by row, so that a test question is new as its name says.

Two regimes are held out, and validation has both just as the tests have:

- *unseen group*: everything about a topic, its answers too;
- *unseen paraphrase*: one question of an answer that was trained with other questions.

All are chosen by hashing texts, so the same data set splits the same way on every machine. Rows that are added can move
others: a new question may take the place of one that was held out, and a text that two groups share joins them.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

from ..config.data import SplitConfig
from ..errors import InputError
from .reading.dialogues import Dialogue, normalize

ENOUGH_GROUPS = 20  # to be divided without joining them


@dataclass(frozen=True)
class Split:
    """The row numbers of each part, ascending. No two parts share a question; parts made of whole groups share no
    answer with another part.
    """

    train: list[int] = field(default_factory=list)
    validation_paraphrase: list[int] = field(default_factory=list)
    validation_group: list[int] = field(default_factory=list)
    unseen_paraphrase: list[int] = field(default_factory=list)
    unseen_group: list[int] = field(default_factory=list)

    @property
    def validation(self) -> list[int]:
        """The rows of both validation parts, ascending."""
        return sorted([*self.validation_paraphrase, *self.validation_group])


def split_dialogues(dialogues: Sequence[Dialogue], shares: SplitConfig | None = None) -> Split:
    """Split by ``sha256 % 100``: by default 10% of the groups are unseen groups and 5% validation. Of each answer left
    with three questions or more, one becomes an unseen paraphrase and, for 40% of these answers, another validation.

    Groups that share an answer or a question (in normal form) are taken as one. Where that would chain more than half
    of all rows together (chats, in which everybody says thanks), they are not; instead a row of a validation group that
    shares a text with train, and one of an unseen group that shares a text with either, is in no part.
    """
    shares = shares or SplitConfig()
    split = Split()
    forms = [(normalize(dialogue.question), normalize(dialogue.answer)) for dialogue in dialogues]
    groups = _joined_groups(dialogues, forms)
    own = [dialogue.group for dialogue in dialogues]
    chained = max(Counter(groups).values(), default=0) > len(dialogues) / 2 and len(set(own)) >= ENOUGH_GROUPS
    if chained:
        groups = own
    held_out_groups = {"test": split.unseen_group, "validation": split.validation_group}
    rest: dict[tuple[str, str], list[int]] = defaultdict(list)  # rows of each answer still to be divided
    for row, group in enumerate(groups):
        place = _part(_hash(group.encode()), shares)
        if place in held_out_groups:
            held_out_groups[place].append(row)
        else:
            rest[group, forms[row][1]].append(row)
    if chained:
        seen = {form for rows in rest.values() for row in rows for form in forms[row]}
        for part in (split.validation_group, split.unseen_group):
            part[:] = [row for row in part if seen.isdisjoint(forms[row])]
            seen.update(form for row in part for form in forms[row])

    # How often the rest have each question: the same one may have several answers.
    asked = Counter(forms[row][0] for rows in rest.values() for row in rows)
    for (_, answer), rows in rest.items():
        rows.sort(key=lambda row: _hash(forms[row][0].encode()))
        movable = [row for row in rows if asked[forms[row][0]] == 1]
        held_out = set()
        if len(rows) >= 3:
            number = _hash(answer.encode()) % 100
            # From the two ends, so that with small shares no answer loses a question to both.
            if movable and number >= 100 - shares.test_paraphrase_percent:
                split.unseen_paraphrase.append(movable[0])
                held_out.add(movable.pop(0))
            if movable and number < shares.validation_paraphrase_percent:
                split.validation_paraphrase.append(movable[0])
                held_out.add(movable[0])
        split.train.extend(row for row in rows if row not in held_out)
    for part in (split.train, split.validation_paraphrase, split.unseen_paraphrase):
        part.sort()
    return split


def split_items(items: Iterable[bytes], shares: SplitConfig) -> Split:
    """Split texts or embeddings by the hash of their bytes, so that repetitions stay together. There are no
    paraphrases.
    """
    split = Split()
    places = {"train": split.train, "validation": split.validation_group, "test": split.unseen_group}
    for row, item in enumerate(items):
        places[_part(_hash(item), shares)].append(row)
    return split


def check_leaks(train: Iterable[Dialogue], test: Iterable[Dialogue]) -> None:
    """Raise InputError if a question or an answer of ``test`` (in normal form) is also in ``train``.

    A test that was trained on measures memory. Splits made here are checked too, and files that somebody else has split
    can be.
    """
    seen = {normalize(text) for each in train for text in (each.question, each.answer)}
    leaks = [text for each in test for text in (each.question, each.answer) if normalize(text) in seen]
    if leaks:
        raise InputError(
            f"{len(leaks)} texts of the test part are also in the training part, the first: {leaks[0][:80]!r}. "
            "Take them out of one of the two, or give one file and let it be split"
        )


def _part(number: int, shares: SplitConfig) -> str:
    percent = number % 100
    if percent < shares.test_percent:
        return "test"
    return "validation" if percent < shares.test_percent + shares.validation_percent else "train"


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big")


def _joined_groups(dialogues: Sequence[Dialogue], forms: Sequence[tuple[str, str]]) -> list[str]:
    """The group of each row, after groups that share a text are merged under the name of the first of them."""
    parent: dict[Hashable, Hashable] = {}

    def find(item: Hashable) -> Hashable:
        parent.setdefault(item, item)
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for dialogue, texts in zip(dialogues, forms, strict=True):
        group = find(("group", dialogue.group))
        for text in texts:
            parent[find(("text", text))] = group
    names: dict[Hashable, str] = {}
    return [names.setdefault(find(("group", d.group)), d.group) for d in dialogues]
