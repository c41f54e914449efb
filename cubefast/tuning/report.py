"""A study in words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from .importance import MIN_TRIALS
from .scores import ValidationScore
from .space import value_at
from .study import Study
from .trial import Trial


def beginning(study: Study, wanted: int) -> str:
    """What is tried, where it begins, and what is done already."""
    folder = study.folder
    lines = [f"parameters  {', '.join(folder.space.mapping)}"]
    for key in folder.space.mapping:
        if key not in folder.given:
            value = _short(value_at(folder.config, key))
            lines.append(f"note        {key}={value} of the config is outside the space: tried in the first trial only")
    if study.done:
        lines.append(f"going on    {study.done} of {wanted} trials are done")
    return "\n".join(lines)


def outcome(study: Study, trial: Trial, wanted: int) -> str:
    """A trial in one line: how it ended, the best so far, how long it took, where it differs from the first config."""
    if trial.state == "failed":
        told = f"failed: {trial.reason}"
    elif trial.state == "pruned":
        told = f"{trial.value:.4f}  pruned at epoch {trial.epochs}"
    else:
        told = f"{trial.value:.4f}"
    best = study.best
    if best is not None:
        told += f"  best {best.value:.4f} (trial {best.number})"
    given, names = study.folder.given, _short_names(study.folder.space.mapping)
    changed = [f"{names[k]}={_short(v)}" for k, v in trial.parameters.items() if k not in given or v != given[k]]
    what = "the config as it is" if trial.is_base else " ".join(changed)
    width = len(str(wanted))
    return f"trial {trial.number:>{width}} ({study.done:>{width}}/{wanted})  {told}  {trial.seconds:.1f} s  {what}"


def summary(study: Study) -> str:
    """The best trial beside the first config and the baselines, on validation; its parameters; what decides.

    Raises ValueError where no trial has finished.
    """
    base, best = study.base, study.best
    if best is None or best.score is None:
        raise ValueError("no trial has finished")
    rows = {f"best, trial {best.number}" + (" (the config as it is)" if best.is_base else ""): best.score}
    if base is not None and base.score is not None and not best.is_base:
        rows[f"the config as it is, trial {base.number}"] = base.score
    lines = [
        _table(f"validation ({study.pairs} pairs)", rows | study.baselines),
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
        lines.append(f"\ntoo few trials to say which parameter decides: {MIN_TRIALS} must be finished or pruned")
    else:
        found = ", ".join(f"{key} {share:.0%}" for key, share in shares.items() if share >= 0.005)
        lines.append(f"\nwhat predicts the value (share of its variance): {found or 'nothing'}")
    return "\n".join(lines)


def _table(title: str, rows: Mapping[str, ValidationScore]) -> str:
    """Like :func:`cubefast.evaluation.report.table`, of what is known here."""
    columns = {"cosine": "cosine", "recall_at_1": "R@1", "mrr": "MRR"}
    width = max(28, *(len(name) + 2 for name in rows))
    lines = [f"\n{title}", f"  {'':<{width}}{'parameters':>11}" + "".join(f"{name:>9}" for name in columns.values())]
    best = {key: max(round(getattr(each, key), 3) for each in rows.values()) for key in columns}
    for name, each in rows.items():
        values = {key: round(getattr(each, key), 3) for key in columns}
        cells = "".join(f"{value:>8.3f}{'*' if value == best[key] else ' '}" for key, value in values.items())
        lines.append(f"  {name:<{width}}{each.parameters:>11,}{cells}".rstrip())
    return "\n".join(lines)


def _short_names(keys: Iterable[str]) -> dict[str, str]:
    """The last part of each key where no other key has the same, else the whole."""
    keys = list(keys)
    last = Counter(key.split(".")[-1] for key in keys)
    return {key: key.split(".")[-1] if last[key.split(".")[-1]] == 1 else key for key in keys}


def _short(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.3g}" if isinstance(value, float) else json.dumps(value)
