"""The quality filter, which drops pairs by length, repetition, garbled text, similarity and balance, with reasons."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config.data import QualityConfig
from ..errors import InputError
from .reading.dialogues import Dialogue, form_of, normalize

REASONS = (
    "too_short",
    "too_long",
    "duplicate",
    "garbled",
    "near_duplicate",
    "low_cosine",
    "high_cosine",
    "domain_full",
)
"""Why a pair is dropped, in the order in which they are looked for."""
_EXAMPLES, _EXAMPLE_CHARS = 3, 40

# Of garbled(), whose numbers its docstring has.
_TAG = re.compile(r"</?[a-zA-Z][\w:-]*(\s[^<>]*)?/?>|&#?\w+;")
_RUN = re.compile(r"(\S)\1*")
_TOKEN = re.compile(r"[A-Za-z0-9+/=_-]+")

# Near duplicates; see near_duplicates().
_PIECE = 5
_HASHES = 160
_RECALL = 0.999
_TEXTS_AT_ONCE = 512


@dataclass
class Rejection:
    """The number of pairs dropped for one reason, and the first few of them."""

    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass
class QualityReport:
    """The numbers of pairs that a QualityFilter was given and has kept so far."""

    seen: int = 0
    kept: int = 0
    rejected: dict[str, Rejection] = field(default_factory=dict)
    """By reason, in the order of REASONS. Each pair counts once, for the first reason met."""

    def as_dict(self) -> dict[str, Any]:
        """The report as a mapping for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.seen:,} pairs seen, {self.kept:,} kept"]
        names = max(map(len, self.rejected), default=0)
        digits = max((len(f"{each.count:,}") for each in self.rejected.values()), default=0)
        for reason, each in self.rejected.items():
            head = f"  {reason:<{names}}  {each.count:>{digits},}  "
            lines.append(head + each.examples[0])
            lines.extend(" " * len(head) + example for example in each.examples[1:])
        return "\n".join(lines)


class QualityFilter:
    """Drops pairs by the settings of QualityConfig in three steps, each called once: texts, cosines, balance.

    One filter is for one data set: the steps add to one ``report``. They keep the order, and give the very objects that
    they were given.
    """

    def __init__(self, config: QualityConfig) -> None:
        self.config = config
        self.report = QualityReport()

    def texts(self, dialogues: Sequence[Dialogue]) -> list[Dialogue]:
        """Drop pairs by length, exact repetition, garbled text and similarity to an earlier pair.

        Exact repetitions always go: the same question, answer and context in normal form.
        """
        config = self.config
        reasons: dict[int, str] = {}
        earlier: set[tuple[str, ...]] = set()
        for row, each in enumerate(dialogues):
            lengths = len(each.question), len(each.answer)
            if min(lengths) < config.min_chars:
                reasons[row] = "too_short"
            elif config.max_chars is not None and max(lengths) > config.max_chars:
                reasons[row] = "too_long"
            elif (form := form_of(each)) in earlier:
                reasons[row] = "duplicate"
            else:
                earlier.add(form)
                if config.drop_garbled and (garbled(each.question) or garbled(each.answer)):
                    reasons[row] = "garbled"
        if config.near_duplicates is not None:
            rows = [row for row in range(len(dialogues)) if row not in reasons]
            for place in near_duplicates([dialogues[row] for row in rows], config.near_duplicates):
                reasons[rows[place]] = "near_duplicate"
        return self._without(dialogues, reasons)

    def cosines(self, dialogues: Sequence[Dialogue], cosines: NDArray[np.floating]) -> list[Dialogue]:
        """Drop pairs whose cos(question, answer), float [n], is below min_cosine or above max_cosine.

        Raises InputError for another shape, or NaN.
        """
        if cosines.shape != (len(dialogues),) or np.isnan(cosines).any():
            raise InputError(
                f"cosines must be [{len(dialogues)}] without NaN; got {list(cosines.shape)} "
                f"with {int(np.isnan(cosines).sum())} NaN"
            )
        low, high = self.config.min_cosine, self.config.max_cosine
        reasons: dict[int, str] = {}
        for row, cosine in enumerate(cosines.tolist()):
            if low is not None and cosine < low:
                reasons[row] = "low_cosine"
            elif high is not None and cosine > high:
                reasons[row] = "high_cosine"
        return self._without(dialogues, reasons)

    def balance(self, dialogues: Sequence[Dialogue]) -> list[Dialogue]:
        """Keep the first max_per_domain pairs of each domain; pairs without a domain are one domain."""
        most = self.config.max_per_domain
        count: Counter[str] = Counter()
        reasons: dict[int, str] = {}
        for row, each in enumerate(dialogues):
            count[each.domain] += 1
            if most is not None and count[each.domain] > most:
                reasons[row] = "domain_full"
        return self._without(dialogues, reasons)

    def _without(self, dialogues: Sequence[Dialogue], reasons: dict[int, str]) -> list[Dialogue]:
        report = self.report
        for reason in REASONS:
            rows = sorted(row for row, why in reasons.items() if why == reason)
            if rows:
                report.rejected[reason] = Rejection(len(rows), [_example(dialogues[row]) for row in rows[:_EXAMPLES]])
        report.kept = len(dialogues) - len(reasons)
        report.seen = report.kept + sum(each.count for each in report.rejected.values())
        return [each for row, each in enumerate(dialogues) if row not in reasons]


def _example(dialogue: Dialogue) -> str:
    return f"{_shortened(dialogue.question)} -> {_shortened(dialogue.answer)}"


def _shortened(text: str) -> str:
    # A garbled text may have characters that would move the terminal's cursor.
    line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in " ".join(text.split()))
    return line if len(line) <= _EXAMPLE_CHARS else line[: _EXAMPLE_CHARS - 1] + "…"


def garbled(text: str) -> bool:
    """Whether a text, in any script, consists mostly of something other than words.

    True for any of these; "characters" are those that are not blank, of the first 10,000:

    - no letter and no digit ("???", "---"; "42" and "C++" are fine);
    - more than 5% are unreadable: control, unassigned or private characters, U+FFFD;
    - it is UTF-8 that was read as Windows-1252 or -1251 ("Ã©tÃ©", "РґР°"), and more than 10% show it;
    - one character 10 times or more in a row, which makes up more than 50%;
    - of 20 characters or more: fewer than 30% are letters (with their marks), or over 50% are HTML tags and entities;
    - a token of 60 or more ASCII letters, digits and +/=_- makes up more than 50% (base64, hashes);
    - of 30 pieces of 5 characters or more, fewer than 20% are different ("spam spam spam ...").

    Words that mean nothing but look like words are not found.
    """
    text = unicodedata.normalize("NFC", text)[:10_000]  # what follows is no different, and long texts repeat themselves
    chars = "".join(text.split())
    if not any(char.isalnum() for char in chars):
        return True
    categories = Counter(unicodedata.category(char) for char in chars)
    # Cf, format characters, is left out: scripts and emoji need joiners.
    unreadable = sum(categories[each] for each in ("Cc", "Cn", "Co", "Cs")) + chars.count("\N{REPLACEMENT CHARACTER}")
    if unreadable > 0.05 * len(chars) or _is_mojibake(text):
        return True
    run = max(len(match.group()) for match in _RUN.finditer(chars))
    if run >= 10 and run > 0.5 * len(chars):
        return True
    if len(chars) >= 20:
        letters = sum(count for category, count in categories.items() if category[0] in "LM")
        if letters < 0.3 * len(chars):
            return True
        if len("".join(_TAG.sub("", text).split())) < 0.5 * len(chars):
            return True
    token = max(map(len, _TOKEN.findall(text)), default=0)
    if token >= 60 and token > 0.5 * len(chars):
        return True
    form = normalize(text)
    pieces = [form[i : i + _PIECE] for i in range(len(form) - _PIECE + 1)]
    return len(pieces) >= 30 and len(set(pieces)) < 0.2 * len(pieces)


def _is_mojibake(text: str) -> bool:
    if sum(not char.isascii() for char in text) <= 0.1 * len(text):
        return False
    for encoding in ("cp1252", "cp1251"):
        try:
            text.encode(encoding).decode("utf-8")
        except UnicodeError:
            continue
        return True  # what was meant in that encoding is hardly ever valid UTF-8 by chance
    return False


def near_duplicates(dialogues: Sequence[Dialogue], threshold: float) -> list[int]:
    """The places of the dialogues that are nearly equal to an earlier one, in order.

    Alike are two dialogues of the same context (in normal form) if of all their 5-character pieces, of the question
    and the answer in normal form, at least the share ``threshold`` is common to both (Jaccard). One that is dropped
    does not drop others: in a chain of small changes, every link that is far enough from those kept is kept.

    Candidates come from MinHash signatures of 160 hashes in bands (LSH), as long as still find a pair that is just at
    the threshold with a probability of 99.9%, and a more similar one with a higher one (from a threshold of 0.05 on).
    Each candidate is then compared exactly, so nothing is dropped wrongly. Below 0.3 most pairs are: it gets slow.
    The hashes are fixed: the same dialogues give the same result everywhere.
    """
    bands, rows = _bands(threshold)
    numbers: dict[tuple[str, ...], int] = {}  # of the contexts
    contexts = [numbers.setdefault(tuple(map(normalize, each.context)), len(numbers)) for each in dialogues]
    kept: dict[tuple[int, int, bytes], list[int]] = defaultdict(list)  # those kept, by context, band and its hashes
    pieces: dict[int, NDArray[np.uint64]] = {}  # of those kept
    duplicates: list[int] = []
    for place, (own, signature) in enumerate(_signatures(dialogues)):
        keys = [(contexts[place], band, signature[band * rows : (band + 1) * rows].tobytes()) for band in range(bands)]
        candidates = sorted({other for key in keys for other in kept.get(key, ())})
        if any(_jaccard(own, pieces[other]) >= threshold for other in candidates):
            duplicates.append(place)
            continue
        pieces[place] = own
        for key in keys:
            kept[key].append(place)
    return duplicates


def _bands(threshold: float) -> tuple[int, int]:
    """The number of bands and of hashes per band: the longest bands, so fewest candidates, with enough recall."""
    for rows in range(_HASHES, 1, -1):
        bands = _HASHES // rows
        if 1 - (1 - threshold**rows) ** bands >= _RECALL:
            return bands, rows
    return _HASHES, 1


def _signatures(dialogues: Sequence[Dialogue]) -> Iterable[tuple[NDArray[np.uint64], NDArray[np.uint32]]]:
    """Yield the distinct hashed pieces of each dialogue, sorted, uint64 [m], and its MinHash, uint32 [160]."""
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 2**64, _HASHES, dtype=np.uint64) | np.uint64(1)
    for start in range(0, len(dialogues), _TEXTS_AT_ONCE):
        # A line break is in no normal form: it keeps the question's pieces apart from the answer's.
        forms = [f"{normalize(d.question)}\n{normalize(d.answer)}" for d in dialogues[start : start + _TEXTS_AT_ONCE]]
        pieces = [np.unique(_hashed_pieces(form)) for form in forms]
        all_pieces = np.concatenate(pieces)
        starts = np.cumsum([0, *map(len, pieces[:-1])])
        signatures = np.empty((len(pieces), _HASHES), np.uint32)
        for column, factor in enumerate(factors):
            mixed = ((all_pieces * factor) >> np.uint64(32)).astype(np.uint32)  # multiply-shift
            signatures[:, column] = np.minimum.reduceat(mixed, starts)
        yield from zip(pieces, signatures, strict=True)


def _hashed_pieces(text: str) -> NDArray[np.uint64]:
    """A hash of each piece of 5 characters, uint64; a shorter text is padded with NULs."""
    letters = np.frombuffer(text.ljust(_PIECE, "\0").encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    hashed = np.zeros(len(letters) - _PIECE + 1, np.uint64)
    for place in range(_PIECE):
        hashed = _mixed(hashed ^ letters[place : place + len(hashed)])
    return hashed


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of splitmix64: one-to-one, and every bit depends on all."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = numbers ^ (numbers >> np.uint64(31))
    return mixed


def _jaccard(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> float:
    common = len(np.intersect1d(first, second, assume_unique=True))
    return common / (len(first) + len(second) - common)
