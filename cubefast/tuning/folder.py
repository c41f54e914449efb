"""The folder that a study leaves behind, and goes on in: runs/tune/."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ..config import TrainingConfig
from ..errors import ArtifactError, InputError
from ..settings import keys_of
from ..training.run_folder import RunFolder
from ..training.state import FREE_SETTINGS
from .space import SearchSpace, value_at

DATABASE = "study.db"
_CONFIG, _SPACE = "config.yaml", "space.yaml"


class StudyFolder:
    """config.yaml, space.yaml and study.db; after each trial trials.jsonl, best.yaml and importance.png.

    Made with :meth:`create` for a new study and :meth:`open` for one to go on with.

    Attributes:
        path: the folder.
        config: what the study begins from.
        space: what it tries.
        given: the config's values of the space's keys, where they lie in the space.
    """

    def __init__(self, run: RunFolder, config: TrainingConfig, space: SearchSpace) -> None:
        self._run = run
        self._is_new = False
        self.path = run.path
        self.config = config
        self.space = space
        self.given = space.values_of(space.params_of(config))

    @classmethod
    def create(cls, path: Path | None, config: TrainingConfig, space: SearchSpace) -> StudyFolder:
        """Make a new folder; without a path the first free of tune, tune-2, ... in ``config.runs``.

        Raises InputError when it cannot be made.
        """
        if path is None:
            run = RunFolder.create(config.runs, None, "tune")
        else:
            run = RunFolder.create(path.parent, path.name, path.name)
        run.write(_SPACE, space.to_yaml())
        run.write(_CONFIG, config.to_yaml())
        made = cls(run, config, space)
        made._is_new = True
        return made

    @classmethod
    def open(
        cls,
        path: Path,
        source: str | Path | None = None,
        overrides: Sequence[str] = (),
        space: str | Path | None = None,
    ) -> StudyFolder:
        """A study that is there. What is given must be what it was begun with.

        Args:
            path: the folder.
            source: a config's name or file; None: the study's own.
            overrides: ``key=value`` on top of it.
            space: a file; None: the study's own.

        Raises:
            ArtifactError: it is not a study's folder.
            ConfigError: a config or a space cannot be read or does not hold.
            InputError: the config or the space is another; the message names the keys.
        """
        for name in (_CONFIG, _SPACE):
            if not (path / name).is_file():
                raise ArtifactError(f"{path} is no study to go on with: {name} is missing. Give --study a new folder")
        own = TrainingConfig.load(path / _CONFIG).with_absolute_paths()
        config = TrainingConfig.load(source or path / _CONFIG, overrides).with_absolute_paths()
        keys = [key for key, _, _ in keys_of(TrainingConfig) if key not in FREE_SETTINGS]
        tried, wanted = SearchSpace.load(path / _SPACE, own), SearchSpace.load(space or path / _SPACE, own)
        changes = _changes({key: value_at(own, key) for key in keys}, {key: value_at(config, key) for key in keys})
        changes += [f"search space: {change}" for change in _changes(tried.mapping, wanted.mapping)]
        if changes:
            raise InputError(
                f"{path} is a study of another config. Leave out what differs, or give --study a new folder:\n"
                + "\n".join(changes)
            )
        return cls(RunFolder(path), config, tried)

    def write(self, name: str, content: str | bytes) -> None:
        """A file of the study, atomically."""
        self._run.write(name, content)

    def locked(self) -> AbstractContextManager[None]:
        """Be the only process that works on the study. Raises InputError where another one does."""
        return self._run.locked()

    def discard_if_unused(self) -> None:
        """Take a new folder away again if no trial was begun in it."""
        if self._is_new and not (self.path / DATABASE).exists():
            self._run.discard_if_empty()


def _changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Each key that differs, in words."""
    return [
        f"{key}: was {then.get(key, 'not tuned')}, and now is {now.get(key, 'not tuned')}"
        for key in {**then, **now}
        if then.get(key) != now.get(key)
    ]
