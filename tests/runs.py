"""A run's folder without the training: its core is fresh, so it gives back what it is asked with."""

import numpy as np

from cubefast import CubicCore, HashingEncoder, TrainingConfig, create_dialogue_dataset
from cubefast.data.reading.dialogues import Dialogue
from cubefast.pipeline import save_answers, save_threshold
from cubefast.training.run_folder import RunFolder

WORDS = [f"{a}{b}" for a in ("red", "blue", "green", "old", "new", "tall") for b in ("tree", "house", "river", "king")]


def dialogues():
    """24 conversations of two questions; each word is in one of them."""
    found = []
    for row, word in enumerate(WORDS):
        first = (f"Where is the {word}?", f"The {word} is in the city of {word}ville.")
        found.append(Dialogue(*first, "", word, (), 2 * row))
        found.append(Dialogue(f"When came {word}s?", f"Those {word}s came in winter.", "", word, first, 2 * row + 1))
    return found


def make_run(folder, name="run", threshold=False, encoder="hashing:256", **data):
    """A run in ``folder`` with these settings of its data, its dataset and its parts; ``encoder=None``: on ready
    embeddings, which are those of hashing:256.
    """
    if encoder is None:
        vectors = {"question": [d.question for d in dialogues()], "answer": [d.answer for d in dialogues()]}
        np.savez(folder / "v.npz", **{role: HashingEncoder(256).encode(texts) for role, texts in vectors.items()})
        data["vectors"] = folder / "v.npz"
    config = TrainingConfig.load({"encoder": encoder, "data": {"path": "unused", **data}})
    dataset = create_dialogue_dataset(dialogues(), config.data, encoder=encoder or "", cache=folder / "cache")
    parts = dataset.split()
    run = RunFolder.create(folder, name, name)
    run.write("config.yaml", config.to_yaml())
    core = CubicCore(256, state_size=4, hidden_size=8, steps=2)
    run.save_best(core)
    save_answers(run, dataset.fingerprint, parts)
    if threshold:
        save_threshold(run, core, parts)
    return run, dataset, parts
