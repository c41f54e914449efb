"""How far a core is trusted: a weight that rises with familiarity, inside the core and all that is made of it."""

import pytest
import torch
from torch.nn.functional import normalize

from cubefast import CubicCore
from cubefast.core.trust import Trust, evaluate_curve

from ..cores import shaken


def trusting(dim=16, prototypes=4, **keywords):
    core = shaken(CubicCore(dim, state_size=4, hidden_size=8, steps=4, prototypes=prototypes, **keywords))
    core.trust.fit(torch.randn(50, dim, generator=torch.Generator().manual_seed(1)))
    return core


def test_before_it_is_calibrated_it_trusts_everywhere():
    trust = Trust(8, 3)
    assert torch.equal(trust(torch.randn(5, 8)), torch.ones(5, 1))
    trust.fit(torch.randn(20, 8))
    assert torch.equal(trust(torch.randn(5, 8)), torch.ones(5, 1))


def test_weight_is_the_formula_of_the_docstring():
    familiarity = torch.tensor([0.0, 0.5, 1.0])
    found = evaluate_curve(familiarity, torch.tensor([0.5, 0.1, 0.2, 0.8]))
    wanted = 0.2 + 0.6 / (1 + torch.exp(-(familiarity - 0.5) / 0.1))
    assert torch.allclose(found, wanted)
    assert found[1] == pytest.approx(0.5)


def test_familiarity_is_the_cosine_to_the_nearest_prototype_whatever_the_length():
    trust = Trust(6, 3)
    trust.fit(torch.randn(30, 6))
    inputs = torch.randn(7, 6)
    wanted = torch.stack([torch.cosine_similarity(inputs, p[None]) for p in trust.prototypes]).amax(dim=0)
    assert torch.allclose(trust.familiarity(inputs), wanted, atol=1e-6)
    assert torch.allclose(trust.familiarity(3 * inputs), wanted, atol=1e-6)


def test_prototypes_are_unit_vectors_in_the_middle_of_clusters():
    generator = torch.Generator().manual_seed(0)
    centres = torch.eye(4)
    questions = centres.repeat_interleave(20, dim=0) + 0.05 * torch.randn(80, 4, generator=generator)
    trust = Trust(4, 4)
    # Whatever four questions it begins with, each prototype ends where some questions are.
    trust.fit(questions, seed=3)
    assert torch.allclose(trust.prototypes.norm(dim=1), torch.ones(4), atol=1e-5)
    assert (trust.prototypes @ centres.T).amax(dim=1).min() > 0.9
    before = trust.prototypes.clone()
    state = torch.random.get_rng_state()
    trust.fit(questions, seed=3)
    assert torch.equal(trust.prototypes, before)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_fewer_questions_than_prototypes_are_the_prototypes():
    questions = normalize(torch.randn(3, 5), dim=1)
    trust = Trust(5, 8)
    trust.fit(questions)
    assert torch.allclose(trust.familiarity(questions), torch.ones(3), atol=1e-6)
    assert len(trust.prototypes.unique(dim=0)) == 3


def test_where_it_is_not_trusted_a_core_gives_back_its_input():
    core = trusting()
    x = normalize(torch.randn(6, 16), dim=1)
    trusted = core(x)
    core.trust.curve.copy_(torch.tensor([2.0, 1e-3, 0.0, 1.0]))  # no cosine is as high as 2
    assert torch.allclose(core(x), x, atol=1e-6)
    core.trust.curve.copy_(torch.tensor([0.0, 1.0, 0.5, 0.5]))
    assert torch.allclose(core(x), (x + trusted) / 2, atol=1e-6)


def test_normalized_outputs_have_unit_length():
    core = trusting(normalize=True)
    assert torch.allclose(core(5 * torch.randn(2, 3, 16)).norm(dim=-1), torch.ones(2, 3), atol=1e-6)
    fresh = CubicCore(16, normalize=True, summary_size=4, prototypes=2, state_size=4, hidden_size=8, steps=4)
    x = torch.randn(5, 16)
    assert torch.allclose(fresh(x), normalize(x, dim=1), atol=1e-7)


def test_trust_is_saved_with_the_core(tmp_path):
    core = trusting(normalize=True, summary_size=4)
    core.trust.curve.copy_(torch.tensor([0.3, 0.1, 0.25, 0.75]))
    core.save_pretrained(tmp_path / "core")
    again = CubicCore.from_pretrained(tmp_path / "core")
    x = torch.randn(6, 16)
    assert torch.equal(again(x), core(x))
    assert torch.equal(again.trust.prototypes, core.trust.prototypes)


def test_trust_is_part_of_an_exported_program():
    from cubefast.integrations.torch_export import export_core

    core = trusting(normalize=True, summary_size=4)
    core.trust.curve.copy_(torch.tensor([0.3, 0.1, 0.25, 0.75]))
    x = torch.randn(6, 16)
    assert torch.allclose(export_core(core, "plain").module()(x), core(x), atol=1e-5)


def remembering(**keywords):
    core = trusting(normalize=True, summary_size=4, **keywords)
    core.remember(torch.randn(7, 16, generator=torch.Generator().manual_seed(2)), torch.tensor([0.2, 0.1, 0.3, 0.1]))
    return core


def test_what_a_core_remembers_is_taken_off_as_the_docstring_has_it():
    core = remembering()
    x = torch.randn(6, 16)
    plain = CubicCore(**{**core.config, "memory": 0})
    plain.load_state_dict({**core.state_dict(), "trust.answers": torch.zeros(0, 16)})
    y = plain(x)
    answers = core.trust.answers
    assert torch.allclose(answers.norm(dim=1), torch.ones(7))
    weights = torch.softmax(50 * y @ answers.T, dim=1)
    strength = evaluate_curve(core.trust.familiarity(x), core.trust.strength)[:, None]
    assert torch.allclose(core(x), normalize(y - strength * weights @ answers, dim=1), atol=1e-6)
    assert not torch.allclose(core(x), y, atol=1e-3)


def test_with_memory_an_output_is_less_like_the_answer_that_it_was_nearest_to():
    core = remembering()
    x = core.trust.answers + 0.1 * torch.randn(7, 16)
    core.trust.strength.copy_(torch.tensor([0.0, 1.0, 0.0, 0.0]))
    before = (core(x) @ core.trust.answers.T).amax(dim=1)
    core.trust.strength.copy_(torch.tensor([0.0, 1.0, 0.2, 0.2]))
    assert ((core(x) @ core.trust.answers.T).amax(dim=1) < before).all()


def test_memory_is_saved_with_the_core_and_part_of_an_exported_program(tmp_path):
    from cubefast.integrations.torch_export import export_core

    core = remembering()
    core.save_pretrained(tmp_path / "core")
    again = CubicCore.from_pretrained(tmp_path / "core")
    x = torch.randn(6, 16)
    assert again.config["memory"] == 7
    assert torch.equal(again(x), core(x))
    assert torch.allclose(export_core(core, "plain").module()(x), core(x), atol=1e-5)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"memory": 2}, "memory needs prototypes and normalize=True"),
        ({"memory": 2, "prototypes": 2}, "memory needs prototypes and normalize=True"),
        ({"linear_rank": 2, "io": "faces", "shape": (2, 2, 4), "dim": 16}, "no linear map"),
        ({"prototypes": 2, "residual": False}, "prototypes need residual=True"),
        ({"summary_size": 2, "io": "faces", "shape": (2, 2, 4), "dim": 16}, 'io="faces" takes no summary'),
        ({"prototypes": -1}, "prototypes must be"),
        ({"summary_size": 1.5}, "summary_size must be"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(keywords, message):
    with pytest.raises((ValueError, TypeError), match=message):
        CubicCore(**{"dim": 16, "state_size": 4, "hidden_size": 8, "steps": 4, **keywords})
