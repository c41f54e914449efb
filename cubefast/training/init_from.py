"""Initialization from a trained core: all weights if the sizes agree, the shared cell if only the lattice differs."""

from __future__ import annotations

from ..core import CubicCore
from ..errors import ArtifactError

_PER_CELL = ("codes", "readout", "w_summarize")
_CALIBRATED = ("trust", "answer_weight")  # chosen on the validation set of the training that they belong to
_NOT_SHARED = ("reshaper", "linear", "answer_map", *_CALIBRATED)


def initialize_from(core: CubicCore, trained: CubicCore, source: str) -> list[str]:
    """Copy the weights of ``trained`` into ``core``; returns the names of the copied tensors.

    If the lattices have another shape, only the weights that all cells share are copied. The placement (rotation) is
    copied if the shape and the dimension of the embeddings are the same, so that the cells mean what they meant.

    Raises ArtifactError naming every shared weight that does not fit.
    """
    weights, trained_weights = core.state_dict(), trained.state_dict()
    fits = {
        name: name in trained_weights and trained_weights[name].shape == tensor.shape
        for name, tensor in weights.items()
    }
    parts = {name: name.split(".") for name in weights}
    shared = {name for name in weights if parts[name][-1] not in _PER_CELL and parts[name][0] not in _NOT_SHARED}
    misfits = [
        f"{name} is {list(trained_weights[name].shape) if name in trained_weights else 'missing'} there and "
        f"{list(weights[name].shape)} here"
        for name in weights
        if name in shared and not fits[name]
    ]
    if misfits:
        raise ArtifactError(
            f"init_from={source}: the cells do not fit: {'; '.join(misfits)}. Set core.state_size, core.hidden_size, "
            "core.code_size, core.phases, core.steps, core.neighborhood and core.io as they are there"
        )
    same_lattice = trained.reshaper.shape == core.reshaper.shape and trained.dim == core.dim
    copied = [
        name
        for name in weights
        if name in shared or (same_lattice and fits[name] and parts[name][0] not in _CALIBRATED)
    ]
    core.load_state_dict(weights | {name: trained_weights[name] for name in copied})
    return copied
