"""The common part of the frameworks' embedding classes: a core between a base model's vectors and an index."""

from __future__ import annotations

import numpy as np

from ..core import CubicCore
from ..data.embeddings.vectors import Preparation


class VectorAdapter:
    """Maps lists of numbers: queries with a core, documents with its map of answers.

    Without ``prepare`` queries are scaled to unit length, as by default in training, and documents stay as they are
    unless the core is of ``sides="both"``.
    """

    def __init__(self, core: CubicCore, prepare: Preparation | None = None) -> None:
        self.core = core
        self.prepare = prepare or Preparation()
        self.changes_documents = core.config["sides"] == "both" or prepare is not None

    def query(self, vector: list[float]) -> list[float]:
        """Map the vector of a query. Raises InputError for another size than the core's, NaN or Inf."""
        turned: list[float] = self.core.transform(self.prepare(np.array([vector], np.float32)))[0].tolist()
        return turned

    def documents(self, vectors: list[list[float]]) -> list[list[float]]:
        """Map the vectors [n, D] of documents for an index; the same list if the core leaves documents unchanged.
        Raises InputError as :meth:`query` does.
        """
        if not self.changes_documents or not vectors:
            return vectors
        turned: list[list[float]] = self.core.transform_answers(self.prepare(np.array(vectors, np.float32))).tolist()
        return turned
