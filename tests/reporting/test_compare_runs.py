import json
import re
import shutil

import numpy as np
import pytest

from cubefast import TrainingConfig
from cubefast.errors import ArtifactError, InputError
from cubefast.reporting.compare_runs import EvaluatedRun, compare_runs, render_comparison, verdict_between


@pytest.fixture
def copy(folder, tmp_path):
    """The same evaluation in a folder of its own."""
    for name in ("report.json", "per_query.npz"):
        shutil.copy(folder / name, tmp_path / name)
    return tmp_path


def change(folder, edit):
    report = json.loads((folder / "report.json").read_text())
    edit(report)
    (folder / "report.json").write_text(json.dumps(report))


def change_arrays(folder, **changed):
    with np.load(folder / "per_query.npz") as file:
        arrays = dict(file)
    np.savez(folder / "per_query.npz", **{**arrays, **changed})


def test_a_run_beside_itself_differs_by_nothing(folder):
    run = EvaluatedRun.read(folder)
    for metric in ("cosine", "mrr"):
        for test in range(len(run.tests)):
            found = verdict_between(run, run, test, metric)
            assert (found.difference, found.low, found.high) == (0, 0, 0)
            assert found.words == "not distinguishable from"
    comparison = compare_runs([str(folder), str(folder)])
    text = render_comparison(comparison, "txt")
    assert text.count("+0.0000  +0.0000 to +0.0000  the same") == len(run.tests)
    assert "Settings that differ\n\nNone." in text
    sentences = " ".join(text.split())
    assert sentences.count(f"with 2. {folder} (the same)") == sentences.count(" (the same)") == len(run.tests)
    assert "All runs are on embeddings by hashing 24." in sentences
    assert render_comparison(comparison, "md").startswith("# 2 runs side by side")


def test_what_models_are_called_decides_nothing(folder, copy):
    run = EvaluatedRun.read(folder)
    for test in range(len(run.tests)):
        names = [f"model {number}" for number in range(len(run.arrays[f"{test}/models"]))]
        change_arrays(copy, **{f"{test}/models": np.array(names)})
    renamed = EvaluatedRun.read(copy)
    assert [renamed.model(0, kind) for kind in ("identity", "cube")] == [run.model(0, k) for k in ("identity", "cube")]
    assert verdict_between(renamed, run, 0, "mrr").outcome == "not distinguishable"


def test_a_better_run_is_told_with_its_settings(folder, copy):
    run = EvaluatedRun.read(folder)
    better = run.arrays["0/rank"].copy()
    better[0] = 1
    change_arrays(copy, **{"0/rank": better})
    change(copy, lambda report: report["config"]["training"].update(lr=0.5))
    found = verdict_between(EvaluatedRun.read(copy), run, 0, "mrr")
    assert found.difference == pytest.approx(1 - run.values(0, "mrr").mean())
    assert 0 < found.low < found.difference < found.high
    text = render_comparison(compare_runs([str(folder), str(copy)]), "txt")
    shown = f"{found.difference:+.4f}  {found.low:+.4f} to {found.high:+.4f}"
    assert re.search(f"{re.escape(shown)} +better", text), text
    assert f"100% with 2. {copy} (better)" in " ".join(text.split())
    line = next(line for line in text.splitlines() if "training.lr" in line)
    assert line.split() == ["training.lr", str(TrainingConfig().training.lr), "0.5"]


def test_other_pairs_are_refused(folder, copy):
    keys = EvaluatedRun.read(folder).arrays["1/key"].copy()
    keys[:3] = ["another one", "and another", "and a third"]
    change_arrays(copy, **{"1/key": keys})
    with pytest.raises(InputError, match=f"has 3 pairs in .* does not have, and 3 the other way round, of {len(keys)}"):
        compare_runs([str(folder), str(copy)])


def with_encoder(folder, encoder, fingerprint):
    change(folder, lambda report: report["run"].update(fingerprint=fingerprint))
    change(folder, lambda report: report["config"].update(encoder=encoder))


def test_runs_of_different_encoders_are_compared_by_ranks_beside_each_encoder_alone(folder, copy):
    with_encoder(copy, "st:sentence-transformers/all-MiniLM-L6-v2", "sentence-transformers-v1-" + "c" * 32)
    ranks = EvaluatedRun.read(folder).arrays["0/rank"].copy()
    ranks[0] = 1
    change_arrays(copy, **{"0/rank": ranks})
    comparison = compare_runs([str(folder), str(copy)])
    assert "cosine" not in comparison.scores.columns, "cosines are of different spaces"
    _, before, before_other, first, second = comparison.scores.rows[:5]
    assert [before[0], before_other[0]] == ["hashing 24 alone", "all-MiniLM-L6-v2 alone"]
    assert [first[0], second[0]] == [f"1. {folder} (hashing 24)", f"2. {copy} (all-MiniLM-L6-v2)"]
    assert (second[1].strip("*"), str(second[5])) == ("1.000", "better")
    assert f"100% with 2. {copy} (all-MiniLM-L6-v2) (better)" in comparison.headline
    assert comparison.settings.rows[0] == ["encoder", "hashing 24", "all-MiniLM-L6-v2"]
    for form in ("txt", "md", "html"):
        text = render_comparison(comparison, form)
        assert "The encoders differ, so the runs are compared by the ranks of the right answers" in text
        assert "c" * 32 not in text


def test_embeddings_of_one_encoder_prepared_otherwise_are_compared_by_ranks_too(folder, copy):
    change(copy, lambda report: report["config"]["data"].update(centre=True))
    comparison = compare_runs([str(folder), str(copy)])
    assert comparison.encoders.startswith("The embeddings differ")
    assert "cosine" not in comparison.scores.columns
    assert "cosine" in compare_runs([str(folder), str(folder)]).scores.columns


def test_encoders_that_would_be_called_the_same_keep_their_whole_names(folder, copy):
    with_encoder(copy, "hashing:24?prompt=a", "another")
    names = compare_runs([str(folder), str(copy)]).settings.rows[0]
    assert names == ["encoder", "hashing 24", "hashing 24?prompt=a"]
    with_encoder(copy, "st:one/mine?prompt=a", "one")
    other = copy.parent / "other"
    shutil.copytree(copy, other)
    with_encoder(other, "st:two/mine", "two")
    names = compare_runs([str(copy), str(other)]).settings.rows[0]
    assert names == ["encoder", "st:one/mine?prompt=a", "st:two/mine"]


def test_ranks_among_other_answers_are_refused(folder, copy):
    change_arrays(copy, **{"0/pool": np.array(3)})
    with pytest.raises(InputError, match=r"is ranked among [\d,]+ in the one and among 3 in the other"):
        compare_runs([str(folder), str(copy)])


def test_a_comparison_fits_its_window(folder, copy):
    change(copy, lambda report: report["config"]["training"].update(lr=0.5))
    comparison = compare_runs([str(folder), str(copy)])
    for columns in (80, 130):
        lines = render_comparison(comparison, "txt", columns).splitlines()
        assert max(map(len, lines)) <= columns
    narrow = re.sub(r"\s+", " ", render_comparison(comparison, "txt", 80))
    assert "outcome the same" in narrow


def test_other_tests_are_refused(folder, copy):
    change_arrays(copy, tests=np.array(["unseen group", "a file"]))
    with pytest.raises(InputError, match=r"the tests are .* and unseen group, a file"):
        compare_runs([str(folder), str(copy)])


def test_a_run_that_was_not_evaluated_is_told_how(tmp_path, folder):
    (tmp_path / "report.json").write_text('{"scores": []}')
    with pytest.raises(ArtifactError, match="has not been evaluated; do `python -m cubefast.evaluate"):
        compare_runs([str(folder), str(tmp_path)])
    with pytest.raises(ArtifactError, match="no run at"):
        compare_runs([str(folder), str(tmp_path / "nowhere")])
    with pytest.raises(InputError, match="needs two runs or more; got 1"):
        compare_runs([str(folder)])


def test_an_evaluation_of_wrong_types_is_refused_in_words(folder, copy):
    path = copy / "report.json"
    good = path.read_text()
    report = json.loads(good)
    for content in (
        *("", "{", "[" * 10**5, "\0" * 50, "[]", '{"verdict": 1}'),
        *(json.dumps({**report, "run": value}) for value in (None, 5, {}, {"fingerprint": 5})),
        *(json.dumps({**report, "config": value}) for value in (None, 5, [])),
    ):
        path.write_text(content)
        with pytest.raises(ArtifactError, match=f"{copy}.* cannot be read"):
            compare_runs([str(folder), str(copy)])
    path.write_text(good)
    arrays = EvaluatedRun.read(folder).arrays
    ranks, cosines = arrays["0/rank"], arrays["0/cosine"]
    for change in (
        {"tests": np.array([1, 2])},
        {"tests": np.array("one")},
        {"tests": np.array(["x"] * 9)},
        {"0/rank": ranks.astype(float)},
        {"0/rank": ranks[:, :1]},
        {"0/rank": -ranks},
        {"0/cosine": cosines * np.nan},
        {"0/cosine": cosines[0]},
        {"0/groups": arrays["0/groups"][:1]},
        {"0/models": arrays["0/models"][::-1][:1]},
        {"0/pool": np.array([1, 2])},
        {"0/parameters": np.array(["many"] * len(ranks))},
        {"0/key": np.array([{}], dtype=object)},
    ):
        change_arrays(copy, **{**arrays, **change})
        with pytest.raises(ArtifactError, match="cannot be read"):
            compare_runs([str(folder), str(copy)])
    for content in (b"PK not a zip", b"", b"\x93NUMPY"):
        (copy / "per_query.npz").write_bytes(content)
        with pytest.raises(ArtifactError, match="cannot be read"):
            compare_runs([str(folder), str(copy)])
