"""A trained core as an ONNX model: for serving from any language. Writing one needs the extra ``onnx``."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from ..core import CubicCore
from ..core.answer_side import AnswerSide
from ..errors import InputError
from ..utils.files import write_atomically
from .torch_export import export_core

_NEEDED = ("onnx", "onnxscript")
_LARGEST = 2_000_000_000
"""Bytes of a core. A file of ONNX, as of protobuf, holds less than 2^31, and the graph takes some of them."""


def check_installed() -> None:
    """Raise InputError if the packages that write ONNX are missing."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"writing ONNX needs the packages onnx and onnxscript; missing: {', '.join(missing)}. "
            "pip install 'cubefast[onnx]'"
        )


def onnx_model(module: CubicCore | AnswerSide) -> bytes:
    """A core, or its map of stored answers, as an ONNX model in bytes.

    The model has one input, ``embedding``, and one output, ``output``, both float32 [batch, D] for any batch. It holds
    the whole core: placement, lattice, linear map, trust and memory. Its operators are those of the ONNX standard, so
    whatever runs ONNX loads it without cubefast or Python. Outputs agree with those of ``module`` within 1e-5.
    The steps of the lattice are unrolled, so the nodes, the size and the time to write it grow with ``steps``: for 384
    numbers, 4 steps give 91 nodes and 0.5 MB in seconds, and 64 steps 751 nodes and 2.3 MB in about a minute.

    Args:
        module: a core with float32 weights, or :class:`~cubefast.AnswerSide` around one.

    Raises InputError where the extra ``onnx`` is not installed, for a core whose placement is not fitted, for weights
    of another dtype than float32, and for a core of more than 2 GB, which one ONNX file cannot hold.
    """
    check_installed()
    core = module.core if isinstance(module, AnswerSide) else module
    if core.codes.dtype != torch.float32:
        raise InputError(
            f"the ONNX model is float32, and the core's weights are {core.codes.dtype}; call core.float() first"
        )
    size = sum(tensor.nbytes for tensor in core.state_dict().values())
    if size > _LARGEST:
        raise InputError(
            f"the core has {size / 1e9:.1f} GB, and one ONNX file holds {_LARGEST / 1e9:g} GB at most; train with a "
            "smaller memory"
        )
    exported = export_core(module, "plain")
    with _without_torch_notices():
        program = torch.onnx.export(
            exported, dynamo=True, input_names=["embedding"], output_names=["output"], verbose=False
        )
    assert program is not None  # as always with dynamo=True
    model = program.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]  # names of torch's own, several times the size of the nodes
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del model.graph.value_info[:]
    return bytes(model.SerializeToString())


def save_onnx(module: CubicCore | AnswerSide, path: Path) -> None:
    """Write :func:`onnx_model` of ``module`` to ``path``. It appears whole or not at all."""
    write_atomically(path, onnx_model(module))


@contextlib.contextmanager
def _without_torch_notices() -> Iterator[None]:
    """A context without the notices of torch's exporter: that torchvision is not installed, which is not needed here,
    what its optimizer skips, and that it uses a class of its own that it deprecates.
    """
    levels = {logging.getLogger(name): logging.getLogger(name).level for name in ("torch.onnx", "onnxscript")}
    for logger in levels:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
