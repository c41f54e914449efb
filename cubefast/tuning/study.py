"""A study: trials of a search space, kept on the disk so that another process can go on with them."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np
import optuna
from optuna.exceptions import OptunaError
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from ..config import TrainingConfig
from ..config_sections import PASSES
from ..data.datasets import Parts
from ..errors import ArtifactError, InputError
from ..evaluation.comparison import Comparison
from ..training.progress import Progress, Silent
from ..training.state import identity_of
from ..training.trainer import DivergenceError
from ..training.validation import Validation
from .folder import DATABASE, StudyFolder
from .importance import importances
from .plots import picture
from .scores import ValidationScore
from .space import with_values
from .trial import BASE, REASON, Trial, train_trial

_DATA = "data"  # what study.db knows of it
_WAIT_S = 60  # for others that read study.db
_PRUNED_AFTER = 5  # finished trials; and as many must have had the epoch at which one is pruned


class Study:
    """Trials of a search space on one data set; made by :func:`open_study`.

    The first trial is the config that was begun from, so the best is never worse. The next ones are drawn by TPE,
    and pruned when their best epoch so far is worse than the median of the finished trials at the same epoch.

    Attributes:
        folder: what is tried, and where everything is kept.
        baselines: what they score on validation, by their names.
        pairs: how many validation has.
    """

    def __init__(
        self, folder: StudyFolder, kept: optuna.Study, parts: Parts, baselines: dict[str, ValidationScore]
    ) -> None:
        self.folder = folder
        self.baselines = baselines
        self.pairs = len(parts.validation)
        self._kept = kept
        self._parts = parts

    @property
    def trials(self) -> list[Trial]:
        """All so far, also those that failed or were interrupted."""
        return [Trial.of(trial, self.folder.space) for trial in self._kept.get_trials(deepcopy=False)]

    @property
    def done(self) -> int:
        """How many trials count."""
        return sum(trial.counts for trial in self.trials)

    @property
    def base(self) -> Trial | None:
        """The config that was begun from, if its trial is done."""
        return next((trial for trial in self.trials if trial.is_base and trial.counts), None)

    @property
    def best(self) -> Trial | None:
        """The finished trial with the largest value, the first of equals; None where none has finished."""
        finished = [trial for trial in self.trials if trial.state == "finished"]
        return max(finished, key=lambda trial: trial.value or 0.0, default=None)

    @property
    def importances(self) -> dict[str, float] | None:
        """See :func:`cubefast.tuning.importance.importances`."""
        return importances(self._kept.get_trials(deepcopy=False), self.folder.space.distributions)

    def config_of(self, trial: Trial) -> TrainingConfig:
        """The whole config that it trained with."""
        return self.folder.config if trial.is_base else with_values(self.folder.config, trial.parameters)

    def run(
        self,
        trials: int,
        timeout: float | None = None,
        told: Callable[[Trial], None] = lambda trial: None,
        shown: Callable[[], Progress] = Silent,
    ) -> None:
        """Go on until ``trials`` are done in all.

        Args:
            trials: how many, with those that were done before.
            timeout: seconds after which no more is begun; None: no limit.
            told: called with each trial when it is done and everything is on the disk.
            shown: makes what is shown while a trial trains.

        Raises KeyboardInterrupt on Ctrl-C: all trials but the one under way are kept.
        """
        began = time.monotonic()
        try:
            while self.done < trials and (timeout is None or time.monotonic() - began < timeout):
                number = self._try(shown())
                self.write()
                told(self.trials[number])
        except KeyboardInterrupt:
            self.write()
            raise

    def _try(self, shown: Progress) -> int:
        """Do one trial; its number."""
        space, base = self.folder.space, self.folder.config
        is_base = self.base is None
        params = space.params_of(base)
        if is_base and not self._kept.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self._kept.enqueue_trial(params, {BASE: True})
        distributions = {k: each for k, each in space.distributions.items() if not is_base or k in params}
        trial = self._kept.ask(distributions)
        try:
            config = base if is_base else with_values(base, space.values_of(trial.params))
            value = train_trial(trial, config, self._parts, shown)
        except optuna.TrialPruned:
            self._kept.tell(trial, state=TrialState.PRUNED)
        except (DivergenceError, InputError) as error:
            reason = str(error) if isinstance(error, InputError) else str(error).split(";")[0]  # the rest is for runs
            trial.set_user_attr(REASON, reason.replace("\n", ", "))
            self._kept.tell(trial, state=TrialState.FAIL)
        except BaseException:
            self._kept.tell(trial, state=TrialState.FAIL)  # without a reason: interrupted
            raise
        else:
            self._kept.tell(trial, value)
        return trial.number

    def write(self) -> None:
        """trials.jsonl, best.yaml and importance.png, from study.db."""
        trials, best, metric = self.trials, self.best, self.folder.config.training.metric
        self.folder.write("trials.jsonl", "".join(map(_line, trials)))
        if best is not None:
            title = f"# Trial {best.number} of {self.folder.path}: {metric} {best.value:.4f} on validation.\n"
            self.folder.write("best.yaml", title + self.config_of(best).to_yaml())
        lines = {name: float(getattr(each, metric)) for name, each in self.baselines.items()}
        lines = {
            name: value for name, value in lines.items() if not name.startswith("mean ")
        }  # would squeeze the scale
        self.folder.write("importance.png", picture(trials, metric, lines, self.folder.space.mapping, self.importances))


@contextmanager
def open_study(folder: StudyFolder, parts: Parts, comparison: Comparison) -> Iterator[Study]:
    """The study of a folder, begun or gone on with; inside, no other process can open it.

    Args:
        folder: what is tried, and where it is kept.
        parts: the data set; its tests are not touched.
        comparison: has the baselines to be shown.

    Raises:
        ArtifactError: study.db cannot be read.
        InputError: the data is not what the study was begun with, or another process is at work on it.

    Example::

        config = TrainingConfig.load({"training": {"epochs": 10}})
        folder = StudyFolder.create(Path("runs/mine"), config, SearchSpace.load(None, config))
        parts = create_dialogue_dataset(encoder=config.encoder).split()
        with open_study(folder, parts, Comparison(parts, config.mode, config.data.noise)) as study:
            study.run(30)
            print(study.best, study.importances)
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # each trial is told by who runs the study
    lock = os.open(folder.path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # goes with its process, however that ends
        except BlockingIOError:
            raise InputError(f"another process is at work on the study {folder.path}; wait until it is done") from None
        storage, kept = _load(folder)
        try:
            _refuse_other_data(kept, folder, parts)
            for killed in kept.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                kept.tell(killed.number, state=TrialState.FAIL)
            validation = Validation.of_parts(parts)
            baselines = {each.name: ValidationScore.of_baseline(each, validation) for each in comparison.baselines}
            study = Study(folder, kept, parts, baselines)
            if study.done:
                study.write()  # what a kill came before
            yield study
        finally:
            storage.remove_session()
            storage.engine.dispose()
    finally:
        os.close(lock)


def _load(folder: StudyFolder) -> tuple[RDBStorage, optuna.Study]:
    config = folder.config
    path = folder.path / DATABASE
    url = URL.create("sqlite", database=str(path)).render_as_string().replace("{", "{{").replace("}", "}}")
    try:
        storage = RDBStorage(url, {"connect_args": {"timeout": _WAIT_S}})  # which formats the url
        kept = optuna.create_study(storage=storage, study_name="cubefast", direction="maximize", load_if_exists=True)
        done = len(kept.get_trials(deepcopy=False))
    except (SQLAlchemyError, OptunaError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ArtifactError(f"{path} cannot be read: {reason}. Give --study a new folder to begin anew") from None
    seed = np.random.SeedSequence([config.seed, done]).generate_state(1)[0]  # not the same draws after a resume
    kept.sampler = TPESampler(seed=int(seed))
    kept.pruner = MedianPruner(_PRUNED_AFTER, (config.training.epochs or PASSES) // 4 + 1, n_min_trials=_PRUNED_AFTER)
    return storage, kept


def _refuse_other_data(kept: optuna.Study, folder: StudyFolder, parts: Parts) -> None:
    now = {
        f"{name} pairs": identity_of(folder.config, part)["training pairs"]
        for name, part in (("training", parts.train), ("validation", parts.validation))
    }
    then = kept.user_attrs.get(_DATA)
    if then is None:
        kept.set_user_attr(_DATA, now)
    elif then != now:
        raise InputError(
            f"the data of the study {folder.path} has changed. Give --study a new folder, or bring back what it was:\n"
            + "\n".join(f"{key}: were {then[key]}, and now are {now[key]}" for key in now if then[key] != now[key])
        )


def _line(trial: Trial) -> str:
    """A line of trials.jsonl."""
    return json.dumps(asdict(trial), ensure_ascii=False) + "\n"
