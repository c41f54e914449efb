"""From an embedding to a text: nearest-neighbour search in a bank of answers, and the threshold below which no answer
is given.
"""

from __future__ import annotations

import warnings

from .retrieval import Answer, Decoder, RetrievalDecoder
from .threshold import CalibratedThreshold, calibrate_threshold

__all__ = ["Answer", "CalibratedThreshold", "Decoder", "RetrievalDecoder", "calibrate_threshold"]


def __getattr__(name: str) -> object:
    if name == "Calibration":  # its name until 0.1.0
        warnings.warn("cubefast.decoding.Calibration is now CalibratedThreshold", DeprecationWarning, stacklevel=2)
        return CalibratedThreshold
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
