"""Wrong answers and lists of answers in data sets, as sentence-transformers publishes them."""

import csv
import json

import numpy as np
import pytest
import torch

from cubefast import CubeTrainer, HashingEncoder, create_dialogue_dataset
from cubefast.config.data import ColumnsConfig
from cubefast.config.run_config import TrainingConfig
from cubefast.data.create_datasets import open_dataset
from cubefast.data.embeddings.vectors import ArrayVectors
from cubefast.data.pairs import PairDataset
from cubefast.data.reading.dialogues import load_dialogues, load_texts, normalize
from cubefast.errors import InputError
from cubefast.train_run import _describe_wrong_answers
from cubefast.training.batches import ordered_batches
from cubefast.training.convert_pairs import training_pairs
from cubefast.training.training_state import identity_of

ENCODER = HashingEncoder(32)
SMALL = {"state_size": 2, "hidden_size": 4, "steps": 2}


def write(path, rows):
    """The same rows as JSON lines, CSV or Parquet; lists in CSV are JSON."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows({k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows)
    else:
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(rows), path)
    return path


@pytest.fixture(params=["jsonl", "csv", "parquet"])
def path(request, tmp_path):
    return tmp_path / f"a.{request.param}"


def read(path, **columns):
    return [(d.question, d.answer, d.negatives) for d in load_dialogues(path, columns=ColumnsConfig(**columns))]


def made(source, tmp_path, **config):
    return create_dialogue_dataset(source, config, encoder=ENCODER, cache=tmp_path / "cache")


def triplets(count, wrong=lambda row: [f"wrong {row} one", f"wrong {row} two"]):
    return [{"anchor": f"q {row} x", "positive": f"a {row} y", "negatives": wrong(row)} for row in range(count)]


@pytest.mark.parametrize("name", ["negative", "negatives", "neg", "hard_negatives", "Hard Negatives", "negative_1"])
def test_wrong_answers_are_read_under_every_usual_name(path, name):
    write(path, [{"anchor": "q", "positive": "a", name: "b"}, {"anchor": "p", "positive": "c", name: None}])
    assert read(path) == [("q", "a", ("b",)), ("p", "c", ())]
    assert read(path, negative=None) == [("q", "a", ()), ("p", "c", ())]


def test_lists_are_read_from_every_format(path):
    write(path, [{"query": "q", "positives": ["a", "b"], "negatives": ["c", "d", "c"]}])
    assert read(path) == [("q", "a", ("c", "d")), ("q", "b", ("c", "d"))]


def test_numbered_columns_are_all_read(path):
    row = {"query": "q", "answer": "a", "negative_1": "b", "negative_2": "c", "negative_10": "d", "note_1": "e"}
    write(path, [row])
    assert read(path) == [("q", "a", ("b", "c", "d"))]


def test_a_name_that_is_set_finds_that_column_alone(path):
    write(path, [{"query": "q", "answer": "a", "worse": "b", "negative": "c"}])
    assert read(path, negative="worse") == [("q", "a", ("b",))]


def test_a_text_in_brackets_is_a_text(path):
    write(path, [{"query": "q", "positive": "[1, 2]", "negatives": "[laughs] no"}])
    assert read(path) == [("q", "[1, 2]", ("[laughs] no",))]


def test_a_negative_that_is_no_text_names_its_place(tmp_path):
    write(tmp_path / "a.jsonl", [{"query": "q", "answer": "a", "negatives": ["b", 3]}])
    with pytest.raises(InputError, match='line 1: "negative" must be a text that is not blank; got 3'):
        read(tmp_path / "a.jsonl")


def test_of_very_many_wrong_answers_the_first_100_are_kept(tmp_path):
    write(tmp_path / "a.jsonl", [{"query": "q", "answer": "a", "negatives": [f"w{i}" for i in range(300)]}])
    ((_, _, negatives),) = read(tmp_path / "a.jsonl")
    assert negatives == tuple(f"w{i}" for i in range(100))


def test_python_gives_them_too(tmp_path):
    mapping = {"query": "q x", "positives": np.array(["a x"], object), "negatives": np.array(["b x", "c x"], object)}
    for source in ([("q x", "a x", "b x", "c x")], [mapping]):
        (dialogue,) = made(source, tmp_path).dialogues
        assert (dialogue.question, dialogue.answer, dialogue.negatives) == ("q x", "a x", ("b x", "c x"))
        assert made(source, tmp_path, columns={"negative": None}).dialogues[0].negatives == ()
    missing = {"query": "q x", "answer": "a x", "negative_1": float("nan"), "negative_2": "b x"}
    assert made([missing], tmp_path).dialogues[0].negatives == ("b x",)


def test_a_pair_that_is_repeated_with_other_wrong_answers_has_all_of_them(tmp_path):
    dataset = made([("q x", "a x", "b x"), ("p x", "c x"), ("Q  x", "a x", "d x", "b x")], tmp_path)
    assert [d.negatives for d in dataset.dialogues] == [("b x", "d x"), ()]
    assert dataset.stats().negatives == 2


def test_the_answers_of_one_question_are_in_one_part(tmp_path):
    rows = [{"query": f"q {i} x", "positives": [f"a {i} {j}" for j in range(4)]} for i in range(120)]
    dataset = made(rows, tmp_path)
    assert len({d.group for d in dataset.dialogues}) == 120
    parts = dataset.split().rows
    asked = [{dataset.dialogues[row].question for row in rows} for rows in parts.values()]
    assert sum(map(len, asked)) == len(set().union(*asked)) == 120


def test_an_autoencoder_learns_no_wrong_answers(tmp_path):
    write(tmp_path / "a.jsonl", triplets(3))
    assert not any("wrong" in text for text in load_texts(tmp_path / "a.jsonl"))
    config = TrainingConfig.load({"data": {"path": str(tmp_path / "a.jsonl")}}).data
    dataset = open_dataset(config, "autoencoder", encoder=ENCODER, cache=tmp_path / "cache")
    assert len(dataset.vectors) == 6


def test_ready_embeddings_have_none_of_wrong_answers(tmp_path):
    np.savez(tmp_path / "v.npz", question=np.eye(3, 8) + 0.1, answer=np.eye(3, 8) + 0.2)
    write(tmp_path / "a.jsonl", triplets(3))
    given = {"vectors": str(tmp_path / "v.npz")}
    with pytest.raises(InputError, match=r"no embeddings: encode, or set data.columns.negative=null"):
        made(tmp_path / "a.jsonl", tmp_path, **given)
    assert len(made(tmp_path / "a.jsonl", tmp_path, **given, columns={"negative": None})) == 3


# --- In training


def with_negatives():
    """Four pairs over 12 embeddings: two with wrong targets, of which one is the fourth pair's own target."""
    vectors = ArrayVectors(np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32))
    rows = np.arange(4)
    negatives = np.array([[8, 9], [-1, -1], [7, 8], [-1, -1]])
    ids = np.array([[-1, -2], [-1, -1], [3, -1], [-1, -1]])
    return PairDataset(vectors, rows, rows + 4, rows, negative_rows=negatives, negative_ids=ids)


def test_a_batch_has_the_wrong_targets_of_its_pairs_once():
    train = with_negatives()
    targets, ids = train.negatives_of([0, 2])
    assert ids.tolist() == [3, -1, -2]
    torch.testing.assert_close(targets, torch.from_numpy(train.prepare(train.vectors.gather(np.array([7, 8, 9])))))
    none, no_ids = train.negatives_of([1, 3])
    assert none.shape == (0, 8)
    assert no_ids.shape == (0,)
    assert train.subset([2]).negatives_of([0])[1].tolist() == [3, -1]
    assert train.without_negatives(np.array([3])).negatives_of([2])[1].tolist() == [-1]
    assert train.without_negatives().negatives_of([2]) is None


def test_they_join_the_mined_ones():
    train, neighbors = with_negatives(), torch.tensor([[1], [0], [3], [2]])
    rows = torch.tensor([0, 1])
    near = next(iter(ordered_batches(train, [rows], 0, neighbors))).negatives
    assert near[1].tolist() == [0, 1, -1, -2]
    alone = next(iter(ordered_batches(train, [rows], 0))).negatives
    assert alone[1].tolist() == [-1, -2]
    for ours, theirs in zip(near, next(iter(ordered_batches(train, [rows], 2, neighbors))).negatives, strict=True):
        assert torch.equal(ours, theirs)


def test_a_mixed_training_keeps_them():
    config = TrainingConfig.load({"mode": "mixed"})
    mixed = training_pairs(config, with_negatives())
    assert mixed.negatives_of(range(4))[1].tolist() == [3, -1, -2]
    assert mixed.negatives_of(range(4, len(mixed)))[1].tolist() == []


def test_losses_without_negatives_take_none():
    losses = {"contrast": 0, "triplet": 0, "cosine": 1}
    config = TrainingConfig.load({"training": {"losses": losses}})
    assert training_pairs(config, with_negatives()).negatives_of([0]) is None


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ({}, ", 6 wrong answers"),
        ({"contrast": 0, "cosine": 1}, ", 6 wrong answers, not used: training.losses.contrast and triplet are 0"),
    ],
)
def test_a_run_says_how_many_there_are_and_whether_they_are_used(tmp_path, losses, said):
    config = TrainingConfig.load({"training": {"losses": losses}})
    assert _describe_wrong_answers(config, made(triplets(3), tmp_path)) == said
    assert _describe_wrong_answers(config, made([("q x", "a x")], tmp_path)) == ""


def test_a_run_with_other_wrong_answers_is_another_run():
    config = TrainingConfig.load()
    train = with_negatives()
    assert identity_of(config, train) != identity_of(config, train.without_negatives())


def test_training_moves_away_from_them(tmp_path):
    """Each question is nearest to its own wrong answer, which no other pair's answer is."""
    rng = np.random.default_rng(0)
    questions = rng.normal(size=(120, 16)).astype(np.float32)
    wrong = questions + 0.5 * rng.normal(size=questions.shape).astype(np.float32)
    right = np.roll(questions, 1, axis=1) + 0.5 * rng.normal(size=questions.shape).astype(np.float32)
    vectors, rows = ArrayVectors(np.concatenate([questions, right, wrong])), np.arange(120)
    ids = -1 - rows[:, None]
    train = PairDataset(vectors, rows, rows + 120, rows, negative_rows=rows[:, None] + 240, negative_ids=ids)
    config = {"core": SMALL, "training": {"epochs": 8, "batch_size": 16, "lr": 0.01, "losses": {"hard_negatives": 0}}}

    def nearness(pairs):
        core = CubeTrainer(config).fit(pairs, (questions, right)).core
        with torch.no_grad():
            return torch.cosine_similarity(core(torch.from_numpy(questions)), torch.from_numpy(wrong)).mean().item()

    assert nearness(train) < nearness(train.without_negatives()) - 0.05


def test_an_answer_of_a_held_out_topic_is_not_learnt_to_be_wrong(tmp_path):
    rows = triplets(150, wrong=lambda row: [f"a {(row + 1) % 150} y", f"wrong {row}"])
    dataset = made(rows, tmp_path)
    parts = dataset.split()
    held_out = {
        normalize(dataset.dialogues[row].answer) for name in ("validation", "unseen group") for row in parts.rows[name]
    }
    assert held_out
    _, ids = parts.train.negatives_of(range(len(parts.train)))
    named = {normalize(dataset.answers[i]) for i in ids.tolist() if i >= 0}
    assert named
    assert not named & held_out
    _, everything = dataset.negatives_of(range(len(dataset)))
    assert len({i for i in everything.tolist() if i >= 0}) == 150
