"""The operators by themselves, as exported programs call them: nothing is read or written beyond a tensor."""

import pytest
import torch

from cubefast import Topology, lattice_rollout

from .rollouts import Problem

PROBLEM = Problem(Topology((2, 2, 3)), steps=3, batch=2)
PLACES = ("state", "drive", "w_perceive", "w_update", "b_update", "neighbors", "reader_offsets", "readers")


def operands(**changed):
    values = dict(zip(PLACES, [*(t.detach() for t in PROBLEM.tensors()), *PROBLEM.topology.for_kernels()], strict=True))
    return [changed.get(name, value) for name, value in values.items()]


def forward(backend, *rule, **changed):
    rule = rule or (3, "tanh", "residual", 1)
    return torch.ops.cubefast.rollout(*operands(**changed), *rule, True, backend)


def backward(backend, final=None, trajectory=None, dfinal=None, needs=(True,) * 6, **changed):
    kept = forward(backend)
    final, trajectory = kept[0] if final is None else final, kept[1] if trajectory is None else trajectory
    dfinal = torch.ones_like(kept[0]) if dfinal is None else dfinal
    rule = (3, "tanh", "residual_tanh", 1)
    return torch.ops.cubefast.rollout_backward(
        dfinal, None, final, trajectory, kept[3], needs, *operands(**changed), *rule, True, backend
    )


def table(name, at, value):
    changed = dict(zip(PLACES[5:], PROBLEM.topology.for_kernels(), strict=True))[name].clone()
    changed.view(-1)[at] = value
    return {name: changed}


@pytest.mark.parametrize("run", [forward, backward])
@pytest.mark.parametrize("value", [12, 10**6, 2**31 - 1, -2, -(2**31)])
def test_a_neighbor_that_is_no_cell_is_refused(compiled, run, value):
    for at in (0, 40, 71):
        with pytest.raises(ValueError, match=r"neighbors must name cells 0..11, or -1 for none"):
            run(compiled, **table("neighbors", at, value))


@pytest.mark.parametrize(
    "changed",
    [
        table("readers", 0, 2**31 - 1),
        table("readers", 3, -5),
        table("readers", 5, 6),
        table("reader_offsets", -1, 2**30),
        table("reader_offsets", 0, -1),
        table("reader_offsets", 4, 2),
        {"readers": torch.zeros(0, dtype=torch.int32)},
        table("neighbors", 1, -1),  # an inner wall drawn on one side of the tables only
    ],
)
def test_readers_that_are_not_the_reverse_of_neighbors_are_refused(changed):
    with pytest.raises(ValueError, match="must be the reverse of neighbors; they are not"):
        backward("cpp", **changed)


def test_a_table_changed_behind_torchs_back_is_looked_at_again(compiled):
    neighbors = PROBLEM.topology.neighbors
    forward(compiled, neighbors=neighbors)
    neighbors.numpy()[0, 0] = 10**6  # torch's version counter does not see this
    with pytest.raises(ValueError, match="neighbors must name cells"):
        forward(compiled, neighbors=neighbors)


@pytest.mark.parametrize("run", [forward, backward])
@pytest.mark.parametrize(
    ("name", "value", "kind", "message"),
    [
        ("neighbors", torch.zeros(12, 6, dtype=torch.int64), TypeError, "neighbors must be int32 on the CPU"),
        ("neighbors", torch.zeros(12, 12, dtype=torch.int32)[:, ::2], ValueError, "neighbors must be contiguous"),
        ("neighbors", torch.zeros(11, 6, dtype=torch.int32), ValueError, r"reader_offsets must be contiguous \[N\+1\]"),
        ("neighbors", torch.tensor(1, dtype=torch.int32), ValueError, "neighbors must be contiguous"),
        ("reader_offsets", torch.zeros(12, dtype=torch.int32), ValueError, "reader_offsets must be contiguous"),
        ("readers", torch.zeros(48, dtype=torch.float32), TypeError, "readers must be int32 on the CPU"),
        ("w_perceive", torch.zeros(1, dtype=torch.float64), ValueError, "w_perceive must be"),
        ("w_perceive", torch.zeros(7, 35, dtype=torch.float16), TypeError, "one dtype"),
        ("w_update", torch.zeros(5, dtype=torch.float64), ValueError, "w_update must be"),
        ("b_update", torch.zeros(0, dtype=torch.float64), ValueError, "b_update must be"),
        ("drive", torch.zeros(3, 12, 7, dtype=torch.float64), ValueError, "drive must be"),
        ("state", torch.zeros(2, 12, 5, dtype=torch.bfloat16), TypeError, "one dtype"),
        ("state", torch.zeros(12, 5, dtype=torch.float64), ValueError, "state must be"),
    ],
)
def test_a_tensor_of_another_form_is_refused(compiled, run, name, value, kind, message):
    with pytest.raises(kind, match=message):
        run(compiled, **{name: value})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("final", torch.zeros(0, dtype=torch.float64), "final must be"),
        ("trajectory", torch.zeros(2, 1, 12, 5, dtype=torch.float64), "trajectory must be"),
        ("dfinal", torch.zeros(2, 12, 4, dtype=torch.float64), "dfinal must be"),
        ("dfinal", torch.zeros(2, 12, 5), "dfinal must be"),
    ],
)
def test_what_the_backward_reads_is_checked_too(compiled, name, value, message):
    with pytest.raises(ValueError, match=message):
        backward(compiled, **{name: value})


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ((-1, "tanh", "residual", 1), "steps must be a whole number of at least 0; got -1"),
        ((2**20 + 1, "tanh", "residual", 1), "steps may be 1048576 at most; got 1048577"),
        ((3, "gelu", "residual", 1), "activation must be one of"),
        ((3, "tanh", "add", 1), "update must be one of"),
        ((3, "tanh", "residual", 0), "checkpoint_every must be"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused(compiled, rule, message):
    with pytest.raises(ValueError, match=message):
        forward(compiled, *rule)


def test_an_unknown_backend_is_refused():
    with pytest.raises(ValueError, match="backend must be one of cpp, numba; got 'cuda'"):
        forward("cuda")


@pytest.mark.filterwarnings("ignore")  # torch's compiler about itself
def test_a_random_number_of_steps_makes_one_graph(compiled):
    torch._dynamo.reset()
    graphs = []

    def counting(graph, inputs):
        graphs.append(graph)
        return graph.forward

    problem = Problem(Topology((2, 1, 2)), dtype=torch.float32)
    tensors = [t.detach() for t in problem.tensors()]

    def run(steps):
        return lattice_rollout(*tensors, topology=problem.topology, steps=steps, backend=compiled)

    compiled_run = torch.compile(run, fullgraph=True, dynamic=True, backend=counting)
    for steps in (5, 7, 2, 12, 3, 9, 31, 6, 64, 8, 17):
        assert torch.equal(compiled_run(steps), run(steps))
    assert len(graphs) == 1
