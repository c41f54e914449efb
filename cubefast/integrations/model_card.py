"""The README.md of a published core: what it is, its scores beside the baselines, how to use it.

All of it follows from the run, and nothing in it names a folder of the machine that the run was on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from markupsafe import Markup

from ..config.data import BUILTIN, HUB
from ..config.run_config import TrainingConfig
from ..core import CubicCore
from ..evaluation.score_table import Regime, Score
from ..utils.escaping import markdown_code
from ..utils.templates import render
from .public_config import base_models, encoder_folders, uses_precomputed_embeddings

_TASKS = {
    "dialogue": "the embedding of a question into that of its answer",
    "autoencoder": "a noisy embedding into the clean one",
    "mixed": "the embedding of a question into that of its answer, and a noisy embedding into the clean one",
}
_METRICS = {"recall_at_1": "R@1", "recall_at_10": "R@10", "mrr": "MRR", "cosine": "cosine"}
_TESTS: dict[Regime, str] = {
    "unseen_paraphrase": ", a question that was not trained, of an answer that was",
    "unseen_group": ", a topic of which nothing was trained",
}
_COUNTS = {
    "pairs": "pairs",
    "questions": "different questions",
    "answers": "different answers",
    "groups": "groups",
}


@dataclass(frozen=True)
class CardContent:
    """The content of a model card.

    Attributes:
        name: what the model is called.
        config: of the run, with names in the place of folders.
        core: the trained core.
        scores: of the report; the first model of each test is the core.
        statistics: of the data set, as in data.json.
        verdict, limits: in words, of a report that ``cubefast.evaluate`` wrote; None and empty: not evaluated.
        fingerprint: of the encoder; None: not known.
        centred: whether a mean is taken off the embeddings first; it is in ``mean.npy``.
        exported: whether there is a ``core.pt2``.
        onnx: whether there is a ``core.onnx``.
        license: by its identifier on the hub; None: left to whoever publishes it.
    """

    name: str
    config: TrainingConfig
    core: CubicCore
    scores: Sequence[Score]
    statistics: Mapping[str, Any]
    verdict: str | None = None
    limits: Sequence[str] = ()
    fingerprint: str | None = None
    centred: bool = False
    exported: bool = False
    onnx: bool = False
    license: str | None = None


def model_card(card: CardContent) -> str:
    """The card: Markdown, with the front matter that the hub reads."""
    config, core, base = card.config, card.core, base_models(card.config)
    example = {"config": config, "core": core, "both_sides": core.answer_map is not None, "centred": card.centred}
    example["ready"] = uses_precomputed_embeddings(config)
    folders = encoder_folders(config)
    models = base or folders
    encoder = config.encoder or ""
    module = models and encoder.startswith("st:") and not set(encoder) & set("?+") and not card.centred
    domains = card.statistics.get("domains") or {}
    text = render(
        "integrations/model_card.jinja",
        "md",
        **example,
        card=card,
        front_matter=Markup(yaml.safe_dump(_front_matter(card), sort_keys=False, allow_unicode=True)),
        task=_TASKS[config.mode],
        fingerprint=Markup(markdown_code(card.fingerprint) if card.fingerprint and not example["ready"] else ""),
        folders=folders,
        metrics=_METRICS,
        tests=list(_tests(card.scores).values()),
        meanings=_TESTS,
        example=Markup(render("integrations/model_example.jinja", "txt", **example).strip()),
        module=f"SentenceTransformer(modules=[*SentenceTransformer({json.dumps(models[0])}), core])" if module else "",
        beaten=_beaten(card.scores),
        counts=[f"{card.statistics[key]:,} {what}" for key, what in _COUNTS.items() if card.statistics.get(key)],
        domains=sorted(domains.items(), key=lambda item: (-item[1], item[0])),
        levels=", ".join(f"{level:g}" for level in config.data.noise.levels),
        builtin=config.data.path == BUILTIN,
    )
    return re.sub("\n{3,}", "\n\n", text)


def _tests(scores: Sequence[Score]) -> dict[str, list[Score]]:
    """The scores by test."""
    return {test: [each for each in scores if each.test == test] for test in dict.fromkeys(s.test for s in scores)}


def _figure(score: Score, metric: str) -> float:
    """The value of a metric, rounded as it is shown, so that equal figures count as equal."""
    return round(float(getattr(score, metric)), 3)


def _front_matter(card: CardContent) -> dict[str, Any]:
    data = card.config.data.path
    published = data.removeprefix(HUB).partition(":")[0] if data.startswith(HUB) else None
    base = base_models(card.config)
    results = [
        {
            "task": {"type": "information-retrieval", "name": "Information Retrieval"},
            "dataset": {"type": published or "custom", "name": f"{data}, {test}"},
            "metrics": [
                {"type": metric, "name": name, "value": _figure(models[0], metric)} for metric, name in _METRICS.items()
            ],
        }
        for test, models in _tests(card.scores).items()
    ]
    return {
        **({"license": card.license} if card.license else {}),
        "library_name": "cubefast",
        "pipeline_tag": "feature-extraction",
        "tags": ["cubefast", "embeddings", "adapter", "neural-cellular-automata"],
        **({"base_model": base, "base_model_relation": "adapter"} if base else {}),
        **({"datasets": [published]} if published else {}),
        "model-index": [{"name": card.name, "results": results}],
    }


def _beaten(scores: Sequence[Score]) -> list[tuple[str, list[tuple[str, str, float, float]]]]:
    """The metrics by test in which a baseline has the better mean: metric, best baseline, its value, the core's."""
    by_test = []
    for test, (core, *others) in _tests(scores).items():
        best = {metric: max(others, key=lambda each: _figure(each, metric), default=core) for metric in _METRICS}
        lost = [
            (_METRICS[metric], other.model, _figure(other, metric), _figure(core, metric))
            for metric, other in best.items()
            if _figure(other, metric) > _figure(core, metric)
        ]
        if lost:
            by_test.append((test, lost))
    return by_test
