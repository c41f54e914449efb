"""What a core learns from documents without questions: `python benchmarks/quality/documents.py PAIRS --into FILE.json`.

    python benchmarks/quality/documents.py PAIRS [key=value ...] [--vectors VECTORS.npz] [--encoder ENCODER]
        [--documents 1000] [--seeds 0 1 2] --into FILE.json

PAIRS is a file of real questions and answers. The answers of some groups become documents, a file for each group;
`cubefast pairs` makes pairs of these documents, which never held a question, and a core is trained on them with the
defaults. Then the real questions look for their answers among all answers of PAIRS: those of the documents that were
trained on, and those of new documents. Beside it stand the plain encoder and a core that was trained on the real pairs
of the same documents.

A document has the group as its title, and headings where the form of a question says which one its answer stood under
(MedQuAD's questions were made of the headings of web pages: "What are the symptoms of X?" of "Symptoms"). Where every
group has one pair, a document is its answer as plain text, without a title.

The key=values hold for every training, as for `python -m cubefast.train`; the tables have none. VECTORS holds the
embeddings of PAIRS by ENCODER, row for row, so that only new texts are
encoded.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from study import spread
from torch import Tensor

from cubefast import pairs
from cubefast.cli import counting
from cubefast.config.run_config import TrainingConfig
from cubefast.core import CubicCore
from cubefast.data.cache.embedding_cache import EmbeddingCache
from cubefast.data.encoding.create_encoder import create_encoder
from cubefast.data.reading.dialogues import Dialogue, load_dialogues, normalize
from cubefast.evaluation.baselines import Baseline, as_baseline, identity
from cubefast.evaluation.metrics import retrieval_ranks
from cubefast.evaluation.paired_bootstrap import paired_bootstrap
from cubefast.training.open_data import open_data, split_data
from cubefast.training.trainer import CubeTrainer
from cubefast.utils.escaping import markdown
from cubefast.utils.files import write_json

HEADINGS = {
    "symptoms of": "Symptoms",
    "treatments for": "Treatment",
    "inherited": "Inheritance",
    "how many people": "Frequency",
    "genetic changes": "Genetic changes",
    "causes": "Causes",
    "diagnose": "Diagnosis",
    "research": "Research",
    "outlook": "Outlook",
    "at risk": "Risk factors",
    "what to do": "Management",
    "prevent": "Prevention",
    "stages": "Stages",
    "complications": "Complications",
}
"""The heading that a question of MedQuAD was made of, by what is in the question."""
_HEADING, _SENTENCE = ["--kind", "heading"], ["--kind", "sentence"]
MADE = {
    "headings": ("headings", _HEADING),
    "first sentences": ("headings", _SENTENCE),
    "headings and first sentences": ("headings", [*_HEADING, *_SENTENCE]),
    "without headings: titles": ("paragraphs", _HEADING),
    "without headings: first sentences": ("paragraphs", _SENTENCE),
    "without headings: titles and first sentences": ("paragraphs", [*_HEADING, *_SENTENCE]),
}
"""By what pairs are made of: the form of the documents, and the options of `cubefast pairs`."""
REAL = "real pairs of the same documents"
TESTS = ("questions of these documents", "questions of new documents")


class Encoded:
    """Texts and their embeddings: those that are there, and others from the cache or the encoder."""

    def __init__(self, encoder: str) -> None:
        self.encoder = create_encoder(encoder)
        self.cache = EmbeddingCache()
        self.rows: dict[str, NDArray[np.float32]] = {}

    def know(self, texts: Sequence[str], vectors: NDArray[np.floating]) -> None:
        self.rows.update(zip(texts, vectors.astype(np.float32), strict=True))

    def of(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Float32 [n, D]."""
        new = [text for text in dict.fromkeys(texts) if text not in self.rows]
        if new:
            self.know(new, self.cache.encode(self.encoder, new, progress=counting("encoding", len(new))))
        return np.stack([self.rows[text] for text in texts])


def write_documents(folder: Path, dialogues: Sequence[Dialogue], *, headings: bool) -> None:
    """A file for each group."""
    groups = defaultdict(list)
    for each in dialogues:
        groups[each.group].append(each)
    for number, (group, members) in enumerate(groups.items()):
        if len(groups) == len(dialogues):
            (folder / f"{number:06}.txt").write_text(members[0].answer)
            continue
        parts = [f"# {markdown(group)}"]
        for each in members:
            heading = next((name for part, name in HEADINGS.items() if part in each.question.lower()), "")
            parts += [f"## {heading}"] * bool(headings and heading) + [markdown(each.answer)]
        (folder / f"{number:06}.md").write_text("\n\n".join(parts) + "\n")


def measure(arguments: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Train everything with every seed; the figures, as they are kept."""
    dialogues = load_dialogues(arguments.pairs)
    encoded = Encoded(arguments.encoder)
    if arguments.vectors:
        ready = np.load(arguments.vectors)
        encoded.know([each.question for each in dialogues], ready["question"])
        encoded.know([each.answer for each in dialogues], ready["answer"])
    groups = sorted({each.group for each in dialogues}, key=lambda name: hashlib.sha256(name.encode()).digest())
    chosen = set(groups[: arguments.documents])
    ours = [each for each in dialogues if each.group in chosen]
    files = {REAL: work / "real.jsonl"}
    files[REAL].write_text("".join(json.dumps(_row(each)) + "\n" for each in ours))
    titled = len(chosen) < len(ours)
    for name, (form, options) in MADE.items():
        if not titled and (form == "headings" or "heading" in options):
            continue
        folder = work / form
        if not folder.exists():
            folder.mkdir()
            write_documents(folder, ours, headings=form == "headings")
        files[name] = work / f"pairs-{len(files)}.jsonl"
        print(f"\n{name}", flush=True)
        assert pairs.main([str(folder), "--output", str(files[name]), *options]) == 0

    tests = dict(zip(TESTS, _tests(dialogues, chosen, arguments.most_queries), strict=True))
    tests = {test: rows for test, rows in tests.items() if rows}
    answers = {normalize(each.answer): each.answer for each in dialogues}
    bank = torch.from_numpy(encoded.of(list(answers.values())))
    numbers = {form: number for number, form in enumerate(answers)}
    found: dict[str, Any] = {"pairs": {}, "answers": len(answers), "seeds": arguments.seeds, "tests": {}}
    ranks: dict[str, dict[str, list[Tensor]]] = {test: defaultdict(list) for test in tests}
    for name, file in {"the plain encoder": None, **files}.items():
        for seed in arguments.seeds if file else [0]:
            model: Baseline = identity()
            if file:
                core, found["pairs"][name] = _trained(file, encoded, [*arguments.settings, f"seed={seed}"])
                model = as_baseline(core)
            for test, rows in tests.items():
                if name == REAL and test == TESTS[0]:
                    continue  # it was trained on these very questions
                inputs = torch.from_numpy(encoded.of([each.question for each in rows]))
                targets = torch.tensor([numbers[normalize(each.answer)] for each in rows])
                with torch.no_grad():
                    ranks[test][name].append(retrieval_ranks(model.predict(inputs), model.stored(bank), targets))
                print(f"{name}, seed {seed}, {test}: R@1 {(ranks[test][name][-1] <= 1).float().mean():.3f}", flush=True)
    for test, rows in tests.items():
        found["tests"][test] = _table(ranks[test], rows)
    return found


def _row(each: Dialogue) -> dict[str, str]:
    return {"question": each.question, "answer": each.answer, "group": each.group}


def _tests(dialogues: Sequence[Dialogue], chosen: set[str], most: int) -> tuple[list[Dialogue], list[Dialogue]]:
    """The questions of the chosen groups and of the others, at most so many of each, chosen by a hash."""
    parts: tuple[list[Dialogue], list[Dialogue]] = ([], [])
    for each in dialogues:
        parts[each.group not in chosen].append(each)
    for part in parts:
        part.sort(key=lambda each: hashlib.sha256(f"{each.question}\n{each.answer}".encode()).digest())
    return parts[0][:most], parts[1][:most]


def _trained(file: Path, encoded: Encoded, settings: Sequence[str]) -> tuple[CubicCore, int]:
    """A core trained on a file of pairs, and how many pairs it has."""
    rows = load_dialogues(file)
    vectors = file.with_suffix(".npz")
    if not vectors.exists():
        np.savez(
            vectors,
            question=encoded.of([each.question for each in rows]),
            answer=encoded.of([each.answer for each in rows]),
        )
    config = TrainingConfig.load(None, [f"data={file}", f"data.vectors={vectors}", *settings])
    parts = split_data(config, open_data(config))
    trainer = CubeTrainer(config)
    return trainer.fit(parts.train, parts.validations, bank=torch.from_numpy(parts.answer_vectors)).core, len(rows)


def _table(ranks: dict[str, list[Tensor]], rows: Sequence[Dialogue]) -> dict[str, Any]:
    names = {name: number for number, name in enumerate(dict.fromkeys(each.group for each in rows))}
    groups = torch.tensor([names[each.group] for each in rows])
    plain = ranks["the plain encoder"][0].double()
    models = {}
    for name, every in ranks.items():
        stacked = torch.stack(every).double()
        models[name] = {
            "recall_at_1": (stacked <= 1).double().mean(dim=1).tolist(),
            "mrr": (1 / stacked).mean(dim=1).tolist(),
            "difference_in_mrr": paired_bootstrap((1 / stacked).mean(dim=0), 1 / plain, groups),
        }
    return {"queries": len(rows), "groups": len(names), "models": models}


def printed(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = []
    for test, each in found["tests"].items():
        lines += [f"{test}: {each['queries']:,} in {each['groups']:,} groups, among {found['answers']:,} answers", ""]
        lines.append("| trained on | pairs | R@1 | MRR | difference in MRR to the plain encoder |")
        lines.append("| --- | --- | --- | --- | --- |")
        for name, row in each["models"].items():
            cells = [name, "", spread(row["recall_at_1"]), spread(row["mrr"]), ""]
            if name in found["pairs"]:
                cells[1] = f"{found['pairs'][name]:,}"
                cells[4] = "{:+.3f} ({:+.3f} to {:+.3f})".format(*row["difference_in_mrr"])
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path, metavar="PAIRS")
    parser.add_argument("settings", nargs="*", metavar="key=value")
    parser.add_argument("--vectors", type=Path, metavar="VECTORS.npz")
    parser.add_argument("--encoder", default="static")
    parser.add_argument("--documents", type=int, default=1_000, help="groups that become documents (1000)")
    parser.add_argument("--most-queries", type=int, default=3_000, help="real questions of each kind (3000)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--into", type=Path, required=True, metavar="FILE.json")
    arguments = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as work:
        found = measure(arguments, Path(work))
    write_json(arguments.into, found)
    print(printed(found))


if __name__ == "__main__":
    main()
