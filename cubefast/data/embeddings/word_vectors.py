"""Reads word vectors as word2vec, GloVe and fastText write them."""

from __future__ import annotations

import codecs
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...utils.messages import shown

_MOST_LINE = 20_000_000  # bytes; of a file that may be malicious


@dataclass(frozen=True)
class LoadedEmbeddings:
    """The embeddings of a file.

    Attributes:
        vectors: [n, D]: a float32 array, or a memory map of the file in the file's own numeric type (.npy,
            .safetensors); :class:`~cubefast.data.embeddings.vectors.ArrayVectors` converts what it takes of it.
        keys: the n different names of the rows; None where there are none.
        first_line: the line of row 0 in a text file, from 1; None for other files.
    """

    vectors: NDArray[Any]
    keys: list[str] | None = None
    first_line: int | None = None

    def place(self, row: int) -> str:
        """What a row is called in messages: its number from 0, its line and its key."""
        line = [] if self.first_line is None else [f"line {self.first_line + row}"]
        key = [] if self.keys is None else [f"key {shown(self.keys[row])}"]
        return f"row {row} ({', '.join(line + key)})" if line or key else f"row {row}"


def decoded(path: Path, key: bytes, place: str) -> str:
    """A key decoded from UTF-8. Raises InputError, with the place of the key, if it is not UTF-8."""
    try:
        return key.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path}: {place}: the key {key[:60]!r} is not UTF-8; convert the file to UTF-8") from None


def _is_header(line: bytes) -> bool:
    parts = line.split()
    return len(parts) == 2 and all(part.isdigit() for part in parts)


def _header(path: Path, line: bytes) -> tuple[int, int]:
    """The number of rows and the dim in the first line of a word2vec file."""
    rows, dim = (int(part) for part in line.split()) if _is_header(line) else (0, 0)
    if not (rows and dim):
        raise InputError(f"{path}: the first line must be 'ROWS DIM', as in '400000 300'; got {line[:60]!r}")
    return rows, dim


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the number, from 1, and the content of each line. Only a newline ends one: keys may hold other ends."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_MOST_LINE + 1):
            number += 1
            if len(line) > _MOST_LINE:
                raise InputError(f"{path}: line {number} is longer than {_MOST_LINE:,} bytes, as no embedding is")
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            # fastText ends each line with a space.
            yield number, line.rstrip(b"\r\n").rstrip(b" ")


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers_at_end(line: bytes) -> int:
    """The number of numbers at the end of a line; its first part belongs to the key."""
    return len(list(takewhile(_is_number, reversed(line.split(b" ")[1:]))))


def _split(line: bytes, dim: int) -> tuple[bytes, NDArray[np.float32]] | None:
    """The key and the ``dim`` numbers of a line; None if it has another number of them."""
    key, *numbers = line.rsplit(b" ", dim)
    # A key with a space and a number behind it is taken as a row with a number too many.
    if len(numbers) != dim or (b" " in key and _is_number(key.rsplit(b" ", 1)[1])):
        return None
    try:
        with np.errstate(over="ignore"):  # becomes infinite, which the check of the values finds
            return key, np.array(numbers, dtype=np.float32)
    except ValueError:
        return None


def read_text(path: Path, format: str) -> LoadedEmbeddings:
    """Read word2vec or GloVe text. Numbers are counted from the end of a line, because keys may hold spaces."""
    lines = _lines(path)
    first = next(lines)
    header = format == "word2vec" or (format == "text" and _is_header(first[1]))
    expected, dim = _header(path, first[1]) if header else (None, 0)
    if not header:
        lines = chain([first], lines)
    keys: list[str] = []
    vectors: list[NDArray[np.float32]] = []
    for number, line in lines:
        dim = dim or _numbers_at_end(line)
        row = _split(line, dim) if dim else None
        if row is None:
            expected_count = (
                f"the header says {dim}" if header else f"the first row has {dim}" if dim else "a row has some"
            )
            raise InputError(
                f"{path}: line {number} (row {len(keys)}) ends in {_numbers_at_end(line)} numbers after its key, but "
                f"{expected_count}"
            )
        keys.append(decoded(path, row[0], f"line {number}"))
        vectors.append(row[1])
    if expected is not None and expected != len(keys):
        raise InputError(f"{path}: the header says {expected} rows, but there are {len(keys)}; it may be truncated")
    return LoadedEmbeddings(np.stack(vectors), keys, 2 if header else 1)


def read_word2vec_binary(path: Path) -> LoadedEmbeddings:
    """Read word2vec binary: in each row the key, a space, little-endian float32 and, from some writers, a newline."""
    with path.open("rb") as file:
        first = file.readline(100)
        count, dim = _header(path, first)
        size = path.stat().st_size
        width = 4 * dim
        # A row has a key of a byte at least: a header that says too much is found before memory is taken for it.
        if size < len(first) + count * (width + 2):
            raise InputError(
                f"{path}: the header says {count} rows of {dim} numbers, but {size} bytes cannot hold them; it may be "
                "truncated"
            )
        vectors = np.empty((count, dim), np.float32)
        keys: list[str] = []
        at = len(first)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for row in range(count):
                space = content.find(b" ", at)
                begin = space + 1
                if space < 0 or begin + width > size:
                    raise InputError(f"{path}: the header says {count} rows, but the file ends in row {row}")
                keys.append(decoded(path, content[at:space].lstrip(b"\n"), f"row {row}"))
                at = begin + width
                vectors[row] = np.frombuffer(content[begin:at], dtype="<f4")
            if content[at:].strip(b"\n"):
                raise InputError(f"{path}: the header says {count} rows, but {size - at} bytes follow them")
    return LoadedEmbeddings(vectors, keys)
