"""The paired bootstrap over groups, and what it is allowed to say."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cubefast.errors import InputError
from cubefast.evaluation.embedding_metrics import EmbeddingMetrics
from cubefast.evaluation.paired_bootstrap import compare, paired_bootstrap


def values(count, seed=0):
    return torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), groups=st.integers(1, 40))
def test_a_model_is_not_better_than_itself(seed, groups):
    same = values(60, seed)
    assert paired_bootstrap(same, same, torch.arange(60) % groups, resamples=200, seed=seed) == (0, 0, 0)


def test_the_interval_is_scipys_where_every_query_is_a_group():
    stats = pytest.importorskip("scipy.stats")
    ours, theirs = values(80, 1), values(80, 2) - 0.1
    difference, low, high = paired_bootstrap(ours, theirs, torch.arange(80))
    assert difference == pytest.approx(float((ours - theirs).mean()))
    wanted = stats.bootstrap(
        ((ours - theirs).numpy(),), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert (low, high) == (pytest.approx(wanted.low, abs=0.005), pytest.approx(wanted.high, abs=0.005))


def test_whole_groups_are_drawn_also_where_they_differ_in_size():
    difference = values(50, 3) - 0.4
    groups = torch.tensor([0] * 20 + [1] * 15 + [2] * 10 + [3] * 4 + [4])
    found = paired_bootstrap(difference, torch.zeros(50), groups, resamples=4000)
    random = np.random.default_rng(1)
    members = [difference[groups == g].numpy() for g in range(5)]
    means = [np.concatenate([members[g] for g in random.integers(5, size=5)]).mean() for _ in range(4000)]
    assert found[0] == pytest.approx(float(difference.mean()))
    assert found[1:] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)


def test_copies_of_a_query_in_its_group_are_no_evidence():
    ours, groups = values(30, 4) - 0.4, torch.arange(30)
    once = paired_bootstrap(ours, torch.zeros(30), groups)
    many = paired_bootstrap(ours.repeat(10), torch.zeros(300), groups.repeat(10))
    assert many == pytest.approx(once)
    apart = paired_bootstrap(ours.repeat(10), torch.zeros(300), torch.arange(300))
    assert apart[2] - apart[1] < 0.5 * (many[2] - many[1])  # what a bootstrap over rows would make of them


def test_the_seed_decides_and_so_does_not_how_the_draws_are_cut(monkeypatch):
    ours, theirs, groups = values(40, 1), values(40, 2), torch.arange(40) % 15
    whole = paired_bootstrap(ours, theirs, groups, resamples=500, seed=3)
    assert whole != paired_bootstrap(ours, theirs, groups, resamples=500, seed=4)
    monkeypatch.setattr("cubefast.evaluation.paired_bootstrap._DRAWS", 100)
    assert paired_bootstrap(ours, theirs, groups, resamples=500, seed=3) == whole


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(1)
    held = 0
    for trial in range(100):
        group_effect = np.repeat(random.normal(0.1, 1, 40), 5)  # queries of a group resemble each other
        ours = torch.from_numpy(group_effect + random.normal(0, 0.5, 200))
        groups = torch.arange(200) // 5
        _, low, high = paired_bootstrap(ours, torch.zeros(200), groups, resamples=400, seed=trial)
        held += low <= 0.1 <= high
    assert 0.88 <= held / 100 <= 0.99


def metrics(noise, groups=None, seed=1):
    random = torch.Generator().manual_seed(0)
    target = torch.randn(120, 8, generator=random)
    error = torch.randn(120, 8, generator=torch.Generator().manual_seed(seed))
    return EmbeddingMetrics.of(target + noise * error, target, groups=torch.arange(120) if groups is None else groups)


def test_the_three_verdicts():
    good, bad, also_good = metrics(0.3), metrics(0.9), metrics(0.3, seed=2)
    better = compare(good, bad, model="cube", baseline="ridge")
    assert better.words == "better than"
    assert better.difference == pytest.approx(good.cosine - bad.cosine)
    assert better.low < better.difference < better.high
    assert compare(bad, good).words == "worse than"
    assert compare(good, also_good).words == "not distinguishable from"
    assert (better.model, better.baseline, better.metric) == ("cube", "ridge", "cosine")
    assert (better.queries, better.groups) == (120, 120)
    assert better.as_dict()["words"] == "better than"


def test_less_error_is_better():
    good, bad = metrics(0.3), metrics(0.9)
    verdict = compare(good, bad, "mse")
    assert verdict.high < 0
    assert verdict.words == "better than"
    assert compare(bad, good, "mse").words == "worse than"


def test_a_handful_of_groups_proves_nothing():
    for count, words in ((5, "too few groups (5) to tell"), (6, "better than")):
        groups = torch.arange(120) % count
        verdict = compare(metrics(0.3, groups), metrics(0.9, groups))
        assert verdict.low > 0
        assert (verdict.groups, verdict.words, verdict.enough_groups) == (count, words, count == 6)


def test_other_queries_cannot_be_compared():
    with pytest.raises(InputError, match="on the same queries in the same groups only"):
        compare(metrics(0.3), metrics(0.3, torch.arange(120) // 2))
