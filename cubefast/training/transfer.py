"""Initialization from a trained core: all weights if the sizes agree, the shared cell if only the lattice differs."""

from __future__ import annotations

from ..core import CubicCore
from ..errors import ArtifactError

PER_CELL = ("codes", "readout", "w_summarize")
_CALIBRATED = ("trust", "answer_weight")  # how far to trust a core follows from its own training pairs
_OWN_PARTS = ("reshaper", "linear", "answer_map", *_CALIBRATED)


def initialize_from(core: CubicCore, trained: CubicCore, source: str) -> str:
    """Copy the weights of ``trained`` into ``core``; returns a phrase that says what was copied.

    A lattice of another shape takes the weights that all cells share, and keeps its own per-cell ones. The placement
    (rotation) is copied where the embeddings have one dimension, so that the cells mean what they meant.

    Raises ArtifactError naming every shared weight that does not fit.
    """
    ours, theirs = core.state_dict(), trained.state_dict()
    own = {name for name in ours if name.split(".")[-1] in PER_CELL or name.split(".")[0] in _OWN_PARTS}
    misfits = [
        f"{name} is {list(theirs[name].shape) if name in theirs else 'missing'} there and {list(tensor.shape)} here"
        for name, tensor in ours.items()
        if name not in own and (name not in theirs or theirs[name].shape != tensor.shape)
    ]
    if misfits:
        raise ArtifactError(
            f"init_from={source}: the cells do not fit: {'; '.join(misfits)}. Set core.state_size, core.hidden_size, "
            "core.code_size, core.phases, core.steps, core.neighborhood and core.io as they are there"
        )
    same_lattice = trained.reshaper.shape == core.reshaper.shape and trained.dim == core.dim
    taken = {
        name: theirs[name]
        for name, tensor in ours.items()
        if name not in own
        or (
            same_lattice
            and name.split(".")[0] not in _CALIBRATED
            and name in theirs
            and theirs[name].shape == tensor.shape
        )
    }
    core.load_state_dict({**ours, **taken})
    everything = sum(name.split(".")[0] not in _CALIBRATED for name in ours)
    return "every weight" if len(taken) == everything else f"the shared cell ({len(taken)} of {len(ours)} tensors)"
