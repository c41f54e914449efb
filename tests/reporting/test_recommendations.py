"""Advice appears with its condition and vanishes with it."""

import dataclasses

import pytest

from cubefast import TrainingConfig
from cubefast.reporting.recommendations import Evidence, recommend

NOTHING_WRONG = Evidence(
    train_cosine=0.62,
    train_identity=0.5,
    val_cosine=0.6,
    val_identity=0.5,
    val_curve=[0.5, 0.6, 0.59],
    epochs=3,
    metric="cosine",
    verdicts={
        metric: {
            "identity": "better",
            "identity_difference": 0.1,
            "strongest": "better",
            "strongest_name": "ridge",
            "strongest_difference": 0.05,
        }
        for metric in ("cosine", "mrr")
    },
    half_width=0.02,
    difference=0.05,
    groups=50,
    near_duplicates=0.0,
    domains={"tea": (40, 20, 0.6), "ships": (40, 20, 0.6), "birds": (40, 20, 0.6)},
    cosine=0.6,
    answered=0.8,
)


@dataclasses.dataclass
class Run:
    config: TrainingConfig


def rules(evidence, **config):
    return {each.rule: each for each in recommend(evidence, Run(TrainingConfig.load(config)))}


def verdict(metric, **changed):
    return NOTHING_WRONG.verdicts | {metric: NOTHING_WRONG.verdicts[metric] | changed}


def test_nothing_is_advised_where_nothing_is_wrong():
    assert rules(NOTHING_WRONG) == {}


FINDS_LESS = {"verdicts": verdict("mrr", identity="worse", identity_difference=-0.07)}
WORSE = {"verdicts": verdict("cosine", strongest="worse", strongest_difference=-0.03)}
OPEN = {"verdicts": verdict("cosine", strongest="not distinguishable"), "difference": 0.01}
OPEN_IN_MRR = {"metric": "mrr", "verdicts": verdict("mrr", strongest="not distinguishable"), "difference": 0.01}
WORSE_IN_MRR = {"metric": "mrr", "verdicts": verdict("mrr", strongest="worse", strongest_difference=-0.02)}
FIVE = {"groups": 5, "verdicts": verdict("cosine", strongest="too few groups")}
FEW = {"domains": NOTHING_WRONG.domains | {"tea": (20, 15, 0.57)}}


@pytest.mark.parametrize(
    ("rule", "changed", "figures"),
    [
        ("overfits", {"train_cosine": 0.68}, ["+0.180", "+0.100", "0.080"]),
        ("still learning", {"val_curve": [0.5, 0.55, 0.6]}, ["0.6000"]),
        ("closer, but retrieves less", FINDS_LESS, ["-0.070"]),
        ("baseline is better", WORSE, ["-0.0300"]),
        ("a domain with few pairs", FEW, ["20 of them", "0.570", "0.600"]),
        ("near duplicates", {"near_duplicates": 0.02}, ["2.0%"]),
        ("says too often that it does not know", {"answered": 0.49}, ["49%"]),
        ("too few groups to tell", OPEN, ["50 groups", "cosine is +0.0100", "0.0200"]),
        ("too few groups to tell", OPEN_IN_MRR, ["50 groups", "MRR is +0.0100", "0.0200"]),
        ("too few groups to tell", FIVE, ["has 5"]),
        ("baseline is better", WORSE_IN_MRR, ["In MRR it is -0.0200"]),
    ],
)
def test_each_rule_speaks_alone_and_says_its_figure(rule, changed, figures):
    found = rules(dataclasses.replace(NOTHING_WRONG, **changed))
    assert list(found) == [rule]
    assert all(figure in found[rule].because for figure in figures), found[rule].because


@pytest.mark.parametrize(
    "changed",
    [
        {"train_cosine": 0.649},  # 0.05 apart, and no more
        {"val_curve": [0.5, 0.6]},  # stopped before the last epoch
        {"domains": NOTHING_WRONG.domains | {"tea": (21, 15, 0.5)}},  # few, but more than half
        {"domains": NOTHING_WRONG.domains | {"tea": (5, 15, 0.58)}},  # hardly below
        {"verdicts": verdict("mrr", strongest="worse")},  # where cosine counts
        {"near_duplicates": 0.019},
        {"answered": 0.5},
        {"answered": None},
    ],
)
def test_short_of_the_condition_nothing_is_said(changed):
    assert rules(dataclasses.replace(NOTHING_WRONG, **changed)) == {}


def test_the_advice_names_the_settings_as_they_are():
    worse = dataclasses.replace(NOTHING_WRONG, verdicts=verdict("mrr", identity="worse"))
    (found,) = rules(worse, training={"losses": {"contrast": 0, "cosine": 1}, "metric": "mrr"}).values()
    assert found.advice == "Raise training.losses.contrast (now 0, try 0.1)."
    few = dataclasses.replace(
        NOTHING_WRONG, verdicts=verdict("cosine", strongest="not distinguishable"), difference=-0.01, half_width=0.04
    )
    assert "about 800 would be needed" in rules(few)["too few groups to tell"].advice  # 50 groups * (0.04 / 0.01)^2
