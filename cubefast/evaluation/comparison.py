"""The core beside its baselines on the tests of a data set: which baselines, fitted on what, under which noise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.config import NoiseConfig
from ..data.datasets import Parts
from ..data.pairs import EmbeddingPairs, PairDataset
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
from .report import ModelResult, Regime, Score, measure, noisy, regime_of, score
from .turns import PairStructure

VALIDATION_SEED = 1  # the trainer's validation and the baselines' are the same
_TRAIN_SEED, _TEST_SEED = 2, 3

OnFitted = Callable[[Baseline, float], None]
"""A callback that gets each baseline when it is fitted, and the seconds that took."""


@dataclass(frozen=True, eq=False)
class HeldOutTest:
    """A test, and the baselines that the core is compared with on it.

    Attributes:
        name: of the part it is made of.
        title: the name, with the noise, if any.
        regime: what is new about its questions.
        noise: the standard deviation of the Gaussian noise on each number of the inputs; None: the inputs as they are.
        noise_trained: whether the core was trained on this noise; True without any.
        baselines: those that the core is compared with.
        pairs: its questions and answers as embeddings.
        bank: [answers, D], all answers that ranks are among, whose rows the target ids are; None: the test's different
            targets, as for an autoencoder.
    """

    name: str
    title: str
    regime: Regime
    baselines: list[Baseline]
    pairs: EmbeddingPairs
    bank: Tensor | None = None
    noise: float | None = None
    noise_trained: bool = True


class Comparison:
    """Baselines fitted on the training pairs of a data set, ready to score a core beside them.

    Args:
        parts: the data.
        mode: dialogue, or autoencoder: then everything is scored under noise, and PCA-Wiener joins.
        noise: what the autoencoder was trained with. It is tested under Gaussian noise of the same levels, and of half
            the least and twice the largest of them.
        all_baselines: whether the core meets all baselines in closed form, or only identity, the mean answer and ridge.
        rivals: models that were trained elsewhere, which the core meets too.
        structures: by the name of each test, the groups and conversations of its pairs; where a test is left out,
            they are not known.
        bank: [answers, D], all answers that the tests rank among; None: all of the data set, trained and new together.
            An autoencoder has none: there the right embedding is found among those of the test.
        on_fitted: called with each baseline when it is fitted.

    Attributes:
        baselines: the fitted ones, in the order of the table.
    """

    def __init__(
        self,
        parts: Parts,
        mode: str,
        noise: NoiseConfig,
        *,
        all_baselines: bool = False,
        rivals: Sequence[Baseline] = (),
        structures: Mapping[str, PairStructure] | None = None,
        bank: Tensor | None = None,
        on_fitted: OnFitted | None = None,
    ) -> None:
        self.parts = parts
        self.denoise = mode == "autoencoder"
        self.noise = noise
        self.structures = structures or {}
        if bank is None and parts.bank is not None:
            bank = torch.from_numpy(parts.bank)
        self.bank = bank
        train = parts.train.with_seed(_TRAIN_SEED)
        self.validation = parts.validation.pairs(noisy=True, seed=VALIDATION_SEED)
        self.moments = Moments.of(train)
        self.baselines: list[Baseline] = []
        began = time.perf_counter()
        for baseline in self._fit(train, all_baselines):
            self.baselines.append(baseline)
            if on_fitted is not None:
                on_fitted(baseline, time.perf_counter() - began)
            began = time.perf_counter()
        self.baselines += rivals

    def _fit(self, train: PairDataset, all_baselines: bool) -> Iterator[Baseline]:
        moments, validation = self.moments, self.validation
        yield identity()
        yield mean_target(moments, "mean embedding" if self.denoise else "mean answer")
        yield ridge(moments, validation)
        if not all_baselines:
            return
        yield procrustes(moments)
        ranks = [2**power for power in range(2, train.dim.bit_length()) if 2**power < train.dim]
        yield residual_ridge(moments, validation, [*ranks, train.dim])
        yield nearest_question(train, "nearest training embedding" if self.denoise else "nearest training question")

    def tests(self) -> Iterator[HeldOutTest]:
        """Every test that the core meets the baselines on; for an autoencoder each part at several levels of noise."""
        for name, part in self.parts.tests.items():
            pairs, regime = part.pairs(), regime_of(name)
            if not self.denoise:
                yield HeldOutTest(name, name, regime, self.baselines, pairs, self.bank)
                continue
            for level in self._levels():
                known = "gaussian" in self.noise.kinds and level in self.noise.levels
                title = f"{name}, noise {level:g}" + ("" if known else " (not trained on)")
                dirty = EmbeddingPairs(noisy(pairs.inputs, level, _TEST_SEED), pairs.targets, pairs.target_ids)
                baselines = [*self.baselines, wiener(self.moments, level)]
                yield HeldOutTest(name, title, regime, baselines, dirty, noise=level, noise_trained=known)

    def scores(self, core: Baseline) -> list[Score]:
        """The core and each baseline on every test. Quick."""
        return [
            score(test.title, model, test.pairs, test.bank, regime=test.regime, noise=test.noise)
            for test in self.tests()
            for model in (core, *test.baselines)
        ]

    def measure(self, core: Baseline, test: HeldOutTest) -> list[ModelResult]:
        """The core and each baseline on one of the tests, with all metrics and the values of every query."""
        centre, structure = self.moments.y_mean.float(), self.structures.get(test.name)
        return [
            measure(
                test.title,
                model,
                test.pairs,
                test.bank,
                centre=centre,
                structure=structure,
                regime=test.regime,
                noise=test.noise,
            )
            for model in (core, *test.baselines)
        ]

    def _levels(self) -> list[float]:
        if max(self.noise.levels) == 0:
            return [0.0]
        least = min(level for level in self.noise.levels if level > 0)
        return sorted({*self.noise.levels, least / 2, 2 * max(self.noise.levels)})
