"""Train a row of configs on one data set and put what came of them side by side: `python benchmarks/quality/study.py`.

    python benchmarks/quality/study.py STUDY [key=value ...] --into FOLDER

STUDY is a section of studies.yaml: its rows, and what each changes. The key=value name the data set and hold for every
row. A row is a training like any other, `python -m cubefast.train` with the same key=values, or that of a core from
variants.py where it says variant=NAME; what it came to is kept in FOLDER, so a study that was stopped goes on where it
was. The table compares every row with the first, query by query on the validation pairs (tests are for the figures of a
finished default), after a mean over the seeds; intervals are 95%, by paired bootstrap over groups, and know nothing of
the chance in a seed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import statistics
import time
from pathlib import Path
from typing import Any

import torch
import variants
import yaml

from cubefast.config import TrainingConfig
from cubefast.evaluation.embedding_metrics import EmbeddingMetrics
from cubefast.evaluation.verdict import paired_bootstrap
from cubefast.files import write_json
from cubefast.training.reading import open_data, split_data
from cubefast.training.trainer import CubeTrainer, predict

HERE = Path(__file__).parent
COMPARED = ("cosine", "mrr")


def rows_of(study: str) -> list[tuple[str, list[str]]]:
    """The name and the key=values of each row of a study, one seed after the other: what is stopped has whole seeds."""
    told = yaml.safe_load((HERE / "studies.yaml").read_text())[study]
    return [(name, [*changes, f"seed={seed}"]) for seed in told["seeds"] for name, changes in told["rows"].items()]


def variant_of(settings: list[str]) -> tuple[str | None, list[str]]:
    """The variant of the core that a row names, if it does, and the settings beside."""
    names = [setting.removeprefix("variant=") for setting in settings if setting.startswith("variant=")]
    return (names[0] if names else None), [setting for setting in settings if not setting.startswith("variant=")]


def measure(settings: list[str]) -> dict[str, Any]:
    """Train one row, and score it on validation and, as single numbers, on the tests."""
    variant, settings = variant_of(settings)
    config = TrainingConfig.load("dialogue", settings)
    dataset = open_data(config)
    parts = split_data(config, dataset)
    trainer = variants.VariantTrainer(config, variant) if variant else CubeTrainer(config)
    began = time.perf_counter()
    result = trainer.fit(parts.train, parts.validation)
    found: dict[str, Any] = {
        "parameters": result.core.parameter_count(),
        "epochs": len(result.records),
        "best_epoch": result.best_epoch,
        "seconds": time.perf_counter() - began,
    }
    groups = [dataset.dialogues[row].group for row in parts.rows["validation"]]
    for name, part in {"validation": parts.validation, **parts.tests}.items():
        pairs = part.pairs()
        predicted = predict(result.core, pairs.inputs)
        metrics = EmbeddingMetrics.of(
            predicted, pairs.targets, pairs.target_ids, groups=groups if name == "validation" else None
        )
        found[name] = {"cosine": metrics.cosine, "recall_at_1": metrics.recall_at_1, "mrr": metrics.mrr}
        if name == "validation":
            found["queries"] = {metric: metrics.values(metric).tolist() for metric in COMPARED}
            found["queries"]["groups"] = metrics.groups.tolist()
    return found


def table(study: str, data: list[str], folder: Path) -> str:
    """All rows that are there, each over its seeds, as Markdown."""
    lines = [
        "| what | parameters | seeds | cosine | to the first | MRR | to the first | set |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    seeds: dict[str, dict[str, dict[str, Any]]] = {}
    changes: dict[str, list[str]] = {}
    for name, settings in rows_of(study):
        path = _place(folder, [*data, *settings])
        if path.exists():
            seeds.setdefault(name, {})[settings[-1]] = json.loads(path.read_text())
            changes[name] = settings[:-1]
    first = next(iter(seeds.values()), {})
    for name, found in seeds.items():
        cells = [name, f"{next(iter(found.values()))['parameters']:,}", str(len(found))]
        for metric in COMPARED:
            mean = statistics.fmean(each["validation"][metric] for each in found.values())
            cells += [f"{mean:.4f}", "" if found is first else _difference(found, first, metric)]
        cells.append(f"`{shlex.join(changes[name])}`" if changes[name] else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _difference(found: dict[str, dict[str, Any]], first: dict[str, dict[str, Any]], metric: str) -> str:
    """Of the seeds that both have, each query's mean over them."""
    both = sorted(found.keys() & first.keys())
    if not both:
        return ""
    ours, theirs = (
        torch.tensor([rows[seed]["queries"][metric] for seed in both], dtype=torch.float64).mean(dim=0)
        for rows in (found, first)
    )
    groups = torch.tensor(found[both[0]]["queries"]["groups"])
    difference, low, high = paired_bootstrap(ours, theirs, groups)
    return f"{difference:+.4f} ({low:+.4f} to {high:+.4f})"


def _place(folder: Path, settings: list[str]) -> Path:
    name = hashlib.sha256("\n".join(sorted(settings)).encode()).hexdigest()[:16]
    return folder / f"{name}.json"


def main() -> None:
    """Run what is missing of a study, and print its table."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("study", choices=list(yaml.safe_load((HERE / "studies.yaml").read_text())))
    made.add_argument("data", nargs="*", metavar="key=value", help="the data set, such as data=FILE data.vectors=FILE")
    made.add_argument("--into", type=Path, default=Path("study"), help="where results are kept")
    arguments = made.parse_args()
    arguments.into.mkdir(parents=True, exist_ok=True)
    for name, settings in rows_of(arguments.study):
        whole = [*arguments.data, *settings]
        path = _place(arguments.into, whole)
        if path.exists():
            continue
        variant, settings_only = variant_of(whole)
        what = f"a core of variants.py, {variant}, with" if variant else "python -m cubefast.train"
        print(f"{name}: {what} {shlex.join(settings_only)}", flush=True)
        write_json(path, {"name": name, "settings": settings, **measure(whole)})
    print(table(arguments.study, arguments.data, arguments.into))


if __name__ == "__main__":
    main()
