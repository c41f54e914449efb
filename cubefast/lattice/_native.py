"""The compiled kernel's Python side: finds the extension, checks that it is ours, passes addresses."""

from __future__ import annotations

import importlib
from functools import lru_cache
from types import ModuleType

import torch

from .._version import __version__
from .checks import ACTIVATIONS, UPDATES

_INSTALL = "Run `pip install .` again in the source folder (a C++ compiler is needed)."


@lru_cache(maxsize=1)
def load() -> tuple[ModuleType | None, str]:
    """The extension, or None; and in words why it is not usable ("" when it is)."""
    try:
        # torch is imported by now, so the extension's OpenMP resolves to the runtime torch loaded.
        native = importlib.import_module("_cubefast_native")
    except ModuleNotFoundError:
        return None, f"the C++ extension is not installed. {_INSTALL}"
    except ImportError as error:
        return None, f"the C++ extension does not load ({error}). {_INSTALL}"
    if native.__version__ != __version__:
        return None, (
            f"the installed C++ extension is of version {native.__version__} and this Python code "
            f"of version {__version__}. {_INSTALL}"
        )
    return native, ""


def _native() -> ModuleType:
    native, why = load()
    assert native is not None, why  # backends.py chose this backend because it is there
    return native


def _sizes(
    state: torch.Tensor,
    drive: torch.Tensor,
    neighbors: torch.Tensor,
    trajectory: torch.Tensor,
    steps: int,
    activation: str,
    update: str,
    checkpoint_every: int,
) -> object:
    batch, cells, state_size = state.shape
    hidden_size = drive.shape[-1]
    shared_drive = drive.dim() == 2 or drive.shape[0] != batch
    return _native().Sizes(  # in the order of csrc/params.h; by name would cost 3 us more
        batch,
        cells,
        state_size,
        hidden_size,
        neighbors.shape[1] + 1,
        steps,
        0 if shared_drive else cells * hidden_size,
        checkpoint_every,
        trajectory.shape[1],
        ACTIVATIONS.index(activation),
        UPDATES.index(update),
        torch.get_num_threads(),
    )


def _address(tensor: torch.Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def forward(
    state: torch.Tensor,
    drive: torch.Tensor,
    w_perceive: torch.Tensor,
    w_update: torch.Tensor,
    b_update: torch.Tensor,
    neighbors: torch.Tensor,
    steps: int,
    activation: str,
    update: str,
    checkpoint_every: int,
    final: torch.Tensor,
    trajectory: torch.Tensor,
) -> None:
    """Write ``final`` [B, N, S] and ``trajectory`` [B, saved states, N, S]; all tensors are contiguous."""
    _native().forward(
        _sizes(state, drive, neighbors, trajectory, steps, activation, update, checkpoint_every),
        state.dtype == torch.float64,
        _address(state),
        _address(drive),
        _address(w_perceive),
        _address(w_update),
        _address(b_update),
        _address(neighbors),
        _address(final),
        _address(trajectory) if trajectory.numel() else 0,
    )


def backward(
    dfinal: torch.Tensor,
    state: torch.Tensor,
    drive: torch.Tensor,
    w_perceive: torch.Tensor,
    w_update: torch.Tensor,
    b_update: torch.Tensor,
    neighbors: torch.Tensor,
    reader_offsets: torch.Tensor,
    readers: torch.Tensor,
    steps: int,
    activation: str,
    update: str,
    checkpoint_every: int,
    final: torch.Tensor,
    trajectory: torch.Tensor,
    gradients: list[torch.Tensor | None],
) -> None:
    """Write the five ``gradients`` (None: not asked for), in the order of the forward's arguments."""
    _native().backward(
        _sizes(state, drive, neighbors, trajectory, steps, activation, update, checkpoint_every),
        state.dtype == torch.float64,
        _address(state),
        _address(drive),
        _address(w_perceive),
        _address(w_update),
        _address(b_update),
        _address(neighbors),
        _address(final),
        _address(trajectory) if trajectory.numel() else 0,
        _address(reader_offsets),
        _address(readers),
        readers.numel(),
        _address(dfinal),
        *map(_address, gradients),
    )
