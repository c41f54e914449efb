"""The folder of a study: runs/tune/."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config.run_config import TrainingConfig
from ..config.settings import keys_of
from ..errors import ArtifactError, InputError
from ..training.run_folder import RunFolder
from ..training.training_state import SETTINGS_NOT_COMPARED
from .space import SearchSpace, value_at

DATABASE = "study.db"
_CONFIG, _SPACE = "config.yaml", "space.yaml"


class StudyFolder:
    """The folder of a study, made with :meth:`create` for a new study and with :meth:`open` for an existing one.

    It holds config.yaml, space.yaml and study.db, with each trial trials.jsonl and best.yaml, and in the end
    history.png and slice.png.

    Attributes:
        run, path: the folder.
        config: the config that the study was started with.
        space: the search space.
        given: those values of the config that lie in the search space, by key.
    """

    def __init__(self, run: RunFolder, config: TrainingConfig, space: SearchSpace) -> None:
        self.run = run
        self._is_new = False
        self.path = run.path
        self.config = config
        self.space = space
        self.given = space.values_of(space.params_of(config))

    @classmethod
    def create(cls, path: Path | None, config: TrainingConfig, space: SearchSpace) -> StudyFolder:
        """Make a new folder. Without a path it is the first free one of tune, tune-2, ... in ``config.runs``.

        Raises InputError when the folder cannot be made.
        """
        if path is None:
            run = RunFolder.create(config.runs, None, "tune")
        else:
            run = RunFolder.create(path.parent, path.name, path.name)
        run.write(_SPACE, space.to_yaml())
        run.write(_CONFIG, config.to_yaml())
        folder = cls(run, config, space)
        folder._is_new = True
        return folder

    @classmethod
    def open(
        cls,
        path: Path,
        source: str | Path | None = None,
        overrides: Sequence[str] = (),
        space: str | Path | None = None,
    ) -> StudyFolder:
        """Open an existing study. A config or search space given here must equal the study's own.

        Args:
            path: the folder.
            source: the name or file of a config; None: the study's own.
            overrides: ``key=value`` on top of the config.
            space: the file of a search space; None: the study's own.

        Raises:
            ArtifactError: the folder is not that of a study.
            ConfigError: a config or a search space cannot be read or is not valid.
            InputError: the config or the space differs; the message names the keys.
        """
        for name in (_CONFIG, _SPACE):
            if not (path / name).is_file():
                raise ArtifactError(f"{path} is no study to go on with: {name} is missing. Give --study a new folder")
        own = TrainingConfig.load(path / _CONFIG).with_absolute_paths()
        config = TrainingConfig.load(source or path / _CONFIG, overrides).with_absolute_paths()
        keys = [key for key, _, _ in keys_of(TrainingConfig) if key not in SETTINGS_NOT_COMPARED]
        own_space, given_space = SearchSpace.load(path / _SPACE, own), SearchSpace.load(space or path / _SPACE, own)
        changes = _changes({key: value_at(own, key) for key in keys}, {key: value_at(config, key) for key in keys})
        changes += [f"search space: {change}" for change in _changes(own_space.mapping, given_space.mapping)]
        if changes:
            raise InputError(
                f"{path} is a study of another config. Leave out what differs, or give --study a new folder:\n"
                + "\n".join(changes)
            )
        return cls(RunFolder(path), config, own_space)

    def discard_if_unused(self) -> None:
        """Delete a new folder again if no trial was started in it."""
        if self._is_new and not (self.path / DATABASE).exists():
            self.run.discard_if_empty()


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A line for each key whose value differs."""
    return [
        f"{key}: was {before.get(key, 'not tuned')}, and now is {now.get(key, 'not tuned')}"
        for key in {**before, **now}
        if before.get(key) != now.get(key)
    ]
