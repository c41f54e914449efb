"""Importances and pictures of studies of any size."""

import matplotlib
import numpy as np
import optuna
import pytest
from matplotlib import pyplot
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

from cubefast.tuning.plots import MIN_TRIALS, importances, study_plots

SPACE = {
    "rate": FloatDistribution(1e-4, 1.0, log=True),
    "kind": CategoricalDistribution(['"a"', '"b"', "null"]),
    "idle": FloatDistribution(0.0, 1.0),
}


def study_of(count, value=lambda params: params["idle"]):
    """A study of ``count`` finished trials, drawn evenly, with the value of a function of their parameters."""
    random = np.random.default_rng(0)
    study = optuna.create_study(direction="maximize")
    for _ in range(count):
        params = {
            "rate": float(10 ** random.uniform(-4, 0)),
            "kind": str(random.choice(SPACE["kind"].choices)),
            "idle": float(random.uniform()),
        }
        study.add_trial(create_trial(params=params, distributions=SPACE, value=value(params)))
    return study


@pytest.fixture(autouse=True)
def without_a_display(monkeypatch):
    monkeypatch.setattr(optuna.logging.get_logger("optuna"), "level", optuna.logging.ERROR)
    matplotlib.use("agg")


@pytest.mark.parametrize(
    ("value", "first"),
    [
        (lambda params: -((np.log10(params["rate"]) + 2) ** 2), "rate"),
        (lambda params: {'"a"': 0.0, '"b"': 1.0, "null": 0.5}[params["kind"]], "kind"),
    ],
)
def test_the_parameter_that_decides_comes_first(value, first):
    shares = importances(study_of(30, value), list(SPACE))
    assert next(iter(shares)) == first
    assert shares[first] > 0.6
    assert shares.keys() == SPACE.keys()
    assert sum(shares.values()) == pytest.approx(1)


def test_importances_are_the_same_each_time():
    assert importances(study_of(20), list(SPACE)) == importances(study_of(20), list(SPACE))


def test_too_few_trials_or_equal_values_have_no_importances():
    assert importances(study_of(MIN_TRIALS - 1), list(SPACE)) is None
    assert importances(study_of(MIN_TRIALS), list(SPACE)) is not None
    assert importances(study_of(MIN_TRIALS, lambda params: 0.5), list(SPACE)) is None
    assert importances(study_of(MIN_TRIALS), [*SPACE, "never tried"]) is None


@pytest.mark.parametrize("count", [1, 12])
def test_pictures_leave_no_figure_or_style_behind(count):
    style, figures = dict(matplotlib.rcParams), pyplot.get_fignums()
    pictures = study_plots(study_of(count), "mrr", {"identity": 0.4, "ridge, lambda 1": 0.6})
    assert pictures.keys() == {"history.png", "slice.png"}
    assert all(image[:8] == b"\x89PNG\r\n\x1a\n" for image in pictures.values())
    assert dict(matplotlib.rcParams) == style
    assert pyplot.get_fignums() == figures


def test_a_trial_without_any_parameter_is_drawn_too():
    study = optuna.create_study(direction="maximize")
    study.add_trial(create_trial(value=0.5))
    assert study_plots(study, "mrr", {}).keys() == {"history.png", "slice.png"}
