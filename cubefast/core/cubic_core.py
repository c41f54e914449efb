"""The 3D cubic core: an embedding enters a lattice of cells, the lattice runs, and an embedding is read out."""

from __future__ import annotations

import math
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from ..errors import ArtifactError
from ..lattice import PhasedLattice
from ..lattice.checks import check_choice, check_count
from .artifact import read_artifact, write_artifact
from .linear_map import LinearMap
from .reshaper import EmbeddingReshaper
from .transform import transform_array
from .trust import Trust

IO_MODES = ("volume", "faces")
"""volume: every cell takes one number as input and gives one as output. faces: the front face (z = 0) takes the input,
the back face (z = Z-1) gives the output."""

SIDES = ("query", "both")
"""query: the stored answers stay as they are. both: they are put through a map of their own, once."""

_DEFAULT_RANK_DIVISOR = 8  # the rank is D / 8; for D = 384 the core then has half the parameters of a matrix [D, D]
SENTENCE = "sentence_embedding"
"""The key of a text's embedding among the features of sentence-transformers."""


class CubicCore(nn.Module):
    """A lattice of cells that maps an embedding [..., D] to an embedding [..., D] in T steps; all that cubefast trains.

    The drive of cell c is constant over the steps. It is computed from the cell's number x_c of the embedding (times
    sqrt(D), so about 1), a learnt code and, with ``summary_size``, a summary of the whole embedding that all cells
    share::

        summary = w_summarize (sqrt(D) x)
        drive_c = w_input [x_c, 0] * (1 + w_gain code_c) + w_input [0, code_c] + w_summary summary + b_input

    The states start at zero, the lattice runs, and a readout with weights of its own for each cell gives the output of
    the lattice. That and, with ``linear_rank``, a linear map of the input are added to the input, weighted by how far
    the core is trusted there (:class:`~cubefast.core.trust.Trust`). With ``memory``, the result is moved away from
    answers of training::

        change = output_scale * [state_c . readout_c for every cell c] + linear(input)
        output = normalized(normalized(input + trust(input) * change) - repulsion)

    Without ``memory`` the repulsion and the normalization after it are left out; without ``normalize`` nothing is
    normalized.

    The readout and the linear map start at zero, so a fresh core is exactly the identity (of unit length, with
    ``normalize``).

    Args:
        dim: D.
        shape: (X, Y, Z), or None for the most cubic box of ``dim`` cells.
        state_size, hidden_size, steps: S, H and T of the lattice.
        placement: which cell takes which number of the embedding, see :class:`EmbeddingReshaper`. ``"principal"`` needs
            ``core.reshaper.fit(training embeddings)`` before the first forward.
        io: ``"volume"``: every cell takes and gives one number. ``"faces"``: the embedding enters at the front face
            (X*Y cells, D/(X*Y) numbers each) and is read out at the back face, so it travels through the volume; that
            takes at least Z steps where no neighbors are further away than one cell.
        residual: whether the output of the lattice is added to the input. False trains a core that must carry the
            whole embedding itself; it is then not the identity at the start.
        code_size: the number of learnt numbers of each cell.
        summary_size: the size of the summary that every cell is given; 0: there is none.
        linear_rank: the rank of the linear map beside the lattice (:class:`~cubefast.core.linear_map.LinearMap`); 0: no
            map; D: one matrix, the form in which it is trained (:mod:`cubefast.training.low_rank`); None: an eighth of
            D.
        sides: ``"query"``: outputs are looked for among the answers' embeddings as they are. ``"both"``: among what
            :meth:`map_answers` makes of these, by a linear map of the same rank. It needs a ``linear_rank``.
        output_scale: factor of the lattice's output. With 1 the lattice overfits a small data set before the linear map
            has learnt what generalises.
        prototypes: the number of prototypes of the trust (:class:`~cubefast.core.trust.Trust`); 0: the core is trusted
            everywhere.
        memory: the number of answers of training that the trust remembers; more than 0 needs ``prototypes`` and
            ``normalize``.
        normalize: whether outputs have unit length, as an index of cosines or dot products wants them.
        phases: the number of phases that the steps are divided into, each with cell weights of its own; there are fewer
            where that would leave less than two steps for each.
        dilations: the distance of the neighbors in cells, phase by phase in turn.
        boundary: what stands beyond the edge, see :class:`Topology`. None: ``"periodic"``; with ``io="faces"``, whose
            faces must not be neighbors, ``"walls"``.
        neighborhood, activation, update, checkpoint_every: see :func:`cubefast.lattice_rollout`.

    Raises ValueError for sizes or names that do not fit together.
    """

    answer_weight: Tensor  # with sides="both"

    def __init__(
        self,
        dim: int = 768,
        shape: tuple[int, int, int] | None = None,
        state_size: int = 16,
        hidden_size: int = 64,
        steps: int = 16,
        placement: str = "order",
        io: str = "volume",
        *,
        residual: bool = True,
        code_size: int = 32,
        summary_size: int = 0,
        linear_rank: int | None = 0,
        sides: str = "query",
        output_scale: float = 1.0,
        prototypes: int = 0,
        memory: int = 0,
        normalize: bool = False,
        phases: int = 6,
        dilations: Sequence[int] = (1, 2),
        neighborhood: str = "von_neumann",
        boundary: str | None = None,
        activation: str = "tanh",
        update: str = "residual",
        checkpoint_every: int | None = None,
    ) -> None:
        arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__()
        check_choice("io", io, IO_MODES)
        check_choice("sides", sides, SIDES)
        if linear_rank is None:
            linear_rank = max(1, dim // _DEFAULT_RANK_DIVISOR)
        sizes = {"code_size": code_size, "summary_size": summary_size, "linear_rank": linear_rank}
        for name, size in {**sizes, "prototypes": prototypes, "memory": memory}.items():
            check_count(name, size, 0)
        self.reshaper = EmbeddingReshaper(dim, shape, placement)
        if boundary is None:
            boundary = "walls" if io == "faces" else "periodic"
        settled = {"shape": [*self.reshaper.shape], "linear_rank": linear_rank, "boundary": boundary}
        self.config: dict[str, Any] = {**arguments, **settled, "dilations": list(dilations)}
        x, y, z = self.reshaper.shape
        self.dim = dim
        self.io = io
        self.residual = residual
        self.normalize = normalize
        self.output_scale = float(output_scale)
        if io == "faces" and (summary_size or linear_rank):
            raise ValueError('io="faces" takes no summary and no linear map, which lead past the volume')
        if sides == "both" and not linear_rank:
            raise ValueError('sides="both" needs a linear_rank of at least 1, which is that of the answers\' map too')
        if prototypes and not residual:
            raise ValueError("prototypes need residual=True: where the core is not trusted, the input is what is left")
        if memory and not (prototypes and normalize):
            raise ValueError("memory needs prototypes and normalize=True")
        if io == "faces":
            if dim % (x * y) != 0:
                raise ValueError(f'io="faces" needs dim divisible by the X*Y = {x * y} cells of a face; got {dim}')
            if boundary == "periodic":
                raise ValueError('io="faces" needs an edge: with boundary="periodic" the two faces are neighbors')
        cells = self.reshaper.cells
        numbers = 1 if io == "volume" else dim // (x * y)  # of one cell
        self.lattice = PhasedLattice(
            self.reshaper.shape,
            state_size,
            hidden_size,
            steps,
            phases=phases,
            dilations=dilations,
            neighborhood=neighborhood,
            boundary=boundary,
            activation=activation,
            update=update,
            bias=False,
            checkpoint_every=checkpoint_every,
        )
        if io == "faces" and not _reaches_the_back(self.lattice, z):
            raise ValueError(
                f'io="faces" needs more steps: after {steps}, with dilations {list(dilations)}, nothing has reached '
                f"the back face through {z} cells"
            )
        self.w_input = nn.Parameter(torch.empty(hidden_size, numbers + code_size))
        self.b_input = nn.Parameter(torch.zeros(hidden_size))
        self.codes = nn.Parameter(torch.empty(cells, code_size))
        self.w_gain = nn.Parameter(torch.zeros(hidden_size, code_size))
        readers = cells if io == "volume" else x * y
        self.readout = nn.Parameter(torch.zeros(readers, numbers, state_size))
        bound = 1 / math.sqrt(numbers + code_size)
        nn.init.uniform_(self.w_input, -bound, bound)
        nn.init.normal_(self.codes)
        if not residual:
            nn.init.normal_(self.readout, std=1 / math.sqrt(state_size * dim))
        if summary_size:
            self.w_summarize = nn.Parameter(torch.empty(summary_size, dim))
            self.w_summary = nn.Parameter(torch.empty(hidden_size, summary_size))
            nn.init.normal_(self.w_summarize, std=1 / math.sqrt(dim))
            nn.init.normal_(self.w_summary, std=0.5 / math.sqrt(summary_size))
        self.linear = LinearMap(dim, linear_rank) if linear_rank else None
        self.answer_map = LinearMap(dim, linear_rank) if sides == "both" else None
        if sides == "both":
            self.register_buffer("answer_weight", torch.tensor(1.0))
        self.trust = Trust(dim, prototypes, memory) if prototypes else None

    @overload
    def forward(self, embedding: Tensor, *, state_noise: float = 0.0, cell_dropout: float = 0.0) -> Tensor: ...
    @overload
    def forward(self, embedding: MutableMapping[str, Any]) -> MutableMapping[str, Any]: ...
    def forward(self, embedding: Any, *, state_noise: float = 0.0, cell_dropout: float = 0.0) -> Any:
        """Map embeddings [..., D] -> [..., D], to unit length if ``normalize``.

        Args:
            embedding: a tensor [..., D]. Or the features of a sentence-transformers model, a mapping, which are
                returned with their ``sentence_embedding`` mapped: a core is one of the modules of such a model.
            state_noise: for training; the states start as Gaussian noise of this standard deviation, not as zeros.
            cell_dropout: for training; the share of the cells, drawn for each embedding, whose drive is zero, so that
                they have their neighbors alone (the drive of the others is scaled by 1 / (1 - share)).

        Raises ValueError for another last dimension, or features without a sentence_embedding; TypeError for what is
        neither a tensor nor features.
        """
        if not isinstance(embedding, Tensor):
            sentence = sentence_of(embedding)
            embedding[SENTENCE] = self.forward(sentence, state_noise=state_noise, cell_dropout=cell_dropout)
            return embedding
        if embedding.shape[-1:] != (self.dim,):
            raise ValueError(f"embedding must be [..., {self.dim}]; got {list(embedding.shape)}")
        inputs = embedding.reshape(-1, self.dim)
        output = self.change(inputs, state_noise=state_noise, cell_dropout=cell_dropout)
        if self.trust is not None:
            output = self.trust(inputs) * output
        if self.residual:
            output = inputs + output
        if self.normalize:
            output = nn.functional.normalize(output, dim=1)
        if self.trust is not None and self.config["memory"]:
            output = self.trust.repel(inputs, output)
        return output.reshape(embedding.shape)

    def change(self, inputs: Tensor, *, state_noise: float = 0.0, cell_dropout: float = 0.0) -> Tensor:
        """The change that the core makes to inputs [n, D] at full trust: [n, D]."""
        placed = self.reshaper.to_lattice(inputs) * math.sqrt(self.dim)
        state = placed.new_zeros(placed.shape[0], self.reshaper.cells, self.lattice.state_size)
        if state_noise:
            state = state_noise * torch.randn_like(state)
        drive = self._drive(placed)
        if self.config["summary_size"]:
            summary = math.sqrt(self.dim) * inputs @ self.w_summarize.T
            drive = drive + (summary @ self.w_summary.T)[:, None]
        if cell_dropout:
            drive = nn.functional.dropout1d(drive, cell_dropout)
        change: Tensor = self.output_scale * self.reshaper.to_embedding(self._read(self.lattice(state, drive)))
        if self.linear is not None:
            change = change + self.linear(inputs)
        return change

    def map_answers(self, answers: Tensor) -> Tensor:
        """Map the embeddings of stored answers, [n, D] -> [n, D], to those among which outputs are searched::

            answer + answer_weight * answer_map(answer)

        and of unit length with ``normalize``. With ``sides="query"`` it is the answers as they are.
        """
        if self.answer_map is None:
            return answers
        mapped = answers + self.answer_weight * self.answer_map(answers)
        return nn.functional.normalize(mapped, dim=-1) if self.normalize else mapped

    def remember(self, answers: Tensor, strength: Tensor) -> None:
        """Keep outputs away from answers of training; see :class:`~cubefast.core.trust.Trust`.

        Args:
            answers: [m, D], as an index has them: what :meth:`map_answers` makes of them.
            strength: float32 [4], the curve of the repulsion's strength.

        Raises ValueError for a core without trust or whose outputs have no unit length.
        """
        if self.trust is None or not self.normalize:
            raise ValueError("memory needs prototypes and normalize=True")
        self.trust.remember(answers, strength)
        self.config["memory"] = len(answers)

    def transform(self, embeddings: ArrayLike, batch_size: int = 256) -> NDArray[np.float32]:
        """Map an array of embeddings, [n, D] -> float32 [n, D] or [D] -> [D], without gradients.

        Args:
            embeddings: real numbers of any dtype; also a memory-mapped array, which is read a batch at a time.
            batch_size: rows at once; what is needed beside the result does not grow with n.

        Raises InputError for another shape, something other than numbers, or a row with NaN or Inf; ValueError for a
        ``batch_size`` below 1.
        """
        return transform_array(self, embeddings, self.dim, batch_size, self.codes)

    def transform_answers(self, embeddings: ArrayLike, batch_size: int = 4096) -> NDArray[np.float32]:
        """:meth:`map_answers` for arrays: what an index is to hold, of the embeddings of its answers. Arguments and
        errors as of :meth:`transform`. With ``sides="query"`` they come back as they are, and are not looked at.
        """
        if self.answer_map is None:
            return np.asarray(embeddings, np.float32)
        return transform_array(self.map_answers, embeddings, self.dim, batch_size, self.codes)

    def _drive(self, placed: Tensor) -> Tensor:
        """The drive of each cell, [B, X, Y, Z] -> [B, N, H], without the summary; see the class."""
        batch = placed.shape[0]  # not len(), which torch.export would take for a constant
        cells, hidden_size = self.reshaper.cells, self.lattice.hidden_size
        numbers = self.readout.shape[1]
        w_numbers, w_code = self.w_input.split([numbers, self.w_input.shape[1] - numbers], dim=1)
        constant = self.codes @ w_code.T + self.b_input
        gain = 1 + self.codes @ self.w_gain.T
        if self.io == "volume":
            scale = w_numbers[:, 0] * gain
            return torch.addcmul(constant, placed.reshape(batch, cells, 1), scale)
        x, y, z = self.reshaper.shape
        entering = placed.reshape(batch, -1)[:, : self.dim].reshape(batch, x * y, numbers) @ w_numbers.T
        drive = constant.reshape(1, x * y, z, hidden_size).expand(batch, -1, -1, -1)
        front = drive[:, :, :1] + (entering * gain.reshape(x * y, z, -1)[:, 0])[:, :, None]
        return torch.cat([front, drive[:, :, 1:]], dim=2).reshape(batch, cells, hidden_size)

    def _read(self, state: Tensor) -> Tensor:
        """Read the embedding out of the states, [B, N, S] -> [B, X, Y, Z]."""
        batch = state.shape[0]
        x, y, z = self.reshaper.shape
        if self.io == "volume":
            answered = torch.einsum("bns,ns->bn", state, self.readout[:, 0])
        else:
            back = state.reshape(batch, x * y, z, -1)[:, :, -1]
            answered = torch.einsum("bfs,fds->bfd", back, self.readout).reshape(batch, -1)
            answered = nn.functional.pad(answered, (0, self.reshaper.cells - self.dim))
        return answered.reshape(batch, x, y, z)

    def parameter_count(self) -> int:
        """The number of trained parameters. A principal placement and the buffers of the trust do not count."""
        return sum(parameter.numel() for parameter in self.parameters())

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` into ``folder``, made if it is not there.

        Raises InputError for weights with NaN or Inf and for arguments beyond the bounds of a saved core, such as more
        than 10,000 steps; DiskError where the folder cannot be written.
        """
        write_artifact(Path(folder), self.config, self.state_dict())

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> CubicCore:
        """The core that :meth:`save_pretrained` wrote, on the CPU: the same outputs, bit for bit. Nothing in it is
        executed, and no random number is drawn.

        Raises:
            ArtifactError: a file is missing, damaged, of another format, or does not fit the other.
        """
        config, tensors = read_artifact(Path(folder))
        try:
            with torch.random.fork_rng(devices=[]):
                core = cls(**config).to(next(iter(tensors.values())).dtype)
            core.load_state_dict(tensors)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ArtifactError(f"{folder} does not hold a core: {error}") from None
        return core

    def save(self, folder: str, safe_serialization: bool = True) -> None:
        """Save as :meth:`save_pretrained` does, always as safetensors; sentence-transformers calls this."""
        self.save_pretrained(folder)

    @classmethod
    def load(cls, folder: str) -> CubicCore:
        """Load as :meth:`from_pretrained` does; sentence-transformers calls this to load a module."""
        return cls.from_pretrained(folder)


@torch.no_grad()
def predict(core: CubicCore, inputs: Tensor, batch_size: int = 256) -> Tensor:
    """The core's outputs [n, D] without gradients, batch by batch."""
    return torch.cat([core(batch) for batch in inputs.split(batch_size)])


def _reaches_the_back(lattice: PhasedLattice, depth: int) -> bool:
    """Whether the input of the cells at z = 0 can reach those at z = depth - 1 in all steps."""
    reached: set[int] = set()
    for phase in lattice.phases:
        hop = phase.topology.dilation
        for _ in range(phase.steps):
            reached |= {0} | {place + way for place in reached for way in (-hop, hop) if 0 <= place + way < depth}
    return depth - 1 in reached


def sentence_of(features: Any) -> Tensor:
    """The sentence embedding among the features that modules of sentence-transformers pass on."""
    if not isinstance(features, MutableMapping):
        raise TypeError(f"embedding must be a tensor; got {type(features).__name__}. For arrays there is transform()")
    if SENTENCE not in features:
        raise ValueError(
            f"the features have no {SENTENCE}, but {', '.join(map(str, features))}. Put the core after the module "
            "that makes one, such as Pooling"
        )
    sentence: Tensor = features[SENTENCE]
    return sentence
