"""The three kinds of automata of automata.py beside PyTorch's form of them, each answer checked before it is timed."""

from dataclasses import replace

import automata
import pytest
import torch


@pytest.mark.parametrize("mode", ["inference", "training"])
@pytest.mark.parametrize("which", ["kernel", "pytorch"])
@pytest.mark.parametrize("work", automata.WORKLOADS, ids=[work.name for work in automata.WORKLOADS])
def test_automaton(benchmark, request, work, which, mode):
    if request.config.getoption("benchmark_disable"):
        work = replace(work, shape=tuple(side // 3 for side in work.shape), batch=1, steps=3)
    if which == "kernel":
        automata.check(work)
    tensors = work.tensors()

    def run():
        with torch.set_grad_enabled(mode == "training"):
            final = (
                automata.on_the_kernel(work, tensors, 1)
                if which == "kernel"
                else automata.in_pytorch(work, tensors, None)
            )
        if mode == "training":
            torch.autograd.grad(final.sum(), list(tensors.values()))

    benchmark.group = f"{work.name}, {mode}"
    benchmark.pedantic(run, rounds=20, warmup_rounds=1)
