"""What the tests of lattices and cores inside users' own models share."""

import multiprocessing
import os
import sys
import traceback

import torch
from torch import nn


def gradients(model, x):
    """Of the sum of squares of what ``model`` says of ``x``, by all its parameters."""
    model.zero_grad()
    model(x).square().sum().backward()
    return [p.grad.clone() for p in model.parameters()]


def has_the_same_gradients_distributed(made, rendezvous):
    """Whether DistributedDataParallel changes the gradients of the model that ``made()`` makes, for inputs [5, 3],
    in a fresh process that ends at once.

    Where DistributedDataParallel outlives its group, freeing it waits for gloo's thread with the GIL held, and that
    thread may be waiting for the GIL to free its last piece of work (torch 2.13: a deadlock, once in many runs).
    """
    child = multiprocessing.get_context("spawn").Process(target=_compare_and_leave, args=(made, rendezvous))
    child.start()
    child.join(timeout=120)
    if child.is_alive():
        child.kill()
        child.join()
    return child.exitcode == 0


def _compare_and_leave(made, rendezvous):
    code = 1
    try:
        model, x = made(), torch.randn(5, 3)
        wanted = gradients(model, x)
        torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=0, world_size=1)
        parallel = nn.parallel.DistributedDataParallel(model)
        for got, want in zip(gradients(parallel, x), wanted, strict=True):
            assert torch.allclose(got, want, atol=1e-6)
        code = 0
    except Exception:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)
