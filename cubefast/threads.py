"""What torch is set to while something runs: its threads, and the dtype of what is made without one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Inside, torch has so many threads, and before and after what it had. Also a decorator.

    One thread has two uses: small matrices gain little from more, and where others use the cores too, lose much by
    them; and the linear algebra libraries under torch give other last bits with another number of threads, and in
    about one process of forty with the same number.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def float32_default() -> Iterator[None]:
    """Inside, tensors are float32 unless a dtype is given, whatever the process has chosen. Also a decorator."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
