"""Batches the requests of many clients for one model in one thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import KW_ONLY, dataclass, field
from typing import Generic, TypeVar

from ..errors import EncoderUnavailableError, InputError

Item = TypeVar("Item")
Output = TypeVar("Output")


class QueueFullError(Exception):
    """Raised when so many items are waiting that another would wait too long."""


@dataclass(eq=False)
class Batcher(Generic[Item, Output]):
    """Calls a function of a list with the items of several requests at once.

    Items that arrive while a batch is computed wait, and go together as the next one: a single request is computed at
    once, and under load the batches grow by themselves. Items of requests that were given up are left out.

    Args:
        function: items -> as many outputs. Where it raises InputError for several items, they are computed one by one,
            so that the fault of one is no other's.
        executor: where it runs. Batchers that share an executor of one thread never compute at the same time.
        largest: items of one batch.
        waiting: how many items may wait.
        report: called with the size of each batch.
    """

    function: Callable[[list[Item]], Sequence[Output]]
    executor: Executor
    _: KW_ONLY
    largest: int
    waiting: int
    report: Callable[[int], None] = lambda size: None
    _queue: deque[tuple[Item, asyncio.Future[Output]]] = field(default_factory=deque, init=False)
    _worker: asyncio.Task[None] | None = field(default=None, init=False)

    def __len__(self) -> int:
        """The number of waiting items."""
        return len(self._queue)

    async def __call__(self, items: Sequence[Item]) -> list[Output]:
        """The outputs of these items.

        Raises QueueFullError where too many wait, and what the function raises for one of the items.
        """
        if len(self._queue) + len(items) > self.waiting:
            raise QueueFullError
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Output]] = [loop.create_future() for _ in items]
        self._queue.extend(zip(items, futures, strict=True))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        try:
            return await asyncio.gather(*futures)
        finally:
            for future in futures:  # of a request that failed or was given up
                future.cancel()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._next_batch():
            self.report(len(batch))
            outputs = await loop.run_in_executor(self.executor, self._outcomes, [item for item, _ in batch])
            for (_, future), output in zip(batch, outputs, strict=True):
                if future.done():  # given up meanwhile
                    continue
                if isinstance(output, Exception):
                    future.set_exception(output)
                else:
                    future.set_result(output)

    def _next_batch(self) -> list[tuple[Item, asyncio.Future[Output]]]:
        batch: list[tuple[Item, asyncio.Future[Output]]] = []
        while self._queue and len(batch) < self.largest:
            item, future = self._queue.popleft()
            if not future.done():
                batch.append((item, future))
        return batch

    def _outcomes(self, items: list[Item]) -> list[Output | Exception]:
        """The output of each item, or the exception raised for it. Runs in the executor."""
        try:
            return list(self.function(items))
        except EncoderUnavailableError as error:  # for one as for all
            return [error] * len(items)
        except InputError as error:
            if len(items) == 1:
                return [error]
            return [outcome for item in items for outcome in self._outcomes([item])]
        except Exception as error:  # a future carries it to the request, which logs it
            return [error] * len(items)
