"""A trained core as a torch.export program in a file: for serving, without the Python code that made it."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Literal

import torch
from torch.export import Dim, ExportedProgram

from ..core import CubicCore
from ..core.answer_side import AnswerSide
from ..errors import InputError
from ..lattice import use_backend
from ..utils.files import write_atomically

Operators = Literal["kernel", "plain"]
"""kernel: the rollout is the operator ``cubefast::rollout``, as fast as the core; whoever loads the program needs
``import cubefast.lattice`` first, and a kernel of the same backend. plain: torch's own operators only, slower."""


def export_core(module: CubicCore | AnswerSide, operators: Operators = "kernel") -> ExportedProgram:
    """Export a core, or its map of answers, as a program without gradients: [B, D] -> [B, D] for any B, in the core's
    dtype.

    With ``kernel`` it gives the core's bits on the backend that is active now; with ``plain`` those of the reference,
    which differ in the last ones.

    Raises InputError for a core whose placement is not fitted.
    """
    core = module.core if isinstance(module, AnswerSide) else module
    if not core.reshaper.fitted:
        raise InputError("the core's placement is not fitted, so it cannot run; call core.reshaper.fit first")
    example = torch.zeros(2, core.dim, dtype=core.codes.dtype, device=core.codes.device)
    with use_backend("torch") if operators == "plain" else contextlib.nullcontext(), torch.no_grad():
        program = torch.export.export(module, (example,), dynamic_shapes={"embedding": {0: Dim("batch")}})
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names folders of this machine
    return program


def save_exported(module: CubicCore | AnswerSide, path: Path, operators: Operators = "kernel") -> None:
    """:func:`export_core` written to ``path``, which torch wants to end in .pt2. The format is torch's own, and so are
    the rules of what loading it may do.
    """
    program = io.BytesIO()
    torch.export.save(export_core(module, operators), program)
    write_atomically(path, program.getvalue())
