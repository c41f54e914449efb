"""The bank of answers of a run in a file, answers.safetensors, which is validated when it is read."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, Json, NonNegativeInt, TypeAdapter

from ..data.embeddings.vectors import Preparation
from ..data.encoding.base import Embeddings
from ..errors import ArtifactError
from ..utils.files import open_regular, why, write_atomically

_LONGEST_HEADER = 2**20
_TEXTS = TypeAdapter(list[str])
_DTYPES = {"F32": np.float32, "U8": np.uint8}


@dataclass(frozen=True)
class SavedAnswers:
    """A bank of n answers as it is stored.

    Attributes:
        texts: the n answers.
        vectors: float32 [n, D], their embeddings as used in training; read from the file only when they are needed.
        fingerprint: of the encoder that made the embeddings.
        prepare: how the encoder's embeddings were prepared (mean and length).
        trained: bool [n], which of the answers the core was trained on.
        handicap: what is subtracted from the cosine to those, see :class:`RetrievalDecoder`.
    """

    texts: list[str]
    vectors: Embeddings
    fingerprint: str
    prepare: Preparation
    trained: NDArray[np.bool_]
    handicap: float = 0.0


class _Encoding(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    fingerprint: str
    normalize: bool
    handicap: float = Field(ge=0, le=2)


class _Metadata(BaseModel):
    model_config = ConfigDict(extra="forbid")
    encoding: Json[_Encoding]  # one entry, because safetensors writes several in any order


class _Tensor(BaseModel):
    model_config = ConfigDict(extra="forbid")
    dtype: str
    shape: list[NonNegativeInt]
    data_offsets: tuple[NonNegativeInt, NonNegativeInt]


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid")
    metadata: _Metadata = Field(alias="__metadata__")
    texts: _Tensor
    vectors: _Tensor
    trained: _Tensor
    mean: _Tensor | None = None


def write_answers(path: Path, answers: SavedAnswers) -> None:
    """Write a bank of answers to ``path`` atomically; equal banks give equal bytes."""
    # The texts, as JSON, are a tensor of bytes: a header may not have more than 100 MB.
    texts = json.dumps(answers.texts, ensure_ascii=False).encode()
    tensors = {
        "vectors": torch.from_numpy(answers.vectors),
        "texts": torch.frombuffer(bytearray(texts), dtype=torch.uint8),
        "trained": torch.from_numpy(answers.trained.astype(np.uint8)),
    }
    if answers.prepare.mean is not None:
        tensors["mean"] = torch.from_numpy(answers.prepare.mean)
    encoding = _Encoding(
        fingerprint=answers.fingerprint, normalize=answers.prepare.normalize, handicap=answers.handicap
    )
    write_atomically(path, safetensors.torch.save(tensors, {"encoding": encoding.model_dump_json()}))


def read_answers(path: Path) -> SavedAnswers:
    """Read a bank of answers that :func:`write_answers` wrote.

    Raises ArtifactError if the file is missing, damaged, or no bank of answers.
    """
    try:
        with open_regular(path) as file:  # opened once: it may be replaced meanwhile
            return _parse(file)
    except (OSError, ValueError, MemoryError) as error:
        raise ArtifactError(f"the answers of the run, {path}, cannot be read: {why(error)}") from None


def _parse(file: BinaryIO) -> SavedAnswers:
    length = int.from_bytes(file.read(8), "little")
    header = _Header.model_validate_json(file.read(min(length, _LONGEST_HEADER)))
    encoding = header.metadata.encoding

    def array(tensor: _Tensor, dtype: Literal["F32", "U8"], dims: int) -> NDArray[Any]:
        kind, (first, last) = np.dtype(_DTYPES[dtype]), tensor.data_offsets
        found = f"{tensor.dtype} {tensor.shape} in {last - first} bytes"
        if (tensor.dtype, len(tensor.shape), last - first) != (dtype, dims, math.prod(tensor.shape) * kind.itemsize):
            raise ValueError(f"a tensor is {found}, and not {dtype} of {dims} dimensions")
        mapped: NDArray[Any] = np.memmap(file, kind, "r", 8 + length + first, tuple(tensor.shape))
        return mapped

    texts = _TEXTS.validate_json(array(header.texts, "U8", 1).tobytes(), strict=True)
    vectors = array(header.vectors, "F32", 2)
    if not texts or len(texts) != len(vectors):
        raise ValueError(f"it has {len(texts)} answers and {len(vectors)} vectors")
    trained = np.array(array(header.trained, "U8", 1))
    if len(trained) != len(texts) or trained.max() > 1:
        raise ValueError("it does not say of each answer whether it was trained")
    mean = None if header.mean is None else np.array(array(header.mean, "F32", 1))
    if mean is not None and (mean.shape != vectors.shape[1:] or not np.isfinite(mean).all()):
        raise ValueError(f"its mean is not {vectors.shape[1]} finite numbers")
    prepare = Preparation(mean, encoding.normalize)
    return SavedAnswers(texts, vectors, encoding.fingerprint, prepare, trained == 1, encoding.handicap)
