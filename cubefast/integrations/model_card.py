"""The README.md of a core that is published: what it is, how it did beside its baselines, how to use it.

All of it follows from the run, and nothing in it names a folder of the machine that the run was on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from ..config import TrainingConfig
from ..core import CubicCore
from ..data.config import BUILTIN
from ..evaluation.report import Regime, Score
from ..output import markdown, markdown_code, visible
from .public_config import base_models, takes_ready_embeddings

_TASKS = {
    "dialogue": "the embedding of a question into that of its answer",
    "autoencoder": "a noisy embedding into the clean one",
    "mixed": "the embedding of a question into that of its answer, and a noisy embedding into the clean one",
}
_METRICS = {"recall_at_1": "R@1", "recall_at_10": "R@10", "mrr": "MRR", "cosine": "cosine"}
_TESTS: dict[Regime, str] = {
    "unseen_paraphrase": "a question that was not trained, of an answer that was",
    "unseen_group": "a topic of which nothing was trained",
}
# By what of them the example uses.
_IMPORTS = {
    "np.": "import numpy as np",
    "CubicCore": "from cubefast import CubicCore",
    "create_encoder": "from cubefast.data.encoders import create_encoder",
    "Preparation": "from cubefast.data.vectors import Preparation",
}
_DOMAINS = 8  # are named, the largest


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
    license: str | None = None


def model_card(card: CardContent) -> str:
    """The card: Markdown, with the front matter that the hub reads."""
    front = yaml.safe_dump(_front_matter(card), sort_keys=False, allow_unicode=True)
    sections = [
        f"# {markdown(card.name)}",
        *_what_it_is(card),
        "## How it did",
        *_results(card),
        "## Use it",
        "With cubefast installed (`config.json` names the version that wrote it):",
        f"```python\n{_example(card)}\n```",
        *_notes(card),
        "## What it cannot do",
        "\n".join(f"- {line}" for line in _limits(card)),
        "## What it was trained on",
        *_training(card),
    ]
    return visible(f"---\n{front}---\n\n" + "\n\n".join(sections) + "\n")


def _tests(scores: Sequence[Score]) -> dict[str, list[Score]]:
    """The scores by test."""
    return {test: [each for each in scores if each.test == test] for test in dict.fromkeys(s.test for s in scores)}


def _figure(score: Score, metric: str) -> float:
    """As it is shown: what looks the same counts as the same."""
    return round(float(getattr(score, metric)), 3)


def _front_matter(card: CardContent) -> dict[str, Any]:
    data = card.config.data.path
    published = data.removeprefix("hub:") if data.startswith("hub:") else None
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


def _what_it_is(card: CardContent) -> list[str]:
    core, lattice = card.core, card.core.lattice
    if takes_ready_embeddings(card.config):
        source = f"embeddings of {core.dim} numbers that came ready in a file"
    else:
        source = f"embeddings of {core.dim} numbers by the encoder {markdown_code(card.config.encoder)}"
        source += f" ({markdown_code(card.fingerprint)})" if card.fingerprint else ""
    x, y, z = core.reshaper.shape
    return [
        f"A 3D lattice of cells (a neural cellular automaton) that turns {_TASKS[card.config.mode]}. It was trained "
        f"with cubefast on {source}; what made them was not trained.",
        f"{core.parameter_count():,} parameters: {x}x{y}x{z} cells with {lattice.state_size} numbers of state and "
        f"{lattice.hidden_size} hidden ones each, run for {lattice.steps} steps in {len(lattice.phases)} phases with "
        "weights of their own.",
    ]


def _results(card: CardContent) -> list[str]:
    found = [f"**{markdown(card.verdict)}.**"] if card.verdict else []
    found.append(
        f"On held-out data, one training with seed {card.config.seed}. Cosine: to the embedding wanted. R@k: how "
        "often the right answer is among the first k of all answers. MRR: the mean of 1 / rank. Ties count "
        "against the model. Bold: best of its column."
    )
    for test, models in _tests(card.scores).items():
        meaning = f", {_TESTS[models[0].regime]}" if models[0].regime in _TESTS else ""
        ranked = f"{models[0].queries:,} queries, ranked among all {models[0].pool:,} answers"
        lines = [
            f"**{markdown(test)}**{meaning} ({ranked}):",
            "",
            f"| | parameters | {' | '.join(_METRICS.values())} |",
            f"| --- | ---: {'| ---: ' * len(_METRICS)}|",
        ]
        best = {metric: max(_figure(each, metric) for each in models) for metric in _METRICS}
        for each in models:
            bold = {metric: "**" if _figure(each, metric) == best[metric] else "" for metric in _METRICS}
            cells = [f"{bold[metric]}{_figure(each, metric):.3f}{bold[metric]}" for metric in _METRICS]
            lines.append(f"| {markdown(each.model)} | {each.parameters:,} | {' | '.join(cells)} |")
        found.append("\n".join(lines))
    return found


def _example(card: CardContent) -> str:
    config, dim = card.config, card.core.dim

    def prepared(vectors: str) -> str:
        return f"prepare({vectors})" if card.centred else vectors

    def encoded(texts: str, prompt: str) -> str:
        behind = f"[{json.dumps(prompt, ensure_ascii=False)} + text for text in {texts}]" if prompt else texts
        return prepared(f"encoder.encode({behind})")

    both, prompts = card.core.answer_map is not None, config.data.prompts
    lines = [
        'folder = "."  # this one; of the hub: huggingface_hub.snapshot_download("OWNER/NAME")',
        "core = CubicCore.from_pretrained(folder)",
    ]
    if card.centred:
        lines.append(f'prepare = Preparation(np.load(f"{{folder}}/mean.npy"), normalize={config.data.normalize})')
    if takes_ready_embeddings(config):
        lines += [
            f"embeddings = np.random.default_rng(0).standard_normal((2, {dim}))  # yours here",
            "",
            f"turned = core.transform({prepared('embeddings')})  # float32 [2, {dim}]",
            *([f"stored = core.transform_answers({prepared('embeddings')})  # of answers, once"] if both else []),
        ]
    elif config.mode == "autoencoder":
        lines += [
            f"encoder = create_encoder({json.dumps(config.encoder, ensure_ascii=False)})",
            'texts = ["How do I boil an egg?"]',
            f"embeddings = {encoded('texts', prompts.answer)}  # yours, with noise",
            "",
            f"clean = core.transform(embeddings)  # float32 [1, {dim}]",
        ]
    else:
        stored = encoded("answers", prompts.answer)
        stored = f"core.transform_answers({stored})  # once" if both else stored
        lines += [
            f"encoder = create_encoder({json.dumps(config.encoder, ensure_ascii=False)})",
            'questions = ["How do I boil an egg?"]',
            'answers = ["Ten minutes in boiling water make it hard.", "The air scatters blue light most."]',
            "",
            f"turned = core.transform({encoded('questions', prompts.question)})  # float32 [1, {dim}]",
            f"stored = {stored}",
            "scores = turned @ stored.T / np.linalg.norm(turned, axis=1)[:, None]",
            "print(answers[scores[0].argmax()])",
        ]
    body = "\n".join(lines)
    return "\n".join([*(line for used, line in _IMPORTS.items() if used in body), "", body])


def _notes(card: CardContent) -> list[str]:
    config, base = card.config, base_models(card.config)
    both = card.core.answer_map is not None
    found = []
    if config.mode != "autoencoder":
        found.append(
            "Questions go through the core, stored answers once through its `transform_answers`."
            if both
            else "Questions go through the core, answers do not."
        )
        if config.data.context.mode != "none":
            found.append(
                "In training, the input of a question included the turns of the conversation before it, as "
                "`data.context` in `config.yaml` says."
            )
    if base and config.encoder.startswith("st:") and not set(config.encoder) & set("?+") and not card.centred:
        found.append(
            "In sentence-transformers the core is a module after the encoder: "
            + markdown_code(f"SentenceTransformer(modules=[*SentenceTransformer({json.dumps(base[0])}), core])")
            + "."
        )
    if card.exported:
        answers = ", and `answers.pt2` does the same for answers" if both else ""
        found.append(
            '`core.pt2` is the core as a program: `torch.export.load("core.pt2").module()` takes and gives [n, '
            f"{card.core.dim}]{answers}. If torch does not know an operator in it, `import cubefast` first."
        )
    return [" ".join(found)] if found else []


def _limits(card: CardContent) -> list[str]:
    found = [markdown(limit) for limit in card.limits] or _beaten(card.scores)
    source = "the model that made its training data" if takes_ready_embeddings(card.config) else "its encoder"
    found.append(f"It knows the embeddings of {source} only; those of another mean nothing to it.")
    found.append("What it does with other topics or languages than those of its training data was not measured.")
    return found


def _beaten(scores: Sequence[Score]) -> list[str]:
    """Where baselines have the better mean, of a run that was not evaluated further."""
    found = []
    for test, (core, *others) in _tests(scores).items():
        beaten = []
        for metric, name in _METRICS.items():
            best = max(others, key=lambda each: _figure(each, metric), default=core)
            if _figure(best, metric) > _figure(core, metric):
                figures = f"{_figure(best, metric):.3f} to {_figure(core, metric):.3f}"
                beaten.append(f"in {name} by {markdown(best.model)}, {figures}")
        if beaten:
            found.append(f"It is beaten on *{markdown(test)}* {'; '.join(beaten)}.")
    if not found:
        found.append("No model in the tables above beats it; models that are not in them, and other data, may.")
    found.append("The figures are of one training; how far those of another seed are from them was not measured.")
    return found


def _training(card: CardContent) -> list[str]:
    config, numbers = card.config, card.statistics
    data = "The set that comes with cubefast" if config.data.path == BUILTIN else markdown_code(config.data.path)
    counts = [f"{numbers[key]:,} {what}" for key, what in _COUNTS.items() if numbers.get(key)]
    found = [f"{data}: {', '.join(counts)}. `data.json` has more." if counts else f"{data}."]
    if domains := numbers.get("domains"):
        largest = sorted(domains.items(), key=lambda item: (-item[1], item[0]))
        more = f" and {len(largest) - _DOMAINS} more" if len(largest) > _DOMAINS else ""
        named = ", ".join(f"{markdown(name) or '(none)'} {count:,}" for name, count in largest[:_DOMAINS])
        found.append(f"Domains: {named}{more}.")
    if config.mode != "dialogue":
        noise = config.data.noise
        found.append(f"Noise: {', '.join(noise.kinds)}, levels {', '.join(f'{level:g}' for level in noise.levels)}.")
    found.append("`config.yaml` has the settings, with names in the place of folders, and `report.json` every figure.")
    if not card.license:
        found.append("License: not stated; whoever publishes this sets `license:` at the top of this file.")
    return found


_COUNTS = {
    "pairs": "pairs",
    "questions": "different questions",
    "answers": "different answers",
    "groups": "groups",
}
