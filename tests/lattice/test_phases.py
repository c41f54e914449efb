"""Phases: rollouts one after the other, with weights and neighbors of their own."""

import pytest
import torch

from cubefast.lattice import Lattice3D, PhasedLattice, use_backend

SIZES = {"state_size": 4, "hidden_size": 8, "boundary": "periodic"}


def test_each_phase_goes_on_where_the_last_one_ended():
    lattice = PhasedLattice((4, 3, 5), steps=7, phases=3, dilations=(1, 2), **SIZES)
    assert [phase.steps for phase in lattice.phases] == [3, 2, 2]
    assert [phase.topology.dilation for phase in lattice.phases] == [1, 2, 1]
    state, drive = torch.randn(2, 60, 4), torch.randn(2, 60, 8)
    wanted = state
    for phase in lattice.phases:
        wanted = phase(wanted, drive)
    assert torch.equal(lattice(state, drive), wanted)
    assert not torch.allclose(lattice.phases[0](state, drive, steps=7), wanted)


def test_one_phase_is_the_plain_lattice():
    torch.manual_seed(3)
    plain = Lattice3D((2, 3, 4), steps=5, **SIZES)
    torch.manual_seed(3)
    phased = PhasedLattice((2, 3, 4), steps=5, **SIZES)
    state = torch.randn(2, 24, 4)
    assert torch.equal(phased(state), plain(state))


def test_the_steps_of_the_fire_rate_are_counted_through_all_phases_with_one_seed():
    automaton = {"perception": "depthwise", "fire_rate": 0.5, "alive": (0, 0.1), **SIZES, "boundary": "walls"}
    plain = Lattice3D((2, 3, 4), steps=7, **automaton)
    phased = PhasedLattice((2, 3, 4), steps=7, phases=3, **automaton)
    for phase in phased.phases:
        phase.load_state_dict(plain.state_dict())
    state = torch.rand(2, 24, 4)
    assert torch.equal(phased(state, seed=5, first_step=9), plain(state, seed=5, first_step=9))
    torch.manual_seed(1)
    drawn = phased(state)
    torch.manual_seed(1)
    assert torch.equal(drawn, plain(state))


@pytest.mark.parametrize(("steps", "shared"), [(0, [0]), (1, [1]), (3, [3]), (4, [2, 2]), (11, [3, 2, 2, 2, 2])])
def test_no_phase_has_less_than_two_steps(steps, shared):
    lattice = PhasedLattice((2, 2, 2), steps=steps, phases=5, **SIZES)
    assert [phase.steps for phase in lattice.phases] == shared


@pytest.mark.parametrize(
    ("shape", "taken"), [((4, 4, 4), 3), ((3, 8, 8), 2), ((2, 8, 8), 1), ((1, 1, 8), 3), ((1, 1, 1), 3)]
)
def test_no_dilation_leads_over_a_whole_side(shape, taken):
    (phase,) = PhasedLattice(shape, dilations=[3], **SIZES).phases
    assert phase.topology.dilation == taken


@pytest.mark.parametrize("backend", ["cpp", "numba"])
def test_gradients_of_every_phase_are_those_of_the_reference(backend):
    lattice = PhasedLattice((4, 3, 3), steps=6, phases=3, dilations=(1, 2), **SIZES).double()
    state = torch.zeros(2, 36, 4, dtype=torch.float64)
    drive = torch.randn(2, 36, 8, dtype=torch.float64, requires_grad=True)
    gradients = []
    for name in ("torch", backend):
        with use_backend(name):
            gradients.append(torch.autograd.grad(lattice(state, drive).square().sum(), [drive, *lattice.parameters()]))
    for reference, ours in zip(*gradients, strict=True):
        assert reference.abs().sum() > 0
        torch.testing.assert_close(ours, reference)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"phases": 0}, "phases must be a whole number of at least 1; got 0"),
        ({"dilations": ()}, "dilations must name one at least; got none"),
        ({"dilations": (1, 0)}, "dilation must be a whole number of at least 1; got 0"),
        ({"steps": 2.5}, "steps must be a whole number of at least 0; got 2.5"),
    ],
)
def test_a_bad_argument_is_refused_in_words(arguments, message):
    with pytest.raises(ValueError, match=message):
        PhasedLattice((2, 2, 2), **{"steps": 8, "phases": 2, **arguments})
