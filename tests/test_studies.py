"""benchmarks/quality: the cube beside everything else that could be trained on the same vectors, and on documents."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[1] / "benchmarks" / "quality"
TINY = ["core.steps=2", "core.hidden_size=4", "core.state_size=2", "training.epochs=1", "training.threads=1"]


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def study():
    return loaded("study")


def test_a_study_trains_every_seed_and_keeps_its_figures(study, tmp_path, monkeypatch, capsys):
    into = tmp_path / "figures.json"
    monkeypatch.setattr(sys, "argv", ["study.py", *TINY, "--seeds", "0", "1", "--ablations", "--into", str(into)])
    study.main()
    told, kept = capsys.readouterr().out, json.loads(into.read_text())
    assert list(kept["tests"]) == ["unseen paraphrase", "unseen group"]
    for test in kept["tests"].values():
        models = test["models"]
        assert {study.CUBE, "identity", "linear adapter", study.CHOSEN, study.NO_NEIGHBORS, *study.ABLATIONS} <= set(
            models
        )
        assert len(models[study.CUBE]["mrr"]) == 2
        assert models["linear adapter"]["parameters"] in (0, 256 * 256)
        assert len(models["identity"]["difference"]["mrr"]) == 3
    assert told.count("| cube | ") == 2
    assert "among 286 answers" in told


def test_cells_that_see_no_neighbors_stay_blind(study):
    trainer = study.LonelyTrainer({"core": {"steps": 4, "state_size": 2, "hidden_size": 4}, "training": {"epochs": 1}})
    x = torch.randn(80, 16, generator=torch.Generator().manual_seed(0))
    core = trainer.fit((x[:60], x[:60].roll(1, 1)), (x[60:], x[60:].roll(1, 1))).core
    for phase in core.lattice.phases:
        assert not phase.w_perceive[:, :-2].any()
        assert phase.w_perceive[:, -2:].any()


def test_documents_that_hold_no_question_are_trained_on_and_real_questions_asked(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(FOLDER)  # as for a script: it takes from the study beside it
    documents = loaded("documents")
    rows = [
        {
            "question": f"What {about} {topic} ?",
            "answer": f"{text} {topic} so far. {text} what follows from {topic}, too.",
            "group": topic,
        }
        for topic in (f"ailment number {i}" for i in range(60))
        for about, text in [("are the symptoms of", "Nobody has seen any of"), ("causes", "Experts disagree about all")]
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    into = tmp_path / "found.json"
    options = ["--encoder", "hashing:32", "--documents", "40", "--seeds", "0", "--into", str(into)]
    monkeypatch.setattr(sys, "argv", ["documents.py", str(tmp_path / "pairs.jsonl"), *TINY, *options])
    documents.main()
    told, kept = capsys.readouterr().out, json.loads(into.read_text())
    assert set(kept["pairs"]) == {documents.REAL, *documents.MADE}
    assert kept["pairs"]["headings"] == kept["pairs"][documents.REAL] == 80
    ours, new = (kept["tests"][test] for test in documents.TESTS)
    assert (ours["queries"], new["queries"], kept["answers"]) == (80, 40, 120)
    assert documents.REAL not in ours["models"], "it was trained on these very questions"
    assert "| without headings: titles | 40 | " in told


def test_the_picture_shows_the_figures_of_the_tables():
    picture = loaded("picture")
    data_sets = picture.new_topics((FOLDER / "README.md").read_text())
    assert len(data_sets) == 5
    shown = picture.PICTURE.read_text()
    for (title, queries), shares in data_sets.items():
        for text in (title, f"{queries} questions", *(f"{share.median:.1%}" for share in shares.values())):
            assert f">{text}<" in shown, f"{text}: run {picture.__file__}"
