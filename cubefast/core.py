"""The 3D cubic core: an embedding laid on a lattice, the lattice run, the embedding read off again."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ._version import __version__
from .data.reshaper import EmbeddingReshaper
from .errors import ArtifactError
from .files import write_atomically, write_json
from .lattice import Lattice3D
from .lattice.checks import check_choice, check_count

IOS = ("volume", "faces")
"""volume: every cell hears and answers one number. faces: in at the front (z = 0), out at the back (z = Z-1)."""

FORMAT_VERSION = 1
_CONFIG, _WEIGHTS = "config.json", "model.safetensors"


class CubicCore(nn.Module):
    """Embedding [..., D] -> embedding [..., D], through T steps of a lattice of cells: all that cubefast trains.

    Every cell c hears a drive that stays the same over the steps, made of its number of the embedding (times
    sqrt(D), so about 1) and a learnt code::

        drive_c = (w_input [x_c, code_c] + b_input) * (1 + gain_c) + bias_c

    The states start at zero, the lattice runs, and each cell's state is read by weights of its own. What is read is
    added to the input, and the readout starts at zero, so a fresh core is exactly the identity and harms nothing::

        output = input + state_c . readout_c

    Args:
        dim: D.
        shape: (X, Y, Z), or None for the most cubic box of ``dim`` cells.
        state_size, hidden_size, steps: S, H and T of the lattice.
        placement: how the embedding is laid on the lattice, see :class:`EmbeddingReshaper`. ``"principal"`` needs
            ``core.reshaper.fit(training embeddings)`` before the first forward.
        io: ``"volume"``: every cell hears and answers one number. ``"faces"``: the embedding enters at the front face
            (X*Y cells, D/(X*Y) numbers each) and is read at the back face, so what is read has travelled through the
            volume; the steps must be at least the depth Z.
        residual: whether what is read is added to the input. False trains a core that must carry everything itself
            (with ``io="faces"``: all through the volume); it is then not the identity at the start.
        code_size: learnt numbers per cell.
        neighborhood, boundary, activation, update, checkpoint_every: see :func:`cubefast.lattice_rollout`.

    Raises ValueError for sizes or names that do not fit together.
    """

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
        code_size: int = 16,
        neighborhood: str = "von_neumann",
        boundary: str = "walls",
        activation: str = "tanh",
        update: str = "residual",
        checkpoint_every: int | None = None,
    ) -> None:
        super().__init__()
        check_choice("io", io, IOS)
        check_count("code_size", code_size, 0)
        self.reshaper = EmbeddingReshaper(dim, shape, placement)
        self.config: dict[str, Any] = {
            "dim": dim,
            "shape": list(self.reshaper.shape),
            "state_size": state_size,
            "hidden_size": hidden_size,
            "steps": steps,
            "placement": placement,
            "io": io,
            "residual": residual,
            "code_size": code_size,
            "neighborhood": neighborhood,
            "boundary": boundary,
            "activation": activation,
            "update": update,
            "checkpoint_every": checkpoint_every,
        }
        x, y, z = self.reshaper.shape
        self.dim = dim
        self.io = io
        self.residual = residual
        if io == "faces":
            if dim % (x * y) != 0:
                raise ValueError(f'io="faces" needs dim divisible by the X*Y = {x * y} cells of a face; got {dim}')
            if steps < z:
                raise ValueError(
                    f'io="faces" needs steps >= the depth of {z} cells, or nothing reaches the back face; got {steps}'
                )
        cells = self.reshaper.cells
        numbers = 1 if io == "volume" else dim // (x * y)  # heard and answered by one cell
        self.lattice = Lattice3D(
            self.reshaper.shape,
            state_size,
            hidden_size,
            steps,
            neighborhood=neighborhood,
            boundary=boundary,
            activation=activation,
            update=update,
            bias=False,
            checkpoint_every=checkpoint_every,
        )
        self.w_input = nn.Parameter(torch.empty(hidden_size, numbers + code_size))
        self.b_input = nn.Parameter(torch.zeros(hidden_size))
        self.code = nn.Parameter(torch.empty(cells, code_size))
        self.gain = nn.Parameter(torch.zeros(cells, hidden_size))
        self.bias = nn.Parameter(torch.zeros(cells, hidden_size))
        readers = cells if io == "volume" else x * y
        self.readout = nn.Parameter(torch.zeros(readers, numbers, state_size))
        bound = 1 / math.sqrt(numbers + code_size)
        nn.init.uniform_(self.w_input, -bound, bound)
        nn.init.normal_(self.code)
        if not residual:
            nn.init.normal_(self.readout, std=1 / math.sqrt(state_size * dim))

    def forward(self, embedding: Tensor) -> Tensor:
        """[..., D] -> [..., D]; not normalised. Raises ValueError for another last dimension."""
        if embedding.shape[-1:] != (self.dim,):
            raise ValueError(f"embedding must be [..., {self.dim}]; got {list(embedding.shape)}")
        laid = self.reshaper.to_lattice(embedding.reshape(-1, self.dim)) * math.sqrt(self.dim)
        state = laid.new_zeros(len(laid), self.reshaper.cells, self.lattice.state_size)
        change = self._read(self.lattice(state, self._drive(laid)))
        change = self.reshaper.to_embedding(change).reshape(embedding.shape)
        return embedding + change if self.residual else change

    def _drive(self, laid: Tensor) -> Tensor:
        """[B, X, Y, Z] -> [B, N, H]: the drive of each cell, as the class docstring has it."""
        batch = len(laid)
        cells, hidden_size = self.bias.shape
        numbers = self.readout.shape[1]
        w_numbers, w_code = self.w_input.split([numbers, self.w_input.shape[1] - numbers], dim=1)
        quiet = (self.code @ w_code.T + self.b_input) * (1 + self.gain) + self.bias
        if self.io == "volume":
            scale = w_numbers[:, 0] * (1 + self.gain)
            return torch.addcmul(quiet, laid.reshape(batch, cells, 1), scale)
        x, y, z = self.reshaper.shape
        heard = laid.reshape(batch, -1)[:, : self.dim].reshape(batch, x * y, numbers) @ w_numbers.T
        drive = quiet.reshape(1, x * y, z, hidden_size).expand(batch, -1, -1, -1)
        front = drive[:, :, :1] + (heard * (1 + self.gain.reshape(x * y, z, -1)[:, 0]))[:, :, None]
        return torch.cat([front, drive[:, :, 1:]], dim=2).reshape(batch, cells, hidden_size)

    def _read(self, state: Tensor) -> Tensor:
        """[B, N, S] -> [B, X, Y, Z]: what the cells answer, in the embedding's scale."""
        batch = len(state)
        x, y, z = self.reshaper.shape
        if self.io == "volume":
            answered = torch.einsum("bns,ns->bn", state, self.readout[:, 0])
        else:
            back = state.reshape(batch, x * y, z, -1)[:, :, -1]
            answered = torch.einsum("bfs,fds->bfd", back, self.readout).reshape(batch, -1)
            answered = nn.functional.pad(answered, (0, self.reshaper.cells - self.dim))
        return answered.reshape(batch, x, y, z)

    def parameter_count(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self.parameters())

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` into ``folder``, made if it is not there."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        write_atomically(folder / _WEIGHTS, safetensors.torch.save(tensors, {"format": "pt"}))
        write_json(
            folder / _CONFIG,
            {"format_version": FORMAT_VERSION, "cubefast": __version__, "core": self.config},
        )

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> CubicCore:
        """The core that :meth:`save_pretrained` wrote: the same outputs, bit for bit. Nothing in it is executed.

        Raises:
            ArtifactError: a file is missing, damaged, of a newer format, or does not fit the other.
        """
        folder = Path(folder)
        try:
            saved = json.loads((folder / _CONFIG).read_text())
            version = saved["format_version"]
            config = saved["core"]
        except FileNotFoundError:
            raise ArtifactError(f"no saved core in {folder}: {_CONFIG} is missing") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"{folder / _CONFIG} cannot be read: {error!r}") from None
        if version != FORMAT_VERSION:
            raise ArtifactError(
                f"{folder / _CONFIG} is of format version {version}; this cubefast {__version__} reads "
                f"version {FORMAT_VERSION}. Use the cubefast that wrote it ({saved.get('cubefast')})"
            )
        try:
            core = cls(**config)
        except (TypeError, ValueError) as error:
            raise ArtifactError(f"{folder / _CONFIG} does not describe a core: {error}") from None
        try:
            tensors = safetensors.torch.load((folder / _WEIGHTS).read_bytes())
        except FileNotFoundError:
            raise ArtifactError(f"no saved core in {folder}: {_WEIGHTS} is missing") from None
        except (OSError, safetensors.SafetensorError) as error:
            raise ArtifactError(f"{folder / _WEIGHTS} is damaged or truncated: {error}") from None
        try:
            core.load_state_dict(tensors)
        except RuntimeError as error:
            raise ArtifactError(f"{folder / _WEIGHTS} does not fit {_CONFIG}: {error}") from None
        return core
