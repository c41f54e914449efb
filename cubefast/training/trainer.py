"""The training loop."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ..config import TrainingConfig
from ..core import CubicCore
from ..data.config import NoiseConfig
from ..data.pairs import EmbeddingPairs, PairDataset
from ..errors import ArtifactError, InputError
from ..evaluation.baselines import Baseline
from ..evaluation.comparison import VALIDATION_SEED
from ..evaluation.report import Score, score
from .batches import in_order
from .crossfit import cross_fit
from .curriculum import difficulty, easiest, share
from .distributed import Processes
from .losses import total_loss
from .memory import peak_memory_mb
from .neighbors import nearest_others
from .progress import Progress, Silent
from .run_folder import RunFolder, require_tensorboard
from .state import TrainingState, identity_of, newest_checkpoint
from .step_log import StepLog
from .transfer import begin_from
from .validation import validation_metrics

Stop = Literal["all epochs done", "no more progress", "interrupted"]


class DivergenceError(RuntimeError):
    """The loss stopped being a number."""


@dataclass
class TrainingResult:
    """What a training came to.

    Attributes:
        core: with the weights of the best epoch.
        best_epoch, best_value: that epoch, from 1, and what it scored by ``training.metric``.
        records: one mapping per epoch, as in metrics.jsonl.
        stopped: why it ended.
    """

    core: CubicCore
    best_epoch: int
    best_value: float
    records: list[dict[str, Any]]
    stopped: Stop

    @property
    def val_cosine(self) -> float:
        """The mean cosine on validation in the best epoch."""
        return float(self.records[self.best_epoch - 1]["val_cosine"])


class CubeTrainer:
    """Trains a :class:`CubicCore` on pairs of embeddings.

    Args:
        config: a :class:`TrainingConfig`, a mapping of its keys, or a YAML file.
        run: where records and the best core go; None keeps them in memory only.
        progress: what is shown meanwhile; nothing by default.
        processes: those that train together; this one alone by default.

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
        self.progress = progress or Silent()
        self.processes = processes or Processes()
        self._writes_to = run if self.processes.is_main else None
        if self.config.tensorboard:
            require_tensorboard()
        self.core: CubicCore | None = None

    def build_core(self, dim: int) -> CubicCore:
        """A fresh core of the config's sizes; the same for the same seed. Raises InputError if they do not fit."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            try:
                return CubicCore(dim, **self.config.core.model_dump())
            except ValueError as error:
                raise InputError(f"core does not fit embeddings of {dim} numbers: {error}") from None

    def fit(self, train: Any, validation: Any, *, resume: bool = False) -> TrainingResult:
        """Train until the epochs are over or validation makes no more progress.

        Args:
            train: a :class:`PairDataset` (also one larger than memory), :class:`EmbeddingPairs`, or (inputs, targets)
                as arrays [n, D]. In autoencoder mode the latter two get the noise of ``data.noise``.
            validation: the same; it is held in memory, with one draw of its noise.
            resume: go on from the run's newest checkpoint, to the same bits as without the break.

        Returns:
            The result; ``result.core`` is also ``trainer.core``. Ctrl-C after the first epoch ends the training early
            and returns what there is.

        Raises:
            InputError: the pairs or the core's sizes do not fit.
            ArtifactError: the checkpoint to resume from is missing, damaged, or of another config or data.
            DivergenceError: the loss became NaN or Inf; the best core so far and the last checkpoint are kept.
            LostProcessError: another process of the same training has ended.
        """
        train = self._training_pairs(train)
        validation = self._dataset(validation).pairs(noisy=True, seed=VALIDATION_SEED)
        if train.dim != validation.dim:
            raise InputError(f"train has {train.dim} numbers per row, validation {validation.dim}")
        options = self.config.training
        core = self.core = self.build_core(train.dim)
        core.reshaper.fit(part for inputs, targets, _ in train.batches(noisy=False) for part in (inputs, targets))
        if self.config.init_from is not None and not resume:
            begin_from(core, CubicCore.from_pretrained(Path(self.config.init_from) / "best"), self.config.init_from)
        schedule = [self._pairs_of(epoch, len(train)) for epoch in range(1, options.epochs + 1)]
        batches = [math.ceil(count / options.batch_size) for count in schedule]
        steps = sum(math.ceil(count / options.accumulate) for count in batches)
        state = TrainingState.begin(core, options, steps, self.config.seed)
        shared = self.processes.count > 1
        identity = identity_of(self.config, train) if self.run is not None or shared else {}
        if resume:
            self._resume(state, identity)
        self.processes.check_same("settings, pairs and checkpoint", (identity, state.epoch))
        asks = self.config.mode != "autoencoder"  # whose targets are their inputs: nothing to foresee or to confuse
        expected = self._expected(train, state.epoch) if asks and options.losses.crossfit else None
        contrasted = asks and (options.losses.contrast or options.losses.triplet)
        hard = options.losses.hard_negatives if contrasted else 0
        neighbors = nearest_others(train, hard, self.config.seed) if hard else None
        model = self.processes.model(core)
        if self._writes_to is not None and self.config.tensorboard:
            self._writes_to.track(state.step)

        stopped: Stop = "all epochs done"
        self.progress.start(options.epochs, sum(batches), state.epoch, state.step)
        try:
            for epoch in range(state.epoch + 1, options.epochs + 1):
                if self._has_stalled(state):
                    break
                began = time.perf_counter()
                means = self._train_epoch(state, model, train, expected, neighbors, epoch)
                record: dict[str, Any] = {"event": "epoch", "epoch": epoch, "step": state.step, **means}
                record |= self._validate(state.validated, validation)
                seconds = time.perf_counter() - began
                record |= {
                    "pairs_per_second": record["pairs"] / seconds,
                    "seconds": seconds,
                    "peak_memory_mb": peak_memory_mb(),
                }
                is_best = state.take(record)
                if self._writes_to is not None:
                    self._writes_to.record(record)
                    if is_best:
                        self._writes_to.save_best(state.validated)
                    state.save(self._writes_to.checkpoints, options.keep, identity)
                self.progress.epoch(record, state.best_epoch)
            if self._has_stalled(state):
                stopped = "no more progress"
        except KeyboardInterrupt:
            if state.best_epoch == 0:
                raise
            stopped = "interrupted"
            self.processes.expect_the_end()
        finally:
            self.progress.end()
        core.load_state_dict(state.best)
        return TrainingResult(core, state.best_epoch, state.best_value, state.records, stopped)

    def _expected(self, train: PairDataset, epochs_done: int) -> Tensor:
        """What :func:`cross_fit` expects of each pair, float16 [n, D]; the same again when a run goes on."""
        began = time.perf_counter()
        found = cross_fit(train, self.config.seed)
        record = {"event": "crossfit", "epoch": 0, "step": 0, "cosine": found.cosine, "width": found.width}
        record |= {"ridge": found.ridge, "seconds": time.perf_counter() - began}
        if self._writes_to is not None and epochs_done == 0:
            self._writes_to.record(record)
        self.progress.crossfit(record)
        return found.expected

    def _train_epoch(
        self,
        state: TrainingState,
        model: nn.Module,
        train: PairDataset,
        expected: Tensor | None,
        neighbors: Tensor | None,
        epoch: int,
    ) -> dict[str, float]:
        """One pass over the pairs; the means of what was seen on the way."""
        options = self.config.training
        core, optimizer = state.core, state.optimizer
        train.set_epoch(epoch)
        pairs = self._pairs_of(epoch, len(train))
        order = torch.randperm(pairs, generator=state.order)
        if pairs < len(train):
            order = easiest(difficulty(train, options.curriculum.order, core), pairs)[order]
        batches = order.split(options.batch_size)
        seen = StepLog(epoch, state.step, options.log_every, self._writes_to)
        rate = optimizer.param_groups[0]["lr"]
        prepared = zip(batches, in_order(train, batches, options.workers, neighbors), strict=True)
        for number, (rows, (inputs, targets, ids, taught, near)) in enumerate(prepared, start=1):
            takes_step = number % options.accumulate == 0 or number == len(batches)
            first = (number - 1) // options.accumulate * options.accumulate  # batches before this step of the optimizer
            with self._sharing_gradients(model, takes_step):
                predicted = self.processes.whole(self._forward(model, inputs, state.step), len(inputs))
                smooth = None if expected is None else expected[rows].float()
                loss, parts = total_loss(
                    options.losses, predicted, inputs, targets, ids, state.memory, taught, smooth, near
                )
                if not loss.isfinite():
                    raise DivergenceError(
                        f"the loss became {loss.item()} at epoch {epoch}, step {number}; the best core before it is "
                        "kept, and so is the last checkpoint. Lower training.lr or training.clip"
                    )
                # Gradients are averaged over the processes, and each has those of its share alone: hence their count.
                (loss * self.processes.count / min(options.accumulate, len(batches) - first)).backward()
            if takes_step:
                norm = float(clip_grad_norm_(core.parameters(), options.clip))
                optimizer.step()
                optimizer.zero_grad()
                if state.averaged is not None:
                    state.averaged.update_parameters(core)
                if not isinstance(state.scheduler, ReduceLROnPlateau):
                    state.scheduler.step()
            state.memory.remember(targets, ids)
            state.step += 1
            seen.take(len(ids), loss.item(), parts, norm if takes_step else None, optimizer.param_groups[0]["lr"])
            self.progress.step(loss.item())
        return {"pairs": pairs, "share": pairs / len(train), "lr": rate, **seen.means()}

    def _forward(self, model: nn.Module, inputs: Tensor, step: int) -> Tensor:
        """This process's share of the batch through the core; what is random in there follows from the step."""
        options = self.config.training
        mine = self.processes.share(inputs)
        if not options.state_noise and not options.cell_dropout:
            return cast(Tensor, model(mine))
        with torch.random.fork_rng(devices=[]):
            seeds = np.random.SeedSequence((self.config.seed, step, self.processes.rank))
            torch.manual_seed(int(seeds.generate_state(1)[0]))
            return cast(Tensor, model(mine, state_noise=options.state_noise, cell_dropout=options.cell_dropout))

    def _sharing_gradients(self, model: nn.Module, now: bool) -> contextlib.AbstractContextManager[None]:
        """Gradients are averaged over the processes when the optimizer is about to use them, and not before."""
        return model.no_sync() if isinstance(model, DistributedDataParallel) and not now else contextlib.nullcontext()

    def _validate(self, core: CubicCore, validation: EmbeddingPairs) -> dict[str, float]:
        """val_cosine, val_recall_at_1 and val_mrr; each process predicts its share of the pairs."""
        mine = predict(core, self.processes.share(validation.inputs))
        found = validation_metrics(self.processes.whole(mine, len(validation)), validation)
        return {f"val_{name}": value for name, value in found.items()}

    def _pairs_of(self, epoch: int, count: int) -> int:
        """How many of ``count`` pairs an epoch goes through."""
        curriculum = self.config.training.curriculum
        return count if curriculum.order == "none" else max(1, round(share(curriculum, epoch) * count))

    def _training_pairs(self, data: Any) -> PairDataset:
        config = self.config
        pairs = self._dataset(data)
        if config.training.curriculum.order == "length" and pairs.lengths is None:
            raise InputError("training.curriculum.order=length needs texts; embeddings alone have no length")
        if config.training.losses.distill and not pairs.teachers:
            raise InputError(
                "training.losses.distill needs further teachers, and the data set has none: set teachers=[NAME], or "
                "data.teacher_vectors=[FILE]; a data set made in Python takes teachers=[...]"
            )
        if config.training.input_noise and config.mode == "dialogue":
            pairs = pairs.with_noise(NoiseConfig(levels=(config.training.input_noise,)), config.seed)
        return pairs.mixed(config.mix, config.data.noise, config.seed) if config.mode == "mixed" else pairs

    def _has_stalled(self, state: TrainingState) -> bool:
        patience = self.config.training.early_stopping
        return patience is not None and state.without_progress >= patience

    def _resume(self, state: TrainingState, identity: dict[str, Any]) -> None:
        if self.run is None:
            raise InputError("there is nothing to resume without a run's folder; give CubeTrainer a run")
        checkpoint = newest_checkpoint(self.run.checkpoints)
        if checkpoint is None:
            raise ArtifactError(
                f"{self.run.path} has no checkpoint: it stopped before its first epoch ended. Train anew"
            )
        state.load(checkpoint, identity)
        if self._writes_to is not None:
            self._writes_to.keep_metrics(state.epoch)
            best = copy.deepcopy(state.core)  # the folder may have the one of an epoch that is about to be done again
            best.load_state_dict(state.best)
            self._writes_to.save_best(best)

    def _dataset(self, data: Any) -> PairDataset:
        if isinstance(data, PairDataset):
            return data
        noise = self.config.data.noise if self.config.mode == "autoencoder" else None
        return PairDataset.from_pairs(as_pairs(data), noise, self.config.seed)

    def evaluate(self, data: Any, name: str = "test") -> Score:
        """Cosine and retrieval of the trained core on held-out pairs.

        Raises RuntimeError before :meth:`fit`.
        """
        if self.core is None:
            raise RuntimeError("nothing is trained yet; call fit first")
        pairs = data.pairs() if isinstance(data, PairDataset) else as_pairs(data)
        return score(name, as_baseline(self.core), pairs)


def as_pairs(data: Any) -> EmbeddingPairs:
    """EmbeddingPairs, or (inputs, targets[, ids]) made into them. Raises InputError for anything else."""
    if isinstance(data, EmbeddingPairs):
        return data
    if isinstance(data, (tuple, list)) and len(data) in (2, 3):
        return EmbeddingPairs.of(*data)
    raise InputError(f"expected a PairDataset, EmbeddingPairs or (inputs, targets); got {type(data).__name__}")


def as_baseline(core: CubicCore) -> Baseline:
    """The core in the form that the report scores."""
    return Baseline("cube", core.parameter_count(), lambda inputs: predict(core, inputs))


@torch.no_grad()
def predict(core: CubicCore, inputs: Tensor, batch_size: int = 256) -> Tensor:
    """The core's outputs [n, D] without gradients, batch by batch."""
    return torch.cat([core(batch) for batch in inputs.split(batch_size)])
