"""The whole state of a training, in memory and as a checkpoint on disk, from which it resumes exactly.

A checkpoint is a folder of two files, ``state.safetensors`` (every tensor) and ``state.json`` (every number); nothing
is pickled. It is written beside its place, flushed, and renamed into it, so it is whole or not there.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..config.run_config import TrainingConfig
from ..config.training import OptimizationConfig
from ..core import CubicCore
from ..data.embeddings.vectors import chunks
from ..data.pairs import PairDataset
from ..errors import ArtifactError
from ..utils.files import flush_folder, open_regular, why, write_atomically, writing
from .checkpoint_checks import CheckpointNumbers, check_optimizer, check_tensors, checked_like
from .losses import NegativeQueue
from .low_rank import untrained_of_rank, with_linear_rank
from .optimizer import PROGRESS_MARGIN, optimizer_of, scheduler_of

CHECKPOINT_VERSION = 4
SETTINGS_NOT_COMPARED = frozenset(  # dotted keys that change no weight
    ["name", "runs", "cache", "cache_limit_mb", "tensorboard"]
    + [f"training.{name}" for name in ("keep", "log_every", "workers", "threads", "refit")]
)
_STATE, _TENSORS = "state.json", "state.safetensors"
_COUNTERS = ("epoch", "step", "best_epoch", "best_objective", "without_progress")


@dataclass
class TrainingState:
    """The state of a training between two epochs.

    Attributes:
        core: the core with the weights of the last step.
        optimizer, scheduler: AdamW or Muon, and the schedule of its learning rate.
        averaged: the exponential moving average of the weights, or None.
        queue: the targets of past batches.
        order: the random generator of the order of the pairs.
        linear_rank: the rank of the linear maps of cores that are validated and kept.
        epochs: the number of planned epochs.
        epoch, step: the number of epochs and of batches done.
        best, best_epoch, best_objective: the best weights on validation, their epoch and their objective.
        without_progress: the number of epochs since the best one.
        records: one mapping per epoch, as in metrics.jsonl.
    """

    core: CubicCore
    optimizer: AdamW
    scheduler: ReduceLROnPlateau | LRScheduler
    averaged: AveragedModel | None
    queue: NegativeQueue
    order: torch.Generator
    linear_rank: int
    best: dict[str, Tensor]
    epochs: int
    epoch: int = 0
    step: int = 0
    best_epoch: int = 0
    best_objective: float = -math.inf
    without_progress: int = 0
    records: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def initial(cls, core: CubicCore, options: OptimizationConfig, epochs: int, steps: int, seed: int) -> TrainingState:
        """The state before a training of ``epochs`` epochs, in which the optimizer takes ``steps`` steps. The linear
        map of the core is trained as one matrix.
        """
        rank = core.config["linear_rank"]
        best = {name: tensor.clone() for name, tensor in core.state_dict().items()}
        if rank:
            core = with_linear_rank(core, core.dim)
        optimizer = optimizer_of(core, options)
        average = get_ema_multi_avg_fn(options.ema) if options.ema is not None else None
        return cls(
            core,
            optimizer,
            scheduler_of(optimizer, options, steps),
            AveragedModel(core, multi_avg_fn=average) if average is not None else None,
            NegativeQueue(options.losses.memory, core.dim),
            torch.Generator().manual_seed(seed),
            rank,
            best,
            epochs,
        )

    def candidate(self) -> CubicCore:
        """A core of its own to validate and keep: with averaged weights if there are any, linear maps at low rank."""
        core = self.core if self.averaged is None else self.averaged.module
        assert isinstance(core, CubicCore)
        return with_linear_rank(core, self.linear_rank)

    def end_epoch(
        self, record: dict[str, Any], candidate: CubicCore, objective: float, chosen: Mapping[str, Tensor]
    ) -> bool:
        """Record an epoch; returns whether it is the best so far.

        Args:
            record: the record of the epoch.
            candidate: the validated core, from :meth:`candidate`.
            objective: its objective on validation; more is better.
            chosen: buffers of the core that were chosen on validation, such as the curve of its trust. Training itself
                continues with full trust; only the core that is kept is calibrated.
        """
        self.epoch = record["epoch"]
        self.records.append(record)
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(objective)
        self.without_progress += 1
        if objective <= self.best_objective + PROGRESS_MARGIN:
            return False
        self.without_progress = 0
        self.best_epoch, self.best_objective = self.epoch, objective
        self.best = candidate.state_dict() | {name: tensor.clone() for name, tensor in chosen.items()}
        return True

    def best_core(self) -> CubicCore:
        """A new core with the best weights."""
        core = untrained_of_rank(self.core, self.linear_rank)
        core.load_state_dict(self.best)
        return core

    def save(self, checkpoints: Path, keep: int, identity: dict[str, Any]) -> None:
        """Write ``checkpoints/epoch-0007`` and delete all but the newest ``keep``.

        Args:
            identity: what a later resume must match, from :func:`identity_of`.
        """
        optimizer = self.optimizer.state_dict()
        tensors = {f"core.{name}": tensor for name, tensor in self.core.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        if self.averaged is not None:
            tensors |= {f"averaged.{name}": tensor for name, tensor in self.averaged.state_dict().items()}
        for number, values in optimizer["state"].items():
            tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in values.items()}
        tensors |= {"queue.vectors": self.queue.vectors, "queue.ids": self.queue.ids, "order": self.order.get_state()}
        numbers = {
            "checkpoint_version": CHECKPOINT_VERSION,
            "identity": identity,
            "epochs": self.epochs,
            **{name: getattr(self, name) for name in _COUNTERS},
            "records": self.records,
            "param_groups": optimizer["param_groups"],
            "scheduler": self.scheduler.state_dict(),
        }
        contiguous = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
        place = checkpoints / f"epoch-{self.epoch:04d}"
        unfinished = checkpoints / f".{place.name}"
        with writing(place):
            checkpoints.mkdir(exist_ok=True)
            shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed here
            unfinished.mkdir()
            write_atomically(unfinished / _TENSORS, safetensors.torch.save(contiguous))
            write_atomically(unfinished / _STATE, json.dumps(numbers))
            shutil.rmtree(place, ignore_errors=True)
            unfinished.replace(place)
            flush_folder(checkpoints)
            for old in _all_checkpoints(checkpoints)[:-keep]:
                shutil.rmtree(old)

    def load(self, checkpoint: Path, identity: dict[str, Any]) -> None:
        """Restore the state that :meth:`save` wrote. If more epochs are planned now than then, the learning rate
        follows the new plan, and the count of epochs without progress starts again.

        Raises ArtifactError for a checkpoint that is damaged, of another version, or of something else.
        """
        numbers = read_numbers(checkpoint, identity)
        try:
            with open_regular(checkpoint / _TENSORS) as file:
                self._become(numbers, safetensors.torch.load(file.read()))
        except (OSError, ValueError, KeyError, RuntimeError, MemoryError, safetensors.SafetensorError) as error:
            raise _unreadable(checkpoint, error) from None

    def _become(self, numbers: CheckpointNumbers, tensors: dict[str, Tensor]) -> None:
        def under(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in under("optimizer.").items():
            number, _, key = name.partition(".")
            state.setdefault(int(number), {})[key] = tensor
        vectors, ids = tensors["queue.vectors"], tensors["queue.ids"]
        check_tensors(under("core."), self.core.state_dict(), "core")
        check_tensors(under("best."), self.best, "best")
        check_optimizer(state, self.optimizer)
        count = min(len(vectors), self.queue.size)
        check_tensors(
            {"vectors": vectors, "ids": ids},
            {"vectors": torch.empty(count, self.core.dim), "ids": torch.empty(count, dtype=torch.int64)},
            "queue",
        )
        groups = checked_like(numbers.param_groups, self.optimizer.state_dict()["param_groups"], "param_groups")
        scheduler = checked_like(numbers.scheduler, self.scheduler.state_dict(), "scheduler")
        if self.averaged is not None:
            check_tensors(under("averaged."), self.averaged.state_dict(), "averaged")
            self.averaged.load_state_dict(under("averaged."))
        self.core.load_state_dict(under("core."))
        self.best = under("best.")
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.scheduler.load_state_dict(scheduler)
        self.queue.vectors, self.queue.ids = vectors, ids
        self.order.set_state(tensors["order"])
        for name in _COUNTERS:
            setattr(self, name, getattr(numbers, name))
        self.records = [record.model_dump() for record in numbers.records]
        if self.epochs > numbers.epochs:
            self.without_progress = 0


def read_numbers(checkpoint: Path, identity: dict[str, Any]) -> CheckpointNumbers:
    """Read and check ``state.json`` of a checkpoint.

    Raises ArtifactError where that cannot be read, or is of another version or another ``identity``.
    """
    try:
        with open_regular(checkpoint / _STATE) as file:
            content = file.read()
        version = _Version.model_validate_json(content).checkpoint_version
        if version == CHECKPOINT_VERSION:
            numbers = CheckpointNumbers.model_validate_json(content)
    except (OSError, ValueError, MemoryError) as error:
        raise _unreadable(checkpoint, error) from None
    if version != CHECKPOINT_VERSION:
        raise ArtifactError(
            f"{checkpoint} is of version {version}; this cubefast reads version {CHECKPOINT_VERSION}. Use the cubefast "
            "that wrote it"
        )
    then = numbers.identity
    changed = [f"{key}={then.get(key)!s:.80}, not {now}" for key, now in identity.items() if then.get(key) != now]
    if changed:
        raise ArtifactError(f"{checkpoint} was made with {'; '.join(changed)}. Set that back, or train anew")
    return numbers


class _Version(BaseModel):
    model_config = ConfigDict(strict=True)
    checkpoint_version: int


def _unreadable(checkpoint: Path, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"the checkpoint {checkpoint} cannot be read: {why(error)}. Delete it to go on from the one before"
    )


def finished_epochs(checkpoints: Path, config: TrainingConfig, train: PairDataset) -> int | None:
    """The epochs of the newest checkpoint, if a training of this config and these pairs has no more to do after it;
    else None.

    Raises ArtifactError for a checkpoint of another config or other pairs, or a damaged one.
    """
    checkpoint = newest_checkpoint(checkpoints)
    if checkpoint is None:
        return None
    numbers = read_numbers(checkpoint, identity_of(config, train))
    epochs, patience = config.training.epochs_of(len(train)), config.training.early_stopping
    stalled = patience is not None and numbers.without_progress >= patience and epochs <= numbers.epochs
    return numbers.epoch if stalled or numbers.epoch >= epochs else None


def identity_of(config: TrainingConfig, train: PairDataset) -> dict[str, Any]:
    """The settings by dotted key and the hash of the pairs, which a checkpoint shares with the run that resumes it."""
    settings = _flat(config.model_dump(mode="json"))
    free = SETTINGS_NOT_COMPARED
    if config.training.schedule != "one_cycle":
        free |= {"training.epochs"}  # a run may go on further than was planned; one cycle has an end
    data = hashlib.sha256()
    for rows in chunks(len(train)):
        for part in (*train.batch(rows, noisy=False), *train.teacher_targets(rows), *(train.negatives_of(rows) or ())):
            data.update(part.numpy().tobytes())
    settings = {key: value for key, value in settings.items() if key not in free}
    return {**settings, "training pairs": f"{len(train)} ({data.hexdigest()[:16]})"}


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def newest_checkpoint(checkpoints: Path) -> Path | None:
    """The newest whole checkpoint, or None."""
    return next(reversed(_all_checkpoints(checkpoints)), None)


def _all_checkpoints(checkpoints: Path) -> list[Path]:
    """The folders of all whole checkpoints, oldest first."""
    folders = [path for path in checkpoints.glob("epoch-*") if re.fullmatch(r"epoch-\d{4,18}", path.name)]
    return sorted(folders, key=lambda path: int(path.name.removeprefix("epoch-")))
