import json
import re
import shutil

import numpy as np
import pytest

from cubefast import TrainingConfig
from cubefast.errors import ArtifactError, InputError
from cubefast.reporting.markdown import to_markdown
from cubefast.reporting.side_by_side import Evaluated, compare_runs, verdict_between
from cubefast.reporting.text import to_text


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
    run = Evaluated.read(folder)
    for metric in ("cosine", "mrr"):
        for test in range(len(run.tests)):
            found = verdict_between(run, run, test, metric)
            assert (found.difference, found.low, found.high) == (0, 0, 0)
            assert found.words == "not distinguishable from"
    document = compare_runs([str(folder), str(folder)])
    text = to_text(document)
    assert text.count("+0.0000  +0.0000 to +0.0000  not distinguishable") == 2 * len(run.tests)
    assert "Settings that differ\n\nNone." in text
    assert to_markdown(document).startswith("# 2 runs side by side")


def test_a_better_run_is_told_with_its_settings(folder, copy):
    run = Evaluated.read(folder)
    better = run.arrays["0/cosine"].copy()
    better[0] += 0.01
    change_arrays(copy, **{"0/cosine": better})
    change(copy, lambda report: report["config"]["training"].update(lr=0.5))
    found = verdict_between(Evaluated.read(copy), run, 0, "cosine")
    assert (found.difference, found.low, found.high) == pytest.approx((0.01, 0.01, 0.01), abs=1e-6)
    text = to_text(compare_runs([str(folder), str(copy)]))
    assert re.search(r"\+0\.0100  \+0\.0100 to \+0\.0100 +better", text), text
    line = next(line for line in text.splitlines() if "training.lr" in line)
    assert line.split() == ["training.lr", str(TrainingConfig().training.lr), "0.5"]


def test_other_pairs_are_refused(folder, copy):
    keys = Evaluated.read(folder).arrays["1/key"].copy()
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
    change_arrays(copy, tests=np.array(["unseen group", "unseen paraphrase", "a file"]))
    with pytest.raises(InputError, match=r"the tests are .* and unseen group, unseen paraphrase, a file"):
        compare_runs([str(folder), str(copy)])


def test_a_run_that_was_not_evaluated_is_told_how(tmp_path, folder):
    (tmp_path / "report.json").write_text('{"scores": []}')
    with pytest.raises(ArtifactError, match="has not been evaluated; do `python -m cubefast.evaluate"):
        compare_runs([str(folder), str(tmp_path)])
    with pytest.raises(ArtifactError, match="no run at"):
        compare_runs([str(folder), str(tmp_path / "nowhere")])
    with pytest.raises(InputError, match="needs two runs or more; got 1"):
        compare_runs([str(folder)])
    (tmp_path / "per_query.npz").write_bytes(b"PK not a zip")
    with pytest.raises(ArtifactError, match="cannot be read"):
        compare_runs([str(folder), str(tmp_path)])
