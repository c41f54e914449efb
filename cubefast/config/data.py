"""The settings of a data set: its source, how it is read, filtered and split, and its noise."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from . import bounds
from .parsing import read_mapping
from .settings import Count, Section, validated

BUILTIN = "builtin"
"""The path of the data set in the package."""
HUB = "hub:"
"""The prefix of the path of a data set on the hub."""

MOST_TURNS = 100
"""The number of turns before a question that are kept."""
MOST_NEGATIVES = 100
"""The number of wrong answers of a pair that are kept."""

Format = Literal["auto", "jsonl", "json", "csv", "tsv", "parquet", "chat", "chatterbot", "text"]
NoiseKind = Literal["gaussian", "uniform", "dropout"]
Cosine = Annotated[float, Field(ge=-1, le=1)]


class ColumnsConfig(Section):
    """The names of a file's fields.

    Names are compared without regard to case. The defaults for questions and answers also stand for the other names
    that people have: see :mod:`cubefast.data.reading.columns`.
    """

    question: str = Field("question", min_length=1, description="the column of questions; also query, prompt and so on")
    answer: str = Field(
        "answer", min_length=1, description="the column of answers, a text or several; also response, positive, ..."
    )
    negative: Annotated[str, Field(min_length=1)] | None = Field(
        "negative",
        description="the columns of wrong answers, which contrast and triplet take as hard negatives; also negatives, "
        "negative_1 and so on; null: pass them over",
    )
    domain: str = Field("domain", min_length=1, description="the column of domains, if there is one")
    group: str = Field("group", min_length=1, description="the column of what must stay on one side of a split")
    text: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="the column of texts (autoencoder); null: questions and answers"
    )


class LimitsConfig(Section):
    """Limits on the size of a file, so that a damaged or malicious one ends in a message, not in all memory."""

    file_mb: Count = Field(2_000, description="megabytes of a file, unpacked")
    whole_file_mb: Count = Field(250, description="megabytes, unpacked, of a file that is held as a whole: JSON, YAML")
    line_mb: Count = Field(16, description="megabytes of a line, or of a record of several lines")
    records: Count = Field(10_000_000, description="records, or lines, of a file")
    text_chars: Count = Field(1_000_000, description="characters of a text")


class PromptsConfig(Section):
    """The prompts put before a text when it is encoded, for encoders that tell questions from documents, such as e5,
    bge and nomic. Answers are shown without them, and the quality filter sees texts without them.
    """

    question: str = Field("", description="before a question, and each turn before it: 'query: '")
    answer: str = Field("", description="before an answer, and a text of an autoencoder: 'passage: '")


class ContextConfig(Section):
    """The settings of the turns before a question of a conversation, which join its input."""

    mode: Literal["none", "mean", "text"] = Field(
        "none", description="none: the question alone; mean: of its and the turns' embeddings; text: joined texts"
    )
    window: int = Field(3, ge=1, le=MOST_TURNS, description="how many turns before the question count")
    decay: float = Field(0.5, gt=0, le=1, description="weight of each turn further back (mean)")


class NoiseConfig(Section):
    """The noise on an autoencoder's inputs; each item draws one kind and one level, anew in every epoch."""

    kinds: tuple[NoiseKind, ...] = Field(
        ("gaussian",),
        min_length=1,
        max_length=3,
        description="gaussian | uniform (standard deviation: level), dropout (share: level)",
    )
    levels: tuple[Annotated[float, Field(ge=0, le=bounds.FACTOR)], ...] = Field(
        (0.05,), min_length=1, max_length=100, description="how much, per number of a unit embedding"
    )

    @model_validator(mode="after")
    def _dropout_is_a_share(self) -> NoiseConfig:
        if "dropout" in self.kinds and max(self.levels) >= 1:
            raise ValueError(f"dropout takes levels below 1; got {max(self.levels)}")
        return self


class QualityConfig(Section):
    """The pairs to drop before the data is split; see cubefast.data.quality_filter."""

    min_chars: Count = Field(1, description="characters that a question and an answer need")
    max_chars: Count | None = Field(None, description="characters they may have; null: any")
    drop_garbled: bool = Field(False, description="drop texts that are mostly not words: markup, digits, repetition")
    near_duplicates: Annotated[float, Field(ge=0.3, le=1)] | None = Field(
        None, description="drop pairs this alike (share of common 5-letter pieces) to an earlier one; null: keep"
    )
    min_cosine: Cosine | None = Field(
        None, description="drop pairs whose question and answer are less alike to the encoder"
    )
    max_cosine: Cosine | None = Field(
        None, description="drop pairs whose question and answer are more alike to the encoder"
    )
    max_per_domain: Count | None = Field(None, description="pairs kept of one domain, the first ones; null: all")


class SplitConfig(Section):
    """The shares held out, by group and never by row, each of which may be 0. See cubefast.data.splits."""

    test_percent: int = Field(10, ge=0, le=50, description="percent of the groups held out as tests of new topics")
    validation_percent: int = Field(
        5, ge=0, le=50, description="percent of the groups held out as new topics of validation"
    )
    test_paraphrase_percent: int = Field(
        100,
        ge=0,
        le=100,
        description="percent of the answers with three questions or more in training of which one question is a test "
        "of new wordings",
    )
    validation_paraphrase_percent: int = Field(
        40, ge=0, le=100, description="percent of the same answers of which one question is a new wording of validation"
    )

    @property
    def has_tests(self) -> bool:
        """Whether any pairs are to be kept for tests."""
        return self.test_percent > 0 or self.test_paraphrase_percent > 0


class DatasetConfig(Section):
    """A data set: the key ``data`` of a run's config, or a file of its own."""

    path: str = Field(
        BUILTIN,
        min_length=1,
        description="builtin | a file of pairs | a folder of ChatterBot YAML | hub:NAME, a data set of the hub",
    )
    format: Format = Field(
        "auto",
        description="of the file: jsonl, json, csv, tsv, parquet, chat, chatterbot, text (a text per line); auto: by "
        "its name",
    )
    vectors: str | None = Field(
        None,
        description=".npz, .safetensors or .parquet with question and answer, row for row with the file, instead of an "
        "encoder",
    )
    answer_vectors: str | None = Field(
        None, description="the answers, where vectors is a file of questions alone, as a .npy is"
    )
    teacher_vectors: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (),
        max_length=bounds.TEACHERS,
        description="files like vectors, each by a teacher of any dimension; see training.losses.distill",
    )
    normalize: bool = Field(True, description="scale embeddings to unit length")
    centre: bool = Field(False, description="subtract the mean embedding of the training part first")
    columns: ColumnsConfig = ColumnsConfig()
    limits: LimitsConfig = LimitsConfig()
    prompts: PromptsConfig = PromptsConfig()
    context: ContextConfig = ContextConfig()
    noise: NoiseConfig = NoiseConfig()
    quality: QualityConfig = QualityConfig()
    split: SplitConfig = SplitConfig()

    @model_validator(mode="after")
    def _answers_have_questions(self) -> DatasetConfig:
        if self.answer_vectors is not None and self.vectors is None:
            raise ValueError("data.answer_vectors is for the answers to the questions of data.vectors: set that too")
        return self

    @model_validator(mode="before")
    @classmethod
    def _path_is_short(cls, values: Any) -> Any:
        return {"path": values} if isinstance(values, (str, os.PathLike)) else values

    @classmethod
    def load(cls, source: DatasetConfig | str | Path | Mapping[str, Any] | None = None) -> DatasetConfig:
        """Load from a YAML or JSON file, a mapping, or the defaults (None). Raises ConfigError with all mistakes."""
        if isinstance(source, DatasetConfig):
            return source
        if source is None:
            return cls()
        return validated(cls, source if isinstance(source, Mapping) else read_mapping(source))
