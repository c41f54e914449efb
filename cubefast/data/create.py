"""The four ways to make a data set: from texts, from a file, from dialogues, from conversations."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .cache import CacheStatistics, EmbeddingCache
from .config import BUILTIN, ContextConfig, DatasetConfig
from .datasets import AutoencoderDataset, DialogueDataset
from .dialogues import Dialogue, load_dialogues, load_texts, normalize
from .encoders import TextEncoder, create_encoder
from .formats import text_field
from .loader import EmbeddingLoader, is_embedding_file
from .quality import QualityFilter
from .statistics import cosines
from .teachers import DialogueRows, aligned
from .vectors import ArrayVectors, StackedVectors, Vectors

_PAIR = ("question", "answer")

ConfigSource = DatasetConfig | Mapping[str, Any] | str | Path | None
Progress = Callable[[str, int], Callable[[int], None]]
"""Called once with a title and the number of texts; what it returns is called with how many of them are done."""


def create_text_dataset(
    texts: Sequence[str],
    config: ConfigSource = None,
    *,
    encoder: str | TextEncoder = "static",
    teachers: Sequence[str | TextEncoder] = (),
    cache: EmbeddingCache | str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> AutoencoderDataset:
    """An autoencoder's data set of texts.

    Args:
        texts: n texts, none of them blank.
        config: a :class:`DatasetConfig`, its keys as a mapping, or a YAML or JSON file.
        encoder: the teacher whose embeddings are learnt, or its name in a config.
        teachers: more of them, of any dimension: they teach how alike the targets are (``training.losses.distill``).
        cache: where embeddings are kept; None: the user's cache.
        seed: of the noise.
        progress: told how far the encoding is.

    Raises InputError for no texts or a blank one.
    """
    settings = DatasetConfig.load(config)
    _refuse_teacher_vectors(settings)
    if len(texts) == 0:
        raise InputError("a data set needs at least one text; got none")
    for i, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"text {i} must be a text that is not blank; got {text!r}")
    teacher, vectors, seen = _encoded(texts, encoder, cache, progress)
    others = [_encoded(texts, each, cache, progress)[1] for each in teachers]
    return AutoencoderDataset(
        vectors, texts, settings, seed=seed, fingerprint=teacher.fingerprint, cache=seen, teachers=others
    )


def create_file_dataset(
    path: str | Path,
    config: ConfigSource = None,
    *,
    encoder: str | TextEncoder = "static",
    teachers: Sequence[str | TextEncoder] = (),
    cache: EmbeddingCache | str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> AutoencoderDataset:
    """An autoencoder's data set of a file: of embeddings (.npy, .safetensors, ...; see EmbeddingLoader) as they are, or
    of texts (one per line, or the column ``columns.text``) through an encoder.

    The other arguments are those of :func:`create_text_dataset`. Raises InputError for a file that cannot be read, and
    for ``teachers`` of embeddings, of which the texts are not known.
    """
    settings = DatasetConfig.load(config)
    if settings.format == "auto" and is_embedding_file(path):
        _refuse_teacher_vectors(settings)
        if teachers:
            raise InputError(
                f"{path} holds embeddings, and teachers need the texts that they are of: leave teachers out, or give "
                "a file of texts"
            )
        loaded = EmbeddingLoader(path).load()
        print_of_file = f"vectors-{_file_hash(path)}"
        return AutoencoderDataset(
            ArrayVectors(loaded.vectors), loaded.keys, settings, seed=seed, fingerprint=print_of_file
        )
    texts = load_texts(path, settings.format, settings.columns)
    return create_text_dataset(
        texts, settings, encoder=encoder, teachers=teachers, cache=cache, seed=seed, progress=progress
    )


def create_dialogue_dataset(
    source: str | Path | Sequence[tuple[str, str]] | Sequence[Dialogue] | None = None,
    config: ConfigSource = None,
    *,
    encoder: str | TextEncoder = "static",
    teachers: Sequence[str | TextEncoder] = (),
    cache: EmbeddingCache | str | Path | None = None,
    progress: Progress | None = None,
) -> DialogueDataset:
    """Questions and answers.

    Args:
        source: a file (see the README for the formats), (question, answer) pairs, or dialogues; None: ``config.path``.

    The other arguments are those of :func:`create_text_dataset`. Raises InputError for a source that cannot be read or
    of which the quality filter leaves nothing.
    """
    settings = DatasetConfig.load(config)
    if source is None:
        source = settings.path
    if isinstance(source, (str, Path)):
        dialogues = load_dialogues(source, settings.format, settings.columns)
    else:
        items: Sequence[Any] = source
        dialogues = [_dialogue(item, row) for row, item in enumerate(items)]
        if not dialogues:
            raise InputError("a data set needs at least one question and answer; got none")
    return _dialogue_dataset(dialogues, settings, encoder, teachers, cache, progress)


def create_conversation_dataset(
    source: str | Path | Sequence[Sequence[str]] | None = None,
    config: ConfigSource = None,
    *,
    encoder: str | TextEncoder = "static",
    teachers: Sequence[str | TextEncoder] = (),
    cache: EmbeddingCache | str | Path | None = None,
    progress: Progress | None = None,
) -> DialogueDataset:
    """Conversations of several turns: a question hears the turns before it.

    Args:
        source: a chat or ChatterBot file, or conversations as lists of turns, a question and its answer by turns (a
            ChatterBot file takes every turn for the answer to the one before); None: ``config.path``.
        config: where its ``context.mode`` is ``none``, ``mean`` is taken.

    The other arguments and errors are those of :func:`create_dialogue_dataset`.
    """
    settings = DatasetConfig.load(config)
    if settings.context.mode == "none":
        context = settings.context.model_copy(update={"mode": "mean"})
        settings = settings.model_copy(update={"context": context})
    if source is None or isinstance(source, (str, Path)):
        return create_dialogue_dataset(
            source, settings, encoder=encoder, teachers=teachers, cache=cache, progress=progress
        )
    dialogues = [
        Dialogue(turns[i], turns[i + 1], "", f"conversation {number}", tuple(turns[:i]), number)
        for number, turns in enumerate(source)
        for i in range(0, len(turns) - 1, 2)
    ]
    return create_dialogue_dataset(
        dialogues, settings, encoder=encoder, teachers=teachers, cache=cache, progress=progress
    )


def open_dataset(
    config: DatasetConfig,
    mode: str,
    *,
    encoder: str | TextEncoder = "static",
    teachers: Sequence[str | TextEncoder] = (),
    cache: EmbeddingCache | str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> DialogueDataset | AutoencoderDataset:
    """The data set that a run's config names.

    An autoencoder takes embeddings, texts (a .txt file, ``format: text``, or a ``columns.text`` that is set) or, for a
    split by group, dialogues.
    """
    if mode == "autoencoder" and config.path != BUILTIN:
        plain = config.format == "text" or config.path.removesuffix(".gz").endswith(".txt")
        if plain or config.columns.text is not None or is_embedding_file(config.path):
            return create_file_dataset(
                config.path, config, encoder=encoder, teachers=teachers, cache=cache, seed=seed, progress=progress
            )
    return create_dialogue_dataset(None, config, encoder=encoder, teachers=teachers, cache=cache, progress=progress)


def _dialogue(item: Any, row: int) -> Dialogue:
    if isinstance(item, Dialogue):
        return item
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise InputError(f"item {row} must be (question, answer); got {item!r}")
    question, answer = (text_field(text, f"item {row}", name) for name, text in zip(_PAIR, item, strict=True))
    return Dialogue(question, answer, "", normalize(answer), (), row)


def _dialogue_dataset(
    dialogues: list[Dialogue],
    config: DatasetConfig,
    encoder: str | TextEncoder,
    teachers: Sequence[str | TextEncoder],
    cache: EmbeddingCache | str | Path | None,
    progress: Progress | None,
) -> DialogueDataset:
    quality = QualityFilter(config.quality)
    records = 1 + max(dialogue.row for dialogue in dialogues)
    dialogues = _some(quality.texts(dialogues), quality)
    texts, by_text = _texts(dialogues, config)
    seen = None
    if config.vectors is not None:
        vectors, rows = _given_vectors("vectors", config.vectors, config, dialogues, records)
        fingerprint = f"vectors-{_file_hash(config.vectors)}"
    else:
        teacher, vectors, seen = _encoded(texts, encoder, cache, progress)
        rows, fingerprint = by_text, teacher.fingerprint
    others = [(_encoded(texts, each, cache, progress)[1], by_text) for each in teachers]
    others += [_given_vectors("teacher_vectors", path, config, dialogues, records) for path in config.teacher_vectors]

    where = {id(dialogue): row for row, dialogue in enumerate(dialogues)}
    kept = dialogues
    if config.quality.min_cosine is not None or config.quality.max_cosine is not None:
        kept = quality.cosines(kept, cosines(vectors, rows.questions[:, 0], rows.answers))
    kept = _some(quality.balance(kept), quality)
    chosen = [where[id(dialogue)] for dialogue in kept]
    return DialogueDataset(
        kept,
        vectors,
        rows.questions[chosen],
        rows.answers[chosen],
        config,
        fingerprint=fingerprint,
        report=quality.report,
        cache=seen,
        teachers=[aligned(other, theirs, rows, len(vectors)) for other, theirs in others],
    )


def _some(dialogues: list[Dialogue], quality: QualityFilter) -> list[Dialogue]:
    if not dialogues:
        raise InputError(f"the quality filter left nothing:\n{quality.report}")
    return dialogues


def texts_heard(question: str, before: Sequence[str], context: ContextConfig) -> list[str]:
    """The texts of which a question's input is made: itself, then the turns before it, the latest first."""
    turns = before[-context.window :]
    if context.mode == "mean":
        return [question, *reversed(turns)]
    if context.mode == "text":
        return ["\n".join([*turns, question])]
    return [question]


def _texts(dialogues: list[Dialogue], config: DatasetConfig) -> tuple[list[str], DialogueRows]:
    """Each different text once, and where those of each dialogue are among them."""
    heard = [texts_heard(dialogue.question, dialogue.context, config.context) for dialogue in dialogues]
    texts = list(dict.fromkeys(text for d, turns in zip(dialogues, heard, strict=True) for text in (*turns, d.answer)))
    place = {text: row for row, text in enumerate(texts)}
    questions = np.full((len(dialogues), max(len(turns) for turns in heard)), -1, np.int64)
    for row, turns in enumerate(heard):
        questions[row, : len(turns)] = [place[text] for text in turns]
    return texts, DialogueRows(questions, np.array([place[d.answer] for d in dialogues], np.int64))


def _given_vectors(
    key: str, path: str, config: DatasetConfig, dialogues: list[Dialogue], records: int
) -> tuple[Vectors, DialogueRows]:
    """The ready embeddings of ``data.KEY``, row for row with the records of which these dialogues are left."""
    if config.context.mode != "none":
        raise InputError(
            f"data.{key} has no embeddings of the turns before a question: set data.context.mode=none, or encode"
        )
    parts = tuple(ArrayVectors(EmbeddingLoader(path).load(array=name).vectors) for name in _PAIR)
    question, answer = parts
    rows = np.array([dialogue.row for dialogue in dialogues], np.int64)
    if len(question) != len(answer) or question.dim != answer.dim:
        raise InputError(
            f"{path}: question is [{len(question)}, {question.dim}] and answer "
            f"[{len(answer)}, {answer.dim}]; they must have one shape"
        )
    if len(np.unique(rows)) != len(rows) or records != len(question):
        raise InputError(
            f"{path} has {len(question)} rows, and {config.path} has {records} records: they must match row for row, "
            "one question and answer per record"
        )
    return StackedVectors(parts), DialogueRows(rows[:, None], rows + len(question))


def _refuse_teacher_vectors(config: DatasetConfig) -> None:
    if config.teacher_vectors:
        raise InputError(
            "data.teacher_vectors are of questions and answers, and this data set has none: leave them out"
        )


def _encoded(
    texts: Sequence[str],
    encoder: str | TextEncoder,
    cache: EmbeddingCache | str | Path | None,
    progress: Progress | None,
) -> tuple[TextEncoder, Vectors, CacheStatistics]:
    teacher = create_encoder(encoder) if isinstance(encoder, str) else encoder
    store = cache if isinstance(cache, EmbeddingCache) else EmbeddingCache(cache)
    before = (store.statistics.hits, store.statistics.misses)
    done = progress(f"encoding with {teacher.fingerprint}", len(texts)) if progress else lambda count: None
    vectors = store.rows(teacher, texts, progress=done)
    seen = CacheStatistics(hits=store.statistics.hits - before[0], misses=store.statistics.misses - before[1])
    return teacher, vectors, seen


def _file_hash(path: str | Path) -> str:
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()[:16]
