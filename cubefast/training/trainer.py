"""The training loop."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ..config import TrainingConfig
from ..core import CubicCore
from ..data.config import NoiseConfig
from ..data.pairs import EmbeddingPairs, PairDataset
from ..errors import ArtifactError, InputError
from ..evaluation.baselines import Baseline
from ..evaluation.comparison import VALIDATION_SEED
from ..evaluation.metrics import cosine
from ..evaluation.report import Score, score
from .curriculum import difficulty, easiest, share
from .losses import total_loss
from .progress import Progress, Silent
from .run_folder import RunFolder
from .state import TrainingState, newest_checkpoint
from .transfer import begin_from

Stop = Literal["all epochs done", "no more progress", "interrupted"]


class DivergenceError(RuntimeError):
    """The loss stopped being a number."""


@dataclass
class TrainingResult:
    """What a training came to.

    Attributes:
        core: with the weights of the best epoch.
        best_epoch, val_cosine: that epoch, from 1, and its mean cosine on validation.
        records: one mapping per epoch, as in metrics.jsonl.
        stopped: why it ended.
    """

    core: CubicCore
    best_epoch: int = 0
    val_cosine: float = -math.inf
    records: list[dict[str, Any]] = field(default_factory=list)
    stopped: Stop = "all epochs done"


class CubeTrainer:
    """Trains a :class:`CubicCore` on pairs of embeddings.

    Args:
        config: a :class:`TrainingConfig`, a mapping of its keys, or a YAML file.
        run: where records and the best core go; None keeps them in memory only.
        progress: what is shown meanwhile; nothing by default.

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
    ) -> None:
        self.config = config if isinstance(config, TrainingConfig) else TrainingConfig.load(config)
        self.run = run
        self.progress = progress or Silent()
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
        identity = self._identity(train) if self.run is not None else {}
        if resume:
            self._resume(state, identity)

        stopped: Stop = "all epochs done"
        self.progress.start(options.epochs, sum(batches), state.epoch, state.step)
        try:
            for epoch in range(state.epoch + 1, options.epochs + 1):
                if self._has_stalled(state):
                    break
                began = time.perf_counter()
                record = {"epoch": epoch, **self._train_epoch(state, train, epoch), "step": state.step}
                predicted = predict(state.validated, validation.inputs)
                seconds = time.perf_counter() - began
                record |= {
                    "val_cosine": float(cosine(predicted, validation.targets).mean()),
                    "pairs_per_second": record["pairs"] / seconds,
                    "seconds": seconds,
                    "peak_memory_mb": peak_memory_mb(),
                }
                is_best = state.take(record)
                if self.run is not None:
                    self.run.record(record)
                    if is_best:
                        self.run.save_best(state.validated)
                    state.save(self.run.checkpoints, options.keep, identity)
                self.progress.epoch(record, state.best_epoch)
            if self._has_stalled(state):
                stopped = "no more progress"
        except KeyboardInterrupt:
            if state.best_epoch == 0:
                raise
            stopped = "interrupted"
        finally:
            self.progress.end()
        core.load_state_dict(state.best)
        return TrainingResult(core, state.best_epoch, state.best_value, state.records, stopped)

    def _train_epoch(self, state: TrainingState, train: PairDataset, epoch: int) -> dict[str, float]:
        """One pass over the pairs; the means of what was seen on the way."""
        options = self.config.training
        core, optimizer = state.core, state.optimizer
        train.set_epoch(epoch)
        pairs = self._pairs_of(epoch, len(train))
        order = torch.randperm(pairs, generator=state.order)
        if pairs < len(train):
            order = easiest(difficulty(train, options.curriculum.order, core), pairs)[order]
        batches = order.split(options.batch_size)
        # Numbers, not tensors, are kept of each step: a small tensor kept between the large ones that come and go keeps
        # the allocator from using their memory again, and the process grows without end.
        losses, norms = [], []
        parts: dict[str, list[float]] = {}
        rate = optimizer.param_groups[0]["lr"]
        for step, rows in enumerate(batches, start=1):
            inputs, targets, ids = train.batch(rows)
            predicted = core(inputs)
            loss, each = total_loss(options.losses, predicted, inputs, targets, ids, state.memory)
            if not loss.isfinite():
                raise DivergenceError(
                    f"the loss became {loss.item()} at epoch {epoch}, step {step}; the best core before it is kept, "
                    "and so is the last checkpoint. Lower training.lr or training.clip"
                )
            first = (step - 1) // options.accumulate * options.accumulate  # batches before this step of the optimizer
            (loss / min(options.accumulate, len(batches) - first)).backward()
            if step % options.accumulate == 0 or step == len(batches):
                norms.append(float(clip_grad_norm_(core.parameters(), options.clip)))
                optimizer.step()
                optimizer.zero_grad()
                if state.averaged is not None:
                    state.averaged.update_parameters(core)
                if not isinstance(state.scheduler, ReduceLROnPlateau):
                    state.scheduler.step()
            state.memory.remember(targets, ids)
            losses.append(loss.item())
            for name, value in each.items():
                parts.setdefault(name, []).append(value)
            state.step += 1
            self.progress.step(losses[-1])
        means: dict[str, float] = {
            "pairs": pairs,
            "share": pairs / len(train),
            "loss": fmean(losses),
            "lr": rate,
            "gradient_norm": fmean(norms),
        }
        return means | {f"loss_{name}": fmean(values) for name, values in parts.items() if len(parts) > 1}

    def _pairs_of(self, epoch: int, count: int) -> int:
        """How many of ``count`` pairs an epoch goes through."""
        curriculum = self.config.training.curriculum
        return count if curriculum.order == "none" else max(1, round(share(curriculum, epoch) * count))

    def _training_pairs(self, data: Any) -> PairDataset:
        config = self.config
        pairs = self._dataset(data)
        if config.training.curriculum.order == "length" and pairs.lengths is None:
            raise InputError("training.curriculum.order=length needs texts; embeddings alone have no length")
        if config.training.input_noise and config.mode == "dialogue":
            pairs = pairs.with_noise(NoiseConfig(levels=(config.training.input_noise,)), config.seed)
        return pairs.mixed(config.mix, config.data.noise, config.seed) if config.mode == "mixed" else pairs

    def _has_stalled(self, state: TrainingState) -> bool:
        patience = self.config.training.early_stopping
        return patience is not None and state.without_progress >= patience

    def _identity(self, train: PairDataset) -> dict[str, Any]:
        """What a checkpoint and a resume must have in common."""
        settings = self.config.model_dump(mode="json", exclude={"name", "runs", "cache", "cache_limit_mb"})
        if self.config.training.schedule == "plateau":
            del settings["training"]["epochs"]  # the other schedules are laid out over all epochs; this one may go on
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        data = hashlib.sha256()
        for inputs, targets, ids in train.batches(noisy=False):
            for part in (inputs, targets, ids):
                data.update(part.numpy().tobytes())
        return {"settings": digest, "training pairs": f"{len(train)}, {data.hexdigest()[:16]}"}

    def _resume(self, state: TrainingState, identity: dict[str, Any]) -> None:
        if self.run is None:
            raise InputError("there is nothing to resume without a run's folder; give CubeTrainer a run")
        checkpoint = newest_checkpoint(self.run.checkpoints)
        if checkpoint is None:
            raise ArtifactError(
                f"{self.run.path} has no checkpoint: it stopped before its first epoch ended. Train anew"
            )
        state.load(checkpoint, identity)
        self.run.keep_metrics(state.epoch)
        if state.best_epoch:  # a best core of an epoch that is about to be done again may stand there
            best = copy.deepcopy(state.core)
            best.load_state_dict(state.best)
            self.run.save_best(best)

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


def peak_memory_mb() -> float:
    """The most memory this process has held, in MB (10^6 bytes)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
