"""What `python -m cubefast.tune` prints of a study."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from ..evaluation.score_table import table_of_test
from ..utils.terminal import columns
from .plots import MIN_TRIALS
from .space import value_at
from .study import Study
from .trial import Trial


def header(study: Study, trials: int) -> str:
    """The tuned parameters, and how many of the wanted trials are done already."""
    folder = study.folder
    lines = [f"parameters  {', '.join(folder.space.mapping)}"]
    for key in folder.space.mapping:
        if key not in folder.given:
            value = _short(value_at(folder.config, key))
            lines.append(f"note        {key}={value} of the config is outside the space: tried in the first trial only")
    if study.done:
        lines.append(f"going on    {study.done} of {trials} trials are done")
    return "\n".join(lines)


def trial_line(study: Study, trial: Trial, trials: int) -> str:
    """One line of a trial: its value, the best so far, its time, and where it differs from the first config."""
    if trial.state == "failed":
        value = f"failed: {trial.reason}"
    elif trial.state == "pruned":
        value = f"{trial.value:.4f}  pruned at epoch {trial.epochs}"
    else:
        value = f"{trial.value:.4f}"
    best = "" if study.best is None else f"  best {study.best.value:.4f} (trial {study.best.number})"
    given, names = study.folder.given, _short_names(study.folder.space.mapping)
    changes = [f"{names[k]}={_short(v)}" for k, v in trial.parameters.items() if k not in given or v != given[k]]
    what = "the config as it is" if trial.is_base else " ".join(changes)
    width = len(str(trials))
    place = f"trial {trial.number:>{width}} ({study.done:>{width}}/{trials})"
    return f"{place}  {value}{best}  {trial.seconds:.1f} s  {what}"


def summary(study: Study) -> str:
    """A table of the best trial, the first config and the baselines, then the best parameters and the importances.

    Raises ValueError when no trial has finished.
    """
    base, best = study.base, study.best
    if best is None or best.score is None:
        raise ValueError("no trial has finished")
    rows = {f"best, trial {best.number}" + (" (the config as it is)" if best.is_base else ""): best.score}
    if base is not None and base.score is not None and not best.is_base:
        rows[f"the config as it is, trial {base.number}"] = base.score
    lines = [
        table_of_test(f"validation ({study.pairs} pairs)", rows | study.baselines, columns()),
        f"\n(the best of {study.done} trials was chosen by its {study.folder.config.training.metric} here, so its "
        "figure is optimistic.\nThe tests were not touched: train with best.yaml to see them)",
    ]
    if not best.is_base:
        lines.append("\nin best.yaml")
        for key, value in best.parameters.items():
            was = value_at(study.folder.config, key)
            lines.append(f"  {key:<28}{_short(value):>10}" + (f"  (was {_short(was)})" if value != was else ""))
    shares = study.importances
    if shares is None:
        lines.append(f"\nimportances: not computed; they need {MIN_TRIALS} finished trials of different values")
    else:
        largest = ", ".join(f"{key} {share:.0%}" for key, share in shares.items() if share >= 0.05)
        lines.append(f"\nimportances (fANOVA): {largest}")
    return "\n".join(lines)


def _short_names(keys: Iterable[str]) -> dict[str, str]:
    """The last part of each key if no other key ends with it, else the whole key."""
    keys = list(keys)
    count = Counter(key.split(".")[-1] for key in keys)
    return {key: key.split(".")[-1] if count[key.split(".")[-1]] == 1 else key for key in keys}


def _short(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.3g}" if isinstance(value, float) else json.dumps(value)
