"""The compiled kernel's Python side: finds the extension, checks that it is ours, passes addresses."""

from __future__ import annotations

import importlib
import math
from functools import lru_cache
from types import ModuleType

import torch

from .._version import __version__
from .checks import ACTIVATIONS, UPDATES
from .rule import Rule

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
    inputs: tuple[torch.Tensor, ...],
    neighbors: torch.Tensor,
    filters: torch.Tensor | None,
    rule: Rule,
    trajectory: torch.Tensor,
) -> object:
    state, drive = inputs[:2]
    batch, cells, state_size = state.shape
    drive_batch, drive_cells, hidden_size = drive.shape[-3:]
    per_step = drive.dim() == 4
    sizes = _native().Sizes(  # in the order of csrc/params.h; by name would cost 3 us more
        batch,
        cells,
        state_size,
        hidden_size,
        neighbors.shape[1] + 1,
        rule.steps,
        0 if drive_batch != batch else drive_cells * hidden_size,
        0 if drive_cells == 1 else hidden_size,
        rule.checkpoint_every,
        trajectory.shape[1],
        ACTIVATIONS.index(rule.activation),
        UPDATES.index(rule.update),
        torch.get_num_threads(),
    )
    if filters is not None or rule.fire_rate is not None or rule.alive is not None or rule.return_states or per_step:
        channel, threshold = rule.alive or (-1, 0.0)
        sizes.set_options(
            0 if filters is None else filters.shape[0],
            filters is not None and filters.dim() == 3,
            2**32 if rule.fire_rate is None else math.ceil(rule.fire_rate * 2**32),
            rule.seed % 2**64,
            rule.first_step,
            channel,
            threshold,
            rule.return_states,
            drive_batch * drive_cells * hidden_size if per_step else 0,
        )
    return sizes


def _address(tensor: torch.Tensor | None) -> int:
    return 0 if tensor is None or not tensor.numel() else tensor.data_ptr()


def forward(
    inputs: tuple[torch.Tensor, ...],
    neighbors: torch.Tensor,
    filters: torch.Tensor | None,
    rule: Rule,
    final: torch.Tensor,
    trajectory: torch.Tensor,
    states: torch.Tensor,
    kept: torch.Tensor,
) -> None:
    """Write the last four from ``inputs``: state, drive, w_perceive, w_update, b_update. All tensors are contiguous."""
    _native().forward(
        _sizes(inputs, neighbors, filters, rule, trajectory),
        final.dtype == torch.float64,
        [*map(_address, inputs)],
        _address(neighbors),
        _address(filters),
        _address(final),
        _address(trajectory),
        _address(states),
        _address(kept),
    )


def backward(
    dfinal: torch.Tensor,
    dstates: torch.Tensor | None,
    inputs: tuple[torch.Tensor, ...],
    tables: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    filters: torch.Tensor | None,
    rule: Rule,
    final: torch.Tensor,
    trajectory: torch.Tensor,
    kept: torch.Tensor,
    gradients: list[torch.Tensor | None],
) -> None:
    """Write the ``gradients`` (None: not asked for) of ``inputs``, see :func:`forward`, and of ``filters``."""
    neighbors, reader_offsets, readers = tables
    _native().backward(
        _sizes(inputs, neighbors, filters, rule, trajectory),
        dfinal.dtype == torch.float64,
        [*map(_address, inputs)],
        _address(neighbors),
        _address(filters),
        _address(final),
        _address(trajectory),
        _address(kept),
        _address(reader_offsets),
        _address(readers),
        readers.numel(),
        _address(dfinal),
        _address(dstates),
        [*map(_address, gradients)],
    )
