"""The core, which maps an embedding to an embedding: its parts, and how it is saved."""

from .answer_side import AnswerSide
from .cubic_core import CubicCore, predict
from .reshaper import EmbeddingReshaper

__all__ = ["AnswerSide", "CubicCore", "EmbeddingReshaper", "predict"]

# A model of sentence-transformers names its modules' classes by this path, which outlives the names of the files.
for _module in (AnswerSide, CubicCore):
    _module.__module__ = __name__
del _module
