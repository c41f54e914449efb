"""Cores that no setting makes, for the studies: a row of `studies.yaml` names one with `variant=NAME`.

Each differs from a CubicCore of the same settings in one thing. They are here to be measured, not to be used.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from cubefast.config import TrainingConfig
from cubefast.core import CubicCore
from cubefast.data.reshaper import EmbeddingReshaper
from cubefast.lattice import Lattice3D, PhasedLattice
from cubefast.training.trainer import CubeTrainer


class VariantTrainer(CubeTrainer):
    """The trainer, with a variant of the core."""

    def __init__(self, config: TrainingConfig, variant: str) -> None:
        super().__init__(config)
        self.variant = variant

    def build_core(self, dim: int) -> CubicCore:
        """As the trainer's own: the same for the same seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            return VARIANTS[self.variant](dim, **self.config.core.model_dump())


# How the weights begin.


class UpdatesBySteps(CubicCore):
    """The weights of a cell's change begin divided by the number of steps."""

    def __init__(self, *sizes: Any, **settings: Any) -> None:
        super().__init__(*sizes, **settings)
        with torch.no_grad():
            for phase in self.lattice.phases:
                phase.w_update /= self.lattice.steps


class OrthogonalPerceive(CubicCore):
    """What a cell makes of its neighborhood begins as a part of a rotation, of the size it has otherwise."""

    def __init__(self, *sizes: Any, **settings: Any) -> None:
        super().__init__(*sizes, **settings)
        for phase in self.lattice.phases:
            nn.init.orthogonal_(phase.w_perceive, gain=1 / math.sqrt(3))


class SmallCodes(CubicCore):
    """Cells begin alike: codes of standard deviation 0.1 instead of 1."""

    def __init__(self, *sizes: Any, **settings: Any) -> None:
        super().__init__(*sizes, **settings)
        nn.init.normal_(self.codes, std=0.1)


class RandomReadout(CubicCore):
    """Readouts begin at random, so the core does not begin as the identity."""

    def __init__(self, *sizes: Any, **settings: Any) -> None:
        super().__init__(*sizes, **settings)
        nn.init.normal_(self.readout, std=1 / math.sqrt(self.lattice.state_size * self.dim))


class UpdatesAtZero(RandomReadout):
    """No cell changes before training, as is the custom with cellular automata. Readouts begin at random, since behind
    updates of zero a readout of zero, and with it everything, would stay so.
    """

    def __init__(self, *sizes: Any, **settings: Any) -> None:
        super().__init__(*sizes, **settings)
        for phase in self.lattice.phases:
            nn.init.zeros_(phase.w_update)


# How the answer is read from the states.


class SharedReadout(CubicCore):
    """One readout [S] for all cells."""

    def __init__(self, *sizes: Any, **settings: Any) -> None:
        super().__init__(*sizes, **settings)
        self.readout = nn.Parameter(torch.zeros(1, 1, self.lattice.state_size))

    def _read(self, state: Tensor) -> Tensor:
        return linear(state, self.readout[0]).reshape(-1, *self.reshaper.shape)


class ConstantReadout(CubicCore):
    """Beside what a cell's state says, a learnt constant for every cell."""

    def __init__(self, *sizes: Any, **settings: Any) -> None:
        super().__init__(*sizes, **settings)
        self.constant = nn.Parameter(torch.zeros(self.reshaper.shape))

    def _read(self, state: Tensor) -> Tensor:
        return super()._read(state) + self.constant


class ReadoutOfEveryPhase(CubicCore):
    """The states are read at the end of every phase, each time by readouts of its own, and the readings added."""

    def __init__(self, *sizes: Any, **settings: Any) -> None:
        super().__init__(*sizes, **settings)
        self.earlier_readouts = nn.Parameter(torch.zeros(len(self.lattice.phases) - 1, *self.readout.shape))
        self.lattice = _StatesOfEveryPhase(self.lattice)  # type: ignore[assignment]

    def _read(self, states: Tensor) -> Tensor:
        heard = torch.einsum("pbns,pns->bn", states[:-1], self.earlier_readouts[:, :, 0])
        return super()._read(states[-1]) + heard.reshape(-1, *self.reshaper.shape)


class _StatesOfEveryPhase(nn.Module):
    """A phased lattice that gives the states at the end of each phase, [phases, B, N, S]."""

    def __init__(self, lattice: PhasedLattice) -> None:
        super().__init__()
        self.phases = lattice.phases
        self.state_size, self.hidden_size = lattice.state_size, lattice.hidden_size

    def forward(self, state: Tensor, drive: Tensor) -> Tensor:
        passed = []
        for phase in self.phases:
            state = phase(state, drive)
            passed.append(state)
        return torch.stack(passed)


# How much of the input stays.


class HalfTheInput(CubicCore):
    """Half of the input is added to what is read."""

    def forward(self, embedding: Any, **noise: float) -> Any:
        """As CubicCore's, without what serves sentence-transformers."""
        return super().forward(embedding, **noise) - embedding / 2


class WeighedInput(CubicCore):
    """The input is added with a learnt weight, 1 at the start."""

    def __init__(self, *sizes: Any, **settings: Any) -> None:
        super().__init__(*sizes, **settings)
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, embedding: Any, **noise: float) -> Any:
        """As CubicCore's, without what serves sentence-transformers."""
        return super().forward(embedding, **noise) + (self.weight - 1) * embedding


class InputWeighedByCell(CubicCore):
    """Each cell adds its number of the input with a learnt weight of its own, 1 at the start."""

    def __init__(self, *sizes: Any, **settings: Any) -> None:
        super().__init__(*sizes, **settings)
        self.weights = nn.Parameter(torch.ones(self.reshaper.shape))

    def forward(self, embedding: Any, **noise: float) -> Any:
        """As CubicCore's, without what serves sentence-transformers."""
        more = self.reshaper.to_embedding((self.weights - 1) * self.reshaper.to_lattice(embedding))
        return super().forward(embedding, **noise) + more


# Which cells share their weights.


class NoGains(CubicCore):
    """All cells hear their number with the same weights, whatever their code."""

    def __init__(self, *sizes: Any, **settings: Any) -> None:
        super().__init__(*sizes, **settings)
        del self.w_gain
        self.register_buffer("w_gain", torch.zeros(self.lattice.hidden_size, self.codes.shape[1]))


class _Regions(nn.Module):
    """A lattice whose cells share weights only within a region: slabs along x, which hold principal axes of like
    variance. In plain torch, the kernel having one set of weights.
    """

    def __init__(self, lattice: Lattice3D, regions: int) -> None:
        super().__init__()
        cells = lattice.topology.cells
        itself = torch.arange(cells)[:, None]
        table = torch.cat([lattice.topology.neighbors.long(), itself], dim=1)
        self.register_buffer("table", torch.where(table < 0, cells, table).reshape(-1), persistent=False)
        self.regions = nn.ModuleList(copy.deepcopy(lattice) for _ in range(regions))
        for region in self.regions:
            region.reset_parameters()  # type: ignore[operator]
        self.steps = lattice.steps

    def forward(self, state: Tensor, drive: Tensor) -> Tensor:
        batch, cells, size = state.shape
        drives = drive.chunk(len(self.regions), dim=1)
        for _ in range(self.steps):
            padded = torch.cat([state, state.new_zeros(batch, 1, size)], dim=1)
            seen = padded.index_select(1, self.table).reshape(batch, cells, -1).chunk(len(self.regions), dim=1)
            changes = [
                linear(torch.tanh(linear(part, region.w_perceive) + heard), region.w_update, region.b_update)
                for region, part, heard in zip(self.regions, seen, drives, strict=True)
            ]
            state = state + torch.cat(changes, dim=1)
        return state


class TwoRegions(CubicCore):
    """Either half of the lattice has weights of its own."""

    regions = 2

    def __init__(self, *sizes: Any, **settings: Any) -> None:
        super().__init__(*sizes, **settings)
        made = [_Regions(phase, self.regions) for phase in self.lattice.phases]
        self.lattice.phases = nn.ModuleList(made)  # type: ignore[assignment]


class FourRegions(TwoRegions):
    """Each quarter of the lattice has weights of its own."""

    regions = 4


# Where an embedding's principal axes lie on the lattice.


class _Laid(EmbeddingReshaper):
    """Lays the numbers of an embedding as `rows_of` says, which is given the embeddings [n, D] and the shape."""

    def rows_of(self, embeddings: Tensor) -> Tensor:
        """The rows of the rotation in the order of the cells, [D, D]."""
        raise NotImplementedError

    def fit(self, embeddings: Any) -> EmbeddingReshaper:
        """As EmbeddingReshaper's, in memory."""
        embeddings = torch.cat([torch.as_tensor(part) for part in embeddings])
        super().fit(embeddings)
        assert self.rotation is not None
        self.rotation.copy_(self.rows_of(embeddings))
        return self

    def along(self, walk: Iterable[tuple[int, int, int]]) -> Tensor:
        """The rotation with its first axis where the walk over all cells begins, its last where it ends."""
        assert self.rotation is not None
        rows = torch.empty_like(self.rotation)
        for axis, place in zip(self.rotation, walk, strict=True):
            rows[int(np.ravel_multi_index(place, self.shape))] = axis
        return rows


class _AtRandom(_Laid):
    def rows_of(self, embeddings: Tensor) -> Tensor:
        assert self.rotation is not None
        return self.rotation[torch.randperm(self.dim, generator=torch.Generator().manual_seed(0))]


class _AlongMorton(_Laid):
    def rows_of(self, embeddings: Tensor) -> Tensor:
        def code(place: tuple[int, ...]) -> int:
            """The bits of x, y and z, one of each in turn."""
            return sum((side >> bit & 1) << 3 * bit + axis for bit in range(10) for axis, side in enumerate(place))

        return self.along(sorted(np.ndindex(*self.shape), key=code))


class _AlongASnake(_Laid):
    def rows_of(self, embeddings: Tensor) -> Tensor:
        x, y, z = self.shape
        return self.along(
            (i, j if i % 2 == 0 else y - 1 - j, k if (i * y + j) % 2 == 0 else z - 1 - k)
            for i, j, k in np.ndindex(x, y, z)
        )


class _ByCorrelation(_Laid):
    def rows_of(self, embeddings: Tensor) -> Tensor:
        """Not rotated: numbers in the order of the second eigenvector of their correlations' graph (Fiedler)."""
        alike = torch.corrcoef(embeddings.T.double()).abs().fill_diagonal_(0)
        order = torch.linalg.eigh(alike.sum(dim=1).diag() - alike)[1][:, 1].argsort()
        return torch.eye(self.dim)[order]


def _laid(reshaper: type[_Laid]) -> type[CubicCore]:
    class Laid(CubicCore):
        def __init__(self, *sizes: Any, **settings: Any) -> None:
            super().__init__(*sizes, **settings)
            self.reshaper = reshaper(self.dim, self.reshaper.shape, "principal")

    return Laid


VARIANTS: dict[str, type[CubicCore]] = {
    "updates_at_zero": UpdatesAtZero,
    "updates_by_steps": UpdatesBySteps,
    "orthogonal_perceive": OrthogonalPerceive,
    "small_codes": SmallCodes,
    "random_readout": RandomReadout,
    "shared_readout": SharedReadout,
    "constant_readout": ConstantReadout,
    "readout_of_every_phase": ReadoutOfEveryPhase,
    "half_the_input": HalfTheInput,
    "weighed_input": WeighedInput,
    "input_weighed_by_cell": InputWeighedByCell,
    "no_gains": NoGains,
    "two_regions": TwoRegions,
    "four_regions": FourRegions,
    "axes_at_random": _laid(_AtRandom),
    "axes_along_morton": _laid(_AlongMorton),
    "axes_along_a_snake": _laid(_AlongASnake),
    "by_correlation": _laid(_ByCorrelation),
}
