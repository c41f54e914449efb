"""The core beside its baselines on the tests of a task: which baselines, fitted on what, under which noise."""

from __future__ import annotations

from ..data.pairs import EmbeddingPairs
from ..data.tasks import Task
from .baselines import Baseline, identity, mean_target, ridge, wiener
from .metrics import cosine
from .report import Score, noisy, score

NOISE_LEVELS = (0.5, 1.0, 2.0)  # times the trained one: what an autoencoder is tested at
VALIDATION_SEED = 1  # the trainer's validation and the baselines' are the same
_TRAIN_SEED, _TEST_SEED = 2, 3


class Comparison:
    """Baselines fitted on the training pairs of a task, ready to score a core beside them.

    Args:
        task: the data.
        mode: dialogue, or autoencoder: then everything is scored under noise, and PCA-Wiener joins.
        noise: the standard deviation that the autoencoder was trained with.
    """

    def __init__(self, task: Task, mode: str, noise: float) -> None:
        self.task = task
        self.denoise = mode == "autoencoder"
        self.noise = noise
        train, self.validation = task.train, task.validation
        if self.denoise:
            train = with_noise(train, noise, _TRAIN_SEED)
            self.validation = with_noise(task.validation, noise, VALIDATION_SEED)
        mean_name = "mean embedding" if self.denoise else "mean answer"
        self.baselines = [identity(), mean_target(train, mean_name), ridge(train, self.validation)]

    def validation_lines(self) -> dict[str, float]:
        """The mean cosine of each baseline on validation, by its name."""
        return {
            each.name: float(cosine(each.predict(self.validation.inputs), self.validation.targets).mean())
            for each in self.baselines
        }

    def scores(self, core: Baseline) -> list[Score]:
        """The core and each baseline on every test; for an autoencoder at several levels of noise."""
        found = []
        for name, pairs in self.task.tests.items():
            if not self.denoise:
                found += [score(name, model, pairs) for model in (core, *self.baselines)]
                continue
            for level in [self.noise * factor for factor in NOISE_LEVELS] if self.noise > 0 else [0.0]:
                title = f"{name}, noise {level:g}" + ("" if level == self.noise else " (not trained on)")
                dirty = with_noise(pairs, level, _TEST_SEED)
                models = [core, *self.baselines, wiener(self.task.train, level)]
                found += [score(title, model, dirty) for model in models]
        return found


def with_noise(pairs: EmbeddingPairs, noise: float, seed: int) -> EmbeddingPairs:
    """The pairs with noisy inputs."""
    return EmbeddingPairs(noisy(pairs.inputs, noise, seed), pairs.targets, pairs.target_ids)
