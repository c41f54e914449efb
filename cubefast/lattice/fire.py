"""Which cells fire: the chance of stochastic updates, from a generator that needs no state.

Philox4x32-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, 2011) turns a counter and a key into four
numbers of 32 bits. The counter is (cell // 4, step, sample, 0) and the key the seed, so whether a cell fires does not
depend on threads, backends or on how a rollout is cut into calls. csrc/fire.inl is the same in C++.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .checks import MOST_NUMBERS, check_count, check_rate

_LOW = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)


def fire_mask(seed: int | Tensor, sample: int, step: int, cells: int, rate: float) -> Tensor:
    """Which cells of a sample fire in a step of a rollout with ``fire_rate=rate``: bool [cells].

    Args:
        seed: as given to :func:`cubefast.lattice_rollout`; its lowest 64 bits count.
        sample: the row of the batch.
        step: counted from 0, plus the rollout's ``first_step``.
        cells: N; the first cells of a larger lattice have the same chances.
        rate: the share that fires, 0 to 1.

    Raises ValueError for a number out of its range.
    """
    key = as_seed(seed)
    sample = check_count("sample", sample, 0, _LOW)
    step = check_count("step", step, 0, _LOW)
    cells = check_count("cells", cells, 1, MOST_NUMBERS)
    return fire_masks(key, 1, step, cells, check_rate("rate", rate), first_sample=sample)[0]


def as_seed(seed: int | Tensor | None) -> Tensor:
    """``seed`` as an int64 tensor []; None draws one from torch's generator."""
    if seed is None:
        return torch.randint(2**63 - 1, ())
    if isinstance(seed, Tensor):
        if seed.dim() > 0 or seed.dtype.is_floating_point or seed.dtype == torch.bool:
            raise ValueError(f"seed must be a whole number or a tensor of one; got {seed.dtype} {list(seed.shape)}")
        return seed.to("cpu", torch.int64)
    whole = check_count("seed", seed, -(2**63), 2**64 - 1)
    return torch.tensor(whole if whole < 2**63 else whole - 2**64)  # the same 64 bits


def fire_masks(seed: Tensor, batch: int, step: int | Tensor, cells: int, rate: float, first_sample: int = 0) -> Tensor:
    """The masks [batch, cells] of all samples in one step, on the device of ``seed``; int64 holds what 32 bits do."""
    device = seed.device
    counter = [
        torch.arange((cells + 3) // 4, device=device).expand(batch, -1),
        torch.full((batch, 1), 1, dtype=torch.int64, device=device) * step,
        torch.arange(first_sample, first_sample + batch, device=device)[:, None],
        torch.zeros(1, dtype=torch.int64, device=device),
    ]
    low, high = seed & _LOW, (seed >> 32) & _LOW
    a, b, c, d = torch.broadcast_tensors(*counter)
    for _ in range(10):
        # The product of two numbers of 32 bits may pass 2^63: it wraps around, and its bits are the right ones.
        first, second = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a, b, c, d = (
            ((second >> 32) & _LOW) ^ b ^ low,
            second & _LOW,
            ((first >> 32) & _LOW) ^ d ^ high,
            first & _LOW,
        )
        low, high = (low + _KEY_STEPS[0]) & _LOW, (high + _KEY_STEPS[1]) & _LOW
    numbers = torch.stack([a, b, c, d], dim=-1).reshape(batch, -1)[:, :cells]
    return numbers < math.ceil(rate * 2**32)  # whole, or torch would compare in float32
