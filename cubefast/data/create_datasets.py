"""Creates data sets from texts, a file, dialogues or conversations."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..config.data import BUILTIN, MOST_NEGATIVES, MOST_TURNS, DatasetConfig
from ..errors import InputError
from ..utils.messages import named, shown
from .cache.embedding_cache import EmbeddingCache
from .cache.shards import CacheStatistics
from .conversation_context import context_texts, gather_rows
from .datasets import AutoencoderDataset, DialogueDataset
from .embeddings.embedding_loader import EmbeddingLoader, is_embedding_file
from .embeddings.encoder_agreement import SAME_ENCODER_COSINE, check_encoder_agreement
from .embeddings.precomputed import DialogueRows, aligned, fingerprint_of, load_precomputed
from .embeddings.vectors import ArrayVectors, Preparation, Vectors
from .encoding.base import TextEncoder
from .encoding.create_encoder import create_encoder, is_known_by_name
from .encoding.display_names import short_name
from .quality_filter import QualityFilter
from .reading.columns import Columns
from .reading.dialogues import Dialogue, dialogues_of, load_dialogues, load_texts, normalize, with_all_negatives
from .reading.formats import suffix_of
from .reading.records import Record, text_field
from .statistics import cosines

ConfigSource = DatasetConfig | Mapping[str, Any] | str | Path | None
ProgressFactory = Callable[[str, int], Callable[[int], None]]
"""Called once with a title and the number of texts; what it returns is called with how many of them are done,
first of all with how many were in the cache."""


def create_text_dataset(
    texts: Iterable[str],
    config: ConfigSource = None,
    *,
    encoder: str | TextEncoder = "static",
    teachers: Sequence[str | TextEncoder] = (),
    cache: EmbeddingCache | str | Path | None = None,
    seed: int = 0,
    progress: ProgressFactory | None = None,
) -> AutoencoderDataset:
    """Create an autoencoder's data set from texts.

    Args:
        texts: an iterable of n texts, none of them blank.
        config: a :class:`DatasetConfig`, its keys as a mapping, or a YAML or JSON file.
        encoder: the encoder whose embeddings are learnt, or its name in a config.
        teachers: further encoders of any dimension, see ``training.losses.distill``.
        cache: the cache of embeddings, or its folder; None: the user's cache.
        seed: the seed of the noise.
        progress: called with the progress of the encoding.

    Raises InputError for no texts or a blank one.
    """
    settings = DatasetConfig.load(config)
    _refuse_pair_vectors(settings)
    given = list(items_of(texts))
    for row, text in enumerate(given):
        text_field(text, f"text {row}", "text", settings.limits)
    if not given:
        raise InputError("a data set needs at least one text; got none")
    texts = list(map(str, given))  # of numpy's texts plain ones
    prompted = [settings.prompts.answer + text for text in texts]
    used, vectors, seen = _encoded(prompted, encoder, cache, progress)
    others = [_encoded(prompted, each, cache, progress)[1] for each in teachers]
    return AutoencoderDataset(
        vectors, texts, settings, seed=seed, fingerprint=used.fingerprint, cache=seen, teachers=others
    )


def create_file_dataset(
    path: str | Path,
    config: ConfigSource = None,
    *,
    encoder: str | TextEncoder = "static",
    teachers: Sequence[str | TextEncoder] = (),
    cache: EmbeddingCache | str | Path | None = None,
    seed: int = 0,
    progress: ProgressFactory | None = None,
) -> AutoencoderDataset:
    """Create an autoencoder's data set from a file: of embeddings (.npy, .safetensors, ...; see EmbeddingLoader), or of
    texts, one per line or in the column ``columns.text``, which are encoded.

    The other arguments are those of :func:`create_text_dataset`. Raises InputError for a file that cannot be read, and
    for ``teachers`` of embeddings, of which the texts are not known.
    """
    settings = DatasetConfig.load(config)
    if settings.format == "auto" and is_embedding_file(path):
        _refuse_pair_vectors(settings)
        if teachers:
            raise InputError(
                f"{path} holds embeddings, and teachers need the texts that they are of: leave teachers out, or give "
                "a file of texts"
            )
        loaded = EmbeddingLoader(path).load()
        return AutoencoderDataset(
            ArrayVectors(loaded.vectors), loaded.keys, settings, seed=seed, fingerprint=fingerprint_of([path])
        )
    texts = load_texts(path, settings.format, settings.columns, settings.limits)
    return create_text_dataset(
        texts, settings, encoder=encoder, teachers=teachers, cache=cache, seed=seed, progress=progress
    )


def create_dialogue_dataset(
    source: str | Path | Iterable[tuple[str, ...]] | Iterable[Dialogue] | Iterable[Mapping[str, Any]] | None = None,
    config: ConfigSource = None,
    *,
    encoder: str | TextEncoder = "static",
    teachers: Sequence[str | TextEncoder] = (),
    cache: EmbeddingCache | str | Path | None = None,
    progress: ProgressFactory | None = None,
) -> DialogueDataset:
    """Create a data set of questions and answers.

    Args:
        source: a file of one of the formats in docs/retrieval.md, or an iterable of (question, answer) pairs, which may
            go on with wrong answers, of dialogues, or of mappings of the fields that a file's records have, also chats
            (a data set of the hub, the rows of a data frame); None: ``config.path``.

    The other arguments are those of :func:`create_text_dataset`. Raises InputError for a source that cannot be read or
    of which the quality filter leaves nothing.
    """
    settings = DatasetConfig.load(config)
    if source is None:
        source = settings.path
    if isinstance(source, (str, Path)):
        read = load_dialogues(source, settings.format, settings.columns, settings.limits)
    else:
        read = _given_dialogues(source, settings)
    name = str(source) if isinstance(source, (str, Path)) else "the data set"
    quality = QualityFilter(settings.quality)
    records = 1 + max(dialogue.row for dialogue in read)
    dialogues = with_all_negatives(_not_empty(quality.texts(read), quality), read)
    texts, by_text = _texts(dialogues, settings)
    seen = None
    if settings.vectors is not None:
        if by_text.negatives is not None:
            raise InputError(
                f"{name} has wrong answers, of which data.vectors has no embeddings: encode, or set "
                "data.columns.negative=null to go on without them"
            )
        files = [file for file in (settings.vectors, settings.answer_vectors) if file is not None]
        vectors, rows = load_precomputed("vectors", files, settings, dialogues, records, name)
        fingerprint = fingerprint_of(files)
    else:
        used, vectors, seen = _encoded(texts, encoder, cache, progress)
        rows, fingerprint = by_text, used.fingerprint
    others = [(_encoded(texts, each, cache, progress)[1], by_text) for each in teachers]
    others += [
        load_precomputed("teacher_vectors", [file], settings, dialogues, records, name)
        for file in settings.teacher_vectors
    ]

    place = {id(dialogue): row for row, dialogue in enumerate(dialogues)}
    kept = dialogues
    if settings.quality.min_cosine is not None or settings.quality.max_cosine is not None:
        kept = quality.cosines(kept, cosines(vectors, rows.questions[:, 0], rows.answers))
    kept = _not_empty(quality.balance(kept), quality)
    chosen = [place[id(dialogue)] for dialogue in kept]
    return DialogueDataset(
        kept,
        vectors,
        rows.questions[chosen],
        rows.answers[chosen],
        settings,
        fingerprint=fingerprint,
        report=quality.report,
        cache=seen,
        teachers=[aligned(other, theirs, rows, len(vectors)) for other, theirs in others],
        negative_rows=None if rows.negatives is None else rows.negatives[chosen],
    )


def create_conversation_dataset(
    source: str | Path | Iterable[Iterable[str]] | Iterable[Mapping[str, Any]] | None = None,
    config: ConfigSource = None,
    *,
    encoder: str | TextEncoder = "static",
    teachers: Sequence[str | TextEncoder] = (),
    cache: EmbeddingCache | str | Path | None = None,
    progress: ProgressFactory | None = None,
) -> DialogueDataset:
    """Create a data set of conversations of several turns, in which the input of a question also holds the turns before
    it.

    Args:
        source: a chat or ChatterBot file, or conversations as lists of turns, a question and its answer by turns (a
            ChatterBot file takes every turn for the answer to the one before), or records as a chat file has them;
            None: ``config.path``.
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
    dialogues: list[Any] = []
    for number, given in enumerate(items_of(source)):
        if isinstance(given, Mapping):
            dialogues.append(given)
            continue
        turns = tuple(items_of(given))
        for i in range(0, len(turns) - 1, 2):
            before = turns[max(0, i - MOST_TURNS) : i]
            dialogues.append(Dialogue(turns[i], turns[i + 1], "", f"conversation {number}", before, number))
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
    progress: ProgressFactory | None = None,
) -> DialogueDataset | AutoencoderDataset:
    """Open the data set of a run's config.

    An autoencoder takes embeddings, texts (a .txt file, ``format: text``, or a ``columns.text`` that is set) or, for a
    split by group, dialogues.
    """
    if mode == "autoencoder" and config.path != BUILTIN:
        plain = config.format == "text" or (config.format == "auto" and suffix_of(config.path) == ".txt")
        if plain or config.columns.text is not None or is_embedding_file(config.path):
            return create_file_dataset(
                config.path, config, encoder=encoder, teachers=teachers, cache=cache, seed=seed, progress=progress
            )
        # Nothing is wrong for an embedding that is to become itself.
        columns = config.columns.model_copy(update={"negative": None})
        config = config.model_copy(update={"columns": columns})
    return create_dialogue_dataset(None, config, encoder=encoder, teachers=teachers, cache=cache, progress=progress)


def items_of(given: Any) -> Iterable[Any]:
    """The items of a source: the rows of a data frame as mappings, of anything else its elements.

    Raises InputError for a single text, a mapping, and what is not iterable.
    """
    rows: Iterable[Any] = given
    if hasattr(given, "columns") and hasattr(given, "to_dict"):  # pandas
        rows = given.to_dict("records")
    elif hasattr(given, "to_dicts"):  # polars
        rows = given.to_dicts()
    elif isinstance(given, (str, bytes, Mapping)) or not hasattr(given, "__iter__"):
        kind = f"a mapping of {named(given)}" if isinstance(given, Mapping) else shown(given)
        raise InputError(f"expected a list of items, one for each row; got {kind}")
    return rows


def _given_dialogues(source: Any, settings: DatasetConfig) -> list[Dialogue]:
    items = list(items_of(source))
    if not items:
        raise InputError("a data set needs at least one question and answer; got none")
    if not isinstance(items[0], Mapping):
        return [_dialogue(item, row, settings) for row, item in enumerate(items)]
    for row, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise InputError(f"item {row} must be a mapping, as item 0 is; got {shown(item)}")
    records = (Record(f"item {row}", dict(item)) for row, item in enumerate(items))
    return dialogues_of(records, "the data set", settings.format, Columns(settings.columns, settings.limits))


def _dialogue(item: Any, row: int, settings: DatasetConfig) -> Dialogue:
    where = f"item {row}"
    if isinstance(item, Dialogue):
        fields = {
            "question": [item.question],
            "answer": [item.answer],
            "turn": item.context,
            "negative": item.negatives,
        }
        for field, texts in fields.items():
            for text in texts:
                text_field(text, where, field, settings.limits)
        return item
    if isinstance(item, np.ndarray):
        item = item.tolist()
    if not isinstance(item, (tuple, list)) or len(item) < 2:
        raise InputError(f"{where} must be (question, answer), which wrong answers may follow; got {shown(item)}")
    question, answer = (
        text_field(item[i], where, role, settings.limits) for i, role in enumerate(("question", "answer"))
    )
    wrong = [] if settings.columns.negative is None else item[2 : 2 + MOST_NEGATIVES]
    negatives = tuple(text_field(text, where, "negative", settings.limits) for text in wrong)
    return Dialogue(question, answer, "", normalize(answer), (), row, negatives)


def _not_empty(dialogues: list[Dialogue], quality: QualityFilter) -> list[Dialogue]:
    if not dialogues:
        raise InputError(f"the quality filter left nothing:\n{quality.report}")
    return dialogues


def _texts(dialogues: list[Dialogue], config: DatasetConfig) -> tuple[list[str], DialogueRows]:
    """The distinct texts, and the rows of each dialogue's texts among them."""
    prompts = config.prompts
    inputs = [context_texts(each.question, each.context, config.context, prompts.question) for each in dialogues]
    answers = [prompts.answer + each.answer for each in dialogues]
    wrong = [[prompts.answer + text for text in each.negatives] for each in dialogues]
    every = ((*turns, answer, *others) for turns, answer, others in zip(inputs, answers, wrong, strict=True))
    texts = list(dict.fromkeys(itertools.chain.from_iterable(every)))
    place = {text: row for row, text in enumerate(texts)}
    negatives = gather_rows(wrong, place) if any(wrong) else None
    answer_rows = np.array([place[answer] for answer in answers], np.int64)
    return texts, DialogueRows(gather_rows(inputs, place), answer_rows, negatives)


def _refuse_pair_vectors(config: DatasetConfig) -> None:
    if config.vectors is not None:
        raise InputError(
            "data.vectors are of questions and answers, and this data set has texts alone: give the file of their "
            "embeddings as data.path, or leave data.vectors out"
        )
    if config.teacher_vectors:
        raise InputError(
            "data.teacher_vectors are of questions and answers, and this data set has none: leave them out"
        )


def _encoded(
    texts: Sequence[str],
    encoder: str | TextEncoder,
    cache: EmbeddingCache | str | Path | None,
    progress: ProgressFactory | None,
) -> tuple[TextEncoder, Vectors, CacheStatistics]:
    used = create_encoder(encoder) if isinstance(encoder, str) else encoder
    if not hasattr(type(used), "encode"):
        raise InputError(
            f"an encoder must have encode, dim and fingerprint, or be the name of one; got {shown(used)}. Of a "
            "function make one with FunctionEncoder(function, NAME): by the name the cache knows its vectors"
        )
    store = cache if isinstance(cache, EmbeddingCache) else EmbeddingCache(cache)
    before = (store.statistics.hits, store.statistics.misses)
    done = progress(f"encoding with {short_name(encoder)}", len(texts)) if progress else lambda count: None
    vectors = store.rows(used, texts, progress=done)
    seen = CacheStatistics(hits=store.statistics.hits - before[0], misses=store.statistics.misses - before[1])
    if seen.hits and is_known_by_name(used):
        # The name may stand for another model by now, and vectors of two models in one set would train nonsense.
        check_encoder_agreement(
            used.encode,
            texts,
            vectors,
            Preparation(),
            encoder=f"the encoder {used.fingerprint}",
            there=f"the cache {store.folder} holds under its name",
            advice="If another model has its name now, give another folder: cache=FOLDER",
            least=SAME_ENCODER_COSINE,
        )
    return used, vectors, seen
