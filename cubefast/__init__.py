"""cubefast trains a 3D lattice of cells to turn one embedding into another, fast, on an ordinary CPU.

`import cubefast` costs next to nothing: each name is imported when it is first used (PEP 562), and torch with it. So
`--help` is there at once. `import cubefast.lattice` registers the operators that exported programs need.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

# Threads of OpenMP that wait for the others spin, for milliseconds by default: on a machine that is busy with something
# else they then take the cores from the very threads they wait for. It is read once, when torch loads OpenMP.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from ._version import __version__

if TYPE_CHECKING:
    from .config.data import DatasetConfig
    from .config.run_config import TrainingConfig
    from .core import AnswerSide, CubicCore, EmbeddingReshaper
    from .data.cache import EmbeddingCache
    from .data.create_datasets import (
        create_conversation_dataset,
        create_dialogue_dataset,
        create_file_dataset,
        create_text_dataset,
    )
    from .data.datasets import AutoencoderDataset, DialogueDataset
    from .data.embeddings.embedding_loader import EmbeddingLoader
    from .data.embeddings.vectors import Preparation
    from .data.encoding.base import TextEncoder
    from .data.encoding.create_encoder import create_encoder
    from .data.encoding.encoders import ConcatEncoder, FunctionEncoder, HashingEncoder, StaticEncoder
    from .data.encoding.openai_encoder import OpenAIEncoder
    from .data.encoding.transformer import SentenceTransformerEncoder
    from .data.pairs import EmbeddingPairs, PairDataset
    from .decoding import Decoder, RetrievalDecoder
    from .evaluation.embedding_metrics import EmbeddingMetrics
    from .lattice import Lattice3D, Topology, doctor, fire_mask, lattice_rollout, use_backend
    from .pipeline import Pipeline
    from .training.result import TrainingResult
    from .training.trainer import CubeTrainer

_NAMES = {
    ".config.data": ("DatasetConfig",),
    ".config.run_config": ("TrainingConfig",),
    ".core": ("AnswerSide", "CubicCore", "EmbeddingReshaper"),
    ".data.cache": ("EmbeddingCache",),
    ".data.create_datasets": (
        "create_conversation_dataset",
        "create_dialogue_dataset",
        "create_file_dataset",
        "create_text_dataset",
    ),
    ".data.datasets": ("AutoencoderDataset", "DialogueDataset"),
    ".data.embeddings.embedding_loader": ("EmbeddingLoader",),
    ".data.embeddings.vectors": ("Preparation",),
    ".data.encoding.openai_encoder": ("OpenAIEncoder",),
    ".data.encoding.base": ("TextEncoder",),
    ".data.encoding.create_encoder": ("create_encoder",),
    ".data.encoding.encoders": ("ConcatEncoder", "FunctionEncoder", "HashingEncoder", "StaticEncoder"),
    ".data.encoding.transformer": ("SentenceTransformerEncoder",),
    ".data.pairs": ("EmbeddingPairs", "PairDataset"),
    ".decoding": ("Decoder", "RetrievalDecoder"),
    ".evaluation.embedding_metrics": ("EmbeddingMetrics",),
    ".lattice": ("Lattice3D", "Topology", "doctor", "fire_mask", "lattice_rollout", "use_backend"),
    ".pipeline": ("Pipeline",),
    ".training.result": ("TrainingResult",),
    ".training.trainer": ("CubeTrainer",),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "AnswerSide",
    "AutoencoderDataset",
    "ConcatEncoder",
    "CubeTrainer",
    "CubicCore",
    "DatasetConfig",
    "Decoder",
    "DialogueDataset",
    "EmbeddingCache",
    "EmbeddingLoader",
    "EmbeddingMetrics",
    "EmbeddingPairs",
    "EmbeddingReshaper",
    "FunctionEncoder",
    "HashingEncoder",
    "Lattice3D",
    "OpenAIEncoder",
    "PairDataset",
    "Pipeline",
    "Preparation",
    "RetrievalDecoder",
    "SentenceTransformerEncoder",
    "StaticEncoder",
    "TextEncoder",
    "Topology",
    "TrainingConfig",
    "TrainingResult",
    "__version__",
    "create_conversation_dataset",
    "create_dialogue_dataset",
    "create_encoder",
    "create_file_dataset",
    "create_text_dataset",
    "doctor",
    "fire_mask",
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
