"""What makes an automaton of a lattice: filters, chance, life, states on the way, as the reference means them."""

import itertools

import pytest
import torch

import cubefast
from cubefast import Topology, fire_mask, lattice_rollout
from cubefast.lattice.checks import ACTIVATIONS, UPDATES

from .rollouts import Problem, assert_agree

MOORE = Topology((3, 2, 4), "moore")
PLANE = Topology((5, 4), "moore", "periodic")
FIRE = {"fire_rate": 0.5, "seed": 11}
ALIVE = {"alive": (3, 0.1)}
STATES = {"return_states": 2}
PER_STEP = {"drive_per_step": True}
OPTIONS = {
    "fire": (None, FIRE),
    "alive": (None, ALIVE),
    "states": (None, STATES),
    "drive per step": (None, PER_STEP),
    "shared filters": ("shared", {}),
    "depthwise filters": ("depthwise", {}),
    "all, shared": ("shared", {**FIRE, **ALIVE, **STATES, **PER_STEP}),
    "all, depthwise": ("depthwise", {**FIRE, **ALIVE, **STATES, **PER_STEP}),
    "all, dense": (None, {**FIRE, **ALIVE, **STATES}),
}
every_option = pytest.mark.parametrize("option", OPTIONS)
all_at_once = pytest.mark.parametrize("option", [option for option in OPTIONS if option.startswith("all")])


def problem_with(option, topology=MOORE, **sizes):
    filters, options = OPTIONS[option]
    return Problem(topology, filters=filters, options=options, **sizes)


@every_option
@pytest.mark.parametrize("topology", [MOORE, PLANE, Topology((2, 3, 3), boundary="reflecting")], ids=str)
def test_the_kernel_agrees_with_the_reference(compiled, option, topology):
    for activation, update in itertools.product(ACTIVATIONS, UPDATES):
        problem = problem_with(option, topology, activation=activation, update=update)
        assert_agree(problem.results(compiled), problem.results("torch"), 1e-11)


@every_option
@pytest.mark.parametrize(
    ("shape", "state_size", "hidden_size", "filter_count"),
    [((1, 1, 1), 4, 1, 1), ((1, 7), 16, 64, 4), ((9, 5), 17, 33, 5), ((3, 3, 3), 8, 16, 6), ((13, 13), 33, 8, 2)],
)
def test_odd_sizes_agree(compiled, option, shape, state_size, hidden_size, filter_count):
    problem = problem_with(
        option, Topology(shape, "moore"), state_size=state_size, hidden_size=hidden_size, filter_count=filter_count
    )
    assert_agree(problem.results(compiled), problem.results("torch"), 1e-11)
    problem.dtype = torch.float32
    double = problem_with(
        option, Topology(shape, "moore"), state_size=state_size, hidden_size=hidden_size, filter_count=filter_count
    )
    if "alive" not in problem.options:  # a threshold may fall between the two
        assert_agree(problem.results(compiled), double.results("torch"), 1e-4)


@every_option
@pytest.mark.parametrize("drive_form", Problem.DRIVES)
@pytest.mark.parametrize("batch", [1, 21])
def test_every_form_of_drive_agrees(compiled, option, drive_form, batch):
    problem = problem_with(option, PLANE, drive_form=drive_form, batch=batch)
    assert_agree(problem.results(compiled), problem.results("torch"), 1e-11)


@pytest.mark.parametrize("drive_form", Problem.DRIVES)
@pytest.mark.parametrize("batch", [0, 1, 21])
def test_every_form_of_drive_of_a_plain_lattice_agrees(compiled, drive_form, batch):
    problem = Problem(Topology((5, 5, 9)), drive_form=drive_form, batch=batch, steps=3)
    assert_agree(problem.results(compiled), problem.results("torch"), 1e-12)


@every_option
@pytest.mark.parametrize("steps", [0, 1, 7])
@pytest.mark.parametrize("checkpoint_every", [2, 3, 100])
def test_checkpointing_changes_no_bit(compiled, option, steps, checkpoint_every):
    for update in UPDATES:
        problem = problem_with(option, PLANE, steps=steps, update=update)
        kept = problem.results(compiled)
        recomputed = problem.results(compiled, checkpoint_every)
        assert all(torch.equal(a, b) for a, b in zip(kept, recomputed, strict=True))
        assert_agree(recomputed, problem.results("torch", checkpoint_every), 1e-11)


@every_option
def test_gradcheck(compiled, option):
    problem = problem_with(option, Topology((2, 3), "moore"), steps=3, batch=2, state_size=4, hidden_size=3)
    assert torch.autograd.gradcheck(lambda *t: problem.run(list(t), compiled, 2), problem.tensors(), fast_mode=True)


@every_option
@pytest.mark.parametrize("wanted", range(6))
def test_each_gradient_alone_is_the_same_as_among_all(compiled, option, wanted):
    problem = problem_with(option, PLANE)
    tensors = problem.tensors()
    if wanted >= len(tensors):
        pytest.skip("there are no filters")

    def loss(tensors):
        result = problem.run(tensors, compiled)
        return result[1].square().sum() if isinstance(result, tuple) else result.square().sum()

    everything = torch.autograd.grad(loss(tensors), tensors)
    alone = [t.detach().requires_grad_(i == wanted) for i, t in enumerate(tensors)]
    (gradient,) = torch.autograd.grad(loss(alone), alone[wanted])
    assert torch.equal(gradient, everything[wanted])


@every_option
@pytest.mark.parametrize(
    ("shape", "batch", "drive_form"),
    [((7, 6), 37, "batch"), ((7, 6), 37, "number"), ((9, 9, 9), 1, "shared"), ((9, 9, 9), 3, "number")],
)
def test_bits_do_not_depend_on_threads(compiled, option, shape, batch, drive_form):
    problem = problem_with(
        option, Topology(shape, "moore"), batch=batch, dtype=torch.float32, drive_form=drive_form, hidden_size=32
    )
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        wanted = problem.results(compiled, 2)
        for count in (2, 3, 7):
            torch.set_num_threads(count)
            got = problem.results(compiled, 2)
            assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True)), f"{count} threads"
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("backend", ["cpp", "numba", "torch"])
@every_option
def test_a_rollout_can_be_cut_anywhere(option, backend):
    problem = problem_with(option, PLANE, steps=5)
    problem.options = {key: value for key, value in problem.options.items() if key != "return_states"}
    tensors = [t.detach() for t in problem.tensors()]
    whole = problem.run(tensors, backend)
    problem.steps, state = 1, tensors[0]
    for step in range(5):
        problem.options = {**problem.options, "first_step": step}
        drive = tensors[1][step : step + 1] if "drive_per_step" in problem.options else tensors[1]
        state = problem.run([state, drive, *tensors[2:]], backend)
    assert torch.equal(state, whole)


@all_at_once
def test_the_operators_pass_torchs_own_checks(option):
    problem = problem_with(option, Topology((2, 3), "moore"), steps=2, batch=2, state_size=4, hidden_size=3)
    tensors = problem.tensors()
    tables = problem.topology.for_kernels()
    rule = (2, "tanh", "residual_tanh", 1)
    options = problem.options
    channel, threshold = options.get("alive", (-1, 0.0))
    more = (
        tensors[5] if problem.filters else None,
        options.get("fire_rate"),
        torch.tensor(options["seed"]) if "seed" in options else None,
        3,
        channel,
        threshold,
        options.get("return_states", 0),
    )
    torch.library.opcheck(torch.ops.cubefast.rollout.default, (*tensors[:5], *tables, *rule, True, "cpp", *more))
    with torch.no_grad():
        final, trajectory, states, kept = torch.ops.cubefast.rollout(*tensors[:5], *tables, *rule, True, "cpp", *more)
    inputs = [x.detach() for x in tensors[:5]]
    options = [m.detach() if isinstance(m, torch.Tensor) else m for m in more]
    kept_for_it = (final, trajectory, kept, [True] * 6)
    torch.library.opcheck(
        torch.ops.cubefast.rollout_backward.default,
        (torch.ones_like(final), torch.ones_like(states), *kept_for_it, *inputs, *tables, *rule, True, "cpp", *options),
    )


@all_at_once
def test_a_compiled_graph_has_the_rollout_whole(option):
    problem = problem_with(option, Topology((2, 3), "moore"), dtype=torch.float32)

    def loss(*tensors):
        result = problem.run(list(tensors), "auto")
        return sum(part.square().sum() for part in (result if isinstance(result, tuple) else (result,)))

    tensors = problem.tensors()
    wanted = torch.autograd.grad(loss(*tensors), tensors)
    torch._dynamo.reset()
    got = torch.autograd.grad(torch.compile(loss, fullgraph=True, backend="aot_eager")(*tensors), tensors)
    assert all(torch.allclose(a, b) for a, b in zip(got, wanted, strict=True))


def test_filters_are_a_product_with_the_rows_of_the_slots(compiled):
    problem = Problem(MOORE, filters="shared", steps=1)
    state, drive, w_perceive, w_update, b_update, filters = (t.detach() for t in problem.tensors())
    by_filter = w_perceive.reshape(7, 3, 5)
    dense = torch.einsum("hfs,fk->hks", by_filter, filters).reshape(7, -1)
    plain = lattice_rollout(state, drive, dense, w_update, b_update, topology=MOORE, steps=1, backend=compiled)
    torch.testing.assert_close(problem.run([state, drive, w_perceive, w_update, b_update, filters], compiled), plain)


@pytest.mark.parametrize("backend", ["cpp", "numba", "torch"])
def test_philox_is_the_published_generator_to_the_last_bit(backend):
    """A cell fires if its number is below the rate: the known answers of Random123 for a counter and a key of zeros."""
    topology = Topology((2, 2))
    problem = Problem(topology, steps=1, batch=1)
    tensors = [t.detach() for t in problem.tensors()]
    for cell, number in enumerate((0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)):
        for rate, fires in ((number / 2**32, False), ((number + 1) / 2**32, True)):
            assert fire_mask(0, 0, 0, 4, rate)[cell].item() is fires
            problem.options = {"fire_rate": rate, "seed": 0}
            changed = (problem.run(tensors, backend) != tensors[0]).any(dim=2)
            assert changed[0, cell].item() is fires


@pytest.mark.parametrize("backend", ["cpp", "numba", "torch"])
@pytest.mark.parametrize("seed", [0, 5, -1, 2**64 - 1, 2**63, 123456789012345678])
def test_the_cells_that_fire_are_those_of_fire_mask(backend, seed):
    topology = Topology((7, 11))
    problem = Problem(topology, steps=1, batch=3, options={"fire_rate": 0.3, "seed": seed, "first_step": 9})
    tensors = [t.detach() for t in problem.tensors()]
    changed = (problem.run(tensors, backend) != tensors[0]).any(dim=2)
    for sample in range(3):
        assert torch.equal(changed[sample], fire_mask(seed, sample, 9, 77, 0.3))


def test_a_fire_mask_depends_on_all_it_is_made_of_and_has_its_rate():
    mask = fire_mask(1, 2, 3, 100_000, 0.25)
    assert mask.dtype == torch.bool
    assert abs(mask.float().mean().item() - 0.25) < 0.01
    for other in (
        fire_mask(2, 2, 3, 100_000, 0.25), fire_mask(1, 3, 3, 100_000, 0.25), fire_mask(1, 2, 4, 100_000, 0.25),
        fire_mask(1 + 2**32, 2, 3, 100_000, 0.25),
    ):  # fmt: skip
        assert abs((mask & other).float().mean().item() - 0.0625) < 0.01
    assert torch.equal(fire_mask(1, 2, 3, 50, 0.25), mask[:50])
    assert fire_mask(torch.tensor(-1), 0, 0, 9, 0.5).equal(fire_mask(2**64 - 1, 0, 0, 9, 0.5))
    assert not fire_mask(1, 2, 3, 1000, 0.0).any()
    assert fire_mask(1, 2, 3, 1000, 1.0).all()


def test_a_rate_of_one_is_a_plain_lattice_and_of_none_nothing(compiled):
    problem = Problem(PLANE)
    plain = problem.results(compiled)
    problem.options = {"fire_rate": 1.0}
    assert_agree(problem.results(compiled), plain, 1e-12)
    problem.options = {"fire_rate": 0.0}
    assert torch.equal(problem.results(compiled)[0], problem.tensors()[0])


def test_without_a_seed_torchs_generator_rules():
    problem = Problem(PLANE, options={"fire_rate": 0.5})
    tensors = [t.detach() for t in problem.tensors()]

    def drawn(seed):
        torch.manual_seed(seed)
        return problem.run(tensors, "auto"), problem.run(tensors, "auto")

    first, second = drawn(3), drawn(3)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], drawn(4)[0])


@pytest.mark.parametrize("backend", ["cpp", "numba", "torch"])
def test_life_is_as_in_the_growing_automaton(backend):
    """Against max_pool2d on a plane with walls, as Mordvintsev et al. write it."""
    topology = Topology((9, 8), "moore")
    problem = Problem(topology, steps=1, batch=2, state_size=4, options={"alive": (3, 0.1)})
    tensors = [t.detach() for t in problem.tensors()]
    tensors[0] *= torch.rand(2, 72, 1, generator=torch.Generator().manual_seed(1)) < 0.1
    plain = Problem(topology, steps=1, batch=2, state_size=4).run(tensors, "torch")

    def alive(state):
        return torch.nn.functional.max_pool2d(state[..., 3].reshape(2, 1, 9, 8), 3, 1, 1).reshape(2, 72, 1) > 0.1

    wanted = plain * (alive(tensors[0]) & alive(plain))
    torch.testing.assert_close(problem.run(tensors, backend), wanted)
    assert (wanted == 0).all(dim=2).any()
    assert (wanted != 0).all(dim=2).any()


@pytest.mark.parametrize("backend", ["cpp", "numba", "torch"])
def test_states_on_the_way_are_those_of_shorter_rollouts(backend):
    problem = Problem(PLANE, steps=7, options={"return_states": 3})
    tensors = [t.detach() for t in problem.tensors()]
    final, states = problem.run(tensors, backend)
    assert states.shape == (3, 2, 20, 5)
    for i, steps in enumerate((3, 6)):
        assert torch.equal(states[:, i], Problem(PLANE, steps=steps).run(tensors, backend))
    assert torch.equal(final, Problem(PLANE, steps=7).run(tensors, backend))
    grid = [tensors[0].reshape(3, 5, 4, 5), tensors[1].reshape(3, 5, 4, 7), *tensors[2:]]
    on_grid = problem.run(grid, backend)
    assert torch.equal(on_grid[1], states.reshape(3, 2, 5, 4, 5))
    problem.steps = 2
    assert problem.run(tensors, backend)[1].shape == (3, 0, 20, 5)
    problem.steps, problem.options = 6, {"return_states": 3}
    assert torch.equal(problem.run(tensors, backend)[1][:, -1], problem.run(tensors, backend)[0])


def test_every_form_of_a_drive_per_step_is_the_same_as_it_spread_out():
    steps, grid = 4, PLANE.shape
    problem = Problem(PLANE, steps=steps, options=PER_STEP)
    state, drive, *weights = (t.detach() for t in problem.tensors())
    lattice = cubefast.Lattice3D(PLANE, 5, 7, steps).double()
    for form in (drive, drive[:, :1], drive[:, :, :1], drive[:, :1, :1], drive[:, 0], drive[:, 0, 0]):
        spread = form.reshape(steps, *{4: form.shape[1:], 3: (1, *form.shape[1:]), 2: (1, 1, 7)}[form.dim()])
        spread = spread.expand(steps, 3, 20, 7)
        for backend in ("cpp", "numba", "torch"):
            wanted = problem.run([state, spread, *weights], backend)
            torch.testing.assert_close(problem.run([state, form, *weights], backend), wanted)
        assert lattice(state, form, drive_per_step=True).allclose(lattice(state, spread, drive_per_step=True))
    on_grid = problem.run([state, drive.reshape(steps, 3, *grid, 7), *weights], "cpp")
    assert torch.equal(on_grid, problem.run([state, drive, *weights], "cpp"))
    with pytest.raises(ValueError, match="drive must have 2 dimensions at least; got"):
        problem.run([state, drive[:, 0, 0, 0], *weights], "cpp")
    with pytest.raises(ValueError, match="drive_per_step needs a drive"):
        lattice(state, drive_per_step=True)


def test_a_drive_per_step_in_a_lattice_with_cells_left_out_agrees(compiled):
    present = torch.rand(5, 4, generator=torch.Generator().manual_seed(2)) < 0.7
    problem = Problem(Topology((5, 4), "moore", mask=present.numpy()), options=PER_STEP)
    assert_agree(problem.results(compiled), problem.results("torch"), 1e-12)


def test_states_may_be_changed_in_place_and_lose_no_gradient():
    problem = Problem(PLANE, steps=4, options={"return_states": 1})
    tensors = problem.tensors()
    final, states = problem.run(tensors, "cpp")
    states *= 2.0
    final *= 3.0
    got = torch.autograd.grad(states.sum() + final.sum(), tensors)
    final, states = problem.run(tensors, "torch")
    wanted = torch.autograd.grad(2 * states.sum() + 3 * final.sum(), tensors)
    assert_agree(list(got), list(wanted), 1e-12)


def test_dead_cells_are_not_computed(compiled):
    """NaN weights of the update do not matter where nothing lives."""
    problem = Problem(Topology((6, 6), "moore"), options={"alive": (0, 0.5)})
    tensors = [t.detach() for t in problem.tensors()]
    tensors[0] = torch.zeros_like(tensors[0])
    tensors[4] = torch.full_like(tensors[4], float("nan"))
    assert (problem.run(tensors, compiled) == 0).all()


def test_half_precision_and_autocast_take_the_options_too():
    problem = problem_with("all, depthwise", PLANE, dtype=torch.bfloat16)
    final, states = problem.run(problem.tensors(), "auto")
    assert final.dtype == states.dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        final, states = problem.run(problem.tensors(), "auto")
    assert final.dtype == states.dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fire_rate": 1.5}, "fire_rate must be a number from 0 to 1; got 1.5"),
        ({"fire_rate": float("nan")}, "fire_rate must be a number from 0 to 1; got nan"),
        ({"fire_rate": "half"}, "fire_rate must be a number from 0 to 1; got 'half'"),
        ({"fire_rate": 0.5, "seed": 2**64}, "seed may be 18446744073709551615 at most"),
        ({"fire_rate": 0.5, "seed": torch.tensor([1, 2])}, "seed must be a whole number or a tensor of one"),
        ({"fire_rate": 0.5, "seed": 1.5}, "seed must be a whole number"),
        ({"fire_rate": 0.5, "first_step": -1}, "first_step must be a whole number of at least 0; got -1"),
        ({"alive": (5, 0.1)}, r"alive must be \(channel, threshold\), a channel from 0 to 4 .*; got \(5, 0.1\)"),
        ({"alive": (1, float("inf"))}, "alive must be .* a finite number; got"),
        ({"alive": 3}, "alive must be .*; got 3"),
        ({"drive_per_step": True}, r"a drive per step must be .* with T = 2 steps, B = 3, .*; got \[3, 1, 20, 7\]"),
        ({"return_states": 0}, "return_states must be a whole number of at least 1; got 0"),
        ({"filters": torch.zeros(3, 8, dtype=torch.float64)}, r"filters must be \[F, K\] or \[F, K, S\] with K = 9"),
        ({"filters": torch.zeros(3, 9, 4, dtype=torch.float64)}, r"with K = 9 slots and S = 5; got \[3, 9, 4\]"),
        ({"filters": torch.zeros(2, 9, dtype=torch.float64)}, r"w_perceive must be \[H, F\*S\], F = 2 = \[7, 10\]"),
    ],
)
def test_an_option_that_does_not_fit_is_refused_in_words(options, message):
    problem = Problem(PLANE, filters="shared" if "filters" in options else None, steps=2)
    tensors = [t.detach() for t in problem.tensors()]
    with pytest.raises(ValueError, match=message):
        lattice_rollout(*tensors[:5], topology=PLANE, steps=2, **options)


def test_filters_of_another_type_are_refused_in_words():
    tensors = [t.detach() for t in Problem(PLANE, filters="shared").tensors()]
    with pytest.raises(TypeError, match="filters must be torch.float64 on cpu, as state is; got torch.float32"):
        lattice_rollout(*tensors[:5], filters=tensors[5].float(), topology=PLANE, steps=1)
    with pytest.raises(TypeError, match="filters must be a torch.Tensor; got str"):
        lattice_rollout(*tensors[:5], filters="sobel", topology=PLANE, steps=1)
