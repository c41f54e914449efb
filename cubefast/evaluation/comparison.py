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
    low_rank_ridge,
    mean_target,
    nearest_question,
    procrustes,
    rank_within,
    ridge,
    wiener,
)
from .report import Measured, Regime, Score, measure, noisy, regime_of, score
from .turns import Origin

VALIDATION_SEED = 1  # the trainer's validation and the baselines' are the same
_TRAIN_SEED, _TEST_SEED = 2, 3

Fitted = Callable[[Baseline, float], None]
"""Told each baseline when it is fitted, and the seconds that took."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A test.

    Attributes:
        name: of the part it is made of.
        title: the name, with the noise, if any.
        regime: what is new about its questions.
        noise: the standard deviation of the Gaussian noise on each number of the inputs; None: the inputs as they are.
        noise_trained: whether the core was trained on this noise; True without any.
        baselines: whom the core meets there.
        pairs: the test's.
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
        core_parameters: of the core; given, it meets all baselines in closed form, some of them of its size. None:
            identity, the mean answer and ridge alone.
        rivals: models that were trained elsewhere, which the core meets too.
        origins: of each test by its name, where its pairs come from; what is left out is not known.
        bank: [answers, D], all answers that the tests rank among; None: all of the data set, trained and new together.
            An autoencoder has none: there the right embedding is found among those of the test.
        fitted: told what is done.

    Attributes:
        baselines: the fitted ones, in the order of the table.
    """

    def __init__(
        self,
        parts: Parts,
        mode: str,
        noise: NoiseConfig,
        *,
        core_parameters: int | None = None,
        rivals: Sequence[Baseline] = (),
        origins: Mapping[str, Origin] | None = None,
        bank: Tensor | None = None,
        fitted: Fitted | None = None,
    ) -> None:
        self.parts = parts
        self.denoise = mode == "autoencoder"
        self.noise = noise
        self.origins = origins or {}
        if bank is None and parts.bank is not None:
            bank = torch.from_numpy(parts.bank)
        self.bank = bank
        train = parts.train.with_seed(_TRAIN_SEED)
        self.validation = parts.validation.pairs(noisy=True, seed=VALIDATION_SEED)
        self.moments = Moments.of(train)
        self.baselines: list[Baseline] = []
        began = time.perf_counter()
        for baseline in self._fit(train, core_parameters):
            self.baselines.append(baseline)
            if fitted is not None:
                fitted(baseline, time.perf_counter() - began)
            began = time.perf_counter()
        self.baselines += rivals

    def _fit(self, train: PairDataset, core_parameters: int | None) -> Iterator[Baseline]:
        moments, validation = self.moments, self.validation
        yield identity()
        yield mean_target(moments, "mean embedding" if self.denoise else "mean answer")
        yield ridge(moments, validation)
        if core_parameters is None:
            return
        yield procrustes(moments)
        dim = train.dim
        if 0 < (rank := rank_within(core_parameters, dim)) < dim:
            yield low_rank_ridge(moments, validation, [rank])
            yield low_rank_ridge(moments, validation, [rank], residual=True)
        ranks = [2**power for power in range(2, dim.bit_length()) if 2**power < dim]
        yield low_rank_ridge(moments, validation, [*ranks, dim], residual=True)
        yield nearest_question(train, "nearest training embedding" if self.denoise else "nearest training question")

    def tests(self) -> Iterator[HeldOut]:
        """Every test that the core meets the baselines on; for an autoencoder each part at several levels of noise."""
        for name, part in self.parts.tests.items():
            pairs, regime = part.pairs(), regime_of(name)
            if not self.denoise:
                yield HeldOut(name, name, regime, self.baselines, pairs, self.bank)
                continue
            for level in self._levels():
                known = "gaussian" in self.noise.kinds and level in self.noise.levels
                title = f"{name}, noise {level:g}" + ("" if known else " (not trained on)")
                dirty = EmbeddingPairs(noisy(pairs.inputs, level, _TEST_SEED), pairs.targets, pairs.target_ids)
                baselines = [*self.baselines, wiener(self.moments, level)]
                yield HeldOut(name, title, regime, baselines, dirty, noise=level, noise_trained=known)

    def scores(self, core: Baseline) -> list[Score]:
        """The core and each baseline on every test. Quick."""
        return [
            score(test.title, model, test.pairs, test.bank, regime=test.regime, noise=test.noise)
            for test in self.tests()
            for model in (core, *test.baselines)
        ]

    def measure(self, core: Baseline, test: HeldOut) -> list[Measured]:
        """The core and each baseline on one of the tests, with all metrics and the values of every query."""
        centre, origin = self.moments.y_mean.float(), self.origins.get(test.name)
        return [
            measure(
                test.title,
                model,
                test.pairs,
                test.bank,
                centre=centre,
                origin=origin,
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
