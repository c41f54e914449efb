"""What decides is named, what does not is not, and of too few trials nothing is said."""

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from cubefast.tuning.importance import MIN_TRIALS, importances, within_fence

SPACE = {
    "rate": FloatDistribution(1e-4, 1.0, log=True),
    "size": IntDistribution(1, 9, step=2),
    "kind": CategoricalDistribution(["a", "b", "c"]),
    "idle": FloatDistribution(0.0, 1.0),
}


def trials(count, value, seed=0, **attributes):
    """``count`` finished trials, drawn evenly, with the value of a function of their parameters."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        params = {
            "rate": float(10 ** random.uniform(-4, 0)),
            "size": int(random.choice([1, 3, 5, 7, 9])),
            "kind": str(random.choice(["a", "b", "c"])),
            "idle": float(random.uniform()),
        }
        worth = value(params) + 0.01 * random.normal()
        found.append(
            create_trial(params=params, distributions=SPACE, value=worth, intermediate_values={1: worth}, **attributes)
        )
    return found


@pytest.mark.parametrize(
    ("value", "first"),
    [
        (lambda p: -((np.log10(p["rate"]) + 2) ** 2), "rate"),
        (lambda p: -((p["size"] - 5) ** 2) / 4, "size"),
        (lambda p: {"a": 0.0, "b": 1.0, "c": 0.5}[p["kind"]], "kind"),
    ],
)
def test_the_one_that_decides_explains_nearly_everything(value, first):
    shares = importances(trials(30, value), SPACE)
    assert next(iter(shares)) == first
    assert shares[first] > 0.95
    assert sum(shares.values()) <= 1
    assert shares.keys() == SPACE.keys()


def test_two_that_decide_share_as_their_variances_do():
    # Over an even draw of [0, 1] a line of slope 1 has variance 1/12; a choice of -1/2, 0, 1/2 has 1/6.
    half = {"a": -0.5, "b": 0.0, "c": 0.5}
    shares = importances(trials(200, lambda p: p["idle"] + half[p["kind"]]), SPACE)
    assert shares["kind"] == pytest.approx(2 / 3, abs=0.1)
    assert shares["idle"] == pytest.approx(1 / 3, abs=0.1)
    assert shares["rate"] + shares["size"] < 0.02


def test_where_nothing_decides_little_is_claimed():
    claimed = [sum(importances(trials(40, lambda p: 0.0, seed), SPACE).values()) for seed in range(20)]
    assert np.mean(claimed) < 0.1


def test_of_too_few_trials_nothing_is_said():
    assert importances(trials(MIN_TRIALS - 1, lambda p: p["idle"]), SPACE) is None
    assert importances(trials(MIN_TRIALS, lambda p: p["idle"]), SPACE)["idle"] > 0.9
    failed = [create_trial(state=TrialState.FAIL)] * 30
    assert importances(failed, SPACE) is None


def test_equal_values_leave_nothing_to_explain():
    same = [
        create_trial(params=t.params, distributions=SPACE, value=0.5, intermediate_values={1: 0.5})
        for t in trials(20, lambda p: 0.0)
    ]
    assert set(importances(same, SPACE).values()) == {0.0}


def test_a_pruned_trial_is_compared_with_the_others_at_its_own_epoch():
    """All learn alike, 0.1 per epoch, whenever they are cut: so nothing decides, though their last values differ."""
    random = np.random.default_rng(0)
    found = []
    for i in range(30):
        epochs = 10 if i < 10 else 1 + i // 6
        params = {"idle": epochs / 10}
        values = {epoch: 0.1 * epoch + 0.001 * random.normal() for epoch in range(1, epochs + 1)}
        state = TrialState.COMPLETE if i < 10 else TrialState.PRUNED
        distributions = {"idle": FloatDistribution(0.0, 1.0)}
        found.append(
            create_trial(
                params=params,
                distributions=distributions,
                value=values[epochs],
                state=state,
                intermediate_values=values,
            )
        )
    assert importances(found, {"idle": SPACE["idle"]})["idle"] < 0.3


def test_a_few_that_are_far_out_are_drawn_to_the_fence():
    values = within_fence([0.5, 0.51, 0.52, 0.53, -100.0])
    assert values[:4].tolist() == [0.5, 0.51, 0.52, 0.53]
    assert values[4] == pytest.approx(0.5 - 3 * 0.02)
