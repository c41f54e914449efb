"""Reads embeddings from files of numpy, torch, safetensors, word2vec and GloVe."""

from __future__ import annotations

import codecs
import pickle
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from ...errors import InputError
from ...utils.arrays import tensor_array
from ...utils.files import open_regular
from ...utils.messages import named, shown
from ..reading.parquet import read_vector_column, vector_columns
from .vectors import CHUNK
from .word_vectors import LoadedEmbeddings, decoded, read_text, read_word2vec_binary

# Each format, and what writes it.
_EXPECTED = {
    "npy": "numpy.save(path, array)",
    "npz": "numpy.savez(path, name=array)",
    "torch": "torch.save(tensor or dict of tensors, path)",
    "safetensors": "safetensors.torch.save_file(dict of tensors, path)",
    "parquet": "a column of lists of numbers of one length, beside any others",
    "word2vec": "a first line 'ROWS DIM', then a line 'KEY NUMBER NUMBER ...' per row",
    "word2vec-binary": "save_word2vec_format(path, binary=True) of gensim",
    "glove": "a line 'KEY NUMBER NUMBER ...' per row",
    "text": "word2vec where the first line is 'ROWS DIM', else glove",
}
_SUFFIXES = {
    ".npy": "npy",
    ".npz": "npz",
    ".pt": "torch",
    ".pth": "torch",
    ".safetensors": "safetensors",
    ".parquet": "parquet",
    ".vec": "word2vec",
    ".bin": "word2vec-binary",
    ".glove": "glove",
    ".txt": "text",
}
# What a compressed file, which may be malicious, may unpack to: in bytes, or times its size.
_MOST_FROM_LITTLE, _MOST_RATIO = 10**9, 100
_WITH_NAMES = ("npz", "torch", "safetensors", "parquet")
_WITH_KEYS = ("word2vec", "word2vec-binary", "glove", "text")


def is_embedding_file(path: str | Path) -> bool:
    """Whether the suffix is that of a file of embeddings; .txt counts as text, .parquet as a table of texts."""
    return _SUFFIXES.get(Path(path).suffix.lower(), "text") not in ("text", "parquet")


class EmbeddingLoader:
    """Reads a file of embeddings, one per row.

    Args:
        path: the file. Its suffix says the format: .npy, .npz, .pt, .pth, .safetensors, .parquet, .vec (word2vec
            text), .bin (word2vec binary), .glove, .txt (word2vec text where the first line is "ROWS DIM", else GloVe).
        format: npy, npz, torch, safetensors, parquet, word2vec, word2vec-binary, glove or text, whatever the suffix.
        dim: the numbers per row that are wanted; None: any.
        keys: a text file with the key of each row on a line, for formats that hold none.

    Raises InputError for a suffix or format that is not known, and for keys that the file holds itself.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        format: str | None = None,
        dim: int | None = None,
        keys: str | Path | None = None,
    ) -> None:
        self.path = Path(path)
        self.dim = dim
        self.keys = None if keys is None else Path(keys)
        suffix = self.path.suffix.lower()
        if format is None and suffix not in _SUFFIXES:
            raise InputError(
                f"{self.path}: no format of embeddings has the suffix {shown(suffix)}; known are "
                f"{', '.join(_SUFFIXES)}. Else give format=, one of {', '.join(_EXPECTED)}"
            )
        self.format = _SUFFIXES[suffix] if format is None else format
        if self.format not in _EXPECTED:
            raise InputError(f"format must be one of {', '.join(_EXPECTED)}; got {shown(self.format)}")
        if keys is not None and self.format in _WITH_KEYS:
            raise InputError(f"{self.path}: {self.format} holds its keys itself; leave keys={str(keys)!r} out")

    def names(self) -> list[str]:
        """The names of the arrays in a .npz, .pt or .safetensors file, and of the columns of lists in a .parquet one;
        empty for the other formats.

        Raises InputError for a file that cannot be read.
        """
        with self._readable(), self._arrays() as (names, _):
            return names

    def load(self, *, array: str | None = None) -> LoadedEmbeddings:
        """Read and check everything: .npy and .safetensors chunk by chunk, without loading the whole.

        Args:
            array: which one, where a .npz, .pt, .safetensors or .parquet file holds several; see :meth:`names`.

        Raises InputError, which names the row (from 0) and in text files the line (from 1), for anything that is not
        n different keys and n finite rows of one dim, none of them all zeros.
        """
        with self._readable():
            rows = self._read(array)
        self._check_shape(rows.vectors)
        if self.keys is not None:
            rows = replace(rows, keys=self._read_keys(self.keys, len(rows.vectors)))
        _check_values(self.path, rows)
        _check_keys(self.path, rows)
        return rows

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """A context in which every exception of a reader becomes an InputError."""
        if not self.path.is_file():
            reason = "is a folder" if self.path.is_dir() else "no such file"
            raise InputError(f"{self.path}: {reason}. Give a file of embeddings")
        try:
            if self.path.stat().st_size == 0:
                raise InputError(f"{self.path} is empty. Give a file of embeddings")
            yield
        except InputError:
            raise
        except Exception as error:  # the libraries raise many kinds for a damaged file
            reason = (str(error).strip().split("\n")[0] or type(error).__name__).rstrip(".")
            raise InputError(
                f"{self.path} cannot be read as {self.format}: {reason}. Expected: {_EXPECTED[self.format]}. For a "
                "file in another format give format="
            ) from error

    def _read(self, array: str | None) -> LoadedEmbeddings:
        if self.format not in _WITH_NAMES and array is not None:
            raise InputError(
                f"{self.path}: {self.format} holds one array, without a name; leave array={shown(array)} out"
            )
        if self.format == "npy":
            return LoadedEmbeddings(np.lib.format.open_memmap(self.path, mode="r"))
        if self.format == "word2vec-binary":
            return read_word2vec_binary(self.path)
        if self.format not in _WITH_NAMES:
            return read_text(self.path, self.format)
        with self._arrays() as (names, read):
            values = read(self._chosen(names, array))
        if isinstance(values, torch.Tensor):
            values = tensor_array(values)
        if self.format != "safetensors":  # that is a map of the file
            values = _as_float32(values)
        return LoadedEmbeddings(values)

    @contextmanager
    def _arrays(self) -> Iterator[tuple[list[str], Callable[[str], Any]]]:
        """The names of the arrays in the file, and what reads the one of a name."""
        if self.format in ("npz", "torch"):
            _check_unpacked_size(self.path)
        if self.format == "npz":
            # The file is opened here, because numpy leaves one open that it finds damaged.
            with self.path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                yield list(file.files), file.__getitem__
        elif self.format == "safetensors":
            with safe_open(self.path, framework="pt") as file:
                yield list(file.keys()), file.get_tensor
        elif self.format == "parquet":
            yield vector_columns(self.path), partial(read_vector_column, self.path)
        else:
            tensors = _torch_tensors(self.path) if self.format == "torch" else {}
            yield list(tensors), tensors.__getitem__

    def _chosen(self, names: Sequence[str], array: str | None) -> str:
        """The name of the array to read: the given one, or the only one."""
        known = named(names) or "none"
        if array is None and len(names) != 1:
            raise InputError(f"{self.path} holds {len(names)} arrays ({known}); choose one with array=NAME")
        if array is not None and array not in names:
            raise InputError(f"{self.path} holds no array {shown(array)}; it holds {known}")
        return names[0] if array is None else array

    def _check_shape(self, vectors: NDArray[Any]) -> None:
        if vectors.dtype.kind not in "fiu":
            raise InputError(f"{self.path}: embeddings must be numbers; got the type {vectors.dtype}")
        if vectors.ndim != 2:
            raise InputError(f"{self.path}: embeddings must have the shape [rows, dim]; got {list(vectors.shape)}")
        if 0 in vectors.shape:
            raise InputError(f"{self.path} holds no numbers: its shape is {list(vectors.shape)}")
        if self.dim is not None and vectors.shape[1] != self.dim:
            raise InputError(f"{self.path}: its rows have {vectors.shape[1]} numbers, but dim={self.dim} is wanted")

    def _read_keys(self, path: Path, rows: int) -> list[str]:
        try:
            with open_regular(path) as file:
                content = file.read().removeprefix(codecs.BOM_UTF8)
        except OSError as error:
            raise InputError(
                f"keys {path} cannot be read: {error.strerror}. Give a text file, a key per line"
            ) from None
        lines = content.removesuffix(b"\n").split(b"\n")
        if len(lines) != rows:
            raise InputError(
                f"keys {path} has {len(lines)} lines, but {self.path} has {rows} rows; give a line per row"
            )
        return [decoded(path, line.rstrip(b"\r"), f"line {i}") for i, line in enumerate(lines, 1)]


def _check_values(path: Path, rows: LoadedEmbeddings) -> None:
    for begin in range(0, len(rows.vectors), CHUNK):
        block = _as_float32(rows.vectors[begin : begin + CHUNK])
        unfinite = ~np.isfinite(block).all(axis=1)
        zero = ~block.any(axis=1)
        if unfinite.any():
            row = int(unfinite.argmax())
            value = block[row][~np.isfinite(block[row])][0]
            raise InputError(
                f"{path}: {rows.place(begin + row)} holds {value} in float32; every number must be finite, remove the "
                "row"
            )
        if zero.any():
            place = rows.place(begin + int(zero.argmax()))
            raise InputError(f"{path}: {place} is all zeros; such a vector has no direction, remove it")


def _check_keys(path: Path, rows: LoadedEmbeddings) -> None:
    first: dict[str, int] = {}
    for row, key in enumerate(rows.keys or ()):
        if not key:
            raise InputError(f"{path}: {rows.place(row)} has an empty key")
        if key in first:
            raise InputError(f"{path}: {rows.place(first[key])} and {rows.place(row)} have the same key; remove one")
        first[key] = row


def _as_float32(array: NDArray[Any]) -> NDArray[Any]:
    """Convert numbers to float32; one that is too large becomes infinite, which the check of the values reports."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        return np.asarray(array)
    with np.errstate(over="ignore"):
        return np.asarray(array, dtype=np.float32)


def _check_unpacked_size(path: Path) -> None:
    """Raise InputError for a file that unpacks to far more than embeddings do, which would take all memory."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > max(_MOST_FROM_LITTLE, _MOST_RATIO * path.stat().st_size):
        raise InputError(
            f"{path} unpacks to {unpacked:,} bytes, over {_MOST_RATIO} times its own size, as no embeddings do. If it "
            "is what you want, write it uncompressed"
        )


def _torch_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file by name; a single one without a name is called ``tensor``."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} holds more than tensors, which could run code when loaded, or is damaged; write it again with "
            f"{_EXPECTED['torch']}"
        ) from error
    if isinstance(content, torch.Tensor):
        return {"tensor": content}
    if not isinstance(content, dict) or not content or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise InputError(f"{path} must hold a tensor or a dict of tensors; got {type(content).__name__}")
    return {str(name): tensor for name, tensor in content.items()}
