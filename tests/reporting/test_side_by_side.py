import json
import re
import shutil

import numpy as np
import pytest

from cubefast import TrainingConfig
from cubefast.errors import ArtifactError, InputError
from cubefast.reporting.side_by_side import EvaluatedRun, compare_runs, render_comparison, verdict_between


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
    assert text.count(f"with 2. {folder} (the same)") == text.count(" (the same)") == len(run.tests)
    assert "Settings that differ\n\nNone." in text
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


def test_other_embeddings_are_refused(folder, copy):
    change(copy, lambda report: report["run"].update(fingerprint="another-encoder"))
    with pytest.raises(InputError, match="their embeddings are of hashing-v1-24 and of another-encoder"):
        compare_runs([str(folder), str(copy)])
    change(copy, lambda report: report["run"].update(fingerprint="hashing-v1-24"))
    change(copy, lambda report: report["config"]["data"].update(centre=True))
    with pytest.raises(InputError, match="data.centre is False in the one and True in the other"):
        compare_runs([str(folder), str(copy)])


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
