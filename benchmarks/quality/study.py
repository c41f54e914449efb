"""The cube beside everything else that could be trained on the same vectors: `python benchmarks/quality/study.py`.

    python benchmarks/quality/study.py [key=value ...] [--seeds 0 1 2] [--ablations] --into FILE.json

The key=values name the data set and hold for every training, as for `python -m cubefast.train`. Of each seed it trains
the cube and its rivals, and ranks every test question's answer among all answers of the data set. What is printed, and
kept in FILE.json, is the median of the seeds and, in brackets, their range; the difference to the rival that validation
chose is taken query by query, after a mean over the seeds, with a 95% interval by paired bootstrap over groups.

--ablations also trains the cube without its lattice (core.output_scale=0: the linear map and the trust remain), with
cells that cannot see their neighbors, without the memory of answers (core.memory=0), and without trust and memory
(core.prototypes=0).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from cubefast.config.run_config import TrainingConfig
from cubefast.core import CubicCore
from cubefast.data.datasets import DialogueDataset, Parts
from cubefast.evaluation.baselines import Baseline, as_baseline, identity, nearest_question
from cubefast.evaluation.metrics import TIE, retrieval_ranks
from cubefast.evaluation.paired_bootstrap import FEWEST_GROUPS, paired_bootstrap
from cubefast.training.open_data import open_data, split_data
from cubefast.training.trainer import CubeTrainer
from cubefast.training.trust_choice import choose_handicap
from cubefast.training.validation import Validation, validate_models
from cubefast.utils.files import write_json

CUBE, CHOSEN = "cube", "strongest rival on validation"
KNOWING = "cube, in a search that knows which answers were trained"
ABLATIONS = {
    "without the lattice": ["core.output_scale=0"],
    "without memory": ["core.memory=0"],
    "without trust": ["core.prototypes=0"],
}
NO_NEIGHBORS = "cells that see no neighbors"


class LonelyTrainer(CubeTrainer):
    """Trains a core whose cells are blind to their neighbors: those weights are zero and stay so."""

    def build_core(self, dim: int) -> CubicCore:
        core = super().build_core(dim)
        for phase in core.lattice.phases:
            mine = torch.zeros_like(phase.w_perceive)
            mine[:, -phase.state_size :] = 1  # a cell itself is the last slot
            with torch.no_grad():
                phase.w_perceive.mul_(mine)
            phase.w_perceive.register_hook(lambda gradient, mine=mine: gradient * mine)
        return core


@dataclass
class Column:
    """One model over the seeds: parameters, and of each test the ranks of every query, one row a seed."""

    parameters: list[int] = field(default_factory=list)
    ranks: dict[str, list[Tensor]] = field(default_factory=dict)
    validation: list[float] = field(default_factory=list)


def measure(settings: list[str], seeds: list[int], ablations: bool) -> dict[str, Any]:
    """Train everything with every seed; the figures, as they are kept."""
    columns: dict[str, Column] = {}
    seconds, chosen = [], []
    for seed in seeds:
        config = TrainingConfig.load(None, [*settings, f"seed={seed}"])
        dataset = open_data(config)
        assert isinstance(dataset, DialogueDataset)
        parts = split_data(config, dataset)
        began = time.perf_counter()
        trainer = CubeTrainer(config)
        core = trained(trainer, parts)
        seconds.append(time.perf_counter() - began)
        found = trainer.rivals(parts.train, parts.validations, bank=torch.from_numpy(parts.answer_vectors))
        rivals = {model.kind: model for model in found}
        models = {CUBE: as_baseline(core), "identity": identity(), **rivals}
        if seed == seeds[0]:
            models["nearest question's answer"] = nearest_question(parts.train)
        strongest = strongest_of(rivals, Validation.of_parts(parts))
        models[CHOSEN] = rivals[strongest]
        chosen.append(strongest)
        if ablations:
            for name, changes in ABLATIONS.items():
                changed = TrainingConfig.load(None, [*settings, *changes, f"seed={seed}"])
                models[name] = as_baseline(trained(CubeTrainer(changed), parts))
            models[NO_NEIGHBORS] = as_baseline(trained(LonelyTrainer(config), parts))
        take(columns, models, parts)
        trained_rows = torch.from_numpy(parts.trained)
        take_knowing(
            columns, core, parts, choose_handicap(core, Validation.of_parts(parts), trained_rows) * trained_rows
        )
    groups = {name: groups_of(dataset, parts.rows[name]) for name in parts.tests}
    kept: dict[str, Any] = {"settings": settings, "seeds": seeds, "chosen": chosen, "training_seconds": seconds}
    kept["pairs"], kept["answers"] = len(parts.train), len(parts.answers)
    kept["tests"] = {test: table_of(test, columns, groups[test]) for test in parts.tests}
    return kept


def trained(trainer: CubeTrainer, parts: Parts) -> CubicCore:
    """The core that it chose."""
    return trainer.fit(parts.train, parts.validations, bank=torch.from_numpy(parts.answer_vectors)).core


def strongest_of(rivals: Mapping[str, Baseline], validation: Validation) -> str:
    """The name of the rival with the best MRR, mean over the regimes."""
    found = validate_models(list(rivals.values()), validation)
    return max(rivals, key=lambda name: found[rivals[name].name]["mrr"])


def take(columns: dict[str, Column], models: Mapping[str, Baseline], parts: Parts) -> None:
    """Rank every test question's answer with every model."""
    bank = torch.from_numpy(parts.answer_vectors)
    for name, model in models.items():
        column = columns.setdefault(name, Column())
        column.parameters.append(model.parameters)
        stored = model.stored(bank)
        for test, part in parts.tests.items():
            pairs = part.pairs()
            with torch.no_grad():
                ranks = retrieval_ranks(model.predict(pairs.inputs), stored, pairs.target_ids)
            column.ranks.setdefault(test, []).append(ranks)


def take_knowing(columns: dict[str, Column], core: CubicCore, parts: Parts, handicap: Tensor) -> None:
    """Rank with the cube where so much is taken off the cosine to each answer, float32 [answers]."""
    stored = as_baseline(core).stored(torch.from_numpy(parts.answer_vectors))
    column, bank = columns.setdefault(KNOWING, Column()), normalize(stored, dim=1)
    column.parameters.append(core.parameter_count())
    for test, part in parts.tests.items():
        pairs = part.pairs()
        scores = normalize(as_baseline(core).predict(pairs.inputs), dim=1) @ bank.T - handicap
        least = scores.gather(1, pairs.target_ids[:, None]) - TIE
        column.ranks.setdefault(test, []).append((scores >= least).sum(dim=1))


def groups_of(dataset: DialogueDataset, rows: list[int]) -> Tensor:
    """int64 [n]: a number for each different group."""
    names = [dataset.dialogues[row].group for row in rows]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([numbers[name] for name in names])


def table_of(test: str, columns: Mapping[str, Column], groups: Tensor) -> dict[str, Any]:
    """Of each model its figures, and the difference of the cube to it with an interval."""
    cube = torch.stack(columns[CUBE].ranks[test]).double()
    rows: dict[str, Any] = {}
    for name, column in columns.items():
        ranks = torch.stack(column.ranks[test]).double()
        mrr, first = (1 / ranks).mean(dim=1).tolist(), (ranks <= 1).double().mean(dim=1).tolist()
        rows[name] = {"parameters": max(column.parameters), "mrr": mrr, "recall_at_1": first}
        if name != CUBE:
            rows[name]["difference"] = {
                "mrr": paired_bootstrap((1 / cube).mean(dim=0), (1 / ranks).mean(dim=0), groups),
                "recall_at_1": paired_bootstrap(
                    (cube <= 1).double().mean(dim=0), (ranks <= 1).double().mean(dim=0), groups
                ),
            }
    return {"queries": len(groups), "groups": len(groups.unique()), "models": rows}


def printed(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = []
    for test, each in found["tests"].items():
        lines.append(
            f"{test}: {each['queries']:,} queries in {each['groups']:,} groups, among {found['answers']:,} answers; "
            f"{found['pairs']:,} pairs to train on"
        )
        if each["groups"] < FEWEST_GROUPS:
            lines.append(f"too few groups ({each['groups']}) to tell")
        lines += ["", "| model | parameters | R@1 | MRR | cube minus model, R@1 | cube minus model, MRR |"]
        lines.append("| --- | --- | --- | --- | --- | --- |")
        for name, row in each["models"].items():
            cells = [name, f"{row['parameters']:,}", spread(row["recall_at_1"]), spread(row["mrr"])]
            for metric in ("recall_at_1", "mrr"):
                cells.append(_interval(*row["difference"][metric]) if "difference" in row else "")
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    """The median of the seeds, with their range if there are several."""
    middle = f"{statistics.median(values):.3f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.3f} to {max(values):.3f})"


def _interval(difference: float, low: float, high: float) -> str:
    return f"{difference:+.4f} ({low:+.4f} to {high:+.4f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", metavar="key=value", help="as for python -m cubefast.train")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ablations", action="store_true", help="also train the cube with parts of it left out")
    parser.add_argument("--into", type=Path, required=True, metavar="FILE.json", help="where the figures are kept")
    arguments = parser.parse_intermixed_args()
    found = measure(arguments.settings, arguments.seeds, arguments.ablations)
    write_json(arguments.into, found)
    print(printed(found))
    print(f"training the cube: {', '.join(f'{each:.0f} s' for each in found['training_seconds'])}")


if __name__ == "__main__":
    main()
