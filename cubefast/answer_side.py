"""The place of :class:`cubefast.AnswerSide` until 0.1.0, which models of sentence-transformers saved before name."""

import warnings

from .core.answer_side import AnswerSide

__all__ = ["AnswerSide"]

warnings.warn("cubefast.answer_side.AnswerSide is now cubefast.AnswerSide", DeprecationWarning, stacklevel=2)
