"""A finished run and the data that it is evaluated on: its own held-out tests, or all pairs of another file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import Tensor

from ..config.run_config import TrainingConfig
from ..core import CubicCore
from ..data.create_datasets import ProgressFactory
from ..data.datasets import AutoencoderDataset, DialogueDataset, Parts
from ..data.embeddings.encoder_agreement import check_encoder_agreement
from ..data.embeddings.precomputed import is_precomputed
from ..data.embeddings.vectors import Preparation, VectorsView
from ..data.encoding.create_encoder import create_encoder
from ..data.encoding.display_names import short_fingerprint
from ..data.pairs import PairDataset
from ..data.reading.dialogues import Dialogue, normalize
from ..errors import ArtifactError, InputError
from ..evaluation.conversation_metrics import PairStructure
from ..training.open_data import open_data
from ..training.run_folder import RunFolder
from ..utils.files import read_json

Dataset = DialogueDataset | AutoencoderDataset

_STATISTICS = TypeAdapter(dict[str, Any])


@dataclass(frozen=True)
class PairMetadata:
    """What is known of the n pairs of a test apart from their embeddings.

    Attributes:
        keys: n hexadecimal texts, the same for the same pair: of its texts or, without any, of its embeddings.
        dialogues: the n pairs as texts; of an autoencoder with the same text twice. None where texts are not known.
        structure: their groups and conversations.
    """

    keys: NDArray[np.str_]
    dialogues: list[Dialogue] | None
    structure: PairStructure


@dataclass(frozen=True)
class TaskData:
    """The data of one task, ready to be scored: question to answer, or noisy text to clean text.

    Attributes:
        mode: dialogue or autoencoder.
        parts: train and validation of the run, and the tests.
        tests: by the name of each test, the metadata of its pairs.
        train: the training pairs as texts; empty where texts are not known.
        bank: [answers, D], all answers that the tests rank among, whose rows their target ids are; None: an
            autoencoder's different targets.
        texts: the text of each target id; None where texts are not known.
    """

    mode: str
    parts: Parts
    tests: dict[str, PairMetadata]
    train: list[Dialogue]
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


def open_run_data(path: str | Path, overrides: Sequence[str] = (), counting: ProgressFactory | None = None) -> RunData:
    """Open a run and rebuild its data as it was trained; with ``data=FILE`` among the overrides, test on that file.

    A question's answer is ranked among all answers of the run's data, trained and new together. With ``data=FILE`` it
    is ranked among all answers of that file and those of the run that the file does not have.

    Raises:
        ArtifactError: no finished run, or its data or encoder are no longer what they were.
        InputError: overrides of other keys than ``data``, a file that cannot be read or shares questions with training,
            or a run that holds nothing out for tests, without a file.
    """
    run = RunFolder.open(path)
    config = run.load_config()
    other_file = _other_file(run, config, overrides)
    core = run.load_best_core()
    dataset = open_data(config, counting, teachers=False)
    _check_unchanged(run, dataset)
    modes = {"dialogue": ["dialogue"], "autoencoder": ["autoencoder"], "mixed": ["dialogue", "autoencoder"]}[
        config.mode
    ]
    tasks = [_own_task(dataset, mode, config.seed) for mode in modes]
    if other_file is None:
        if not tasks[0].parts.tests:
            raise InputError(f"{run.path} holds nothing out for tests (data.split). Name a file with data=FILE")
        return RunData(run, config, core, tasks, None, dataset.fingerprint, [])
    source, other_config = other_file
    other = open_data(other_config, counting, teachers=False)
    notes = _check_same_encoder(dataset, other, other_config)
    _check_disjoint(dataset, tasks[0], other)
    notes += _known_answers(dataset, tasks[0], other)
    name = Path(source).name
    tasks = [_task_on_file(task, other, name) for task in tasks]
    return RunData(run, config, core, tasks, source, other.fingerprint, notes)


def _other_file(run: RunFolder, config: TrainingConfig, overrides: Sequence[str]) -> tuple[str, TrainingConfig] | None:
    """The file that the overrides name, and its config; None without any. Raises InputError for other keys.

    The file's embeddings come from ``data.vectors`` of the overrides, or its texts are encoded. The ``data.vectors`` of
    the run are never used for it.
    """
    keys = {item.partition("=")[0]: item.partition("=")[2] for item in overrides}
    ready = config.data.vectors is not None
    if beyond := [
        key for key in keys if not (key == "data" or key.startswith("data.") or (key == "encoder" and ready))
    ]:
        raise InputError(
            f"an evaluation takes data=FILE and data.* keys only, for the rest is the run's; got {', '.join(beyond)}"
        )
    if not keys:
        return None
    source = keys.get("data", keys.get("data.path"))
    if source is None:
        raise InputError(f"{', '.join(keys)}: these describe another file; name it with data=FILE")
    if not ready or "data.vectors" in keys:
        return source, run.load_config(overrides)
    if "encoder" not in keys and config.encoder is None:
        raise InputError(
            "the run was trained on ready embeddings, so another file needs its own by the same encoder: give "
            "data.vectors=FILE too, or that encoder with encoder=NAME"
        )
    none = ["data.vectors=null", *(["data.answer_vectors=null"] if "data.answer_vectors" not in keys else [])]
    return source, run.load_config([*overrides, *none])


def _check_unchanged(run: RunFolder, dataset: Dataset) -> None:
    """Raise ArtifactError if the data or the encoder are not those the run was trained with."""
    remedy = "Put back what was there, or train again"
    if (answers := run.load_answers()) is not None:
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
    parts = dataset.split(mode, seed) if isinstance(dataset, DialogueDataset) else dataset.split()
    if isinstance(dataset, DialogueDataset) and mode == "dialogue":
        dialogues = {name: [dataset.dialogues[row] for row in rows] for name, rows in parts.rows.items()}
        tests = {name: _of_dialogues(dialogues[name], part) for name, part in parts.tests.items()}
        bank = torch.from_numpy(parts.answer_vectors)
        return TaskData(mode, parts, tests, dialogues["train"], bank, dict(enumerate(parts.answers)))
    singles = _singles(dataset)
    tests = {name: _of_singles(singles, part) for name, part in parts.tests.items()}
    train = [singles[row] for row in parts.train.input_rows[:, 0].tolist()] if singles is not None else []
    return TaskData(mode, parts, tests, train, None, _texts(singles))


def _task_on_file(task: TaskData, other: Dataset, name: str) -> TaskData:
    """The same training and validation, and all of another data set as the one test.

    A file may have answers that the run has in its tests. Each stands in the bank once, as in the file.
    """
    other.prepare = task.parts.prepare
    bank: Tensor | None = None
    if task.mode == "dialogue" and isinstance(other, DialogueDataset):
        test = other.subset(np.arange(len(other)))
        items = _of_dialogues(other.dialogues, test)
        known = {normalize(answer) for answer in other.answers}
        more = [row for row, answer in enumerate(task.parts.answers) if normalize(answer) not in known]
        own = other.prepare(other.vectors.gather(other.answer_rows))
        bank = torch.from_numpy(np.concatenate([own, task.parts.answer_vectors[more]]))
        answers = [*other.answers, *(task.parts.answers[row] for row in more)]
        texts: Mapping[int, str] | None = dict(enumerate(answers))
    else:
        singles = _singles(other)
        rows = other.input_rows[:, 0] if singles is None else np.array(list(singles), np.int64)
        test = PairDataset(other.vectors, rows, rows, rows, prepare=other.prepare)
        items, texts = _of_singles(singles, test), _texts(singles)
    parts = dataclasses.replace(task.parts, tests={name: test})
    return dataclasses.replace(task, parts=parts, tests={name: items}, bank=bank, texts=texts)


def _of_dialogues(dialogues: list[Dialogue], part: PairDataset) -> PairMetadata:
    keys = _keys(json.dumps([*each.context, each.question, each.answer]).encode() for each in dialogues)
    return PairMetadata(keys, dialogues, PairStructure.of(dialogues, part))


def _singles(dataset: Dataset) -> dict[int, Dialogue] | None:
    """Each text as question and answer in one, by its row among the embeddings; None where texts are not known."""
    if isinstance(dataset, AutoencoderDataset):
        if dataset.texts is None:
            return None
        return {row: Dialogue(text, text, "", normalize(text)) for row, text in enumerate(dataset.texts)}
    found: dict[int, Dialogue] = {}
    for side, rows in (("question", dataset.input_rows[:, 0]), ("answer", dataset.target_rows)):
        for each, row in zip(dataset.dialogues, rows.tolist(), strict=True):
            text = getattr(each, side)
            found.setdefault(row, Dialogue(text, text, each.domain, each.group))
    return found


def _texts(singles: Mapping[int, Dialogue] | None) -> dict[int, str] | None:
    return None if singles is None else {row: each.question for row, each in singles.items()}


def _of_singles(singles: Mapping[int, Dialogue] | None, part: PairDataset) -> PairMetadata:
    """The metadata of pairs that are single embeddings and themselves."""
    rows = part.input_rows[:, 0]
    if singles is None:
        return PairMetadata(_keys(row.tobytes() for row in part.vectors.gather(rows)), None, PairStructure())
    found = [singles[row] for row in rows.tolist()]
    groups = torch.from_numpy(np.unique([each.group for each in found], return_inverse=True)[1])
    return PairMetadata(_keys(each.question.encode() for each in found), found, PairStructure(groups))


def _check_same_encoder(dataset: Dataset, other: Dataset, config: TrainingConfig) -> list[str]:
    """Notes on whether the embeddings are of one encoder. Raises InputError where they are not."""
    if other.dim != dataset.dim:
        raise InputError(f"the run's embeddings have {dataset.dim} numbers, those of the other file {other.dim}")
    if other.fingerprint == dataset.fingerprint:
        return []
    if is_precomputed(dataset.fingerprint) and is_precomputed(other.fingerprint):
        return ["Ready embeddings do not say which encoder made them: that it is the run's, you have to know."]
    if is_precomputed(dataset.fingerprint) and isinstance(dataset, DialogueDataset) and config.encoder is not None:
        cosine = check_encoder_agreement(
            create_encoder(config.encoder).encode,
            dataset.answers,
            VectorsView(dataset.vectors, dataset.answer_rows),
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


def _check_disjoint(dataset: Dataset, task: TaskData, other: Dataset) -> None:
    """Raise InputError if something of the other file was trained or selected on: a question in normal form (its answer
    may be a known one); of an autoencoder any text or, where texts are not known, an embedding.
    """
    inputs_alone = task.mode == "dialogue" and isinstance(other, DialogueDataset)
    seen = np.array([*task.parts.rows["train"], *task.parts.rows["validation"]])
    known = _contents(dataset, seen, inputs_alone)
    leaks = [shown for form, shown in _contents(other, np.arange(len(other)), inputs_alone).items() if form in known]
    if leaks:
        what = "questions" if inputs_alone else "texts or embeddings"
        raise InputError(
            f"{len(leaks)} {what} of the other file are also in the training or validation part, the first: "
            f"{leaks[0][:80]!r}. Take them out of it: a test that was trained on measures memory"
        )


def _known_answers(dataset: Dataset, task: TaskData, other: Dataset) -> list[str]:
    """A note on how many questions of the other file have an answer that was trained, if any have."""
    if task.mode != "dialogue" or not isinstance(dataset, DialogueDataset) or not isinstance(other, DialogueDataset):
        return []
    trained = {normalize(dataset.dialogues[row].answer) for row in task.parts.rows["train"]}
    known = sum(normalize(each.answer) in trained for each in other.dialogues)
    if not known:
        return []
    return [f"Of the {len(other):,} questions of the file, {known:,} have an answer that the core was trained on."]


def _contents(dataset: Dataset, pairs: NDArray[np.int64], inputs_alone: bool) -> dict[str, str]:
    """The texts of these pairs (or, without texts, the embeddings), as they are, by their normal form."""
    rows = dataset.input_rows[pairs, 0]
    rows = np.unique(rows if inputs_alone else np.concatenate([rows, dataset.target_rows[pairs]]))
    singles = _singles(dataset)
    if singles is not None:
        texts = [singles[row].question for row in rows.tolist()]
        return {normalize(text): text for text in texts}
    vectors = dataset.vectors.gather(rows)
    return {vector.tobytes().hex(): f"embedding {row}" for row, vector in zip(rows.tolist(), vectors, strict=True)}


def _keys(contents: Iterable[bytes]) -> NDArray[np.str_]:
    return np.array([hashlib.sha256(content).hexdigest()[:16] for content in contents], dtype="U16")
