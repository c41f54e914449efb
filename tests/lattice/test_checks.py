"""A bad argument is refused before anything runs: what was got, what is allowed, what to do."""

import pytest
import torch

from cubefast import Topology, lattice_rollout

from .rollouts import Problem

PROBLEM = Problem(Topology((1, 2, 3)))
STATE, DRIVE, W_PERCEIVE, W_UPDATE, B_UPDATE = range(5)


def refused(kind, message, changed=None, **keywords):
    tensors = [t.detach() for t in PROBLEM.tensors()]
    for place, value in (changed or {}).items():
        tensors[place] = value
    with pytest.raises(kind, match=message):
        lattice_rollout(*tensors, **{"topology": PROBLEM.topology, "steps": 2, **keywords})


def double(*shape):
    return torch.zeros(shape, dtype=torch.float64)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({STATE: double(3, 5, 5)}, r"state must be \[B, N, S\] .* with N = 6 cells, .*; got \[3, 5, 5\]"),
        ({STATE: double(3, 3, 2, 1, 5)}, r"state must be .* got \[3, 3, 2, 1, 5\]"),
        ({STATE: double(3, 6, 0)}, r"S of at least 1; got \[3, 6, 0\]"),
        ({W_UPDATE: double(4, 7)}, r"w_update must be \[S, H\] with S = 5, .*; got \[4, 7\]"),
        ({B_UPDATE: double(4)}, r"b_update must be \[S\] = \[5\]; got \[4\]"),
        ({W_PERCEIVE: double(7, 30)}, r"w_perceive must be \[H, K\*S\], K = 7 = \[7, 35\]; got \[7, 30\]"),
        ({DRIVE: double(2, 6, 7)}, r"drive must be .* with B = 3; got \[2, 6, 7\]"),
        ({DRIVE: double(3, 6, 8)}, r"drive must be .* N = 6 and H = 7; got \[3, 6, 8\]"),
        ({DRIVE: double(7)}, r"drive must be .*; got \[7\]"),
        ({DRIVE: torch.zeros(3, 6, 7, device="meta", dtype=torch.float64)}, "one device; state is on cpu and drive"),
    ],
)
def test_a_shape_that_does_not_fit(changed, message):
    refused(ValueError, message, changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({DRIVE: torch.zeros(6, 7)}, "one dtype; state is torch.float64 and drive is torch.float32. Convert one"),
        ({STATE: torch.zeros(3, 6, 5, dtype=torch.int64)}, "state must hold floating-point numbers; got torch.int64"),
        ({B_UPDATE: [0.0] * 5}, "b_update must be a torch.Tensor; got list"),
    ],
)
def test_a_type_that_does_not_fit(changed, message):
    refused(TypeError, message, changed)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"steps": -1}, "steps must be a whole number of at least 0; got -1"),
        ({"steps": 1.5}, "steps must be a whole number of at least 0; got 1.5"),
        ({"checkpoint_every": 0}, "checkpoint_every must be a whole number of at least 1; got 0"),
        ({"activation": "gelu"}, "activation must be one of tanh, relu, silu, sigmoid; got 'gelu'"),
        ({"update": "add"}, "update must be one of tanh, residual, residual_tanh; got 'add'"),
    ],
)
def test_a_count_or_name_that_does_not_fit(keywords, message):
    refused(ValueError, message, **keywords)


def test_a_sample_beyond_32_bit_offsets():
    huge = torch.zeros(1, dtype=torch.float64).expand(5, 400_000_000)
    refused(ValueError, r"one sample may have 2\^31 numbers at most; 6 cells", {W_UPDATE: huge})


def test_a_topology_that_is_none():
    refused(TypeError, "topology must be a cubefast.Topology; got tuple", topology=(1, 2, 3))
