"""`python -m cubefast.data FILE`: what a data set is made of, and what the quality filter drops. Trains nothing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import cli
from ..config.data import DatasetConfig
from ..config.parsing import override
from ..config.settings import describe_keys, validated
from ..errors import InputError
from ..utils.files import write_json
from ..utils.terminal import paragraph

_LABEL = 23  # columns of the labels of statistics


def _run(arguments: argparse.Namespace) -> int:
    from .create_datasets import open_dataset
    from .datasets import DialogueDataset
    from .encoding.display_names import short_name

    if arguments.json is not None and not arguments.json.parent.is_dir():
        raise InputError(f"{arguments.json} cannot be written: there is no folder {arguments.json.parent}")
    values: dict[str, Any] = {"path": arguments.file}
    # The keys as `train` has them are taken too: messages name them so, and what was tried here goes on there.
    override(values, [item.removeprefix("data.") for item in arguments.overrides])
    config = validated(DatasetConfig, values)
    dataset = open_dataset(
        config, arguments.mode, encoder=arguments.encoder, cache=arguments.cache, progress=cli.counting
    )
    statistics = dataset.stats()
    encoded = "ready embeddings" if dataset.cache is None else f"encoded by {short_name(arguments.encoder)}"
    print(f"\n{config.path}, {encoded}\n")
    for line in str(statistics).splitlines():
        print(_beside(line[:_LABEL].rstrip(), line[_LABEL:]))
    report = dataset.report if isinstance(dataset, DialogueDataset) else None
    if report is not None:
        print(f"\n{report}")
    parts = dataset.split(arguments.mode) if isinstance(dataset, DialogueDataset) else dataset.split()
    sizes = {"train": len(parts.train), "validation": len(parts.validation)}
    sizes |= {name: len(part) for name, part in parts.tests.items()}
    print("\n" + _beside("split", str(parts)))
    if arguments.json is not None:
        content = {"statistics": statistics.as_dict(), "split": sizes, "quality": report.as_dict() if report else None}
        write_json(arguments.json, content)
    return 0


def _beside(label: str, text: str) -> str:
    """A line with a label, wrapped beside it."""
    return paragraph(text, f"{label:<{_LABEL}}", " " * _LABEL)


def main(argv: Sequence[str] | None = None) -> int:
    """`cubefast data` with these arguments (those of the process by default); returns the exit code."""
    made = cli.parser(
        "data",
        "Print what a data set is made of and what the quality filter drops; nothing is trained.",
        f"keys and their defaults:\n{describe_keys(DatasetConfig)}",
    )
    made.add_argument("file", metavar="FILE", help="as data.path of a run: builtin, or a file")
    made.add_argument(
        "overrides", nargs="*", metavar="key=value", help="quality.min_cosine=0.2 and the like, also with data. before"
    )
    made.add_argument("--mode", choices=("dialogue", "autoencoder"), default="dialogue", help="(dialogue)")
    made.add_argument("--encoder", default="static", help="as in a run (static)")
    made.add_argument("--cache", help="folder of cached embeddings")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the same as JSON")
    return cli.run(made, _run, argv)


if __name__ == "__main__":
    cli.exit_process(main())
