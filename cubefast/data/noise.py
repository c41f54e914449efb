"""Noise on embeddings, for the autoencoder: the same for the same item, seed and epoch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..config.data import NoiseConfig
from .encoding.base import Embeddings


def add_noise(clean: Embeddings, rows: NDArray[np.integer], noise: NoiseConfig, seed: int, epoch: int) -> Embeddings:
    """Add noise to ``clean`` [n, D]. The noise of item i depends on (seed, epoch, rows[i]) alone.

    Each item draws one of the kinds and one of the levels: gaussian and uniform add numbers of mean 0 and standard
    deviation ``level``; dropout sets each number to 0 with probability ``level`` and scales the others by
    1 / (1 - level).
    """
    noisy: Embeddings = clean.copy()
    for i, row in enumerate(rows):
        # A counter-based generator: a stream of its own for every item, at the price of a few microseconds.
        random = np.random.Generator(np.random.Philox(key=[seed, epoch], counter=[0, 0, 0, int(row)]))
        kind = noise.kinds[random.integers(len(noise.kinds))]
        level = noise.levels[random.integers(len(noise.levels))]
        width = clean.shape[1]
        if kind == "gaussian":
            noisy[i] += np.float32(level) * random.standard_normal(width, np.float32)
        elif kind == "uniform":
            noisy[i] += np.float32(level * 3**0.5) * (2 * random.random(width, np.float32) - 1)
        else:
            noisy[i] *= (random.random(width, np.float32) >= level) / np.float32(1 - level)
    return noisy
