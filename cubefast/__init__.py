"""cubefast trains a 3D lattice of cells to turn one embedding into another, fast, on an ordinary CPU.

`import cubefast` costs little more than torch: everything beyond the lattice is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

# torch first: the compiled kernel then shares the OpenMP runtime that torch loads.
import torch  # noqa: F401

from ._version import __version__
from .lattice import Lattice3D, Topology, doctor, lattice_rollout, use_backend

if TYPE_CHECKING:
    from .config import TrainingConfig
    from .core import CubicCore
    from .data.cache import EmbeddingCache
    from .data.encoders import HashingEncoder, StaticEncoder, TextEncoder
    from .data.pairs import EmbeddingPairs
    from .data.reshaper import EmbeddingReshaper
    from .decoding import RetrievalDecoder
    from .pipeline import Pipeline
    from .training.trainer import CubeTrainer, TrainingResult

_HOME = {
    "CubeTrainer": ".training.trainer",
    "CubicCore": ".core",
    "EmbeddingCache": ".data.cache",
    "EmbeddingPairs": ".data.pairs",
    "EmbeddingReshaper": ".data.reshaper",
    "HashingEncoder": ".data.encoders",
    "Pipeline": ".pipeline",
    "RetrievalDecoder": ".decoding",
    "StaticEncoder": ".data.encoders",
    "TextEncoder": ".data.encoders",
    "TrainingConfig": ".config",
    "TrainingResult": ".training.trainer",
}

__all__ = [
    "CubeTrainer",
    "CubicCore",
    "EmbeddingCache",
    "EmbeddingPairs",
    "EmbeddingReshaper",
    "HashingEncoder",
    "Lattice3D",
    "Pipeline",
    "RetrievalDecoder",
    "StaticEncoder",
    "TextEncoder",
    "Topology",
    "TrainingConfig",
    "TrainingResult",
    "__version__",
    "doctor",
    "lattice_rollout",
    "use_backend",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'cubefast' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
