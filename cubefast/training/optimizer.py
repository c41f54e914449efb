"""The optimizer, AdamW or Muon for the shared matrices with AdamW for the rest, and the learning rate schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from ..config.training import OptimizationConfig
from ..core import CubicCore

PROGRESS_MARGIN = 1e-4  # of the validation metric; less is not progress

_MOMENTUM = 0.95
_UPDATE = 0.2  # root mean square of an update's numbers at rate 1, which is about AdamW's
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


class Muon(AdamW):
    """AdamW whose first parameter group, the matrices, is updated by Muon.

    The momentum M of a matrix' gradient (Nesterov's) is replaced by the nearest orthogonal matrix: with the singular
    value decomposition M = U S V', by about U V', so that directions with small gradients are followed as far as those
    with large ones. Times 0.2 sqrt(the longer side) an update is as large as AdamW's, and takes the same learning
    rates and weight decay. (Jordan et al. 2024; Liu et al. 2025 for the size.)

    torch.optim.Muon does this in bfloat16, which is so coarse that the result would depend on the number of processes;
    here it is done in float32.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step with the present gradients."""
        whole = self.param_groups
        self.param_groups = whole[1:]
        try:
            loss: float | None = super().step(closure)
        finally:
            self.param_groups = whole
        matrices = whole[0]
        for matrix in matrices["params"]:
            if matrix.grad is None:
                continue
            state = self.state[matrix]
            if not state:
                state["step"] = torch.zeros(())  # AdamW looks for it when a state is loaded
                state["momentum"] = torch.zeros_like(matrix)
            momentum = state["momentum"].mul_(_MOMENTUM).add_(matrix.grad)
            update = orthogonalized(matrix.grad + _MOMENTUM * momentum)
            matrix.mul_(1 - matrices["lr"] * matrices["weight_decay"])
            matrix.sub_(update, alpha=matrices["lr"] * _UPDATE * math.sqrt(max(matrix.shape)))
        return loss


def orthogonalized(matrix: Tensor) -> Tensor:
    """About U V' of a matrix U S V' [m, n], by the iteration of Newton and Schulz: all its singular values become 0.7
    to 1.2, except very small ones. A matrix of zeros stays zero.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    iterate: Tensor = wide / (wide.norm() + 1e-7)
    first, third, fifth = _NEWTON_SCHULZ
    for _ in range(_ITERATIONS):
        square = iterate @ iterate.T
        iterate = first * iterate + (third * square + fifth * square @ square) @ iterate
    return iterate if wide is matrix else iterate.T


def optimizer_of(core: CubicCore, options: OptimizationConfig) -> AdamW:
    """The optimizer of a core: weight decay for the shared matrices, none for biases, codes and readouts."""
    matrices: list[Parameter] = []
    others: list[Parameter] = []
    for name, parameter in core.named_parameters():
        (matrices if name.split(".")[-1].startswith("w_") else others).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": options.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    kind = Muon if options.optimizer == "muon" else AdamW
    return kind(groups, lr=options.lr, fused=True)


def scheduler_of(optimizer: AdamW, options: OptimizationConfig, steps: int) -> ReduceLROnPlateau | LRScheduler:
    """The schedule of the learning rate for a training of ``steps`` steps."""
    if options.schedule == "plateau":
        return ReduceLROnPlateau(optimizer, "max", 0.5, options.plateau, PROGRESS_MARGIN, "abs", min_lr=options.lr / 64)
    if options.schedule == "one_cycle":
        return OneCycleLR(optimizer, options.lr, total_steps=steps + 1, pct_start=max(options.warmup, 0.01))
    warm = round(options.warmup * steps)

    def factor(step: int) -> float:
        """The factor of the learning rate: a linear warm-up, then half a cosine down to 0."""
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, steps - warm))))

    return LambdaLR(optimizer, factor)
