"""The folder of a run: runs/NAME/."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, TypeAdapter

from ..config.run_config import TrainingConfig
from ..core import CubicCore
from ..core.artifact import WEIGHTS
from ..decoding.bank_file import SavedAnswers, read_answers, write_answers
from ..decoding.threshold import CalibratedThreshold
from ..errors import ArtifactError, DiskError, InputError
from ..utils.files import (
    is_file,
    is_folder,
    open_regular,
    plain_name,
    read_json,
    sweep,
    why,
    write_atomically,
    write_json,
    writing,
)
from ..utils.locks import LOCK, only_writer
from .checkpoint_checks import EpochRecord


class StepRecord(BaseModel):
    """A line of metrics.jsonl that is not of an epoch; all further keys are numbers, too."""

    model_config = ConfigDict(strict=True, extra="allow")
    __pydantic_extra__: dict[str, float]
    event: Literal["steps", "crossfit"]
    epoch: NonNegativeInt
    step: NonNegativeInt


_ANSWERS, _THRESHOLD = "answers.safetensors", "threshold.json"
REPORT_FILES = (
    *("report.json", "report.md", "report.html", "per_query.npz"),
    *("summary.svg", "calibration.svg", "training.svg"),
)
"""What training and the evaluation write about the scores of a run."""
_CALIBRATED = TypeAdapter(CalibratedThreshold)
_LINE: TypeAdapter[EpochRecord | StepRecord] = TypeAdapter(EpochRecord | StepRecord)


class RunFolder:
    """The folder of a run. Use :meth:`create` for a new run, :meth:`resume` for a stopped one and :meth:`open` for a
    finished one.

    It holds config.yaml, environment.json, data.json, metrics.jsonl, curves.png, report.json, answers.safetensors,
    threshold.json, best/ (the core that is scored), refit/ (a core trained on all pairs, to serve), checkpoints/ and,
    if wanted, tensorboard/. The lock of its file ``.lock`` admits one writer at a time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._metrics: IO[str] | None = None
        self._summary_writer: Any = None
        self._new_parent = False
        self._resumed = False
        self._lock: int | None = None

    @classmethod
    def create(cls, runs: str | Path, name: str | None, default_name: str) -> RunFolder:
        """Make a new folder; without a name, the first free of ``default_name``, ``default_name-2``, ...

        Raises InputError when the name is taken or the place cannot be written.
        """
        path = Path(runs) / plain_name(default_name if name is None else name, "the name of a run")
        number, new_parent = 1, False
        while True:
            try:
                new_parent = new_parent or not path.parent.exists()
                path.parent.mkdir(parents=True, exist_ok=True)
                path.mkdir()  # fails if it is there, also when two runs start at once
                break
            except FileExistsError:
                if not path.parent.is_dir():
                    raise InputError(f"{path.parent} is not a folder; set runs=FOLDER") from None
                if name is not None:
                    raise InputError(
                        f"{path} is there already, and a run never overwrites another; choose another "
                        "name=, or delete it"
                    ) from None
                number += 1
                path = Path(runs) / f"{default_name}-{number}"
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                raise InputError(
                    f"the run folder {path} cannot be made: {reason}. Set runs=FOLDER to a place that can be written"
                ) from None
        if not os.access(path, os.W_OK):
            raise InputError(f"the run folder {path} cannot be written; set runs=FOLDER")
        run = cls(path)
        run._new_parent = new_parent
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open a finished run. Raises ArtifactError if there is none."""
        path = Path(path)
        if not is_folder(path):
            raise ArtifactError(f"no run at {path}; train one with `python -m cubefast.train`")
        if not is_file(path / "config.yaml") or not is_folder(path / "best"):
            raise ArtifactError(
                f"{path} is not a finished run: config.yaml or best/ is missing. `python -m cubefast.train` makes one"
            )
        return cls(path)

    @classmethod
    def resume(cls, path: str | Path) -> RunFolder:
        """Open a stopped run to resume it. Raises ArtifactError if there is none."""
        path = Path(path)
        if not is_file(path / "config.yaml"):
            raise ArtifactError(f"no run to resume at {path}: config.yaml is missing; give the folder runs/NAME")
        run = cls(path)
        run._resumed = True
        return run

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """A context in which no other process can write into the folder. Unfinished files of killed processes are
        deleted first.

        Raises InputError where another process writes.
        """
        with only_writer(self.path) as lock:
            self._lock = lock
            try:
                for folder in (self.path, *(child for child in self.path.iterdir() if child.is_dir())):
                    sweep(folder)
                yield
            finally:
                self._lock = None

    def check_not_replaced(self) -> None:
        """Raise DiskError if the folder was moved, deleted or replaced since it was locked."""
        if self._lock is None:
            return
        locked, present = os.fstat(self._lock), None
        with contextlib.suppress(OSError):
            present = (self.path / LOCK).stat()
        if present is None or not os.path.samestat(present, locked):
            raise DiskError(
                f"the run folder {self.path} was taken away while it was written: moved, deleted or replaced. Nothing "
                "more can be saved in it"
            )

    def _checked(self, name: str) -> Path:
        """The path of a file or folder to write. Raises DiskError as :meth:`check_not_replaced` does."""
        self.check_not_replaced()
        return self.path / name

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self._checked("checkpoints")

    @property
    def was_never_saved(self) -> bool:
        """Whether the run was stopped before its first epoch was saved, so that there is nothing to resume or to lose.
        False for a run whose checkpoints somebody deleted.
        """
        return (
            not any(self.checkpoints.glob("epoch-*"))
            and not (self.path / "report.json").exists()
            and all(record.epoch == 1 for record in self.load_epochs())
        )

    def load_epochs(self) -> list[EpochRecord]:
        """The records of the epochs in metrics.jsonl; empty if there is no such file.

        Raises ArtifactError where it cannot be read, or holds what no training wrote.
        """
        return [record for _, record in self._lines() if isinstance(record, EpochRecord)]

    def keep_metrics(self, epochs: int) -> None:
        """Delete the records after this many epochs from metrics.jsonl, because these epochs are trained again."""
        self.close()  # or the next line would go to the old file
        kept = [line for line, record in self._lines() if record.epoch <= epochs]
        if kept or (self.path / "metrics.jsonl").exists():
            self.write("metrics.jsonl", "".join(f"{line}\n" for line in kept))

    def _lines(self) -> list[tuple[str, EpochRecord | StepRecord]]:
        """The lines of metrics.jsonl and their records, without a last line that was cut off by a kill."""
        path = self.path / "metrics.jsonl"
        try:
            with open_regular(path) as file:
                lines = file.read().decode().split("\n")[:-1]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, MemoryError) as error:
            raise ArtifactError(f"{path} cannot be read: {why(error)}") from None
        records = []
        for number, line in enumerate(lines, start=1):
            try:
                records.append((line, _LINE.validate_json(line, strict=True)))
            except ValueError as error:
                raise ArtifactError(
                    f"{path}, line {number}, is none that a training writes: {why(error)}. Delete the line; "
                    "resuming from a checkpoint does not need it"
                ) from None
        return records

    def start_tensorboard(self, step: int) -> None:
        """Record for TensorBoard too, in ``tensorboard/``, from batch ``step`` on; later records there are dropped."""
        self._summary_writer = require_tensorboard()(str(self.path / "tensorboard"), purge_step=step + 1)

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file of the run atomically."""
        write_atomically(self._checked(name), content)

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file of the run atomically."""
        write_json(self._checked(name), content)

    def record(self, metrics: dict[str, Any]) -> None:
        """Append a line to metrics.jsonl and flush it.

        ``metrics`` has ``event`` (epoch, steps or crossfit), ``epoch`` and ``step``.
        """
        path = self._checked("metrics.jsonl")
        with writing(path):
            if self._metrics is None:
                self._metrics = path.open("a", encoding="utf-8")
            self._metrics.write(json.dumps(metrics) + "\n")
            self._metrics.flush()
        if self._summary_writer is not None:
            with writing(self.path / "tensorboard"):
                for name, value in metrics.items():
                    if name not in ("event", "epoch", "step"):
                        self._summary_writer.add_scalar(f"{metrics['event']}/{name}", value, metrics["step"])
                self._summary_writer.flush()

    def save_best(self, core: CubicCore) -> None:
        """Save the best core so far into best/."""
        core.save_pretrained(self._checked("best"))

    def save_refit(self, core: CubicCore) -> None:
        """Save the core that was trained again on all pairs into refit/."""
        core.save_pretrained(self._checked("refit"))

    def discard_derived_files(self) -> None:
        """Delete what depends on a core that is about to be trained further: the threshold, the report and refit/."""
        with writing(self.path):
            for name in (_THRESHOLD, *REPORT_FILES):
                self._checked(name).unlink(missing_ok=True)
            shutil.rmtree(self._checked("refit"), ignore_errors=True)

    def load_config(self, overrides: Sequence[str] = ()) -> TrainingConfig:
        """The config of the run, with ``key=value`` overrides. Raises ConfigError if it is damaged."""
        return TrainingConfig.load(self.path / "config.yaml", overrides)

    def load_best_core(self) -> CubicCore:
        """The core that the report scores. Raises ArtifactError if it is damaged."""
        return CubicCore.from_pretrained(self.path / "best")

    def load_served_core(self) -> CubicCore:
        """The core to serve: that of refit/ if there is one, else of best/. Raises ArtifactError if it is damaged."""
        refit = self.path / "refit"
        return CubicCore.from_pretrained(refit if (refit / WEIGHTS).is_file() else self.path / "best")

    def save_answers(self, answers: SavedAnswers) -> None:
        """Save the bank of answers."""
        write_answers(self._checked(_ANSWERS), answers)

    def load_answers(self) -> SavedAnswers | None:
        """The bank of answers, or None. Raises ArtifactError if it is damaged."""
        return read_answers(self.path / _ANSWERS) if (self.path / _ANSWERS).exists() else None

    def save_threshold(self, threshold: CalibratedThreshold) -> None:
        """Save the threshold below which no answer is given."""
        self.write_json(_THRESHOLD, threshold.as_dict())

    def load_threshold(self) -> CalibratedThreshold | None:
        """The threshold below which no answer is given, or None. Raises ArtifactError if its file is damaged."""
        path = self.path / _THRESHOLD
        return read_json(path, _CALIBRATED, "Delete it to do without a threshold") if path.exists() else None

    def close(self) -> None:
        """Close metrics.jsonl and TensorBoard's files."""
        if self._metrics is not None:
            with contextlib.suppress(OSError):  # a line that a full disk did not take has been reported
                self._metrics.close()
            self._metrics = None
        if self._summary_writer is not None:
            with contextlib.suppress(OSError):
                self._summary_writer.close()
            self._summary_writer = None

    def discard_if_empty(self) -> None:
        """Delete the folder of a run that failed before it saved a core."""
        self.close()
        if self._resumed or (self.path / "best" / WEIGHTS).exists():
            return
        with contextlib.suppress(OSError):  # it was taken away, and what is there now is somebody else's
            self.check_not_replaced()
            shutil.rmtree(self.path, ignore_errors=True)
            if self._new_parent and self.path.parent.is_dir() and not any(self.path.parent.iterdir()):
                self.path.parent.rmdir()


def require_tensorboard() -> Any:
    """The class SummaryWriter of torch. Raises InputError if the package tensorboard is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError("tensorboard=true needs the package tensorboard; pip install 'cubefast[track]'") from None
    return SummaryWriter
