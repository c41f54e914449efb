"""The training loop."""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ..config.run_config import TrainingConfig
from ..core import CubicCore
from ..data.create_datasets import ProgressFactory
from ..data.pairs import PairDataset
from ..errors import ArtifactError, InputError
from ..evaluation.baselines import Baseline, as_baseline
from ..evaluation.score_table import HeldOutTest, Score, score
from ..utils.process_memory import peak_memory_mb
from ..utils.threads import float32_default
from .batches import ordered_batches
from .convert_pairs import as_pairs, training_pairs, validation_of
from .crossfit import CrossFit, cross_fit
from .curriculum import batches_of_epochs, difficulty, easiest, pairs_of_epoch
from .distributed import Processes
from .hard_negatives import mine_hard_negatives
from .init_from import initialize_from
from .losses import total_loss
from .progress import Progress
from .result import StopReason, TrainingResult
from .rival_adapters import train_rivals
from .run_folder import RunFolder, require_tensorboard
from .step_log import StepLog
from .training_state import TrainingState, identity_of, newest_checkpoint
from .trust_choice import choose_repulsion, fit_trust, known_answers, validate
from .validation import Validation

_MAX_RIVAL_VALIDATIONS = 12
Bank = Tensor | NDArray[np.floating] | None


class DivergenceError(RuntimeError):
    """Raised when the loss or a validation metric is NaN or infinite."""


@dataclass(eq=False)
class _PreparedTraining:
    """One training: its pairs and state, what is computed before the first step, and its length."""

    train: PairDataset
    state: TrainingState
    model: nn.Module
    crossfit_targets: Tensor | None
    negative_rows: Tensor | None
    identity: dict[str, Any]
    batches: int


class CubeTrainer:
    """Trains a :class:`CubicCore` on pairs of embeddings.

    Args:
        config: a :class:`TrainingConfig`, a mapping of its keys, or a YAML file.
        run: the folder for records and the best core; None keeps them in memory only.
        progress: callbacks that show the progress; by default nothing is shown.
        processes: the processes that train together; by default this one alone.

    Example::

        trainer = CubeTrainer({"training": {"epochs": 5}})
        result = trainer.fit((questions, answers), (val_questions, val_answers))    # arrays [n, D]
        better = result.core(torch.from_numpy(new_questions))
    """

    def __init__(
        self,
        config: TrainingConfig | Mapping[str, Any] | str | Path | None = None,
        run: RunFolder | None = None,
        progress: Progress | None = None,
        processes: Processes | None = None,
    ) -> None:
        self.config = config if isinstance(config, TrainingConfig) else TrainingConfig.load(config)
        self.run = run
        self.progress = progress or Progress()
        self.processes = processes or Processes()
        self._writes_to = run if self.processes.is_main else None
        if self.config.tensorboard:
            require_tensorboard()
        self.core: CubicCore | None = None

    @float32_default()
    def build_core(self, dim: int) -> CubicCore:
        """An untrained core of the config, the same for the same seed. Raises InputError if its sizes do not fit."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            try:
                return CubicCore(dim, **self.config.core.model_dump(exclude={"memory"}), sides=self.config.sides)
            except ValueError as error:
                raise InputError(f"core does not fit embeddings of {dim} numbers: {error}") from None

    @float32_default()
    def fit(
        self,
        train: Any,
        validation: Any,
        *,
        bank: Bank = None,
        resume: bool = False,
        on_start: Callable[[], None] = lambda: None,
    ) -> TrainingResult:
        """Train until the epochs are over or validation makes no more progress.

        Args:
            train: a :class:`PairDataset` (also one larger than memory), :class:`EmbeddingPairs`, or (inputs, targets)
                as arrays [n, D]. In autoencoder mode the latter two get the noise of ``data.noise``.
            validation: the same, or a mapping of the regimes' names to such pairs, which then count the same; held in
                memory, with one draw of its noise. Or that as a :class:`~cubefast.training.validation.Validation`.
            bank: [answers, D], all answers that a question's is ranked among, whose rows the target ids of
                ``validation`` then are; None: the different targets of training and validation (of an autoencoder, of
                validation alone).
            resume: resume from the run's newest checkpoint, with the same bits as without the interruption. A run
                whose epochs are all done continues if the config has more of them.
            on_start: called before the first step, after all checks.

        Returns:
            The result; ``result.core`` is also ``trainer.core``. Ctrl-C after the first epoch ends the training early
            and returns what there is.

        Raises:
            InputError: the pairs or the core's sizes do not fit.
            ArtifactError: the checkpoint to resume from is missing, damaged, or of another config or data.
            DivergenceError: the loss became NaN or Inf; the best core so far and the last checkpoint are kept.
            LostProcessError: another process of the same training has ended.
        """
        train = training_pairs(self.config, train)
        held_out = validation_of(self.config, train, validation, bank)
        training = self._prepare(train, resume=resume)
        on_start()
        state, options = training.state, self.config.training
        stopped: StopReason = "all epochs done"
        self.progress.start(state.epochs, training.batches, state.epoch, state.step)
        try:
            for epoch in range(state.epoch + 1, state.epochs + 1):
                if self._has_stalled(state):
                    break
                start = time.perf_counter()
                means = self._train_epoch(training, epoch)
                candidate = state.candidate()
                validated = validate(candidate, held_out, options.metric, self.processes)
                seconds = time.perf_counter() - start
                record: dict[str, Any] = {
                    **{"event": "epoch", "epoch": epoch, "step": state.step, **means},
                    **{f"val_{name}": value for name, value in validated.metrics.items()},
                    "pairs_per_second": means["pairs"] / seconds,
                    "seconds": seconds,
                    "peak_memory_mb": peak_memory_mb(),
                }
                is_best = state.end_epoch(record, candidate, validated.objective, validated.chosen)
                if self._writes_to is not None:
                    self._writes_to.record(record)
                    if is_best:
                        self._writes_to.save_best(state.best_core())
                    state.save(self._writes_to.checkpoints, options.keep, training.identity)
                self.progress.epoch(record, state.best_epoch, validated.objective)
            if self._has_stalled(state):
                stopped = "no more progress"
        except KeyboardInterrupt:
            if state.best_epoch == 0:
                raise
            stopped = "interrupted"
            self.processes.ignore_interrupts()
        finally:
            self.progress.end()
        self.core = state.best_core()
        if stopped != "interrupted":
            self.core = self._with_memory(self.core, train, held_out)
        value = float(state.records[state.best_epoch - 1][f"val_{options.metric}"])
        return TrainingResult(self.core, state.best_epoch, value, state.records, stopped, state.epochs)

    @float32_default()
    def refit(self, pairs: Any, result: TrainingResult) -> CubicCore:
        """Train another core on all pairs, for as many steps as were best on validation: the core to serve.

        An untrained core of the same seed is trained on as many batches as ``result`` had been at its best epoch. The
        learning rate schedule spans the batches that :meth:`fit` trained on; where that stopped early, the rates differ
        from those of :meth:`fit`, and a plateau schedule keeps its first rate. The trust is that of ``result``,
        which was chosen on topics that ``result`` was not trained on. No pairs are left to score the core on: the
        scores to report are those of ``result``.

        Args:
            pairs: as ``train`` of :meth:`fit`, those of training, validation and test together.
            result: what :meth:`fit` returned.
        """
        training = self._prepare(training_pairs(self.config, pairs), refit_batches=int(result.records[-1]["step"]))
        epoch = 0
        while training.state.step < result.best_step:
            epoch += 1
            self._train_epoch(training, epoch, until=result.best_step)
        core, chosen = training.state.candidate(), result.core.trust
        if core.answer_map is not None:
            core.answer_weight.copy_(result.core.answer_weight)
        if core.trust is not None and chosen is not None:
            core.trust.curve.copy_(chosen.curve)
            if len(chosen.answers):
                answers = known_answers(training.train, self.config.core.memory, self.config.seed)
                core.remember(core.map_answers(answers), chosen.strength)
        return core

    @float32_default()
    def rivals(
        self, train: Any, validation: Any, *, bank: Bank = None, counting: ProgressFactory | None = None
    ) -> list[Baseline]:
        """Train the adapters in common use on the same pairs as a core of this config, with the same losses, negatives
        and choice by validation; see :func:`cubefast.training.rival_adapters.train_rivals`.

        Args:
            train, validation, bank: as of :meth:`fit`.
            counting: called with what is trained, in words, and the number of steps; what it returns is called with the
                number of steps done, first with 0.
        """
        train = training_pairs(self.config, train)
        held_out = validation_of(self.config, train, validation, bank)
        options = self.config.training
        epochs = options.epochs_of(len(train))
        steps = epochs * math.ceil(len(train) / options.batch_size)
        what = "rivals adapters, trained on the same pairs with the same losses"
        cross_fitted, negative_rows = self._crossfit_and_negatives(train)
        return train_rivals(
            train,
            held_out,
            options,
            sides=self.config.sides,
            max_parameters=self.build_core(train.dim).parameter_count(),
            steps=steps,
            validations=min(epochs, _MAX_RIVAL_VALIDATIONS),
            crossfit_targets=None if cross_fitted is None else cross_fitted.targets,
            negative_rows=negative_rows,
            seed=self.config.seed,
            on_step=counting(what, steps) if counting is not None else lambda done: None,
        )

    def _with_memory(self, core: CubicCore, train: PairDataset, held_out: Validation) -> CubicCore:
        """The best core with the answers of training in its memory, if these improve validation enough."""
        if core.trust is None or not (core.normalize and self.config.core.memory):
            return core
        answers = core.map_answers(known_answers(train, self.config.core.memory, self.config.seed))
        chosen = choose_repulsion(core, held_out, answers)
        if chosen is not None:
            core.trust.curve.copy_(chosen.curve)
            core.remember(answers, chosen.strength)
            if self._writes_to is not None:
                self._writes_to.save_best(core)
        return core

    def _prepare(
        self, train: PairDataset, *, resume: bool = False, refit_batches: int | None = None
    ) -> _PreparedTraining:
        """An untrained core and the state of its training, or those of the newest checkpoint.

        Args:
            train: the pairs.
            resume: whether to resume from the newest checkpoint.
            refit_batches: for a refit, which records nothing, the number of batches that the learning rate schedule
                covers; None: those of all epochs.
        """
        refit = refit_batches is not None
        options = self.config.training
        core = self.build_core(train.dim)
        core.reshaper.fit(part for inputs, targets, _ in train.batches(noisy=False) for part in (inputs, targets))
        if core.trust is not None:
            fit_trust(core.trust, train, self.config.seed)
        if self.config.init_from is not None and not resume:
            trained = CubicCore.from_pretrained(Path(self.config.init_from) / "best")
            initialize_from(core, trained, self.config.init_from)
        epochs = options.epochs_of(len(train))
        batches = batches_of_epochs(options, len(train), epochs, refit_batches)
        steps = sum(math.ceil(count / options.accumulate) for count in batches)
        state = TrainingState.initial(core, options, epochs, steps, self.config.seed)
        is_compared = (self.run is not None and not refit) or self.processes.world_size > 1
        identity = identity_of(self.config, train) if is_compared else {}
        if resume:
            self._resume(state, identity)
        self.processes.check_same("settings, pairs and checkpoint", (identity, state.epoch))
        start = time.perf_counter()
        cross_fitted, negative_rows = self._crossfit_and_negatives(train)
        if cross_fitted is not None and not refit:
            chosen = {"cosine": cross_fitted.cosine, "width": cross_fitted.width, "ridge": cross_fitted.ridge}
            record = {"event": "crossfit", "epoch": 0, "step": 0, **chosen, "seconds": time.perf_counter() - start}
            if self._writes_to is not None and state.epoch == 0:
                self._writes_to.record(record)
            self.progress.crossfit(record)
        model = self.processes.model(state.core)
        if self._writes_to is not None and self.config.tensorboard and not refit:
            self._writes_to.start_tensorboard(state.step)
        targets = None if cross_fitted is None else cross_fitted.targets
        return _PreparedTraining(train, state, model, targets, negative_rows, identity, sum(batches))

    def _crossfit_and_negatives(self, train: PairDataset) -> tuple[CrossFit | None, Tensor | None]:
        """The cross-fitted targets and the rows of the hard negatives, each None unless a loss uses it. A resumed run
        computes the same ones. An autoencoder has neither, because its targets are its inputs.
        """
        losses = self.config.training.losses
        if self.config.mode == "autoencoder":
            return None, None
        cross_fitted = cross_fit(train, self.config.seed) if losses.crossfit else None
        hard = losses.hard_negatives if losses.takes_negatives else 0
        return cross_fitted, mine_hard_negatives(train, hard, self.config.seed) if hard else None

    def _train_epoch(self, training: _PreparedTraining, epoch: int, until: int | None = None) -> dict[str, float]:
        """Train for one epoch; returns the means of what was logged. In a refit, ``until`` is the batch to stop after,
        and nothing is recorded.
        """
        state, model, train = training.state, training.model, training.train
        options = self.config.training
        core, optimizer = state.core, state.optimizer
        train.set_epoch(epoch)
        pairs = pairs_of_epoch(options.curriculum, epoch, len(train))
        order = torch.randperm(pairs, generator=state.order)
        if pairs < len(train):
            order = easiest(difficulty(train, options.curriculum.order, core), pairs)[order]
        batches = order.split(options.batch_size)
        if until is not None:
            batches = batches[: until - state.step]
        log = StepLog(epoch, state.step, options.log_every, self._writes_to if until is None else None)
        rate = optimizer.param_groups[0]["lr"]
        map_answers = None if core.answer_map is None else functools.partial(self._map_answers, core)
        prepared = ordered_batches(train, batches, options.workers, training.negative_rows, training.crossfit_targets)
        for number, batch in enumerate(prepared, start=1):
            takes_step = number % options.accumulate == 0 or number == len(batches)
            first = (number - 1) // options.accumulate * options.accumulate  # batches before this step of the optimizer
            with (
                model.no_sync()  # gradients are averaged over the processes where the optimizer takes a step next
                if isinstance(model, DistributedDataParallel) and not takes_step
                else contextlib.nullcontext()
            ):
                predicted = self.processes.gather(self._forward(model, batch.inputs, state.step), len(batch.inputs))
                loss, parts = total_loss(options.losses, predicted, batch, state.queue, map_answers)
                if not loss.isfinite():
                    raise DivergenceError(
                        f"the loss became {loss.item()} at epoch {epoch}, step {number}; the best core before it is "
                        "kept, and so is the last checkpoint. Lower training.lr or training.clip"
                    )
                # Gradients are averaged over the processes, and each has those of its share alone: hence their count.
                (loss * self.processes.world_size / min(options.accumulate, len(batches) - first)).backward()
            norm = None
            if takes_step:
                norm = float(clip_grad_norm_(core.parameters(), options.clip))
                optimizer.step()
                optimizer.zero_grad()
                if state.averaged is not None:
                    state.averaged.update_parameters(core)
                if not isinstance(state.scheduler, ReduceLROnPlateau):
                    state.scheduler.step()
            state.queue.push(batch.targets, batch.target_ids)
            state.step += 1
            log.add(len(batch.inputs), loss.item(), parts, norm, optimizer.param_groups[0]["lr"])
            if until is None:
                self.progress.step(loss.item())
        return {"pairs": pairs, "share": pairs / len(train), "lr": rate, **log.means()}

    def _forward(self, model: nn.Module, inputs: Tensor, step: int) -> Tensor:
        """Put this process's share of a batch through the core, with random numbers of the seed, step and rank."""
        options = self.config.training
        share = self.processes.share(inputs)
        if not options.state_noise and not options.cell_dropout:
            return cast(Tensor, model(share))
        with torch.random.fork_rng(devices=[]):
            seeds = np.random.SeedSequence((self.config.seed, step, self.processes.rank))
            torch.manual_seed(int(seeds.generate_state(1)[0]))
            return cast(Tensor, model(share, state_noise=options.state_noise, cell_dropout=options.cell_dropout))

    def _map_answers(self, core: CubicCore, answers: Tensor) -> Tensor:
        """The core's map of answers [n, D] -> [n, D], of which each process computes its share."""
        return self.processes.gather(core.map_answers(self.processes.share(answers)), len(answers))

    def _has_stalled(self, state: TrainingState) -> bool:
        patience = self.config.training.early_stopping
        return patience is not None and state.without_progress >= patience

    def _resume(self, state: TrainingState, identity: dict[str, Any]) -> None:
        if self.run is None:
            raise InputError("there is nothing to resume without a run's folder; give CubeTrainer a run")
        checkpoint = newest_checkpoint(self.run.checkpoints)
        if checkpoint is None:
            raise ArtifactError(f"{self.run.path} has no checkpoint to go on from. Train anew")
        state.load(checkpoint, identity)
        if self._writes_to is not None:
            self._writes_to.keep_metrics(state.epoch)
            # The folder may have the one of an epoch that is about to be done again.
            self._writes_to.save_best(state.best_core())

    @float32_default()
    def evaluate(self, data: Any, name: str = "test") -> Score:
        """Score the trained core on held-out pairs: cosine and retrieval.

        Args:
            data: pairs in the forms that :meth:`fit` takes as ``train``; the noise of a data set is left out.
            name: the title of the test in the returned Score.

        Raises InputError for anything else, RuntimeError before :meth:`fit`.
        """
        if self.core is None:
            raise RuntimeError("nothing is trained yet; call fit first")
        pairs = data.pairs() if isinstance(data, PairDataset) else as_pairs(data)
        return score(as_baseline(self.core), HeldOutTest(name, pairs))
