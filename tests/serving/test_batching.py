"""Many requests, one thread: what goes together, what is left out, and whose fault is whose."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cubefast.errors import InputError
from cubefast.serving.batching import Batcher, QueueFullError


class Double:
    """Twice each number; the first call waits until it is let go. Negative numbers are refused, 13 is a bug."""

    def __init__(self):
        self.go = threading.Event()
        self.batches = []

    def __call__(self, items):
        self.batches.append(list(items))
        if len(self.batches) == 1:
            assert self.go.wait(10)
        if min(items) < 0:
            raise InputError(f"{min(items)} is negative")
        if 13 in items:
            raise RuntimeError("a bug")
        return [2 * item for item in items]


def run(scenario, **options):
    """The scenario, a coroutine function of a batcher and its function."""

    async def inside():
        with ThreadPoolExecutor(1) as executor:
            function = Double()
            batcher = Batcher(function, executor, **{"largest": 4, "waiting": 100, **options})
            try:
                return await asyncio.wait_for(scenario(batcher, function), 10)
            finally:
                function.go.set()

    return asyncio.run(inside())


async def start(batcher, *requests):
    """A task for each request, each begun when the one before it waits."""
    tasks = []
    for items in requests:
        tasks.append(asyncio.create_task(batcher(items)))
        await asyncio.sleep(0.01)
    return tasks


def test_what_arrives_during_a_batch_goes_together_and_no_batch_is_too_large():
    sizes = []

    async def scenario(batcher, function):
        tasks = await start(batcher, [1], [2, 3], [4, 5, 6], [])
        assert len(batcher) == 5
        function.go.set()
        assert await asyncio.gather(*tasks) == [[2], [4, 6], [8, 10, 12], []]
        assert function.batches == [[1], [2, 3, 4, 5], [6]]

    run(scenario, report=sizes.append)
    assert sizes == [1, 4, 1]


def test_the_fault_of_one_is_no_others():
    async def scenario(batcher, function):
        tasks = await start(batcher, [0], [1, -2], [3])
        function.go.set()
        first, refused, last = await asyncio.gather(*tasks, return_exceptions=True)
        assert (first, last) == ([0], [6])
        assert isinstance(refused, InputError)
        assert str(refused) == "-2 is negative"

    run(scenario)


def test_a_bug_reaches_the_requests_of_its_batch_and_the_next_ones_are_computed():
    async def scenario(batcher, function):
        function.go.set()
        with pytest.raises(RuntimeError, match="a bug"):
            await batcher([13])
        assert await batcher([1]) == [2]

    run(scenario)


def test_what_was_given_up_is_not_computed():
    async def scenario(batcher, function):
        first, given_up, last = await start(batcher, [1], [2], [3])
        given_up.cancel()
        await asyncio.sleep(0.01)
        function.go.set()
        assert await asyncio.gather(first, last) == [[2], [6]]
        assert function.batches == [[1], [3]]

    run(scenario)


def test_more_than_may_wait_is_refused_at_once():
    async def scenario(batcher, function):
        tasks = await start(batcher, [1], [2, 3])
        with pytest.raises(QueueFullError):
            await batcher([4])
        function.go.set()
        assert await asyncio.gather(*tasks) == [[2], [4, 6]]
        assert await batcher([4]) == [8]

    run(scenario, waiting=2)
