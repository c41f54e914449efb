"""The training loop."""

from __future__ import annotations

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
from torch.optim import AdamW
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ..config import TrainingConfig
from ..core import CubicCore
from ..data.pairs import EmbeddingPairs, PairDataset
from ..errors import InputError
from ..evaluation.baselines import Baseline
from ..evaluation.comparison import VALIDATION_SEED
from ..evaluation.metrics import cosine
from ..evaluation.report import Score, score
from .losses import cosine_loss, info_nce
from .progress import Progress, Silent
from .run_folder import RunFolder

PROGRESS_MARGIN = 1e-4  # of validation cosine; less is not progress


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
    stopped: Literal["all epochs done", "no more progress", "interrupted"] = "all epochs done"


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

    def fit(self, train: Any, validation: Any) -> TrainingResult:
        """Train until the epochs are over or validation makes no more progress.

        Args:
            train: a :class:`PairDataset` (also one larger than memory), :class:`EmbeddingPairs`, or (inputs, targets)
                as arrays [n, D]. In autoencoder mode the latter two get the noise of ``data.noise``.
            validation: the same; it is held in memory, with one draw of its noise.

        Returns:
            The result; ``result.core`` is also ``trainer.core``. Ctrl-C after the first epoch ends the training early
            and returns what there is.

        Raises:
            InputError: the pairs or the core's sizes do not fit.
            DivergenceError: the loss became NaN or Inf; the best core so far has been saved.
        """
        train = self._dataset(train)
        validation = self._dataset(validation).pairs(noisy=True, seed=VALIDATION_SEED)
        if train.dim != validation.dim:
            raise InputError(f"train has {train.dim} numbers per row, validation {validation.dim}")
        options = self.config.training
        denoise = self.config.mode == "autoencoder"
        core = self.core = self.build_core(train.dim)
        core.reshaper.fit(part for inputs, targets, _ in train.batches(noisy=False) for part in (inputs, targets))
        optimizer = AdamW(_decay_matrices_only(core, options.weight_decay), lr=options.lr)
        scheduler = ReduceLROnPlateau(
            optimizer, "max", 0.5, options.plateau, PROGRESS_MARGIN, "abs", min_lr=options.lr / 64
        )
        random = torch.Generator().manual_seed(self.config.seed)

        result = TrainingResult(core)
        best = _copy_of_weights(core)
        without_progress = 0
        batches = math.ceil(len(train) / options.batch_size)
        self.progress.start(options.epochs, batches)
        try:
            for epoch in range(1, options.epochs + 1):
                began = time.perf_counter()
                train.set_epoch(epoch)
                order = torch.randperm(len(train), generator=random)
                losses, norms = [], []
                for step, rows in enumerate(order.split(options.batch_size), start=1):
                    inputs, targets, ids = train.batch(rows)
                    predicted = core(inputs)
                    loss = cosine_loss(predicted, targets)
                    if options.contrast > 0 and not denoise:
                        contrast = info_nce(predicted, targets, ids, options.temperature)
                        loss = loss + options.contrast * contrast
                    if not loss.isfinite():
                        raise DivergenceError(
                            f"the loss became {loss.item()} at epoch {epoch}, step {step}; the best core "
                            "before it is kept. Lower training.lr or training.clip"
                        )
                    optimizer.zero_grad()
                    loss.backward()
                    # Numbers, not tensors: a small tensor kept from every step, between the large ones that come and
                    # go, keeps the allocator from using their memory again, and the process grows without end.
                    norms.append(float(clip_grad_norm_(core.parameters(), options.clip)))
                    optimizer.step()
                    losses.append(loss.item())
                    self.progress.step(losses[-1])

                val_cosine = float(cosine(predict(core, validation.inputs), validation.targets).mean())
                seconds = time.perf_counter() - began
                record = {
                    "epoch": epoch,
                    "step": epoch * batches,
                    "loss": fmean(losses),
                    "val_cosine": val_cosine,
                    "lr": optimizer.param_groups[0]["lr"],
                    "gradient_norm": fmean(norms),
                    "pairs_per_second": len(train) / seconds,
                    "seconds": seconds,
                    "peak_memory_mb": peak_memory_mb(),
                }
                result.records.append(record)
                if self.run is not None:
                    self.run.record(record)
                scheduler.step(val_cosine)
                without_progress += 1
                if val_cosine > result.val_cosine + PROGRESS_MARGIN:
                    without_progress = 0
                    result.best_epoch, result.val_cosine = epoch, val_cosine
                    best = _copy_of_weights(core)
                    if self.run is not None:
                        self.run.save_best(core)
                self.progress.epoch(record, result.best_epoch)
                if options.early_stopping is not None and without_progress >= options.early_stopping:
                    result.stopped = "no more progress"
                    break
        except KeyboardInterrupt:
            if result.best_epoch == 0:
                raise
            result.stopped = "interrupted"
        finally:
            self.progress.end()
        core.load_state_dict(best)
        return result

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


def _decay_matrices_only(core: CubicCore, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for the shared matrices; none for biases, gains, codes and readouts."""
    named = dict(core.named_parameters())
    matrices = [p for name, p in named.items() if name.split(".")[-1].startswith("w_")]
    others = [p for name, p in named.items() if not name.split(".")[-1].startswith("w_")]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _copy_of_weights(core: CubicCore) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in core.state_dict().items()}
