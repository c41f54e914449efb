"""The importances of a study's parameters and its pictures, both by Optuna."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

MIN_TRIALS = 10
"""Finished trials that importances are computed from; of fewer, they are chance."""

_SLICES = 4  # parameters in slice.png: as many as are readable beside each other


def importances(study: optuna.Study, params: Sequence[str]) -> dict[str, float] | None:
    """The share of each parameter in what the parameters explain of the trials' values (fANOVA), the largest first.

    The shares add up to 1. Only finished trials that have all parameters count. None when these are fewer than
    MIN_TRIALS, or all have the same value.
    """
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    values = [trial.value for trial in finished if set(params) <= set(trial.params)]
    if len(values) < MIN_TRIALS or len(set(values)) == 1:
        return None
    return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0), params=list(params))


def study_plots(study: optuna.Study, metric: str, baselines: Mapping[str, float]) -> dict[str, bytes]:
    """The pictures of a study that has a finished trial: PNG files by their names.

    ``history.png`` shows the value of each trial, the best so far, and a dashed line for each baseline; ``slice.png``
    shows the value over the most important parameters.

    Args:
        study: its trials.
        metric: the name of a trial's value.
        baselines: the same value of each baseline, by its name.
    """
    from optuna.visualization import matplotlib as plots  # imports pyplot, which takes a second

    def history() -> None:
        axes = plots.plot_optimization_history(study, target_name=label)
        for i, (name, value) in enumerate(baselines.items()):
            axes.axhline(value, color=f"C{i + 2}", linestyle="--", label=f"{name} ({value:.3f})")
        axes.legend(bbox_to_anchor=(1.05, 1.0), loc="upper left")

    label = f"validation {metric}"
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    params = list(dict.fromkeys(key for trial in finished for key in trial.params))
    shown = list(importances(study, params) or params)[:_SLICES]
    return {
        "history.png": _png(history),
        "slice.png": _png(lambda: plots.plot_slice(study, shown, target_name=label)),
    }


def _png(draw: Callable[[], Any]) -> bytes:
    """The figure that ``draw`` makes with pyplot. No figure, style or warning is left behind."""
    from matplotlib import pyplot

    image = io.BytesIO()
    with pyplot.rc_context({"figure.figsize": (8, 5)}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the plots are experimental, and that an axis of one value has no extent
        draw()
        figure = pyplot.gcf()
        try:
            figure.savefig(image, format="png", dpi=110, bbox_inches="tight")
        finally:
            pyplot.close(figure)
    return image.getvalue()
