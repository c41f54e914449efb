"""A run from texts to a trained core beside its baselines: what `python -m cubefast.train` does after it has read its
config.
"""

from __future__ import annotations

import functools
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from . import cli
from .config.data import BUILTIN
from .config.run_config import TrainingConfig
from .core import CubicCore
from .data.datasets import AutoencoderDataset, DialogueDataset, Parts
from .data.pairs import PairDataset
from .decoding import CalibratedThreshold
from .evaluation.baseline_comparison import Comparison
from .evaluation.baselines import as_baseline
from .evaluation.score_table import Score, table
from .evaluation.training_curves import training_curves
from .lattice.diagnostics import facts
from .pipeline import save_answers, save_threshold
from .training.convert_pairs import training_pairs
from .training.distributed import Processes
from .training.open_data import open_data, split_data, task_of
from .training.progress import METRIC_NAMES, EpochLines
from .training.result import TrainingResult
from .training.run_folder import RunFolder
from .training.trainer import CubeTrainer
from .training.training_state import finished_epochs
from .training.trust_choice import SHORTFALL_PENALTY, choose_handicap
from .training.validation import Validation, validate_models, validated_headline
from .utils.process_memory import peak_memory_mb
from .utils.terminal import columns, labelled, paragraph


def train(
    config: TrainingConfig, run: RunFolder, processes: Processes, *, resume: bool = False, argv: Sequence[str] = ()
) -> TrainingResult | None:
    """Load, encode, train, score, and fill the run's folder; or resume a run that was stopped.

    Args:
        config: the config of the run.
        run: the folder to fill.
        processes: the processes that train together, of which this is the main one.
        resume: whether to resume from the last checkpoint.
        argv: the arguments of the command, kept in environment.json.

    Returns:
        The result; None where a run to resume has nothing left to do, and stays as it is.
    """
    began = time.perf_counter()
    environment = {"command": [sys.argv[0], *argv], **facts(), "processes": processes.describe_all()}

    def on_start() -> None:
        """Write what describes the run. Not before training can start: a run that cannot be resumed stays as it is."""
        run.write("config.yaml", config.to_yaml())
        run.write_json("environment.json", environment)
        run.write_json("data.json", dataset.stats().as_dict())
        if parts.answers:
            save_answers(run, dataset.fingerprint, parts)
        run.discard_derived_files()

    try:
        trainer = CubeTrainer(config, run, EpochLines(config.training.metric), processes)
        if not resume:
            run.write("config.yaml", config.to_yaml())  # from now on the run can be resumed
            run.keep_metrics(0)
        _print_header(config, run, environment)
        dataset, parts = _load_data(config, processes)
        wrong_answers = _describe_wrong_answers(config, dataset)
        print(labelled("data", f"{len(dataset):,} pairs, {len(parts.answers):,} answers{wrong_answers}"))
        print(labelled("split", str(parts)))
        print(labelled("core", _describe_core(trainer.build_core(dataset.dim))))
        print(labelled("best epoch", _describe_objective(config)) + "\n", flush=True)
        if resume and (done := _finished_epochs(config, run, parts)) is not None:
            _print_nothing_left(config, run, done, config.training.epochs_of(len(parts.train)))
            return None
        validation = Validation.of_parts(parts)
        result = trainer.fit(parts.train, validation, resume=resume, on_start=on_start)
        if result.stopped == "interrupted" and processes.world_size > 1:
            return result  # torchrun ends all processes in a moment: there is no time for more
        if _is_refitted(config, result):
            pairs, batches = f"{len(dataset):,} pairs", f"{result.best_step:,} batches"
            refit = f"a second core, to serve, is trained on all {pairs} for {batches}; the scores are of the first"
            print(labelled("refit", refit), flush=True)
            run.save_refit(trainer.refit(_all_pairs(config, dataset, parts), result))
        outcome = _score(config, run, trainer, result, dataset, parts, validation)
    finally:
        run.discard_if_empty()
        run.close()
    _print_advice(config, result, run)
    spent = f"{time.perf_counter() - began:.0f} s, {peak_memory_mb():.0f} MB"
    _print_outcome(config, result, outcome, spent)
    print(f"\nsaved in {run.path}")
    if outcome.threshold is not None and isinstance(dataset, DialogueDataset):
        _print_commands(config, run, dataset, outcome.threshold)
    return result


@dataclass(frozen=True)
class _Outcome:
    """The scores on the tests, what they come to in a sentence, and the threshold of the answers, if there are any."""

    scores: list[Score]
    sentence: str
    threshold: CalibratedThreshold | None


def _score(
    config: TrainingConfig,
    run: RunFolder,
    trainer: CubeTrainer,
    result: TrainingResult,
    dataset: DialogueDataset | AutoencoderDataset,
    parts: Parts,
    validation: Validation,
) -> _Outcome:
    """Train the rivals, score all models on validation and the tests, and write what came of it into the run."""
    rivals = []
    if config.purpose == "retrieve" and result.stopped != "interrupted":
        rivals = trainer.rivals(parts.train, validation, counting=functools.partial(cli.counting, unit="steps"))
    comparison = Comparison(parts, task_of(config), config.data.noise, rivals=rivals)
    takes_questions = isinstance(dataset, DialogueDataset) and config.mode != "autoencoder"
    threshold = save_threshold(run, result.core, parts) if takes_questions else None
    if parts.bank is not None and config.purpose == "retrieve":
        handicap = choose_handicap(result.core, validation, torch.from_numpy(parts.trained))
        save_answers(run, dataset.fingerprint, parts, handicap, refitted=_is_refitted(config, result))
    cube, metric = as_baseline(result.core), config.training.metric
    validated = validate_models([cube, *comparison.baselines], validation)
    lines = {name: found[metric] for name, found in validated.items() if name != cube.name}
    run.write("curves.png", training_curves(result.records, metric, METRIC_NAMES[metric], lines, "png"))
    scores = comparison.scores(cube)
    sentence = ""
    if not comparison.denoise:
        sentence = validated_headline(cube, comparison.baselines, validation, validated, scores)
    if config.mode == "mixed" and isinstance(dataset, DialogueDataset):
        alone = dataset.split("autoencoder", config.seed)
        scores += Comparison(alone, "autoencoder", config.data.noise).scores(cube)
    run.write_json("report.json", {"headline": sentence, "scores": [each.as_dict() for each in scores]})
    return _Outcome(scores, sentence, threshold)


def _print_outcome(config: TrainingConfig, result: TrainingResult, outcome: _Outcome, spent: str) -> None:
    best = f"best epoch {result.best_epoch} of {len(result.records)}"
    value = f"validation {METRIC_NAMES[config.training.metric]} {result.best_value:.4f}"
    print("\n" + paragraph(f"{result.stopped}: {best}, {value}; {spent}"))
    if outcome.sentence:
        print("\n" + paragraph(outcome.sentence))
    if outcome.scores:
        print(table(outcome.scores, columns()))
        legend = (
            "(R@1, R@10: how often the right answer is first, or among the first ten; MRR: the mean of 1 / its rank; "
            "cosine: to the right answer; *: best of its column)"
        )
        print("\n" + paragraph(legend))


def _print_commands(
    config: TrainingConfig, run: RunFolder, dataset: DialogueDataset, threshold: CalibratedThreshold
) -> None:
    """Print what to do next. Commands are not wrapped, so that they can be copied."""
    encoder = "" if config.encoder else " --encoder NAME"  # only the user knows which encoder made ready embeddings
    question = shlex.quote(dataset.dialogues[0].question)  # it may hold what a shell would run
    print(f"try: python -m cubefast.ask {shlex.quote(str(run.path))} {question}{encoder}")
    print(paragraph(f"(it answers {threshold.describe()})", " " * 5, " " * 5))
    print(f"     python -m cubefast.evaluate {shlex.quote(str(run.path))}")


def _print_advice(config: TrainingConfig, result: TrainingResult, run: RunFolder) -> None:
    """Say if more epochs might help, or if the core helps with no question at all."""
    trust = result.core.trust
    if trust is not None and float(trust.curve[2:].max()) == 0:
        advice = (
            "validation shows no questions that the core is sure to help with: it leaves every question as it is. "
            "More pairs, or more wordings of each answer, would show more"
        )
        print("\n" + paragraph(advice))
    planned = result.planned_epochs
    if result.best_epoch == len(result.records) == planned and config.training.schedule != "one_cycle":
        advice = "the best epoch was the last one; more epochs may give a better core:"
        print(f"\n{advice}\n  {_with_more_epochs(run, planned)}")


def _with_more_epochs(run: RunFolder, epochs: int) -> str:
    """The command that goes on with a run whose epochs are done."""
    return f"python -m cubefast.train --resume {shlex.quote(str(run.path))} training.epochs={2 * epochs}"


def _finished_epochs(config: TrainingConfig, run: RunFolder, parts: Parts) -> int | None:
    """The number of epochs of a run that is trained and scored; None for one that can be continued."""
    if not (run.path / "report.json").exists():
        return None
    return finished_epochs(run.checkpoints, config, training_pairs(config, parts.train))


def _print_nothing_left(config: TrainingConfig, run: RunFolder, done: int, planned: int) -> None:
    why = f"all {planned} epochs are done" if done >= planned else f"there was no more progress after epoch {done}"
    print(paragraph(f"nothing left to do: {why}, and the run is scored; it stays as it is"))
    if config.training.schedule != "one_cycle":
        print(f"for more epochs: {_with_more_epochs(run, planned)}")


def train_as_worker(
    config: TrainingConfig, run: RunFolder | None, processes: Processes, *, resume: bool = False
) -> TrainingResult | None:
    """Train in a process beside the main one: it works on its share of each batch, and writes and prints nothing.

    Args:
        config: the config of the run.
        run: the run to resume; None for a new one.
        processes: the processes that train together.
        resume: whether to resume from the last checkpoint.
    """
    processes.describe_all()  # all processes must call it
    trainer = CubeTrainer(config, run, None, processes)
    dataset, parts = _load_data(config, processes)
    if resume and run is not None and _finished_epochs(config, run, parts) is not None:
        return None
    result = trainer.fit(parts.train, Validation.of_parts(parts), resume=resume)
    if _is_refitted(config, result):
        trainer.refit(_all_pairs(config, dataset, parts), result)
    return result


def _is_refitted(config: TrainingConfig, result: TrainingResult) -> bool:
    return config.training.refit and result.stopped != "interrupted"


def _all_pairs(config: TrainingConfig, dataset: DialogueDataset | AutoencoderDataset, parts: Parts) -> PairDataset:
    """All pairs of the data set, for the same task as the training part and prepared like it."""
    if isinstance(dataset, DialogueDataset):
        whole = dataset.all_pairs(task_of(config), config.seed)
    else:
        whole = dataset.subset(np.arange(len(dataset)))
    whole.prepare, whole.teachers = parts.train.prepare, parts.train.teachers
    return whole


def _load_data(config: TrainingConfig, processes: Processes) -> tuple[DialogueDataset | AutoencoderDataset, Parts]:
    """The data set and its split; of several processes on a machine, one encodes and the others wait."""
    with processes.local_main_first():
        dataset = open_data(config, cli.counting)
    return dataset, split_data(config, dataset)


def _describe_wrong_answers(config: TrainingConfig, dataset: DialogueDataset | AutoencoderDataset) -> str:
    """How many wrong answers the data set has, and whether a loss uses them."""
    count = sum(len(each.negatives) for each in dataset.dialogues) if isinstance(dataset, DialogueDataset) else 0
    if count == 0:
        return ""
    losses = config.training.losses
    unused = "" if losses.takes_negatives else ", not used: training.losses.contrast and triplet are 0"
    return f", {count} wrong answers{unused}"


def _print_header(config: TrainingConfig, run: RunFolder, environment: dict[str, object]) -> None:
    kernel, threads = environment["kernel"], environment["threads"]
    isa = f" ({kernel['isa']})" if environment["backend"] == "cpp" and isinstance(kernel, dict) else ""
    print(f"cubefast {environment['cubefast']}, mode {config.mode}, seed {config.seed} -> {run.path}")
    on = f"{threads} thread{'' if threads == 1 else 's'}"
    print(labelled("backend", f"{environment['backend']}{isa}, {on}: {environment['backend_why']}"))
    processes = environment["processes"]
    if isinstance(processes, list) and len(processes) > 1:
        shares = ", ".join(f"{each['threads']} on {each['host']}" for each in processes)
        print(labelled("processes", f"{len(processes)}, with threads: {shares}"))
    data = "the built-in set" if config.data.path == BUILTIN else config.data.path
    print(labelled("reading", data), flush=True)


def _describe_core(core: CubicCore) -> str:
    x, y, z = core.reshaper.shape
    lattice = core.lattice
    return (
        f"lattice {x}x{y}x{z}, {lattice.steps} steps in {len(lattice.phases)} phases, state {lattice.state_size}, "
        f"hidden {lattice.hidden_size}; {core.parameter_count():,} parameters"
    )


def _describe_objective(config: TrainingConfig) -> str:
    """The figure by which the best epoch is chosen; the lines of the epochs have it."""
    metric = f"validation {METRIC_NAMES[config.training.metric]}"
    if config.training.metric != "mrr" or not config.core.prototypes:
        return f"the highest {metric}"
    penalty = f"{SHORTFALL_PENALTY:g} times the MRR that may be lost against the unchanged embeddings"
    return f"the highest objective: interpolated {metric}, less {penalty}"
