"""Pairs of input and target embeddings, which a core is trained and scored on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..config.data import NoiseConfig
from ..errors import InputError
from ..utils.arrays import real_tensor, whole_numbers
from .embeddings.vectors import ArrayVectors, Preparation, StackedVectors, Vectors, chunks
from .encoding.base import Embeddings
from .noise import add_noise

Batch = tuple[Tensor, Tensor, Tensor]
"""Inputs float32 [n, D], targets float32 [n, D], target ids int64 [n]."""

_PER_PAIR = ("input_rows", "target_rows", "target_ids", "weights", "noisy", "lengths", "negative_rows", "negative_ids")


@dataclass(frozen=True)
class EmbeddingPairs:
    """n pairs of embeddings, in memory.

    Attributes:
        inputs: float32 [n, D].
        targets: float32 [n, D].
        target_ids: int64 [n]; equal where two targets are one and the same answer.
    """

    inputs: Tensor
    targets: Tensor
    target_ids: Tensor

    @classmethod
    def of(
        cls,
        inputs: Tensor | ArrayLike,
        targets: Tensor | ArrayLike,
        target_ids: Tensor | ArrayLike | None = None,
    ) -> EmbeddingPairs:
        """Make pairs from arrays or tensors of any real dtype. Without ids, equal targets count as one answer.

        Raises InputError for wrong shapes, numbers that are complex or masked, ids that are no whole numbers, rows that
        are zero, NaN or Inf, or no rows at all.
        """
        inputs, targets = _checked("inputs", inputs), _checked("targets", targets)
        if inputs.shape != targets.shape:
            raise InputError(f"inputs {list(inputs.shape)} and targets {list(targets.shape)} must have one shape")
        if target_ids is None:
            ids = torch.unique(targets, dim=0, return_inverse=True)[1]
        else:
            ids = whole_numbers("target_ids", target_ids)
            if ids.shape != (len(targets),):
                raise InputError(f"target_ids must be [{len(targets)}]; got {list(ids.shape)}")
        return cls(inputs, targets, ids)

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def dim(self) -> int:
        """The size D of the embeddings."""
        return self.inputs.shape[1]

    def batches(self) -> Iterator[Batch]:
        """Yield all pairs in order, a few thousand at a time."""
        for rows in chunks(len(self)):
            yield self.inputs[rows], self.targets[rows], self.target_ids[rows]


@dataclass(eq=False, repr=False)
class PairDataset(Dataset[Batch]):
    """A data set of n pairs whose embeddings need not be in memory: only the rows of a batch are read.

    An item is (input [D], target [D], target id). It depends on its number, the seed and the epoch alone, not on the
    order or the process, so several DataLoader workers give the same items as one.

    Attributes:
        vectors: M embeddings.
        input_rows: int64 [n, W] or [n], the embeddings that make up each input; -1 for none.
        target_rows: int64 [n], the embedding that is the target.
        target_ids: int64 [n]; equal where two targets are the same answer.
        weights: float32 [n, W], the weights of the embeddings of an input; None: all 1.
        prepare: applied to every embedding. An input of several embeddings is scaled again after they are added up.
        noise: added to the inputs, drawn anew in every epoch; None: no noise.
        noisy: bool [n], the inputs that get noise; None: all of them.
        seed: the seed of the noise.
        lengths: the number of characters of each pair, for a curriculum; None: unknown.
        teachers: the same M texts embedded by other encoders, in any dimension, for :meth:`teacher_targets`.
        negative_rows: int64 [n, K], the embeddings that are wrong targets of each pair; -1 for none. None: no pair has
            any.
        negative_ids: int64 [n, K], the ids of these wrong targets; that of a target where one is the same answer.
        epoch: the epoch whose noise the items get; see :meth:`set_epoch`.

    Raises InputError for a teacher with more or fewer embeddings.
    """

    vectors: Vectors
    input_rows: NDArray[np.int64]
    target_rows: NDArray[np.int64]
    target_ids: NDArray[np.int64]
    _: KW_ONLY
    weights: Embeddings | None = None
    prepare: Preparation = field(default_factory=Preparation)
    noise: NoiseConfig | None = None
    noisy: NDArray[np.bool_] | None = None
    seed: int = 0
    lengths: NDArray[np.int64] | None = None
    teachers: Sequence[Vectors] = ()
    negative_rows: NDArray[np.int64] | None = None
    negative_ids: NDArray[np.int64] | None = None
    epoch: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        for number, teacher in enumerate(self.teachers):
            if len(teacher) != len(self.vectors):
                raise InputError(
                    f"teacher {number} has {len(teacher)} embeddings, and the data set has {len(self.vectors)}: they "
                    "must match row for row"
                )
        self.teachers = tuple(self.teachers)
        if self.input_rows.ndim == 1:
            self.input_rows = self.input_rows[:, None]

    @classmethod
    def from_pairs(cls, pairs: EmbeddingPairs, noise: NoiseConfig | None = None, seed: int = 0) -> PairDataset:
        """Make a data set of pairs in memory, without changing them."""
        parts = StackedVectors((ArrayVectors(pairs.inputs.numpy()), ArrayVectors(pairs.targets.numpy())))
        rows = np.arange(len(pairs))
        as_they_are = Preparation(normalize=False)
        return cls(
            parts, rows, rows + len(pairs), pairs.target_ids.numpy(), prepare=as_they_are, noise=noise, seed=seed
        )

    def __len__(self) -> int:
        return len(self.input_rows)

    @property
    def dim(self) -> int:
        """The size D of the embeddings."""
        return self.vectors.dim

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose noise the items get, also in DataLoader workers started later."""
        self.epoch = epoch

    def batch(self, rows: Tensor | NDArray[np.integer] | Sequence[int], *, noisy: bool = True) -> Batch:
        """The inputs [n, D] (clean unless ``noisy``), targets [n, D] and ids [n] of the items with these numbers."""
        places = np.asarray(rows, dtype=np.int64)
        inputs = self._inputs(places)
        if noisy and self.noise is not None:
            chosen = np.arange(len(places)) if self.noisy is None else np.flatnonzero(self.noisy[places])
            inputs[chosen] = add_noise(inputs[chosen], places[chosen], self.noise, self.seed, self.epoch)
        return torch.from_numpy(inputs), *self.targets_of(places)

    def targets_of(self, rows: Tensor | NDArray[np.integer] | Sequence[int]) -> tuple[Tensor, Tensor]:
        """The targets [n, D] and ids [n] of the items with these numbers, without their inputs."""
        places = np.asarray(rows, dtype=np.int64)
        targets = self.prepare(self.vectors.gather(self.target_rows[places]))
        return torch.from_numpy(targets), torch.from_numpy(self.target_ids[places])

    def teacher_targets(self, rows: Tensor | NDArray[np.integer] | Sequence[int]) -> tuple[Tensor, ...]:
        """The targets of the items with these numbers as each teacher embeds them: unit rows, float32 [n, E]."""
        targets = self.target_rows[np.asarray(rows, dtype=np.int64)]
        unit = Preparation()
        return tuple(torch.from_numpy(unit(teacher.gather(targets))) for teacher in self.teachers)

    def negatives_of(self, rows: Tensor | NDArray[np.integer] | Sequence[int]) -> tuple[Tensor, Tensor] | None:
        """The distinct wrong targets [m, D] of the items with these numbers, and their ids [m]; None without any."""
        if self.negative_rows is None or self.negative_ids is None:
            return None
        places = np.asarray(rows, dtype=np.int64)
        distinct, first = np.unique(self.negative_rows[places], return_index=True)
        ids = self.negative_ids[places].ravel()[first[distinct >= 0]]
        vectors = self.prepare(self.vectors.gather(distinct[distinct >= 0]))
        return torch.from_numpy(vectors), torch.from_numpy(ids)

    def _inputs(self, places: NDArray[np.int64]) -> Embeddings:
        chosen = self.input_rows[places]
        if chosen.shape[1] == 1:
            return self.prepare(self.vectors.gather(chosen[:, 0]))
        exists = chosen >= 0
        weights = exists.astype(np.float32) if self.weights is None else np.where(exists, self.weights[places], 0)
        each = self.prepare(self.vectors.gather(np.where(exists, chosen, 0).ravel()))
        mixed: Embeddings = np.einsum("nw,nwd->nd", weights, each.reshape(*chosen.shape, -1)).astype(np.float32)
        return Preparation(None, self.prepare.normalize)(mixed)

    def __getitem__(self, index: int) -> Batch:
        if not -len(self) <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}")
        inputs, targets, ids = self.batch([index % len(self)])
        return inputs[0], targets[0], ids[0]

    def __getitems__(self, rows: list[int]) -> list[Batch]:
        return list(zip(*self.batch(rows), strict=True))

    def loader(
        self, batch_size: int = 64, *, shuffle: bool = True, seed: int = 0, workers: int = 0, **options: Any
    ) -> DataLoader[Batch]:
        """A torch DataLoader over (inputs, targets, ids); the order of an epoch follows from the seed and the epoch.

        Further ``options`` are those of the DataLoader.
        """
        order = torch.Generator().manual_seed(seed * 1_000_003 + self.epoch)
        return DataLoader(self, batch_size, shuffle=shuffle, num_workers=workers, generator=order, **options)

    def subset(self, rows: NDArray[np.integer] | Sequence[int]) -> PairDataset:
        """The pairs with these numbers, over the same embeddings."""
        places = np.asarray(rows, dtype=np.int64)
        each_pairs = {name: getattr(self, name) for name in _PER_PAIR}
        return self._with(**{name: None if each is None else each[places] for name, each in each_pairs.items()})

    def without_negatives(self, ids: NDArray[np.integer] | None = None) -> PairDataset:
        """A copy without the wrong targets that have these ids; None: without all of them."""
        if ids is None or self.negative_rows is None or self.negative_ids is None:
            return self._with(negative_rows=None, negative_ids=None)
        kept = np.where(np.isin(self.negative_ids, ids), -1, self.negative_rows)
        return self._with(negative_rows=kept if (kept >= 0).any() else None)

    def with_noise(self, noise: NoiseConfig, seed: int) -> PairDataset:
        """A copy with noise on every input."""
        return self._with(noise=noise, noisy=None, seed=seed)

    def with_seed(self, seed: int) -> PairDataset:
        """A copy with another seed of the noise."""
        return self._with(seed=seed)

    def mixed(self, share: float, noise: NoiseConfig, seed: int) -> PairDataset:
        """Add pairs of a noisy embedding and its clean form, as ``share`` of the result.

        Which embeddings, follows from the seed; where there are too few, they come several times.
        """
        singles = np.unique(np.concatenate([self.input_rows[:, 0], self.target_rows]))
        count = round(len(self) * share / (1 - share))
        chosen = np.resize(np.random.default_rng(seed).permutation(singles), count)
        alone = np.full((count, self.input_rows.shape[1]), -1, np.int64)
        alone[:, 0] = chosen

        def lengthened(each: NDArray[Any] | None, fill: int) -> NDArray[Any] | None:
            return None if each is None else np.concatenate([each, np.full((count, *each.shape[1:]), fill, each.dtype)])

        return self._with(
            input_rows=np.concatenate([self.input_rows, alone]),
            target_rows=np.concatenate([self.target_rows, chosen]),
            target_ids=np.concatenate([self.target_ids, self.target_ids.max(initial=-1) + 1 + chosen]),
            weights=lengthened(self.weights, 1),
            noise=noise,
            noisy=np.arange(len(self) + count) >= len(self),
            seed=seed,
            lengths=lengthened(self.lengths, 0),
            negative_rows=lengthened(self.negative_rows, -1),
            negative_ids=lengthened(self.negative_ids, -1),
        )

    def batches(self, *, noisy: bool = True) -> Iterator[Batch]:
        """Yield all items in order, a few thousand at a time."""
        for rows in chunks(len(self)):
            yield self.batch(rows, noisy=noisy)

    def pairs(self, *, noisy: bool = False, seed: int = 0) -> EmbeddingPairs:
        """All items in memory; the inputs are clean, or have the noise of this seed."""
        source = self.with_seed(seed)
        return EmbeddingPairs(*(torch.cat(parts) for parts in zip(*source.batches(noisy=noisy), strict=True)))

    def _with(self, **changed: Any) -> PairDataset:
        """A data set with the same arguments except for these."""
        same = {each.name: getattr(self, each.name) for each in fields(PairDataset) if each.init}
        return PairDataset(**{**same, **changed})


def _checked(name: str, values: Tensor | ArrayLike) -> Tensor:
    tensor = real_tensor(name, values)
    if tensor.dim() != 2 or 0 in tensor.shape:
        raise InputError(f"{name} must be [n, D] with n and D of at least 1; got {list(tensor.shape)}")
    lengths = tensor.norm(dim=1)
    bad = ~(lengths.isfinite() & (lengths > 0))
    if bad.any():
        row = int(bad.to(torch.int8).argmax())
        kind = "all zeros" if lengths[row] == 0 else "NaN or Inf"
        raise InputError(f"row {row} of {name} is {kind} ({int(bad.sum())} such rows); remove them")
    return tensor
