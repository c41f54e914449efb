"""The core beside its baselines on the tests of a data set: which baselines, fitted on what, under which noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from ..config.data import NoiseConfig
from ..data.datasets import Parts
from ..data.pairs import EmbeddingPairs
from .baselines import (
    Baseline,
    Moments,
    identity,
    mean_target,
    nearest_question,
    procrustes,
    residual_ridge,
    ridge,
    wiener,
)
from .conversation_metrics import PairStructure
from .score_table import HeldOutTest, ModelResult, Score, measure, noisy, score

VALIDATION_SEED = 1  # the trainer's validation and the baselines' are the same
_TRAIN_SEED, _TEST_SEED = 2, 3


class Comparison:
    """Baselines fitted on the training pairs of a data set, ready to score a core beside them.

    Args:
        parts: the data.
        task: dialogue, or autoencoder: then everything is scored under noise, and PCA-Wiener joins.
        noise: what the autoencoder was trained with. It is tested under Gaussian noise of the same levels, and of half
            the least and twice the largest of them.
        all_baselines: whether the core meets all baselines in closed form, or only identity, the mean answer and ridge.
        rivals: models that were trained elsewhere, which the core meets too.
        structures: by the name of each test, the groups and conversations of its pairs; where a test is left out,
            they are not known.
        bank: [answers, D], all answers that the tests rank among; None: all of the data set, trained and new together.
            An autoencoder has none: there the right embedding is found among those of the test.

    Attributes:
        baselines: the fitted ones, in the order of the table.
    """

    def __init__(
        self,
        parts: Parts,
        task: str,
        noise: NoiseConfig,
        *,
        all_baselines: bool = False,
        rivals: Sequence[Baseline] = (),
        structures: Mapping[str, PairStructure] | None = None,
        bank: Tensor | None = None,
    ) -> None:
        self.parts = parts
        self.denoise = task == "autoencoder"
        self.noise = noise
        self.structures = structures or {}
        if bank is None and parts.bank is not None:
            bank = torch.from_numpy(parts.bank)
        self.bank = bank
        train = parts.train.with_seed(_TRAIN_SEED)
        self.validation = parts.validation.pairs(noisy=True, seed=VALIDATION_SEED)
        self.moments = Moments.of(train)
        kind = "embedding" if self.denoise else "answer"
        self.baselines = [identity(), mean_target(self.moments, f"mean {kind}"), ridge(self.moments, self.validation)]
        if all_baselines:
            ranks = [2**power for power in range(2, train.dim.bit_length()) if 2**power < train.dim]
            known = "nearest training embedding" if self.denoise else "nearest training question"
            self.baselines += [
                procrustes(self.moments),
                residual_ridge(self.moments, self.validation, [*ranks, train.dim]),
                nearest_question(train, known),
            ]
        self.baselines += rivals

    def tests(self) -> Iterator[HeldOutTest]:
        """Every test that the core meets the baselines on; for an autoencoder each part at several levels of noise."""
        for name, part in self.parts.tests.items():
            pairs, structure = part.pairs(), self.structures.get(name, PairStructure())
            if not self.denoise:
                yield HeldOutTest(name, pairs, self.bank, part=name, structure=structure)
                continue
            for level in self._levels():
                known = "gaussian" in self.noise.kinds and level in self.noise.levels
                title = f"{name}, noise {level:g}" + ("" if known else " (not trained on)")
                dirty = EmbeddingPairs(noisy(pairs.inputs, level, _TEST_SEED), pairs.targets, pairs.target_ids)
                yield HeldOutTest(title, dirty, None, name, noise=level, noise_trained=known, structure=structure)

    def models(self, core: Baseline, test: HeldOutTest) -> list[Baseline]:
        """The core and the baselines that it meets on one of the tests."""
        return [core, *self.baselines, *([] if test.noise is None else [wiener(self.moments, test.noise)])]

    def scores(self, core: Baseline) -> list[Score]:
        """The core and each baseline on every test. Quick."""
        return [score(model, test) for test in self.tests() for model in self.models(core, test)]

    def measure(self, core: Baseline, test: HeldOutTest) -> list[ModelResult]:
        """The core and each baseline on one of the tests, with all metrics and the values of every query."""
        centre = self.moments.y_mean.float()
        return [measure(model, test, centre) for model in self.models(core, test)]

    def _levels(self) -> list[float]:
        if max(self.noise.levels) == 0:
            return [0.0]
        least = min(level for level in self.noise.levels if level > 0)
        return sorted({*self.noise.levels, least / 2, 2 * max(self.noise.levels)})
