"""The core beside its baselines on the tests of a data set: which baselines, fitted on what, under which noise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

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
from .metrics import cosine
from .mlp import hidden_within, residual_mlp
from .report import Measured, Score, measure, noisy, score
from .turns import Origin

VALIDATION_SEED = 1  # the trainer's validation and the baselines' are the same
_TRAIN_SEED, _TEST_SEED = 2, 3

Fitted = Callable[[Baseline, float], None]
"""Told each baseline when it is fitted, and the seconds that took."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A test: the part it is made of, its title (with the noise, if any), whom the core meets there, and the pairs."""

    name: str
    title: str
    baselines: list[Baseline]
    pairs: EmbeddingPairs


class Comparison:
    """Baselines fitted on the training pairs of a data set, ready to score a core beside them.

    Args:
        parts: the data.
        mode: dialogue, or autoencoder: then everything is scored under noise, and PCA-Wiener joins.
        noise: what the autoencoder was trained with. It is tested under Gaussian noise of the same levels, and of half
            the least and twice the largest of them.
        core_parameters: of the core; given, it meets all baselines, some of them of its size (about a minute on 13,000
            pairs of 384 numbers, nearly all of it for the MLPs). None: identity, the mean answer and ridge alone.
        origins: of each test by its name, where its pairs come from; what is left out is not known.
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
        origins: Mapping[str, Origin] | None = None,
        fitted: Fitted | None = None,
    ) -> None:
        self.parts = parts
        self.denoise = mode == "autoencoder"
        self.noise = noise
        self.origins = origins or {}
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

    def _fit(self, train: PairDataset, core_parameters: int | None) -> Iterator[Baseline]:
        moments, validation = self.moments, self.validation
        yield identity()
        yield mean_target(moments, "mean embedding" if self.denoise else "mean answer")
        linear = ridge(moments, validation)
        yield linear
        if core_parameters is None:
            return
        yield procrustes(moments)
        dim = train.dim
        if 0 < (rank := rank_within(core_parameters, dim)) < dim:
            yield low_rank_ridge(moments, validation, [rank])
            yield low_rank_ridge(moments, validation, [rank], residual=True)
        ranks = [2**power for power in range(2, dim.bit_length()) if 2**power < dim]
        yield low_rank_ridge(moments, validation, [*ranks, dim], residual=True)
        sizes = {hidden_within(parameters, dim): parameters for parameters in (linear.parameters, core_parameters)}
        for hidden in sorted(sizes):
            if hidden > 0:
                yield residual_mlp(train, validation, sizes[hidden])
        yield nearest_question(train, "nearest training embedding" if self.denoise else "nearest training question")

    def validation_lines(self) -> dict[str, float]:
        """The mean cosine of each baseline on validation, by its name."""
        return {
            each.name: float(cosine(each.predict(self.validation.inputs), self.validation.targets).mean())
            for each in self.baselines
        }

    def tests(self) -> Iterator[HeldOut]:
        """Every test that the core meets the baselines on; for an autoencoder each part at several levels of noise."""
        for name, part in self.parts.tests.items():
            pairs = part.pairs()
            if not self.denoise:
                yield HeldOut(name, name, self.baselines, pairs)
                continue
            for level in self._levels():
                known = "gaussian" in self.noise.kinds and level in self.noise.levels
                title = f"{name}, noise {level:g}" + ("" if known else " (not trained on)")
                dirty = EmbeddingPairs(noisy(pairs.inputs, level, _TEST_SEED), pairs.targets, pairs.target_ids)
                yield HeldOut(name, title, [*self.baselines, wiener(self.moments, level)], dirty)

    def scores(self, core: Baseline) -> list[Score]:
        """The core and each baseline on every test. Quick."""
        return [score(test.title, model, test.pairs) for test in self.tests() for model in (core, *test.baselines)]

    def measure(self, core: Baseline, test: HeldOut) -> list[Measured]:
        """The core and each baseline on one of the tests, with all metrics and the values of every query."""
        centre, origin = self.moments.y_mean.float(), self.origins.get(test.name)
        return [
            measure(test.title, model, test.pairs, centre=centre, origin=origin) for model in (core, *test.baselines)
        ]

    def _levels(self) -> list[float]:
        if max(self.noise.levels) == 0:
            return [0.0]
        least = min(level for level in self.noise.levels if level > 0)
        return sorted({*self.noise.levels, least / 2, 2 * max(self.noise.levels)})
