"""One training in several processes, on one machine or more: ``torchrun ... -m cubefast.train``.

Every process holds the whole core and the whole data set. Of each batch a process puts its share through the core and
sends the outputs to the others; each then computes the loss of the whole batch, contrast among all its pairs included,
and the gradients are averaged (DistributedDataParallel, on gloo). So several processes do what one does, but for
rounding.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..core import CubicCore
from ..errors import InputError
from ..utils.threads import torch_threads

_TIMEOUT = timedelta(days=1)  # one process may encode a data set while the others wait; a death is noticed at once


class LostProcessError(RuntimeError):
    """Raised when another process of this training has ended, or this one receives SIGTERM."""


@dataclass(frozen=True)
class Processes:
    """The processes that train together, as one of them sees them.

    Attributes:
        rank: the number of this process, from 0; only number 0 writes and prints.
        world_size: the number of processes.
        local_rank, local_world_size: the rank among the processes of this machine, and their number.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def model(self, core: CubicCore) -> nn.Module:
        """The core to call in training; with several processes, wrapped so that gradients are averaged over them."""
        if self.world_size == 1:
            return core
        # No buffer of a core (rotation, trust, answer_weight) changes in training: they are not sent again with every
        # batch. Newer torch renamed the argument.
        names = inspect.signature(DistributedDataParallel).parameters
        unsent = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"
        options: dict[str, Any] = {unsent: False}
        return DistributedDataParallel(core, gradient_as_bucket_view=True, **options)

    def share(self, rows: Tensor) -> Tensor:
        """This process's share of the rows of a batch [n, ...]."""
        return rows.tensor_split(self.world_size)[self.rank]

    def gather(self, part: Tensor, count: int) -> Tensor:
        """All ``count`` rows of a batch from the shares of all processes; gradients flow to the own share alone."""
        if self.world_size == 1:
            return part
        largest = -(-count // self.world_size)
        padded = part.new_zeros(largest, *part.shape[1:])
        padded[: len(part)] = part.detach()
        parts = [torch.empty_like(padded) for _ in range(self.world_size)]
        dist.all_gather(parts, padded)
        sizes = [len(rows) for rows in torch.empty(count, 0).tensor_split(self.world_size)]
        return torch.cat([part if i == self.rank else parts[i][:size] for i, size in enumerate(sizes)])

    def describe_all(self) -> list[dict[str, Any]]:
        """The host, pid and thread count of each process, by rank. All processes must call it together."""
        own = {"host": socket.gethostname(), "pid": os.getpid(), "threads": torch.get_num_threads()}
        return self._gather_objects(own)

    def _gather_objects(self, value: Any) -> list[Any]:
        if self.world_size == 1:
            return [value]
        objects: list[Any] = [None] * self.world_size
        dist.all_gather_object(objects, value)
        return objects

    def check_same(self, what: str, own_value: object) -> None:
        """Raise InputError unless all processes have the same value of ``what``. All must call it together."""
        values = self._gather_objects(own_value)
        for rank, value in enumerate(values):
            if value != values[0]:
                raise InputError(
                    f"the processes of a training need one and the same {what}; process 0 has {values[0]}, "
                    f"process {rank} has {value}"
                )

    def ignore_interrupts(self) -> None:
        """Ignore interrupts from now on: after a Ctrl-C on the terminal, torchrun sends another one."""
        if self.world_size > 1:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    @contextlib.contextmanager
    def local_main_first(self) -> Iterator[None]:
        """A context that one process of each machine enters first, and the others once it is done: they find its
        results in the cache.
        """
        if self.world_size > 1 and self.local_rank != 0:
            dist.barrier()
        yield
        if self.world_size > 1 and self.local_rank == 0:
            dist.barrier()


@contextlib.contextmanager
def process_group(threads: int | None) -> Iterator[Processes]:
    """A context in which this process is one of those that torchrun started, or the only one without torchrun.

    All but process 0 print nothing to stdout there.

    Args:
        threads: the threads of this process; None: torch's setting or, with several processes, the machine's cores
            divided evenly (torchrun sets a single thread for each).

    Raises:
        LostProcessError: inside the context, when another process has ended.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        with torch_threads(threads or torch.get_num_threads()):
            yield Processes()
        return
    processes = Processes(
        int(os.environ["RANK"]), world_size, int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(threads or max(1, cores // processes.local_world_size))
    signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        dist.init_process_group("gloo", timeout=_TIMEOUT)
        with contextlib.ExitStack() as stack:
            if not processes.is_main:
                devnull = stack.enter_context(Path(os.devnull).open("w"))
                stack.enter_context(contextlib.redirect_stdout(devnull))
            yield processes
    except RuntimeError as error:
        if "gloo" in str(error).lower():  # its errors have no class of their own
            raise LostProcessError(
                f"process {processes.rank} of {world_size} cannot reach another one, which has ended"
            ) from error
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _on_sigterm(number: int, frame: object) -> None:
    raise LostProcessError("ended by SIGTERM, which torchrun sends when another process has ended")
