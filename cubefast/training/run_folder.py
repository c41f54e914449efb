"""The folder that a run leaves behind: runs/NAME/."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import IO, Any

from ..core import CubicCore
from ..errors import ArtifactError, InputError
from ..files import write_atomically, write_json


class RunFolder:
    """config.yaml, environment.json, data.json, metrics.jsonl, curves.png, report.json, answers.safetensors,
    threshold.json, best/ (the core that is scored), refit/ (the same trained on all pairs, to serve), checkpoints/ and,
    if wanted, tensorboard/.

    Made with :meth:`create` for a new run, :meth:`resume` for a stopped one and :meth:`open` for a finished one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._metrics: IO[str] | None = None
        self._tracker: Any = None
        self._new_parent = False
        self._resumed = False

    @classmethod
    def create(cls, runs: str | Path, name: str | None, default_name: str) -> RunFolder:
        """Make a new folder; without a name, the first free of ``default_name``, ``default_name-2``, ...

        Raises InputError when the name is taken or the place cannot be written.
        """
        path = Path(runs) / (name or default_name)
        number = 1
        new_parent = not path.parent.exists()
        while True:
            try:
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
            except OSError as error:
                raise InputError(
                    f"the run folder {path} cannot be made: {error.strerror}. Set runs=FOLDER to a place "
                    "that can be written"
                ) from None
        if not os.access(path, os.W_OK):
            raise InputError(f"the run folder {path} cannot be written; set runs=FOLDER")
        run = cls(path)
        run._new_parent = new_parent
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """A finished run. Raises ArtifactError where there is none."""
        path = Path(path)
        if not path.is_dir():
            raise ArtifactError(f"no run at {path}; train one with `python -m cubefast.train`")
        if not (path / "config.yaml").is_file() or not (path / "best").is_dir():
            raise ArtifactError(
                f"{path} is not a finished run: config.yaml or best/ is missing. `python -m cubefast.train` makes one"
            )
        return cls(path)

    @classmethod
    def resume(cls, path: str | Path) -> RunFolder:
        """A run that was stopped. Raises ArtifactError where there is none."""
        path = Path(path)
        if not (path / "config.yaml").is_file():
            raise ArtifactError(f"no run to resume at {path}: config.yaml is missing; give the folder runs/NAME")
        run = cls(path)
        run._resumed = True
        return run

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints are kept."""
        return self.path / "checkpoints"

    def keep_metrics(self, epochs: int) -> None:
        """Drop what metrics.jsonl has of the epochs after this many: they will be done again."""
        self.close()  # or the next line would go to the old file
        path = self.path / "metrics.jsonl"
        lines = path.read_text("utf-8").splitlines(keepends=True) if path.exists() else []
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["epoch"] <= epochs]
        if len(kept) < len(lines):
            write_atomically(path, "".join(kept))

    def track(self, step: int) -> None:
        """From batch ``step`` on, also record for TensorBoard, in ``tensorboard/``; what it has beyond is dropped."""
        self._tracker = require_tensorboard()(str(self.path / "tensorboard"), purge_step=step + 1)

    def write(self, name: str, content: str | bytes) -> None:
        """A file of the run, atomically."""
        write_atomically(self.path / name, content)

    def write_json(self, name: str, content: Any) -> None:
        """The same, as JSON."""
        write_json(self.path / name, content)

    def record(self, metrics: dict[str, Any]) -> None:
        """One line more of metrics.jsonl, out of this process when this returns.

        ``metrics`` has ``event`` (epoch, steps or crossfit), ``epoch`` and ``step``.
        """
        if self._metrics is None:
            self._metrics = (self.path / "metrics.jsonl").open("a", encoding="utf-8")
        self._metrics.write(json.dumps(metrics) + "\n")
        self._metrics.flush()
        if self._tracker is not None:
            for name, value in metrics.items():
                if name not in ("event", "epoch", "step"):
                    self._tracker.add_scalar(f"{metrics['event']}/{name}", value, metrics["step"])
            self._tracker.flush()

    def save_best(self, core: CubicCore) -> None:
        """Keep this core as the best so far."""
        core.save_pretrained(self.path / "best")

    def save_refit(self, core: CubicCore) -> None:
        """Keep the core that was trained once more on all pairs."""
        core.save_pretrained(self.path / "refit")

    def discard_refit(self) -> None:
        """Take away the core of a training that is going on: it would be of another best epoch."""
        shutil.rmtree(self.path / "refit", ignore_errors=True)

    @property
    def served(self) -> Path:
        """The folder of the core to serve: the one trained on all pairs, where there is one."""
        refit = self.path / "refit"
        return refit if refit.is_dir() else self.path / "best"

    def close(self) -> None:
        """No more metrics will come."""
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None
        if self._tracker is not None:
            self._tracker.close()
            self._tracker = None

    def discard_if_empty(self) -> None:
        """Take the folder away again if no core was saved in it: a run that failed before it learnt anything."""
        self.close()
        if not self._resumed and not (self.path / "best").exists():
            shutil.rmtree(self.path, ignore_errors=True)
            if self._new_parent and self.path.parent.is_dir() and not any(self.path.parent.iterdir()):
                self.path.parent.rmdir()


def require_tensorboard() -> Any:
    """torch's SummaryWriter. Raises InputError where the extra is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError("tensorboard=true needs the package tensorboard; pip install 'cubefast[track]'") from None
    return SummaryWriter
