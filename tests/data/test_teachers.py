"""Further teachers: the right texts, row for row, wherever the pairs go."""

import json

import numpy as np
import pytest
import torch

from cubefast import (
    AutoencoderDataset,
    DatasetConfig,
    EmbeddingCache,
    HashingEncoder,
    create_conversation_dataset,
    create_dialogue_dataset,
    create_file_dataset,
    create_text_dataset,
)
from cubefast.config.data import NoiseConfig
from cubefast.data.create_datasets import open_dataset
from cubefast.data.embeddings.precomputed import DialogueRows, aligned
from cubefast.data.embeddings.vectors import ArrayVectors
from cubefast.data.pairs import PairDataset
from cubefast.errors import InputError

ENCODER = HashingEncoder(32)
TEACHERS = (HashingEncoder(48), HashingEncoder(16))
WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "islet", "jetty", "knoll", "larch"]
PAIRS = [(f"What of {a} {b}?", f"It is {b} of {a}.") for a in WORDS for b in WORDS]
NOISE = NoiseConfig(levels=(0.1,))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return EmbeddingCache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def dataset(cache):
    return create_dialogue_dataset(PAIRS, encoder=ENCODER, teachers=TEACHERS, cache=cache)


def assert_taught(found, texts):
    """That the teachers' own encodings of these texts are what was found."""
    assert len(found) == len(TEACHERS)
    for got, teacher in zip(found, TEACHERS, strict=True):
        assert got.dtype == torch.float32
        assert torch.allclose(got, torch.from_numpy(teacher.encode(list(texts))), atol=1e-6)


def texts_of(part):
    """The target text of each item of a part of the data set, found by its embedding."""
    texts = sorted({text for pair in PAIRS for text in pair})
    every = torch.from_numpy(ENCODER.encode(texts))
    targets = part.batch(range(len(part)), noisy=False)[1]
    return [texts[i] for i in (targets @ every.T).argmax(dim=1)]


def test_each_teacher_sees_the_answers(dataset):
    rows = [5, 0, 143, 5]
    assert_taught(dataset.teacher_targets(rows), [PAIRS[row][1] for row in rows])
    assert_taught(dataset.teacher_targets(torch.tensor(rows)), [PAIRS[row][1] for row in rows])
    assert dataset.dim == 32


def test_a_data_set_without_teachers_is_taught_nothing(cache):
    assert create_dialogue_dataset(PAIRS, encoder=ENCODER, cache=cache).teacher_targets([0, 1]) == ()


def test_teachers_go_wherever_the_pairs_go(dataset):
    parts = dataset.split()
    derived = {
        "train": parts.train,
        "validation": parts.validation,
        "test": parts.tests["unseen group"],
        "subset": dataset.subset([3, 1, 140]),
        "noise": dataset.with_noise(NOISE, 0),
        "seed": dataset.with_seed(4),
        "mixed": parts.train.mixed(0.4, NOISE, 0),
        "autoencoder": dataset.split("autoencoder").train,
    }
    for name, part in derived.items():
        texts = texts_of(part)
        assert_taught(part.teacher_targets(range(len(part))), texts)
        assert name not in ("mixed", "autoencoder") or any(text.endswith("?") for text in texts)


def test_items_and_batches_are_those_of_a_set_without_teachers(dataset, cache):
    alone = create_dialogue_dataset(PAIRS, encoder=ENCODER, cache=cache)
    for ours, theirs in zip(dataset.loader(50, seed=1), alone.loader(50, seed=1), strict=True):
        assert len(ours) == 3
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_the_answers_first_spelling_is_taught_for_all(cache):
    pairs = [("Tell me of birch.", "A tree."), ("What is birch?", "A  TREE.")]
    found = create_dialogue_dataset(pairs, encoder=ENCODER, teachers=TEACHERS, cache=cache)
    assert_taught(found.teacher_targets([0, 1]), ["A tree.", "A tree."])


@pytest.mark.parametrize("mode", ["mean", "text"])
def test_contexts_are_of_the_questions_alone(cache, mode):
    chats = [[f"{a} {b}?", f"{a} {b} first.", f"Why {a} {b}?", f"{a} of {b}."] for a in WORDS for b in WORDS]
    found = create_conversation_dataset(
        chats, {"context": {"mode": mode}}, encoder=ENCODER, teachers=TEACHERS, cache=cache
    )
    assert found.input_rows.shape[1] == (3 if mode == "mean" else 1)
    assert_taught(found.teacher_targets([1, 20]), [found.dialogues[1].answer, found.dialogues[20].answer])


def test_texts_are_taught_too_and_names_are_teachers(cache, tmp_path):
    texts = [question for question, _ in PAIRS]
    dataset = create_text_dataset(texts, encoder=ENCODER, teachers=["hashing:48", TEACHERS[1]], cache=cache)
    assert_taught(dataset.teacher_targets([7, 3]), [texts[7], texts[3]])
    assert_taught(dataset.split().train.teacher_targets([0]), [texts_of(dataset.split().train)[0]])

    (tmp_path / "t.txt").write_text("\n".join(texts))
    config = DatasetConfig(path=str(tmp_path / "t.txt"))
    misses = cache.statistics.misses
    opened = open_dataset(config, "autoencoder", encoder=ENCODER, teachers=TEACHERS, cache=cache)
    assert_taught(opened.teacher_targets([9]), [texts[9]])
    assert cache.statistics.misses == misses, "a teacher's vectors come from the cache, as the encoder's do"


def assert_centred(dataset):
    """That the training part is taught the answers less the mean of its texts, as each teacher embeds them."""
    train = dataset.split().train
    asked = dict(zip(dataset.input_rows[:, 0].tolist(), dataset.dialogues, strict=True))
    dialogues = [asked[row] for row in train.input_rows[:, 0].tolist()]
    assert 20 < len(dialogues) < len(dataset)
    texts = sorted({text for d in dialogues for text in (d.question, d.answer)})
    for found, teacher in zip(train.teacher_targets(range(len(train))), TEACHERS, strict=True):
        wanted = teacher.encode([d.answer for d in dialogues]) - teacher.encode(texts).mean(axis=0)
        assert torch.allclose(found, torch.nn.functional.normalize(torch.from_numpy(wanted)), atol=1e-5)


def test_where_embeddings_are_centred_a_teachers_are_too(cache):
    assert_centred(create_dialogue_dataset(PAIRS, {"centre": True}, encoder=ENCODER, teachers=TEACHERS, cache=cache))


def test_vectors_are_put_where_the_data_set_has_its_own():
    teacher = ArrayVectors(np.arange(8, dtype=np.float32)[:, None])
    theirs = DialogueRows(np.array([[0], [1], [2], [3]]), np.array([4, 5, 6, 7]))
    ours = DialogueRows(np.array([[0], [2], [0], [1]]), np.array([3, 3, 5, 6]))
    found = aligned(teacher, theirs, ours, 8)
    assert (len(found), found.dim) == (8, 1)
    # Places 0 and 3 are there twice among theirs: the first counts. Nobody asks for 4 and 7.
    assert found.gather(np.array([0, 1, 2, 3, 5, 6])).ravel().tolist() == [0, 3, 1, 4, 6, 7]
    assert aligned(teacher, ours, ours, 8) is teacher


class Counted:
    """Vectors that say how many rows were asked for."""

    def __init__(self, array):
        self.inner, self.dim, self.asked = ArrayVectors(array), array.shape[1], 0

    def __len__(self):
        return len(self.inner)

    def gather(self, rows):
        self.asked += len(rows)
        return self.inner.gather(rows)


def test_only_the_rows_that_are_asked_for_are_read(tmp_path):
    np.save(tmp_path / "teacher.npy", 3 * np.random.default_rng(0).normal(size=(1000, 6)).astype(np.float16))
    teacher = Counted(np.load(tmp_path / "teacher.npy", mmap_mode="r"))
    vectors = ArrayVectors(np.random.default_rng(1).normal(size=(1000, 8)).astype(np.float32))
    rows = np.arange(500)
    data = PairDataset(vectors, rows, rows + 500, rows, teachers=[teacher])
    (found,) = data.subset(rows[::-1]).with_noise(NOISE, 0).teacher_targets([0, 9])
    assert teacher.asked == 2
    wanted = teacher.inner.gather(np.array([999, 990]))
    assert torch.allclose(found, torch.nn.functional.normalize(torch.from_numpy(wanted)), atol=1e-6)


def test_the_cache_is_read_row_by_row_for_teachers_as_well(dataset):
    from cubefast.data.cache.shards import CachedEmbeddings

    assert all(isinstance(teacher, CachedEmbeddings) for teacher in dataset.teachers)


def write_pairs(folder, pairs=PAIRS):
    (folder / "pairs.jsonl").write_text("\n".join(json.dumps({"question": q, "answer": a}) for q, a in pairs))
    return str(folder / "pairs.jsonl")


def write_vectors(folder, name, teacher, pairs=PAIRS):
    question, answer = (teacher.encode(list(texts)) for texts in zip(*pairs, strict=True))
    np.savez(folder / name, question=question, answer=answer)
    return str(folder / name)


def test_ready_vectors_are_teachers_too_for_texts_and_for_ready_vectors(tmp_path, cache):
    # The first answer comes again, and what the filter drops makes no row move.
    pairs = [*PAIRS[:20], ("x", "y"), ("And then?", PAIRS[0][1]), *PAIRS[20:]]
    files = [write_vectors(tmp_path, f"{teacher.dim}.npz", teacher, pairs) for teacher in TEACHERS]
    config = {"path": write_pairs(tmp_path, pairs), "teacher_vectors": files, "quality": {"min_chars": 3}}
    ready = {"vectors": write_vectors(tmp_path, "own.npz", ENCODER, pairs)}
    for given in (config, {**config, **ready}):
        dataset = create_dialogue_dataset(None, given, encoder=ENCODER, cache=cache)
        assert len(dataset) == len(PAIRS) + 1
        assert_taught(
            dataset.teacher_targets([0, 19, 20, 21]), [dataset.dialogues[row].answer for row in (0, 19, 20, 21)]
        )
        part = dataset.split("autoencoder").tests["unseen group"]
        assert_taught(part.teacher_targets(range(len(part))), texts_of(part))


def test_the_texts_beside_ready_vectors_are_encoded_for_the_teachers(tmp_path, cache):
    pairs = [("x", "y"), *PAIRS, ("And then?", PAIRS[0][1])]
    config = {
        "path": write_pairs(tmp_path, pairs),
        "vectors": write_vectors(tmp_path, "own.npz", ENCODER, pairs),
        "teacher_vectors": [write_vectors(tmp_path, "16.npz", TEACHERS[1], pairs)],
        "quality": {"min_chars": 3, "min_cosine": -1},
    }
    dataset = create_dialogue_dataset(None, config, teachers=TEACHERS[:1], cache=cache)
    assert_taught(dataset.teacher_targets(range(145)), [dialogue.answer for dialogue in dataset.dialogues])
    assert_centred(create_dialogue_dataset(None, {**config, "centre": True}, teachers=TEACHERS[:1], cache=cache))


def test_teachers_vectors_that_do_not_match_are_refused(tmp_path, cache):
    config = {"path": write_pairs(tmp_path), "teacher_vectors": [str(tmp_path / "t.npz")]}
    for pairs in (PAIRS[:-1], [*PAIRS, PAIRS[0]]):
        write_vectors(tmp_path, "t.npz", TEACHERS[0], pairs)
        with pytest.raises(InputError, match=rf"t.npz has {len(pairs)} rows, and .*pairs.jsonl has 144 records"):
            create_dialogue_dataset(None, config, encoder=ENCODER, cache=cache)
    write_vectors(tmp_path, "t.npz", TEACHERS[0])
    with pytest.raises(InputError, match="data.teacher_vectors has no embeddings of the turns before a question"):
        create_dialogue_dataset(None, {**config, "context": {"mode": "mean"}}, encoder=ENCODER, cache=cache)
    with pytest.raises(InputError, match="data.teacher_vectors are of questions and answers, and this data set has no"):
        create_text_dataset(["a", "b"], config, encoder=ENCODER, cache=cache)


def test_embeddings_without_texts_have_no_teachers(tmp_path):
    np.save(tmp_path / "v.npy", np.random.default_rng(1).normal(size=(20, 10)).astype(np.float32))
    with pytest.raises(InputError, match="v.npy holds embeddings, and teachers need the texts that they are of"):
        create_file_dataset(tmp_path / "v.npy", teachers=TEACHERS)
    with pytest.raises(InputError, match="data.teacher_vectors are of questions and answers"):
        create_file_dataset(tmp_path / "v.npy", {"teacher_vectors": ["t.npz"]})


def test_a_teacher_of_other_rows_is_refused():
    vectors, teacher = (ArrayVectors(np.ones((count, 3), np.float32)) for count in (10, 9))
    with pytest.raises(InputError, match="teacher 1 has 9 embeddings, and the data set has 10: they must match row"):
        AutoencoderDataset(vectors, teachers=[vectors, teacher])
