"""A bad argument is refused before anything runs: what was got, what is allowed, what to do."""

import numpy as np
import pytest
import torch

from cubefast import Lattice3D, Topology, lattice_rollout
from cubefast.lattice import PhasedLattice

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
        ({DRIVE: double(2, 6, 7)}, r"drive must be .* with B = 3, N = 6 and H = 7; got \[2, 6, 7\]"),
        ({DRIVE: double(3, 6, 8)}, r"drive must be .* N = 6 and H = 7; got \[3, 6, 8\]"),
        ({DRIVE: double(8)}, r"drive must be .*; got \[1, 1, 8\]"),
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
        ({"steps": 2**20 + 1}, "steps may be 1048576 at most; got 1048577"),
        ({"steps": 10**9}, "steps may be 1048576 at most; got 1000000000"),
        ({"steps": True}, "steps must be a whole number of at least 0; got True"),
        ({"steps": torch.tensor(2.0)}, "steps must be a whole number of at least 0; got tensor"),
        ({"steps": torch.tensor([1, 2])}, "steps must be a whole number of at least 0; got tensor"),
        ({"checkpoint_every": 2**30}, "checkpoint_every may be 1048576 at most"),
        ({"activation": "x" * 10**6}, r"got 'x{100,199}\.\.\.$"),
        ({"activation": torch.zeros(3)}, "activation must be one of"),
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


@pytest.mark.parametrize("whole", [np.int64(3), np.uint8(3), torch.tensor(3), torch.tensor([[3]])[0, 0]])
def test_integers_of_numpy_and_torch_are_counts(whole):
    tensors = [t.detach() for t in PROBLEM.tensors()]
    wanted = lattice_rollout(*tensors, topology=PROBLEM.topology, steps=3)
    assert torch.equal(lattice_rollout(*tensors, topology=PROBLEM.topology, steps=whole), wanted)
    lattice = Lattice3D((2, 2, 2), whole, whole, whole, checkpoint_every=whole)
    assert type(lattice.steps) is int
    assert lattice(torch.zeros(1, 8, 3), steps=whole).shape == (1, 8, 3)


def test_a_lattice_with_endless_steps_or_sizes_is_refused():
    for sizes in ({"steps": 10**9}, {"state_size": 10**6}, {"hidden_size": 10**12}):
        with pytest.raises(ValueError, match="may be [0-9]+ at most; got 10+"):
            Lattice3D((2, 2, 2), **sizes)
    with pytest.raises(ValueError, match="phases may be 1024 at most; got 1000000000"):
        PhasedLattice((2, 2, 2), phases=10**9)
    with pytest.raises(ValueError, match=r"w_perceive may have 2\^31 numbers at most"):
        Lattice3D((2, 2, 2), 2**16, 2**16)


def test_a_topology_that_is_none():
    refused(TypeError, "topology must be a cubefast.Topology; got tuple", topology=(1, 2, 3))
