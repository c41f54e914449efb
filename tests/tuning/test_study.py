"""A study tries, prunes, records what fails, and goes on where it was; here in one process, the command elsewhere."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest

from cubefast import HashingEncoder, TrainingConfig, create_dialogue_dataset
from cubefast.errors import ArtifactError, InputError
from cubefast.evaluation.baseline_comparison import Comparison
from cubefast.training.progress import Progress
from cubefast.training.validation import Validation, validate_models
from cubefast.tuning.folder import StudyFolder
from cubefast.tuning.space import SearchSpace
from cubefast.tuning.study import open_study

CORE = {"state_size": 4, "hidden_size": 8, "steps": 2, "code_size": 2}
RATES = [0.01, 0.012, 0.014, 0.016, 0.018, 1e-12, 1e30]


def make_data(count=60):
    pairs = [(f"What is {n} squared?", f"{n} times {n} is {n * n}.") for n in range(count)]
    parts = create_dialogue_dataset(pairs, encoder=HashingEncoder(32)).split()
    return SimpleNamespace(parts=parts, comparison=Comparison(parts, "dialogue", TrainingConfig().data.noise))


@pytest.fixture(scope="module")
def data():
    return make_data()


@pytest.fixture
def begin(tmp_path, data):
    """Makes the folder of a study; with a second call for the same name, goes on with it."""

    def folder(name="study", space=None, **training):
        path = tmp_path / name
        if path.exists():
            return StudyFolder.open(path)
        options = {"epochs": 2, "lr": 0.01, **training}
        config = TrainingConfig.load({"encoder": "hashing:32", "core": CORE, "training": options})
        return StudyFolder.create(path, config, SearchSpace(space or {"training.lr": RATES[:5]}, config))

    return lambda *arguments, **options: open_study(folder(*arguments, **options), data.parts, data.comparison)


def wish(study, **values):
    """Have a trial of these values drawn next: with Optuna itself, from the database."""
    kept = optuna.load_study(study_name="cubefast", storage=f"sqlite:///{study.folder.path}/study.db")
    kept.enqueue_trial({key.replace("__", "."): json.dumps(value) for key, value in values.items()})
    kept._storage.remove_session()
    kept._storage._backend.engine.dispose()


def test_the_config_as_it_is_comes_first_and_the_best_is_not_worse(begin):
    reported = []
    with begin() as study:
        study.run(4, on_trial=reported.append)
        trials, base, best = study.trials, study.base, study.best
    assert [trial.number for trial in reported] == [0, 1, 2, 3]
    assert trials == reported
    assert trials[0].is_base
    assert trials[0] == base
    assert base.parameters == {"training.lr": 0.01}
    assert not any(trial.is_base for trial in trials[1:])
    assert best.value == max(trial.value for trial in trials if trial.state == "finished") >= base.value
    assert base.value == base.score["mrr"]
    assert base.epochs == 2


def test_a_reported_trial_is_on_the_disk(begin):
    def check(trial):
        path = study.folder.path
        assert {file.name for file in path.iterdir()} == {
            *(".lock", "config.yaml", "space.yaml", "study.db", "trials.jsonl", "best.yaml")
        }
        lines = [json.loads(line) for line in (path / "trials.jsonl").read_text().splitlines()]
        assert len(lines) == trial.number + 1
        assert lines[-1]["value"] == trial.value
        assert TrainingConfig.load(path / "best.yaml") == study.config_of(study.best)

    with begin() as study:
        study.run(2, on_trial=check)


def test_a_clearly_bad_trial_is_pruned_and_no_other(begin):
    with begin(space={"training.lr": RATES}, epochs=8, early_stopping=None) as study:
        study.run(1)
        for rate in RATES[1:5]:
            wish(study, training__lr=rate)
        wish(study, training__lr=1e-12)
        study.run(6)
        *good, bad = study.trials
        assert [trial.state for trial in good] == ["finished"] * 5
        assert (bad.state, bad.epochs) == ("pruned", 3), "after a quarter of the epochs, at the first look"
        assert bad.parameters == {"training.lr": 1e-12}
        assert bad.value < study.best.value
        assert bad.score is None


def test_what_diverges_or_does_not_fit_is_recorded_and_the_study_goes_on(begin):
    space = {"training.lr": RATES, "core.shape": [None, [2, 2, 2]], "training.losses.cosine": [0, 1]}
    space |= {"training.losses.contrast": [0.0, 0.1], "training.losses.crossfit": [0.0, 0.1]}
    fine = {"core__shape": None, "training__losses__cosine": 1.0, "training__losses__contrast": 0.1}
    fine["training__losses__crossfit"] = 0.0
    with begin(space=space, losses={"cosine": 1}) as study:
        study.run(1)
        wish(study, **fine, training__lr=1e30)
        wish(study, **{**fine, "core__shape": [2, 2, 2]}, training__lr=0.01)
        wish(study, **{**fine, "training__losses__cosine": 0.0, "training__losses__contrast": 0.0}, training__lr=0.01)
        wish(study, **fine, training__lr=0.012)
        study.run(5)
        _, diverged, unfit, void, fine = study.trials
        assert [each.state for each in (diverged, unfit, void, fine)] == ["failed", "failed", "failed", "finished"]
        assert "nan" in diverged.reason.lower() or "inf" in diverged.reason.lower()
        assert "checkpoint" not in diverged.reason
        assert unfit.reason.startswith("core does not fit embeddings of 32 numbers: shape 2x2x2 has 8 cells")
        assert void.reason.startswith("training.losses: one of cosine, mse")
        assert diverged.value is unfit.value is None
        assert study.done == 5


def test_a_study_of_failures_has_no_best(begin):
    with begin(lr=1e30) as study:
        study.run(1)
        assert study.done == 1
        assert study.base.state == "failed"
        assert study.best is None
        assert not (study.folder.path / "best.yaml").exists()
        study.run(2)
        assert study.best.number == 1, "the config as it is is not tried again"


def test_it_goes_on_to_n_in_all_and_draws_anew(begin):
    space = {"training.lr": {"low": 0.001, "high": 0.1, "log": True}}
    with begin(space=space) as study:
        study.run(3)
        first = study.trials
    with begin() as study:
        assert study.trials == first
        study.run(3)
        assert study.trials == first, "three were asked for, and three are done"
        study.run(5)
        trials = study.trials
    assert trials[:3] == first
    assert len({trial.parameters["training.lr"] for trial in trials}) == 5, "not the draws of the first process again"
    with begin("the same", space=space) as study:
        study.run(3)
        assert [trial.parameters for trial in study.trials] == [trial.parameters for trial in first]
        assert [trial.value for trial in study.trials] == [trial.value for trial in first]


def test_ctrl_c_loses_the_trial_under_way_alone(begin):
    class Interrupt(Progress):
        def epoch(self, record, best_epoch, objective):
            raise KeyboardInterrupt

    with begin() as study:
        with pytest.raises(KeyboardInterrupt):
            study.run(3, progress=Interrupt)
        assert [trial.state for trial in study.trials] == ["interrupted"]
        assert study.done == 0
        study.run(2)
        assert [(trial.state, trial.is_base) for trial in study.trials] == [
            ("interrupted", True),
            ("finished", True),
            ("finished", False),
        ]
        assert study.trials[0].seconds is None


def test_no_trial_is_begun_when_the_time_is_up(begin):
    with begin() as study:
        study.run(5, timeout=1e-9)
        assert study.done == 0
        study.run(1, timeout=600)
        assert study.done == 1


def test_the_metric_is_what_trials_are_compared_by(begin):
    with begin(metric="mrr") as study:
        study.run(2)
        assert study.best.value == study.best.score["mrr"] != study.best.score["cosine"]


def test_a_config_outside_the_space_is_tried_as_it_is(begin):
    with begin(space={"training.lr": [0.02, 0.03], "core.steps": [2, 3]}) as study:
        study.run(3)
        assert study.folder.given == {"core.steps": 2}
        assert study.base.parameters == {"core.steps": 2}
        assert study.config_of(study.base).training.lr == 0.01
        assert {study.config_of(trial).training.lr for trial in study.trials[1:]} <= {0.02, 0.03}


def test_baselines_are_scored_as_the_trainer_scores(begin, data):
    with begin() as study:
        validation = Validation.of_parts(data.parts)
        found = validate_models(data.comparison.baselines, validation)
        for metric in ("cosine", "mrr"):
            lines = {name: metrics[metric] for name, metrics in found.items()}
            assert {name: score[metric] for name, score in study.baselines.items()} == pytest.approx(lines)
        assert study.baselines["identity"]["parameters"] == 0
        assert study.baselines["identity"]["mrr"] == validation.metrics(validation.inputs)["mrr"]
        study.run(1)
        fresh = study.base.score
    assert fresh["parameters"] > 0
    assert 0 <= fresh["recall_at_1"] <= fresh["mrr"] <= 1


def test_other_data_is_refused(begin, data):
    with begin() as study:
        study.run(1)
        path = study.folder.path
    other = make_data(70)
    message = r"the data of the study .* has changed.*\ntraining pairs: were \d+ \(\w+\), and now are \d+ \(\w+\)"
    with pytest.raises(InputError, match=message), open_study(StudyFolder.open(path), other.parts, other.comparison):
        pass


def test_one_process_at_a_time(begin):
    with begin() as study:
        study.run(1)
        with (
            pytest.raises(InputError, match=r"another process is writing into .* Wait for it to end, or stop it"),
            begin(),
        ):
            pass
    with begin() as study:
        assert study.done == 1


def test_a_damaged_database_is_refused(begin):
    with begin() as study:
        path = study.folder.path
    (path / "study.db").write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(ArtifactError, match=r"study.db cannot be read: .* Give --study a new folder"), begin():
        pass


def test_any_folder_name_will_do(begin):
    with begin("a {b}?c=%41#d") as study:
        study.run(1)
    assert (study.folder.path / "study.db").is_file()
    with begin("a {b}?c=%41#d") as study:
        assert study.done == 1


def test_another_config_or_space_is_refused_in_words(begin):
    with begin() as study:
        path = study.folder.path
    assert StudyFolder.open(path, None, ["training.lr=0.01"]).config.training.epochs == 2
    moved = StudyFolder.open(path, None, ["cache=elsewhere", "training.keep=5"]).config
    assert moved.cache == str(Path("elsewhere").absolute())
    with pytest.raises(InputError) as error:
        StudyFolder.open(path, None, ["training.lr=0.5", "data=x.jsonl"])
    first, *changes = str(error.value).splitlines()
    assert "is a study of another config. Leave out what differs, or give --study a new folder:" in first
    assert changes == [
        f"data.path: was builtin, and now is {Path('x.jsonl').absolute()}",
        "training.lr: was 0.01, and now is 0.5",
    ]
    space = path.parent / "space.yaml"
    space.write_text("training.lr: [0.01, 0.02]\ncore.steps: [2, 3]\n")
    with pytest.raises(InputError) as error:
        StudyFolder.open(path, None, [], str(space))
    assert str(error.value).splitlines()[1:] == [
        "search space: training.lr: was [0.01, 0.012, 0.014, 0.016, 0.018], and now is [0.01, 0.02]",
        "search space: core.steps: was not tuned, and now is [2, 3]",
    ]


def test_a_folder_of_something_else_is_neither_used_nor_deleted(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("x")
    with pytest.raises(
        ArtifactError, match=r"mine is no study to go on with: config.yaml is missing. Give --study a new"
    ):
        StudyFolder.open(tmp_path / "mine")
    config = TrainingConfig()
    made = StudyFolder.create(tmp_path / "new", config, SearchSpace.load(None, config))
    StudyFolder.open(tmp_path / "new").discard_if_unused()
    assert (tmp_path / "new").exists(), "another process made it"
    made.discard_if_unused()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]
