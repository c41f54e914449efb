"""Parquet files: texts column by column and within the limits of a data set, and columns of embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...config.data import LimitsConfig
from ...errors import InputError
from ...utils.messages import shown
from .lines import MB, is_gzipped, reading
from .records import Record

_BATCH = 1024  # rows that are read at once
_SLICE, _SMALL = 64, 4_000_000  # of a batch of so many bytes at most, rows that are made into Python objects at once


def parquet_records(path: Path, chosen: Callable[[Sequence[str]], list[str]], limits: LimitsConfig) -> Iterator[Record]:
    """Read the rows of a Parquet file. Columns that are not ``chosen`` are None.

    Texts are kept as the file has them, each different one once: written out, a text of a megabyte that a file of a
    few kilobytes has in a million rows would take a terabyte.

    Raises InputError for a file that is damaged, beyond the limits, or says a name twice.
    """
    parquet = _pyarrow_parquet(path)
    if is_gzipped(path):
        raise InputError(f"{path}: a gzipped Parquet file is not read; gunzip it (Parquet is compressed inside)")
    with reading(path):
        size = 0
        try:
            for number, fields in enumerate(_rows(parquet, path, chosen, limits), start=1):
                size += _chars(fields)
                if size > limits.file_mb * MB:
                    raise InputError(
                        f"{path} holds more than {limits.file_mb:,} MB of texts; raise data.limits.file_mb, or cut it"
                    )
                yield Record(f"{path}, record {number}", fields)
        except (OSError, InputError):
            raise
        except Exception as error:  # a damaged file raises whatever one of many decoders raises
            raise InputError(f"{path}: not a Parquet file that can be read ({shown(str(error))[1:-1]})") from None


def vector_columns(path: Path) -> list[str]:
    """The names of the columns of lists of numbers. Raises what pyarrow does for a file that cannot be read."""
    import pyarrow.types as types

    lists = [field for field in _pyarrow_parquet(path).read_schema(path) if hasattr(field.type, "value_type")]
    is_number = (types.is_floating, types.is_integer)
    return [field.name for field in lists if any(each(field.type.value_type) for each in is_number)]


def read_vector_column(path: Path, name: str) -> NDArray[Any]:
    """A column of lists of numbers as an array [rows, D] of its own type.

    Raises InputError naming the row, from 0, that has no list, a gap in it, or one of another length; else what
    pyarrow does.
    """
    column = _pyarrow_parquet(path).read_table(path, columns=[name]).column(name).combine_chunks()
    if column.null_count:
        raise InputError(f"{path}: row {column.is_null().to_pylist().index(True)} of {name} is empty; remove it")
    lengths = column.value_lengths().to_numpy() if len(column) else np.zeros(0, np.int64)
    if len(lengths) and (other := np.flatnonzero(lengths != lengths[0])).size:
        raise InputError(
            f"{path}: row {other[0]} of {name} has {lengths[other[0]]} numbers, and row 0 has {lengths[0]}; they must "
            "have one length"
        )
    numbers = column.flatten()
    if numbers.null_count:
        row = numbers.is_null().to_pylist().index(True) // lengths[0]
        raise InputError(f"{path}: row {row} of {name} has a gap in its numbers; remove it")
    array: NDArray[Any] = numbers.to_numpy(zero_copy_only=False).reshape(len(column), -1 if len(numbers) else 0)
    return array


def _pyarrow_parquet(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise InputError(f"{path}: Parquet files need pyarrow: pip install 'cubefast[parquet]'") from None
    return pyarrow.parquet


def _rows(
    parquet: Any, path: Path, chosen: Callable[[Sequence[str]], list[str]], limits: LimitsConfig
) -> Iterator[dict[str, Any]]:
    with parquet.ParquetFile(path) as file:
        leaves = [file.schema.column(number) for number in range(len(file.schema))]
        texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    with parquet.ParquetFile(path, read_dictionary=texts) as file:
        names = file.schema_arrow.names
        columns = chosen(names)
        if len(set(names)) < len(names):
            raise InputError(f"{path}: the columns need different names; got {shown(names)}")
        _check_sizes(file.metadata, columns, path, limits)
        for batch in file.iter_batches(_BATCH, columns=columns):
            step = _SLICE if batch.nbytes <= _SMALL else 1
            for begin in range(0, batch.num_rows, step):
                for fields in batch.slice(begin, step).to_pylist():
                    # The names of all columns, so that a message about a missing one can list them.
                    yield dict.fromkeys(names) | fields


def _chars(value: object) -> int:
    """The number of characters of all texts in a value."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_chars, value.values()))
    return sum(map(_chars, value)) if isinstance(value, list) else 0


def _check_sizes(metadata: Any, wanted_columns: list[str], path: Path, limits: LimitsConfig) -> None:
    if metadata.num_rows > limits.records:
        raise InputError(
            f"{path} has {metadata.num_rows:,} records, more than {limits.records:,}; raise data.limits.records, or "
            "cut it"
        )
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    columns = [group.column(number) for group in groups for number in range(metadata.num_columns)]
    used = [column for column in columns if column.path_in_schema.split(".")[0] in wanted_columns]
    size = sum(column.total_uncompressed_size for column in used)
    if size > limits.file_mb * MB:
        raise InputError(
            f"{path} has {size // MB:,} MB in its columns, more than {limits.file_mb:,}; raise data.limits.file_mb, or "
            "cut it"
        )
