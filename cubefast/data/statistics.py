"""Statistics of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .embeddings.vectors import Preparation, Vectors, chunks


@dataclass(frozen=True)
class Spread:
    """The mean, the standard deviation, and the 5th, 50th and 95th percentile of some numbers."""

    mean: float
    deviation: float
    p5: float
    median: float
    p95: float

    @classmethod
    def of(cls, values: Sequence[float] | NDArray[np.floating]) -> Spread | None:
        """The spread of these numbers; None if there are none."""
        if len(values) == 0:
            return None
        low, middle, high = np.percentile(values, (5, 50, 95))
        return cls(*(float(x) for x in (np.mean(values), np.std(values), low, middle, high)))

    def __str__(self) -> str:
        digits = 3 if abs(self.p95) < 10 else 0
        return (
            f"mean {self.mean:.{digits}f}, spread {self.deviation:.{digits}f}, "
            f"5% {self.p5:.{digits}f}, median {self.median:.{digits}f}, 95% {self.p95:.{digits}f}"
        )


@dataclass(frozen=True)
class DatasetStatistics:
    """Counts and spreads of a data set; what it does not have is None or empty."""

    pairs: int
    dim: int
    questions: int | None = None  # distinct questions
    answers: int | None = None  # distinct answers
    groups: int | None = None  # distinct groups
    domains: dict[str, int] = field(default_factory=dict)  # pairs of each
    question_chars: Spread | None = None
    answer_chars: Spread | None = None
    context_turns: Spread | None = None  # turns that a question has before it
    negatives: int | None = None  # wrong answers of all pairs together
    cosine: Spread | None = None  # cos(question, answer) of the embeddings, which is what identity scores
    rejected: dict[str, int] = field(default_factory=dict)  # pairs dropped by the quality filter, by reason
    cache_hits: int | None = None  # texts that the cache had
    cache_misses: int | None = None  # texts that had to be encoded

    def as_dict(self) -> dict[str, Any]:
        """The statistics as a mapping for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [("pairs", f"{self.pairs} of {self.dim} numbers")]
        counts = {"questions": self.questions, "answers": self.answers, "groups": self.groups}
        lines += [(f"different {name}", str(count)) for name, count in counts.items() if count is not None]
        spreads = {
            "characters, question": self.question_chars,
            "characters, answer": self.answer_chars,
            "turns before": self.context_turns,
            "cos(question, answer)": self.cosine,
        }
        lines += [(name, str(spread)) for name, spread in spreads.items() if spread is not None]
        if self.negatives is not None:
            lines.append(("wrong answers", str(self.negatives)))
        if self.domains:
            largest = sorted(self.domains.items(), key=lambda item: (-item[1], item[0]))
            shown = ", ".join(f"{name or '(none)'} {count}" for name, count in largest[:8])
            more = f" and {len(largest) - 8} more" if len(largest) > 8 else ""
            lines.append(("domains", shown + more))
        if self.rejected:
            lines.append(("rejected", ", ".join(f"{reason} {count}" for reason, count in self.rejected.items())))
        if self.cache_hits is not None:
            lines.append(("cache", f"{self.cache_hits} texts found, {self.cache_misses} encoded"))
        return "\n".join(f"{name:<22} {value}" for name, value in lines)


def cosines(vectors: Vectors, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float32]:
    """The cosines of the rows a[i] and b[i] of ``vectors``, float32 [n], computed in chunks."""
    unit = Preparation()
    parts = [np.einsum("nd,nd->n", unit(vectors.gather(a[i])), unit(vectors.gather(b[i]))) for i in chunks(len(a))]
    return np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, np.float32)
