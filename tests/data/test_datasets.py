"""From what people have to pairs: reading, filtering, encoding once, splitting, pairing."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from cubefast import (
    AutoencoderDataset,
    DatasetConfig,
    DialogueDataset,
    EmbeddingCache,
    HashingEncoder,
    create_conversation_dataset,
    create_dialogue_dataset,
    create_file_dataset,
    create_text_dataset,
)
from cubefast.data.create_datasets import open_dataset
from cubefast.data.embeddings.vectors import ArrayVectors
from cubefast.data.reading.dialogues import normalize
from cubefast.data.splits import check_leaks
from cubefast.errors import ConfigError, InputError

ENCODER = HashingEncoder(32)
WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "islet", "jetty", "knoll", "larch"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return EmbeddingCache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def builtin(cache):
    return create_dialogue_dataset("builtin", encoder=ENCODER, cache=cache)


def encoded(text):
    return torch.from_numpy(ENCODER.encode([text])[0])


def qa(count):
    return [
        (f"question {i} on {WORDS[i % 12]} {WORDS[i // 12 % 12]}", f"answer {i} {WORDS[i % 7]}") for i in range(count)
    ]


def test_an_item_is_a_questions_embedding_its_answers_and_the_answers_number(builtin):
    question, answer, number = builtin[3]
    dialogue = builtin.dialogues[3]
    assert torch.allclose(question, encoded(dialogue.question), atol=1e-6)
    assert torch.allclose(answer, encoded(dialogue.answer), atol=1e-6)
    assert builtin.answers[int(number)] == dialogue.answer
    assert isinstance(builtin, DialogueDataset)


def test_the_parts_share_no_question_and_unseen_groups_no_answer_with_train(builtin):
    parts = builtin.split()
    assert set(parts.tests) == {"unseen paraphrase", "unseen group"}
    questions = [set(part.input_rows[:, 0].tolist()) for part in (parts.train, parts.validation, *parts.tests.values())]
    assert sum(map(len, questions)) == len(set().union(*questions))
    assert not set(parts.train.target_ids.tolist()) & set(parts.tests["unseen group"].target_ids.tolist())
    assert len(parts.answers) == len(parts.answer_vectors) == 286


@pytest.mark.parametrize("mode", ["dialogue", "autoencoder"])
def test_validation_has_the_regimes_of_the_tests(builtin, mode):
    parts = builtin.split(mode)
    assert list(parts.validations) == list(parts.tests) == ["unseen paraphrase", "unseen group"]
    whole = sorted(parts.validation.input_rows[:, 0].tolist())
    assert whole == sorted(row for part in parts.validations.values() for row in part.input_rows[:, 0].tolist())
    assert str(parts) == (
        f"train {len(parts.train)}, validation 170 (unseen paraphrase 114, unseen group 56), tests: "
        f"unseen paraphrase 246, unseen group {len(parts.tests['unseen group'])}"
    )


def test_the_ids_of_answers_are_their_rows_in_the_bank(builtin):
    parts = builtin.split()
    assert parts.bank is parts.answer_vectors
    assert builtin.split("autoencoder").bank is None, "what it finds is no answer"
    for part in (parts.train, parts.validation, *parts.validations.values(), *parts.tests.values()):
        pairs = part.pairs()
        assert torch.equal(pairs.targets, torch.from_numpy(parts.answer_vectors)[pairs.target_ids])
    known = set(parts.train.target_ids.tolist())
    assert set(parts.validations["unseen paraphrase"].target_ids.tolist()) <= known
    assert not set(parts.validations["unseen group"].target_ids.tolist()) & known


def test_a_regime_whose_share_is_zero_is_left_out(cache):
    shares = {"test_percent": 0, "test_paraphrase_percent": 0, "validation_paraphrase_percent": 0}
    dataset = create_dialogue_dataset("builtin", {"split": shares}, encoder=ENCODER, cache=cache)
    parts = dataset.split()
    assert parts.tests == {}
    assert list(parts.validations) == ["unseen group"]
    assert str(parts).endswith("(unseen group 64), tests: none")
    shares |= {"test_paraphrase_percent": 100, "validation_percent": 0}
    dataset = create_dialogue_dataset("builtin", {"split": shares}, encoder=ENCODER, cache=cache)
    with pytest.raises(InputError, match=r"1144 pairs are too few to split .*shares in data\.split that leave some"):
        dataset.split()


def test_an_autoencoder_may_do_without_a_test(cache):
    texts = [f"{a} {b}" for a in WORDS for b in WORDS]
    dataset = create_text_dataset(texts, {"split": {"test_percent": 0}}, encoder=ENCODER, cache=cache)
    parts = dataset.split()
    assert parts.tests == {}
    assert len(parts.train) + len(parts.validation) == len(texts)
    assert list(parts.validations) == ["unseen text"]
    assert len(parts.validations["unseen text"]) == len(parts.validation)


def test_vectors_of_pairs_are_refused_where_there_are_texts_alone(tmp_path):
    (tmp_path / "t.txt").write_text("one\ntwo\n")
    with pytest.raises(InputError, match="data.vectors are of questions and answers, and this data set"):
        create_file_dataset(tmp_path / "t.txt", {"vectors": "v.npy"}, encoder=ENCODER)


def test_a_source_that_is_given_is_named_where_vectors_do_not_match(tmp_path):
    np.savez(tmp_path / "v.npz", question=np.ones((5, 4)), answer=np.ones((5, 4)))
    with pytest.raises(InputError, match=r"v.npz has 5 rows, and the data set has 3 records"):
        create_dialogue_dataset([(f"q {i}", f"a {i}") for i in range(3)], {"vectors": str(tmp_path / "v.npz")})


def test_all_pairs_are_of_the_same_task_as_the_parts(builtin):
    whole = builtin.all_pairs()
    assert len(whole) == len(builtin)
    assert not np.array_equal(whole.input_rows[:, 0], whole.target_rows)
    whole, train = builtin.all_pairs("autoencoder", seed=3), builtin.split("autoencoder", seed=3).train
    assert np.array_equal(whole.input_rows[:, 0], whole.target_rows)
    assert set(train.target_rows.tolist()) < set(whole.target_rows.tolist())
    assert (whole.noise, whole.seed) == (train.noise, train.seed)


def test_an_autoencoders_texts_are_in_one_part_each(builtin):
    parts = builtin.split("autoencoder")
    rows = [part.target_rows.tolist() for part in (parts.train, parts.validation, *parts.tests.values())]
    assert sum(map(len, rows)) == len(set().union(*rows)), "a text stands in two parts"
    inputs, targets, _ = parts.train.batch([0, 1], noisy=False)
    assert torch.equal(inputs, targets)
    assert not torch.equal(parts.train.batch([0, 1])[0], targets)


def test_centring_takes_the_mean_of_the_training_part_alone(cache):
    dataset = create_dialogue_dataset(qa(120), {"centre": True}, encoder=ENCODER, cache=cache)
    parts = dataset.split()
    train_texts = {d.question for d in dataset.dialogues} | {d.answer for d in dataset.dialogues}
    rows = np.unique(np.concatenate([parts.train.input_rows[:, 0], parts.train.target_rows]))
    assert len(rows) < len(train_texts)
    mean = dataset.vectors.gather(rows).mean(axis=0)
    assert np.allclose(parts.prepare.mean, mean, atol=1e-6)
    raw = dataset.vectors.gather(parts.train.input_rows[:1, 0])[0] - mean
    assert torch.allclose(parts.train[0][0], torch.from_numpy(raw / np.linalg.norm(raw)), atol=1e-5)
    assert torch.allclose(torch.from_numpy(parts.answer_vectors).norm(dim=1), torch.ones(len(parts.answers)), atol=1e-5)
    for part in (parts.validation, *parts.validations.values(), *parts.tests.values()):
        assert part.prepare is parts.prepare


def test_several_answers_to_one_question_and_several_questions_to_one_answer(cache):
    pairs = [("What is birch?", "A tree."), ("What is birch?", "Its wood."), ("Tell me of birch.", "A  TREE.")]
    dataset = create_dialogue_dataset(pairs, encoder=ENCODER, cache=cache)
    assert dataset.answers == ["A tree.", "Its wood."]
    assert dataset.target_ids.tolist() == [0, 1, 0]
    assert torch.equal(dataset[0][1], dataset[2][1]), "one spelling's embedding stands for all"


@pytest.mark.parametrize("mode", ["mean", "text"])
def test_a_question_hears_the_turns_before_it(cache, mode):
    turns = ["Is amber old?", "Very old.", "How old is it?", "Millions of years.", "Who finds it?", "Divers."]
    config = {"context": {"mode": mode, "window": 3, "decay": 0.5}}
    dataset = create_conversation_dataset([turns], config, encoder=ENCODER, cache=cache)
    assert [d.question for d in dataset.dialogues] == turns[::2]
    last = dataset[2][0]
    if mode == "text":
        wanted = encoded("\n".join(turns[1:5]))
    else:
        mixed = encoded(turns[4]) + 0.5 * encoded(turns[3]) + 0.25 * encoded(turns[2]) + 0.125 * encoded(turns[1])
        wanted = mixed / mixed.norm()
        assert torch.allclose(dataset[0][0], encoded(turns[0]), atol=1e-6), "the first question has nothing before it"
    assert torch.allclose(last, wanted, atol=1e-6)


def test_a_conversation_stays_on_one_side_of_the_split(cache):
    conversations = [
        [f"{w} one?", f"{w} first.", f"{w} two?", f"{w} second."] for w in (f"{a} {b}" for a in WORDS for b in WORDS)
    ]
    dataset = create_conversation_dataset(conversations, encoder=ENCODER, cache=cache)
    parts = dataset.split()
    sides = [
        {dataset.dialogues[i].group for i in range(len(dataset)) if dataset.input_rows[i, 0] in part.input_rows[:, 0]}
        for part in (parts.train, parts.validation, parts.tests["unseen group"])
    ]
    assert sum(map(len, sides)) == len(set().union(*sides)) == 144


def test_texts_keep_repetitions_on_one_side(cache):
    texts = [f"{a} {b}" for a in WORDS for b in WORDS] * 2
    dataset = create_text_dataset(texts, encoder=ENCODER, cache=cache)
    assert isinstance(dataset, AutoencoderDataset)
    parts = dataset.split()
    sides = [
        {normalize(texts[i]) for i in part.target_rows}
        for part in (parts.train, parts.validation, *parts.tests.values())
    ]
    assert sum(map(len, sides)) == len(set().union(*sides)) == 144


def test_ready_vectors_stand_in_for_an_encoder(tmp_path, cache):
    pairs = qa(150)
    lines = [json.dumps({"question": q, "answer": a}) for q, a in pairs]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    random = np.random.default_rng(0)
    question, answer = (random.normal(size=(150, 12)).astype(np.float16) for _ in range(2))
    np.savez(tmp_path / "pairs.npz", question=question, answer=answer)
    config = {"path": str(tmp_path / "pairs.jsonl"), "vectors": str(tmp_path / "pairs.npz"), "normalize": False}
    dataset = create_dialogue_dataset(None, config, cache=cache)
    assert dataset.dim == 12
    assert torch.equal(dataset[7][0], torch.from_numpy(question[7].astype(np.float32)))
    assert torch.equal(dataset[7][1], torch.from_numpy(answer[7].astype(np.float32)))
    assert dataset.fingerprint.startswith("vectors-")

    np.savez(tmp_path / "pairs.npz", question=question[:9], answer=answer[:9])
    with pytest.raises(InputError, match=r"pairs.npz has 9 rows, and .*pairs.jsonl has 150 records"):
        create_dialogue_dataset(None, config, cache=cache)
    np.savez(tmp_path / "pairs.npz", question=question, answer=answer[:, :5])
    with pytest.raises(InputError, match=r"question is \[150, 12\] and answer \[150, 5\]; they must have one shape"):
        create_dialogue_dataset(None, config, cache=cache)
    with pytest.raises(InputError, match="set data.context.mode=none, or encode"):
        create_dialogue_dataset(None, {**config, "context": {"mode": "mean"}}, cache=cache)


def parquet(path, **columns):
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table(columns), path)


@pytest.mark.parametrize("form", ["names", "two files", "named files", "one table"])
def test_ready_vectors_come_in_the_files_that_people_have(tmp_path, cache, form):
    pairs = qa(60)
    questions, answers = np.random.default_rng(0).normal(size=(2, 60, 12)).astype(np.float32)
    texts = {"Query": [q for q, _ in pairs], "Response": [a for _, a in pairs]}
    given = {"path": str(tmp_path / "pairs.parquet"), "vectors": str(tmp_path / "v.npz"), "normalize": False}
    parquet(given["path"], **texts)
    if form == "names":
        np.savez(given["vectors"], queries=questions, response_embeddings=answers, other=answers[:5])
    elif form == "two files":
        given |= {"vectors": str(tmp_path / "q.npy"), "answer_vectors": str(tmp_path / "a.npy")}
        np.save(given["vectors"], questions)
        np.save(given["answer_vectors"], answers)
    elif form == "named files":
        given |= {"vectors": str(tmp_path / "q.npz"), "answer_vectors": str(tmp_path / "a.npz")}
        np.savez(given["vectors"], anything=questions)
        np.savez(given["answer_vectors"], answer=answers, more=questions)
    else:
        given["vectors"] = given["path"]
        parquet(given["path"], **texts, query_vector=list(questions), response_vector=list(answers))
    dataset = create_dialogue_dataset(None, given, cache=cache)
    assert torch.equal(dataset[7][0], torch.from_numpy(questions[7]))
    assert torch.equal(dataset[7][1], torch.from_numpy(answers[7]))
    before = dataset.fingerprint
    assert before.count("-") == (2 if "answer_vectors" in given else 1)
    if "answer_vectors" in given:
        np.save(tmp_path / "a2.npy", answers * 2)
        assert (
            create_dialogue_dataset(None, {**given, "answer_vectors": str(tmp_path / "a2.npy")}).fingerprint != before
        )


def test_files_of_which_it_is_not_clear_what_they_hold_are_refused(tmp_path, cache):
    (tmp_path / "pairs.csv").write_text("q,a\n" + "".join(f"{q},{a}\n" for q, a in qa(60)))
    array = np.random.default_rng(0).normal(size=(60, 12))
    np.save(tmp_path / "v.npy", array)
    np.savez(tmp_path / "v.npz", query=array, prompt=array, answer=array)
    np.savez(tmp_path / "x.npz", x=array, y=array)
    for name, message in [
        ("v.npy", "v.npy holds one array: give the questions with data.vectors=FILE, the answers with data.answer_v"),
        (
            "v.npz",
            "v.npz: the embeddings of questions may be any of query, prompt. Rename the right one",
        ),
        ("x.npz", "x.npz holds no array 'question' of questions; it holds x, y. Rename the right"),
    ]:
        config = {"path": str(tmp_path / "pairs.csv"), "vectors": str(tmp_path / name)}
        with pytest.raises(InputError, match=message):
            create_dialogue_dataset(None, config, cache=cache)
    with pytest.raises(ConfigError, match="data.answer_vectors is for the answers to the questions of data.vectors"):
        create_dialogue_dataset(None, {"answer_vectors": "a.npy"}, cache=cache)


def test_a_file_of_embeddings_is_a_data_set(tmp_path):
    vectors = np.random.default_rng(1).normal(size=(200, 10)).astype(np.float32)
    np.save(tmp_path / "v.npy", vectors)
    dataset = create_file_dataset(tmp_path / "v.npy", {"noise": {"levels": [0.1]}})
    assert len(dataset) == 200
    unit = torch.nn.functional.normalize(torch.from_numpy(vectors[5]), dim=0)
    assert torch.allclose(dataset[5][1], unit, atol=1e-6)
    assert sum(len(p) for p in (lambda s: (s.train, s.validation, *s.tests.values()))(dataset.split())) == 200


def test_a_text_file_is_a_data_set(tmp_path, cache):
    (tmp_path / "t.txt").write_text("first text\n\nsecond text\n")
    dataset = create_file_dataset(tmp_path / "t.txt", encoder=ENCODER, cache=cache)
    assert dataset.texts == ["first text", "second text"]
    again = open_dataset(DatasetConfig(path=str(tmp_path / "t.txt")), "autoencoder", encoder=ENCODER, cache=cache)
    assert again.texts == dataset.texts
    assert again.stats().cache_misses == 0


def test_the_filter_drops_before_anything_is_split(cache):
    pairs = [*qa(50), ("question 1 on birch amber", "answer 1 birch"), ("x", "y")]
    dataset = create_dialogue_dataset(
        pairs, {"quality": {"min_chars": 3, "max_cosine": 0.99}}, encoder=ENCODER, cache=cache
    )
    assert len(dataset) == 50
    assert sum(dataset.stats().rejected.values()) == 2
    with pytest.raises(InputError, match="the quality filter left nothing"):
        create_dialogue_dataset(pairs, {"quality": {"min_chars": 1000}}, encoder=ENCODER, cache=cache)


def test_statistics_say_what_a_set_is_made_of(builtin):
    stats = builtin.stats()
    assert (stats.pairs, stats.answers, stats.dim, len(stats.domains)) == (len(builtin), 286, 32, 13)
    one = float(torch.cosine_similarity(builtin[0][0], builtin[0][1], dim=0))
    every = [float(torch.cosine_similarity(*builtin[i][:2], dim=0)) for i in range(len(builtin))]
    assert one == pytest.approx(every[0])
    assert stats.cosine.mean == pytest.approx(np.mean(every), abs=1e-4)
    assert stats.cosine.p5 < stats.cosine.median < stats.cosine.p95
    assert "cos(question, answer)" in str(stats)
    json.dumps(stats.as_dict())


def test_a_config_may_be_yaml_or_json(tmp_path, cache):
    (tmp_path / "d.yaml").write_text("quality: {min_chars: 3}\n")
    (tmp_path / "d.json").write_text('{"quality": {"min_chars": 3}}')
    assert DatasetConfig.load(tmp_path / "d.yaml") == DatasetConfig.load(tmp_path / "d.json")
    with pytest.raises(ConfigError, match="quality.min_char: no such key; did you mean quality.min_chars"):
        DatasetConfig.load({"quality": {"min_char": 3}})
    with pytest.raises(ConfigError, match="dropout takes levels below 1; got 2"):
        DatasetConfig.load({"noise": {"kinds": ["dropout"], "levels": [2.0]}})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: create_text_dataset([]), "needs at least one text; got none"),
        (lambda: create_text_dataset(["a", " "]), "text 1: .text. must be a text that is not blank; got ' '"),
        (lambda: create_dialogue_dataset([]), "needs at least one question and answer; got none"),
        (
            lambda: create_dialogue_dataset([("a",)]),
            r"item 0 must be \(question, answer\), which wrong answers may follow; got \('a',\)",
        ),
        (
            lambda: create_dialogue_dataset([("a", None)]),
            'item 0: "answer" must be a text that is not blank; got None',
        ),
        (lambda: AutoencoderDataset(ArrayVectors(np.ones((2, 3))), ["a"]), "1 texts cannot belong to 2 embeddings"),
    ],
)
def test_a_source_that_holds_nothing_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_too_little_data_is_refused_in_words(cache):
    with pytest.raises(InputError, match="3 pairs are too few to split .* a few dozen groups that share no text"):
        create_dialogue_dataset(qa(3), encoder=ENCODER, cache=cache).split()


def test_a_leak_between_files_that_others_split_is_found(cache):
    dataset = create_dialogue_dataset(qa(20), encoder=ENCODER, cache=cache)
    check_leaks(dataset.dialogues[:10], dataset.dialogues[10:])
    with pytest.raises(
        InputError, match="2 texts of the test part are also in the training part, the first: 'question 9"
    ):
        check_leaks(dataset.dialogues[:10], dataset.dialogues[9:])


@pytest.mark.slow
def test_a_set_larger_than_its_memory_limit_is_trained_on(tmp_path):
    """256 MB of vectors, and 220 MB more of memory than the process has when it begins."""
    script = """
import resource, sys
import numpy as np, torch
from cubefast import CubeTrainer, AutoencoderDataset
from cubefast.data.embeddings.vectors import ArrayVectors

def data_mb():
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmData")) / 1000

path, rows, dim = sys.argv[1], 250_000, 256
file = np.lib.format.open_memmap(path, "w+", np.float32, (rows, dim))
random = np.random.default_rng(0)
for begin in range(0, rows, 10_000):
    file[begin : begin + 10_000] = random.normal(size=(10_000, dim))
file.flush(); del file
small = {"mode": "autoencoder", "core": {"state_size": 4, "hidden_size": 8, "steps": 2, "code_size": 0},
         "training": {"epochs": 1, "batch_size": 1024}}
held = AutoencoderDataset(ArrayVectors(random.normal(size=(64, dim)).astype(np.float32)))
CubeTrainer(small).fit(held, held)  # everything is loaded and warm
limit = int(data_mb() + 220) * 1_000_000
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    np.ones((rows, dim), np.float32)
except MemoryError:
    print("the set does not fit")
vectors = np.load(path, mmap_mode="r")
result = CubeTrainer(small).fit(AutoencoderDataset(ArrayVectors(vectors)), held)
print("trained", result.records[0]["step"])
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "large.npy")], capture_output=True, text=True, timeout=300
    )
    assert done.stdout.split("\n")[:2] == ["the set does not fit", "trained 245"], done.stderr
