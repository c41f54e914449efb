"""Embedding -> text: a bank of answers, searched for the nearest ones; when to say that none of them will do."""

from .retrieval import Answer, Decoder, RetrievalDecoder
from .threshold import Calibration, calibrate_threshold

__all__ = ["Answer", "Calibration", "Decoder", "RetrievalDecoder", "calibrate_threshold"]
