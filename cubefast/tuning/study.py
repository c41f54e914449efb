"""A study: trials of a search space, stored on disk so that another process can continue it."""

from __future__ import annotations

import json
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

from ..config.run_config import TrainingConfig
from ..config.training import PASSES
from ..data.datasets import Parts
from ..errors import ArtifactError, InputError
from ..evaluation.baseline_comparison import Comparison
from ..training.progress import Progress
from ..training.trainer import DivergenceError
from ..training.training_state import identity_of
from ..training.validation import Validation, validate_models
from .folder import DATABASE, StudyFolder
from .plots import importances, study_plots
from .space import with_values
from .trial import BASE, METRICS, REASON, Score, Trial, train_trial

_DATA = "data"  # the attribute of the study in study.db that identifies its data
_WAIT_S = 60  # for other processes that read study.db
_PRUNED_AFTER = 5  # finished trials, as many of which must have reached the epoch at which one is pruned


class Study:
    """Trials of a search space on one data set; made by :func:`open_study`.

    The first trial is the config that the study was started with, so the best is never worse. The other trials are
    drawn by TPE, and pruned when their best epoch so far is worse than the median of the finished trials at that epoch.

    Attributes:
        folder: the config, the search space and the files of the study.
        baselines: the score of each baseline on validation, by its name.
        pairs: the number of validation pairs.
    """

    def __init__(self, folder: StudyFolder, stored: optuna.Study, parts: Parts, baselines: dict[str, Score]) -> None:
        self.folder = folder
        self.baselines = baselines
        self.pairs = len(parts.validation)
        self._stored = stored
        self._parts = parts

    @property
    def trials(self) -> list[Trial]:
        """All trials so far, also those that failed or were interrupted."""
        return [Trial.of(trial, self.folder.space) for trial in self._stored.get_trials(deepcopy=False)]

    @property
    def done(self) -> int:
        """The number of trials that have ended: finished, pruned or failed."""
        return sum(trial.counts for trial in self.trials)

    @property
    def base(self) -> Trial | None:
        """The trial of the config that the study was started with, if it has ended."""
        return next((trial for trial in self.trials if trial.is_base and trial.counts), None)

    @property
    def best(self) -> Trial | None:
        """The finished trial with the largest value, the first of equals; None when no trial has finished."""
        finished = [trial for trial in self.trials if trial.state == "finished"]
        return max(finished, key=lambda trial: trial.value or 0.0, default=None)

    @property
    def importances(self) -> dict[str, float] | None:
        """The importance of each parameter; see :func:`cubefast.tuning.plots.importances`."""
        return importances(self._stored, list(self.folder.space.distributions))

    def config_of(self, trial: Trial) -> TrainingConfig:
        """The whole config that a trial trained with."""
        return self.folder.config if trial.is_base else with_values(self.folder.config, trial.parameters)

    def run(
        self,
        trials: int,
        timeout: float | None = None,
        on_trial: Callable[[Trial], None] = lambda trial: None,
        progress: Callable[[], Progress] = Progress,
    ) -> None:
        """Run trials until ``trials`` have ended in all, then draw the plots.

        Args:
            trials: how many trials the study is to have, with those of earlier runs.
            timeout: seconds after which no further trial starts; None: no limit.
            on_trial: called with each trial when it has ended and is in the files of the study.
            progress: makes the progress display of a trial.

        Raises KeyboardInterrupt on Ctrl-C; all trials but the one in progress are kept.
        """
        start = time.monotonic()
        try:
            while self.done < trials and (timeout is None or time.monotonic() - start < timeout):
                number = self._run_trial(progress())
                self.write()
                on_trial(self.trials[number])
        except KeyboardInterrupt:
            self.write()
            raise
        finally:
            self._write_plots()

    def _run_trial(self, progress: Progress) -> int:
        """Run one trial; returns its number."""
        space, base = self.folder.space, self.folder.config
        is_base = self.base is None
        params = space.params_of(base)
        if is_base and not self._stored.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self._stored.enqueue_trial(params, {BASE: True})
        distributions = {k: each for k, each in space.distributions.items() if not is_base or k in params}
        trial = self._stored.ask(distributions)
        try:
            config = base if is_base else with_values(base, space.values_of(trial.params))
            value = train_trial(trial, config, self._parts, progress)
        except optuna.TrialPruned:
            self._stored.tell(trial, state=TrialState.PRUNED)
        except (DivergenceError, InputError) as error:
            reason = str(error) if isinstance(error, InputError) else str(error).split(";")[0]  # the rest is for runs
            trial.set_user_attr(REASON, reason.replace("\n", ", "))
            self._stored.tell(trial, state=TrialState.FAIL)
        except BaseException:
            self._stored.tell(trial, state=TrialState.FAIL)  # without a reason: interrupted
            raise
        else:
            self._stored.tell(trial, value)
        return trial.number

    def write(self) -> None:
        """Write trials.jsonl and best.yaml from study.db."""
        best, metric = self.best, self.folder.config.training.metric
        self.folder.run.write("trials.jsonl", "".join(map(_line, self.trials)))
        if best is not None:
            title = f"# Trial {best.number} of {self.folder.path}: {metric} {best.value:.4f} on validation.\n"
            self.folder.run.write("best.yaml", title + self.config_of(best).to_yaml())

    def _write_plots(self) -> None:
        """Write history.png and slice.png, once a trial has finished."""
        if self.best is None:
            return
        metric = self.folder.config.training.metric
        # The means are far below everything else, and would squeeze the scale.
        lines = {name: score[metric] for name, score in self.baselines.items() if not name.startswith("mean ")}
        for name, image in study_plots(self._stored, metric, lines).items():
            self.folder.run.write(name, image)


@contextmanager
def open_study(folder: StudyFolder, parts: Parts, comparison: Comparison) -> Iterator[Study]:
    """A context with the study of a folder, new or continued, into which no other process can write meanwhile.

    Args:
        folder: the config, the search space and the files of the study.
        parts: the data set, of which the tests are not used.
        comparison: the fitted baselines.

    Raises:
        ArtifactError: study.db cannot be read.
        InputError: the data differs from what the study was started with, or another process writes into the folder.

    Example::

        config = TrainingConfig.load({"training": {"epochs": 10}})
        folder = StudyFolder.create(Path("runs/mine"), config, SearchSpace.load(None, config))
        parts = create_dialogue_dataset(encoder=config.encoder).split()
        with open_study(folder, parts, Comparison(parts, config.mode, config.data.noise)) as study:
            study.run(30)
            print(study.best, study.importances)
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # who runs the study reports its trials
    with folder.run.locked():
        storage, stored = _open_storage(folder)
        try:
            _refuse_other_data(stored, folder, parts)
            for killed in stored.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                stored.tell(killed.number, state=TrialState.FAIL)
            validation = Validation.of_parts(parts)
            metrics = validate_models(comparison.baselines, validation)
            baselines = {
                each.name: {"parameters": each.parameters} | {name: metrics[each.name][name] for name in METRICS}
                for each in comparison.baselines
            }
            study = Study(folder, stored, parts, baselines)
            if study.done:
                study.write()  # a kill may have come between a trial's end and its files
            yield study
        finally:
            storage.remove_session()
            storage.engine.dispose()


def _open_storage(folder: StudyFolder) -> tuple[RDBStorage, optuna.Study]:
    config = folder.config
    path = folder.path / DATABASE
    url = URL.create("sqlite", database=str(path)).render_as_string().replace("{", "{{").replace("}", "}}")
    try:
        storage = RDBStorage(url, {"connect_args": {"timeout": _WAIT_S}})  # which formats the url
        stored = optuna.create_study(storage=storage, study_name="cubefast", direction="maximize", load_if_exists=True)
        done = len(stored.get_trials(deepcopy=False))
    except (SQLAlchemyError, OptunaError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ArtifactError(f"{path} cannot be read: {reason}. Give --study a new folder to begin anew") from None
    seed = np.random.SeedSequence([config.seed, done]).generate_state(1)[0]  # not the same draws after a resume
    stored.sampler = TPESampler(seed=int(seed))
    stored.pruner = MedianPruner(_PRUNED_AFTER, (config.training.epochs or PASSES) // 4 + 1, n_min_trials=_PRUNED_AFTER)
    return storage, stored


def _refuse_other_data(stored: optuna.Study, folder: StudyFolder, parts: Parts) -> None:
    now = {
        f"{name} pairs": identity_of(folder.config, part)["training pairs"]
        for name, part in (("training", parts.train), ("validation", parts.validation))
    }
    then = stored.user_attrs.get(_DATA)
    if then is None:
        stored.set_user_attr(_DATA, now)
    elif then != now:
        raise InputError(
            f"the data of the study {folder.path} has changed. Give --study a new folder, or bring back what it was:\n"
            + "\n".join(f"{key}: were {then[key]}, and now are {now[key]}" for key in now if then[key] != now[key])
        )


def _line(trial: Trial) -> str:
    """A line of trials.jsonl."""
    return json.dumps(asdict(trial), ensure_ascii=False) + "\n"
