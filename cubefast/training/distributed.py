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
from ..threads import torch_threads

_PATIENCE = timedelta(days=1)  # one process may encode a data set while the others wait; a death is noticed at once


class LostProcessError(RuntimeError):
    """Raised when another process of this training has ended, or this one receives SIGTERM."""


@dataclass(frozen=True)
class Processes:
    """The processes that train together, as one of them sees them.

    Attributes:
        rank: its number, from 0; only number 0 writes and prints.
        count: how many there are.
        local_rank, local_count: the same on this machine.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def model(self, core: CubicCore) -> nn.Module:
        """The core to call in training; with several processes, wrapped so that its gradients are averaged over
        them.
        """
        if self.count == 1:
            return core
        # The one buffer, the rotation, never changes: it is not sent again with every batch. Newer torch renamed that.
        names = inspect.signature(DistributedDataParallel).parameters
        unsent = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"
        options: dict[str, Any] = {unsent: False}
        return DistributedDataParallel(core, gradient_as_bucket_view=True, **options)

    def share(self, rows: Tensor) -> Tensor:
        """This process's share of the rows of a batch [n, ...]."""
        return rows.tensor_split(self.count)[self.rank]

    def gather(self, part: Tensor, count: int) -> Tensor:
        """All ``count`` rows of a batch, gathered from the shares of all processes. Gradients flow to the own share
        alone.
        """
        if self.count == 1:
            return part
        largest = -(-count // self.count)
        padded = part.new_zeros(largest, *part.shape[1:])
        padded[: len(part)] = part.detach()
        everybody = [torch.empty_like(padded) for _ in range(self.count)]
        dist.all_gather(everybody, padded)
        sizes = [len(rows) for rows in torch.empty(count, 0).tensor_split(self.count)]
        return torch.cat([part if i == self.rank else everybody[i][:size] for i, size in enumerate(sizes)])

    def everybody(self) -> list[dict[str, Any]]:
        """The host, pid and thread count of each process, by rank. All processes must call it together."""
        mine = {"host": socket.gethostname(), "pid": os.getpid(), "threads": torch.get_num_threads()}
        return self._gather_objects(mine)

    def _gather_objects(self, mine: Any) -> list[Any]:
        if self.count == 1:
            return [mine]
        everybody: list[Any] = [None] * self.count
        dist.all_gather_object(everybody, mine)
        return everybody

    def check_same(self, what: str, mine: object) -> None:
        """Raise InputError unless all processes hold the same value of ``what``, something that one training needs."""
        everybody = self._gather_objects(mine)
        for rank, theirs in enumerate(everybody):
            if theirs != everybody[0]:
                raise InputError(
                    f"the processes of a training need one and the same {what}; process 0 has {everybody[0]}, "
                    f"process {rank} has {theirs}"
                )

    def ignore_interrupts(self) -> None:
        """Ignore further interrupts after Ctrl-C: the terminal sends it to all processes, and torchrun sends it
        again.
        """
        if self.count > 1:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    @contextlib.contextmanager
    def first_of_each_machine(self) -> Iterator[None]:
        """A context that one process of each machine enters first, and its other processes once it is done: they find
        the results in the cache.
        """
        if self.count > 1 and self.local_rank != 0:
            dist.barrier()
        yield
        if self.count > 1 and self.local_rank == 0:
            dist.barrier()


@contextlib.contextmanager
def joined(threads: int | None) -> Iterator[Processes]:
    """Join the training that torchrun has started; without torchrun, be the only process.

    Inside, all but process 0 print nothing to stdout.

    Args:
        threads: of this process; None: as torch has it, or with others the cores of the machine divided evenly
            (torchrun gives each a single one).

    Raises:
        LostProcessError: out of what is inside, when another process has ended.
    """
    count = _process_count()
    if count == 1:
        with torch_threads(threads or torch.get_num_threads()):
            yield Processes()
        return
    processes = Processes(
        int(os.environ["RANK"]), count, int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    )
    torch.set_num_threads(threads or max(1, _cores() // processes.local_count))
    signal.signal(signal.SIGTERM, _end)  # torchrun's word to those who are left
    try:
        dist.init_process_group("gloo", timeout=_PATIENCE)
        with contextlib.ExitStack() as silence:
            if not processes.is_main:
                nowhere = silence.enter_context(Path(os.devnull).open("w"))
                silence.enter_context(contextlib.redirect_stdout(nowhere))
            yield processes
    except RuntimeError as error:
        if "gloo" in str(error).lower():  # its errors have no class of their own
            raise LostProcessError(
                f"process {processes.rank} of {count} cannot reach another one, which has ended"
            ) from error
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _process_count() -> int:
    """World size: the number of processes torchrun started, or 1."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _cores() -> int:
    """The number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end(number: int, frame: object) -> None:
    raise LostProcessError("ended by SIGTERM, which torchrun sends when another process has ended")
