"""A finished run and the data that it is evaluated on: its own held-out tests, or all pairs of another file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import Tensor

from ..config import TrainingConfig
from ..core import CubicCore
from ..data.agreement import agreement
from ..data.datasets import AutoencoderDataset, DialogueDataset, Parts
from ..data.dialogues import Dialogue, normalize
from ..data.encoder_names import short_fingerprint
from ..data.encoders import create_encoder
from ..data.pairs import PairDataset
from ..data.ready import is_ready
from ..data.vectors import MappedVectors, Preparation
from ..errors import ArtifactError, InputError
from ..evaluation.turns import PairStructure
from ..files import read_json
from ..training.reading import open_data
from ..training.run_folder import RunFolder

Dataset = DialogueDataset | AutoencoderDataset
CountingCallback = Callable[[str, int], Callable[[int], None]]

_STATISTICS = TypeAdapter(dict[str, Any])


@dataclass(frozen=True)
class PairMetadata:
    """What is known of the n pairs of a part apart from their embeddings; a field is None where nothing is.

    Attributes:
        keys: n hexadecimal texts, the same for the same pair: of its texts or, without any, of its embeddings.
        questions, answers: the texts; of an autoencoder the same text twice.
        domains: "" for a pair without one.
        groups: what must stay together.
        contexts: the turns before each question.
    """

    keys: NDArray[np.str_]
    questions: list[str] | None = None
    answers: list[str] | None = None
    domains: list[str] | None = None
    groups: list[str] | None = None
    contexts: list[tuple[str, ...]] | None = None


@dataclass(frozen=True)
class TaskData:
    """The data of one task, ready to be scored: question to answer, or noisy text to clean text.

    Attributes:
        mode: dialogue or autoencoder.
        parts: train and validation of the run, and the tests.
        tests: by the name of each test, the metadata of its pairs.
        structures: by the same names, their groups and conversations.
        train: the metadata of the training pairs.
        bank: [answers, D], all answers that the tests rank among, whose rows their target ids are; None: an
            autoencoder's different targets.
        texts: the text of each target id; None where texts are not known.
    """

    mode: str
    parts: Parts
    tests: dict[str, PairMetadata]
    structures: dict[str, PairStructure]
    train: PairMetadata
    bank: Tensor | None
    texts: Mapping[int, str] | None


@dataclass(frozen=True)
class RunData:
    """A finished run and the data that it is to be scored on.

    Attributes:
        run, config, core: the run.
        tasks: one, or two for a mixed run: question -> answer first.
        source: the other file that was given; None: the run's own held-out tests.
        fingerprint: of the encoder that made the vectors of the tests.
        notes: sentences that a reader has to know about the data.
    """

    run: RunFolder
    config: TrainingConfig
    core: CubicCore
    tasks: list[TaskData]
    source: str | None
    fingerprint: str
    notes: list[str]


def open_run_data(path: str | Path, overrides: Sequence[str] = (), progress: CountingCallback | None = None) -> RunData:
    """Open a run and rebuild its data as it was trained; with ``data=FILE`` among the overrides, test on that file.

    A question's answer is ranked among all answers of the run's data, trained and new together. With ``data=FILE`` it
    is ranked among all answers of that file and those of the run that the file does not have.

    Raises:
        ArtifactError: no finished run, or its data or encoder are no longer what they were.
        InputError: overrides of other keys than ``data``, a file that cannot be read or shares texts with training, or
            a run that holds nothing out for tests, without a file.
    """
    run = RunFolder.open(path)
    config = run.config()
    source = _checked(overrides, config)
    core = run.best_core()
    dataset = open_data(config, progress, teachers=False)
    _check_unchanged(run, dataset)
    modes = {"dialogue": ["dialogue"], "autoencoder": ["autoencoder"], "mixed": ["dialogue", "autoencoder"]}[
        config.mode
    ]
    tasks = [_own_task(dataset, mode, config.seed) for mode in modes]
    if source is None:
        if not tasks[0].parts.tests:
            raise InputError(f"{run.path} holds nothing out for tests (data.split). Name a file with data=FILE")
        return RunData(run, config, core, tasks, None, dataset.fingerprint, [])
    other_config = _config_of_other(run, config, overrides)
    other = open_data(other_config, progress, teachers=False)
    notes = _check_same_encoder(dataset, other, other_config)
    _check_disjoint(dataset, tasks[0].parts, other)
    name = Path(source).name
    tasks = [_task_on_file(task, other, name) for task in tasks]
    return RunData(run, config, core, tasks, source, other.fingerprint, notes)


def _checked(overrides: Sequence[str], config: TrainingConfig) -> str | None:
    """The file that the overrides name. Raises InputError for other keys."""
    keys = {item.partition("=")[0]: item.partition("=")[2] for item in overrides}
    ready = config.data.vectors is not None
    if beyond := [
        key for key in keys if not (key == "data" or key.startswith("data.") or (key == "encoder" and ready))
    ]:
        raise InputError(
            f"an evaluation takes data=FILE and data.* keys only, for the rest is the run's; got {', '.join(beyond)}"
        )
    source = keys.get("data", keys.get("data.path"))
    if keys and source is None:
        raise InputError(f"{', '.join(keys)}: these describe another file; name it with data=FILE")
    if source is not None and ready and "data.vectors" not in keys and "encoder" not in keys and config.encoder is None:
        raise InputError(
            "the run was trained on ready embeddings, so another file needs its own by the same encoder: give "
            "data.vectors=FILE too, or that encoder with encoder=NAME"
        )
    return source


def _config_of_other(run: RunFolder, config: TrainingConfig, overrides: Sequence[str]) -> TrainingConfig:
    """The config of the other file. It has its own ready embeddings or is encoded; those of the run are not its."""
    keys = {item.partition("=")[0] for item in overrides}
    if config.data.vectors is None or "data.vectors" in keys:
        return run.config(overrides)
    none = ["data.vectors=null", *(["data.answer_vectors=null"] if "data.answer_vectors" not in keys else [])]
    return run.config([*overrides, *none])


def _check_unchanged(run: RunFolder, dataset: Dataset) -> None:
    """Raise ArtifactError if the data or the encoder are not those the run was trained with."""
    remedy = "Put back what was there, or train again"
    if (answers := run.answers()) is not None:
        fingerprint = answers.fingerprint
        if fingerprint != dataset.fingerprint:
            raise ArtifactError(
                f"{run.path} was trained with the embeddings of {short_fingerprint(fingerprint)}, and now they come "
                f"from {short_fingerprint(dataset.fingerprint)}: the figures would mean nothing. {remedy}"
            )
    before = read_json(run.path / "data.json", _STATISTICS)
    now = json.loads(json.dumps(dataset.stats().as_dict()))
    keys = ("pairs", "dim", "questions", "answers", "groups", "domains", "question_chars", "answer_chars")
    if changed := [key for key in keys if now[key] != before.get(key)]:
        raise ArtifactError(
            f"the data set of {run.path} has changed since it was trained ({', '.join(changed)}), so texts it was "
            f"trained on may now be among the tests. {remedy}"
        )


def _own_task(dataset: Dataset, mode: str, seed: int) -> TaskData:
    """The run's own data, split as in training."""
    if isinstance(dataset, AutoencoderDataset) or mode == "autoencoder":
        parts = dataset.split() if isinstance(dataset, AutoencoderDataset) else dataset.split(mode, seed)
        items = _metadata_of_rows(dataset, {"train": parts.train, **parts.tests})
        train = items.pop("train")
        return TaskData(mode, parts, items, _structures(items), train, None, _texts(dataset))
    parts = dataset.split(mode, seed)
    dialogues = {name: [dataset.dialogues[row] for row in parts.rows[name]] for name in ("train", *parts.tests)}
    items = {name: _metadata_of_dialogues(each) for name, each in dialogues.items()}
    train = items.pop("train")
    structures = {name: PairStructure.of(dialogues[name], part) for name, part in parts.tests.items()}
    bank = torch.from_numpy(parts.answer_vectors)
    return TaskData(mode, parts, items, structures, train, bank, dict(enumerate(parts.answers)))


def _task_on_file(task: TaskData, other: Dataset, name: str) -> TaskData:
    """The same training and validation, and all of another data set as the one test.

    A file may have answers that the run has in its tests. Each stands in the bank once, as in the file.
    """
    other.prepare = task.parts.prepare
    bank: Tensor | None = None
    if task.mode == "dialogue" and isinstance(other, DialogueDataset):
        test = other.subset(np.arange(len(other)))
        items = {name: _metadata_of_dialogues(other.dialogues)}
        structures = {name: PairStructure.of(other.dialogues, test)}
        known = {normalize(answer) for answer in other.answers}
        more = [row for row, answer in enumerate(task.parts.answers) if normalize(answer) not in known]
        own = other.prepare(other.vectors.gather(other.answer_rows))
        bank = torch.from_numpy(np.concatenate([own, task.parts.answer_vectors[more]]))
        answers = [*other.answers, *(task.parts.answers[row] for row in more)]
        texts: Mapping[int, str] | None = dict(enumerate(answers))
    else:
        rows = other.input_rows[:, 0]
        if isinstance(other, DialogueDataset):
            rows = np.array(list(dict.fromkeys([*rows.tolist(), *other.target_rows.tolist()])), np.int64)
        test = PairDataset(other.vectors, rows, rows, rows, prepare=other.prepare)
        items = _metadata_of_rows(other, {name: test})
        structures, texts = _structures(items), _texts(other)
    parts = dataclasses.replace(task.parts, tests={name: test})
    return dataclasses.replace(task, parts=parts, tests=items, structures=structures, bank=bank, texts=texts)


def _metadata_of_dialogues(dialogues: Sequence[Dialogue]) -> PairMetadata:
    return PairMetadata(
        keys=_keys(json.dumps([*d.context, d.question, d.answer]).encode() for d in dialogues),
        questions=[d.question for d in dialogues],
        answers=[d.answer for d in dialogues],
        domains=[d.domain for d in dialogues] if any(d.domain for d in dialogues) else None,
        groups=[d.group for d in dialogues],
        contexts=[d.context for d in dialogues] if any(d.context for d in dialogues) else None,
    )


def _texts(dataset: Dataset) -> dict[int, str] | None:
    """The text of each row of the embeddings; None where texts are not known."""
    if isinstance(dataset, AutoencoderDataset):
        return None if dataset.texts is None else dict(enumerate(dataset.texts))
    return {row: text for row, text, _ in _rows_of(dataset)}


def _rows_of(dataset: DialogueDataset) -> Iterator[tuple[int, str, Dialogue]]:
    """The row of each question and answer, its text, and whose it is."""
    questions, answers = dataset.input_rows[:, 0].tolist(), dataset.target_rows.tolist()
    for dialogue, question, answer in zip(dataset.dialogues, questions, answers, strict=True):
        yield question, dialogue.question, dialogue
        yield answer, dialogue.answer, dialogue


def _metadata_of_rows(dataset: Dataset, parts: Mapping[str, PairDataset]) -> dict[str, PairMetadata]:
    """Of parts whose pairs are single embeddings and themselves."""
    texts = _texts(dataset)
    of: dict[int, Dialogue] = {}
    if isinstance(dataset, DialogueDataset):
        for row, _, dialogue in _rows_of(dataset):
            of.setdefault(row, dialogue)
    found = {}
    for name, part in parts.items():
        places = part.input_rows[:, 0]
        rows = places.tolist()
        if texts is None:
            found[name] = PairMetadata(_keys(row.tobytes() for row in part.vectors.gather(places)))
            continue
        here = [texts[row] for row in rows]
        found[name] = PairMetadata(
            keys=_keys(text.encode() for text in here),
            questions=here,
            answers=here,
            domains=[of[row].domain for row in rows] if any(each.domain for each in of.values()) else None,
            groups=[of[row].group if row in of else normalize(texts[row]) for row in rows],
        )
    return found


def _structures(items: Mapping[str, PairMetadata]) -> dict[str, PairStructure]:
    return {
        name: PairStructure(groups=_label_numbers(each.groups))
        for name, each in items.items()
        if each.groups is not None
    }


def _check_same_encoder(dataset: Dataset, other: Dataset, config: TrainingConfig) -> list[str]:
    """Notes on whether the embeddings are of one encoder. Raises InputError where they are not."""
    if other.dim != dataset.dim:
        raise InputError(f"the run's embeddings have {dataset.dim} numbers, those of the other file {other.dim}")
    if other.fingerprint == dataset.fingerprint:
        return []
    if is_ready(dataset.fingerprint) and is_ready(other.fingerprint):
        return ["Ready embeddings do not say which encoder made them: that it is the run's, you have to know."]
    if is_ready(dataset.fingerprint) and isinstance(dataset, DialogueDataset) and config.encoder is not None:
        cosine = agreement(
            create_encoder(config.encoder).encode,
            dataset.answers,
            MappedVectors(dataset.vectors, dataset.answer_rows),
            Preparation(),
            prompt=config.data.prompts.answer,
            encoder=f"the encoder {config.encoder}",
            there="the run's answers",
        )
        return [
            f"The run's embeddings came ready, and the other file was encoded with {config.encoder}: of the run's "
            f"answers its vectors have the cosine {cosine:.3f} to the ready ones."
        ]
    raise InputError(
        f"the run was trained on embeddings of {short_fingerprint(dataset.fingerprint)}, and the other file has those "
        f"of {short_fingerprint(other.fingerprint)}: they must be of one encoder"
    )


def _check_disjoint(dataset: Dataset, parts: Parts, other: Dataset) -> None:
    """Raise InputError if something of the other file was trained or selected on: a text in normal form or, where
    texts are not known, an embedding.
    """
    known = _texts_by_normal_form(dataset, np.array([*parts.rows["train"], *parts.rows["validation"]]))
    leaks = [shown for form, shown in _texts_by_normal_form(other, np.arange(len(other))).items() if form in known]
    if leaks:
        raise InputError(
            f"{len(leaks)} texts or embeddings of the other file are also in the training or validation part, the "
            f"first: {leaks[0][:80]!r}. Take them out of it: a test that was trained on measures memory"
        )


def _texts_by_normal_form(dataset: Dataset, rows: NDArray[np.int64]) -> dict[str, str]:
    """The texts of these rows (or, without texts, the embeddings), as they are, by their normal form."""
    if isinstance(dataset, DialogueDataset):
        dialogues = [dataset.dialogues[row] for row in rows.tolist()]
        return {normalize(text): text for each in dialogues for text in (each.question, each.answer)}
    if dataset.texts is not None:
        return {normalize(dataset.texts[row]): dataset.texts[row] for row in rows.tolist()}
    found = zip(rows.tolist(), dataset.vectors.gather(rows), strict=True)
    return {vector.tobytes().hex(): f"embedding {row}" for row, vector in found}


def _keys(contents: Iterable[bytes]) -> NDArray[np.str_]:
    return np.array([hashlib.sha256(content).hexdigest()[:16] for content in contents], dtype="U16")


def _label_numbers(labels: Sequence[Any]) -> Tensor:
    return torch.from_numpy(np.unique(labels, return_inverse=True)[1])
