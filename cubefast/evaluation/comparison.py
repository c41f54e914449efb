"""The core beside its baselines on the tests of a data set: which baselines, fitted on what, under which noise."""

from __future__ import annotations

from ..data.config import NoiseConfig
from ..data.datasets import Parts
from ..data.pairs import EmbeddingPairs
from .baselines import Baseline, identity, mean_target, ridge, wiener
from .metrics import cosine
from .report import Score, noisy, score

VALIDATION_SEED = 1  # the trainer's validation and the baselines' are the same
_TRAIN_SEED, _TEST_SEED = 2, 3


class Comparison:
    """Baselines fitted on the training pairs of a data set, ready to score a core beside them.

    Args:
        parts: the data.
        mode: dialogue, or autoencoder: then everything is scored under noise, and PCA-Wiener joins.
        noise: what the autoencoder was trained with. It is tested under Gaussian noise of the same levels, and of half
            the least and twice the largest of them.
    """

    def __init__(self, parts: Parts, mode: str, noise: NoiseConfig) -> None:
        self.parts = parts
        self.denoise = mode == "autoencoder"
        self.noise = noise
        train = parts.train.with_seed(_TRAIN_SEED)
        self.validation = parts.validation.pairs(noisy=True, seed=VALIDATION_SEED)
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
        for name, part in self.parts.tests.items():
            pairs = part.pairs()
            if not self.denoise:
                found += [score(name, model, pairs) for model in (core, *self.baselines)]
                continue
            for level in self._levels():
                known = "gaussian" in self.noise.kinds and level in self.noise.levels
                title = f"{name}, noise {level:g}" + ("" if known else " (not trained on)")
                dirty = EmbeddingPairs(noisy(pairs.inputs, level, _TEST_SEED), pairs.targets, pairs.target_ids)
                models = [core, *self.baselines, wiener(self.parts.train, level)]
                found += [score(title, model, dirty) for model in models]
        return found

    def _levels(self) -> list[float]:
        if max(self.noise.levels) == 0:
            return [0.0]
        least = min(level for level in self.noise.levels if level > 0)
        return sorted({*self.noise.levels, least / 2, 2 * max(self.noise.levels)})
