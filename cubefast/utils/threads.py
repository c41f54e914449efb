"""Contexts for torch's settings: its number of threads, and its default dtype."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """A context, or decorator, in which torch uses this number of threads.

    One thread has two uses: small matrices gain little from more, and where others use the cores too, lose much by
    them; and the linear algebra libraries under torch round differently with another number of threads and, in about
    one process of forty, even with the same number.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def float32_default() -> Iterator[None]:
    """A context, or decorator, in which new tensors are float32 unless a dtype is given."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
