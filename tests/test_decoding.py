"""Embedding -> text: the exact search and what it costs, the approximate one, diversity, when it does not know."""

import sys
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cubefast import RetrievalDecoder, decoding
from cubefast.data.embeddings.vectors import ArrayVectors, StackedVectors
from cubefast.decoding import Answer, CalibratedThreshold, Decoder, calibrate_threshold
from cubefast.decoding.bank import Bank
from cubefast.decoding.search import ExactIndex
from cubefast.errors import InputError


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def unit(vectors):
    wide = np.asarray(vectors, np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def names(count):
    return [f"answer {i}" for i in range(count)]


def nearest_by_hand(bank, queries, count):
    """Rows by falling cosine in float64, of equal ones the lower first, and the cosines."""
    cosines = (unit(queries)[:, None] * unit(bank)[None]).sum(axis=2)
    rows = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    return rows, np.take_along_axis(cosines, rows, axis=1)


@pytest.mark.parametrize("lengths", ["unit", "any"])
@pytest.mark.parametrize("kind", ["array", "double", "tensor", "mapped", "vectors"])
def test_the_nearest_answers_of_any_kind_of_bank(tmp_path, kind, lengths):
    bank = random(500, 24) * np.linspace(0.1, 30, 500, dtype=np.float32)[:, None]
    if lengths == "unit":
        bank = unit(bank).astype(np.float32)
    queries = random(7, 24, seed=1)
    np.save(tmp_path / "bank.npy", bank)
    given = {
        "array": bank,
        "double": bank.astype(np.float64),
        "tensor": torch.from_numpy(bank),
        "mapped": np.load(tmp_path / "bank.npy", mmap_mode="r"),
        "vectors": StackedVectors((ArrayVectors(bank[:123]), ArrayVectors(bank[123:]))),
    }[kind]
    decoder: Decoder = RetrievalDecoder(names(500), given)
    found = decoder.decode(torch.from_numpy(queries), 10)
    rows, cosines = nearest_by_hand(bank, queries, 10)
    assert [[answer.text for answer in each] for each in found] == [[f"answer {i}" for i in each] for each in rows]
    np.testing.assert_allclose([[answer.score for answer in each] for each in found], cosines, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 3, 64, 1000])
def test_results_depend_on_no_chunk_and_the_first_of_equal_answers_comes_first(chunk):
    few = random(7, 33)
    noise = np.float32(1) + np.random.default_rng(1).integers(-2, 3, (600, 33)).astype(np.float32) * np.float32(2**-23)
    bank = few[np.random.default_rng(2).integers(0, 7, 600)]
    bank[300:] *= noise[300:]  # and rows that differ by a few bits
    queries = np.concatenate([few, random(3, 33, seed=3)])
    rows, cosines = ExactIndex(Bank(bank), chunk).search(unit(queries), 150)
    right_rows, right = nearest_by_hand(bank, queries, 150)
    np.testing.assert_allclose(cosines, right, atol=1e-15)
    whole = ExactIndex(Bank(bank), 600).search(unit(queries), 150)
    np.testing.assert_array_equal(rows, whole[0])
    np.testing.assert_array_equal(cosines, whole[1])
    equal = cosines[:, 1:] == cosines[:, :-1]
    assert equal.sum() > 100
    assert (np.diff(rows)[equal] > 0).all()
    assert (rows[:7, :5] == right_rows[:7, :5]).all()


def test_a_bank_in_which_every_answer_is_better_than_those_before_is_searched_right():
    turn = np.linspace(3, 0, 2000)
    bank = np.stack([np.cos(turn), np.sin(turn)], axis=1).astype(np.float32)
    rows, _ = ExactIndex(Bank(bank), 50).search(np.array([[1.0, 0.0]]), 4)
    assert rows.tolist() == [[1999, 1998, 1997, 1996]]


def test_a_query_gets_the_same_bits_alone_and_among_many():
    decoder = RetrievalDecoder(names(3000), random(3000, 48))
    queries = random(600, 48, seed=1)
    together = decoder.decode(queries, 5)
    for i in (0, 63, 64, 599):
        assert decoder.decode(queries[i : i + 1], 5) == [together[i]]


def test_memory_is_bounded_by_a_chunk_not_by_the_bank(tmp_path):
    np.save(tmp_path / "bank.npy", random(120_000, 64) * 3)  # 31 MB, not of unit length
    bank = np.load(tmp_path / "bank.npy", mmap_mode="r")
    answers = names(len(bank))
    tracemalloc.start()
    try:
        decoder = RetrievalDecoder(answers, bank)
        made = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        decoder.decode(random(1, 64), 10)
        one = tracemalloc.get_traced_memory()[1] - before
        decoder.decode(random(600, 64), 10)
        many = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert made < 6e6, "the lengths, the list of texts, and a few chunks"
    assert one < 1e6
    assert many < 64e6, "64 queries and 65,536 rows at a time"


def test_a_row_of_zeros_is_like_nothing():
    bank = np.array([[0, 0], [1, 0], [-1, 0]], np.float32)
    assert RetrievalDecoder(["zero", "right", "left"], bank).decode(np.array([[2.0, 0]]), 3) == [
        [Answer("right", 1.0), Answer("zero", 0.0), Answer("left", -1.0)]
    ]


def test_more_answers_than_there_are_and_no_questions():
    decoder = RetrievalDecoder(names(3), np.eye(3, dtype=np.float32))
    assert len(decoder.decode(np.ones((1, 3)), 9)[0]) == 3
    assert decoder.decode(np.ones((0, 3)), 9) == []


@pytest.mark.parametrize(
    ("texts", "vectors", "options", "message"),
    [
        ([], np.ones((0, 2)), {}, "at least one answer and a vector"),
        (["a"], np.ones((2, 2)), {}, "got 1 answers and 2 vectors"),
        (["a", "b"], np.ones(2), {}, r"must be \[n, D\]; got \[2\]"),
        (["a", "b"], np.array([[1, 0], [np.nan, 0]]), {}, "row 1 of a bank's vectors is NaN or Inf"),
        (["a"], np.ones((1, 2)), {"mmr": 1.5}, "mmr must be a number from 0 to 1, or None; got 1.5"),
        (["a"], np.ones((1, 2)), {"threshold": float("nan")}, "threshold must be a cosine, or None"),
        (
            ["a"],
            np.ones((1, 2)),
            {"handicap": np.ones(2)},
            "handicap must be a finite number for each of the 1 answers; got 2",
        ),
        (
            ["a"],
            np.ones((1, 2)),
            {"handicap": np.array([np.nan])},
            "handicap must be a finite number for each of the 1 answers; got NaN or Inf among them",
        ),
        (["a"], np.ones((1, 2)), {"index": "faiss"}, "index must be exact or usearch; got 'faiss'"),
    ],
)
def test_a_bank_that_cannot_be_is_refused(texts, vectors, options, message):
    with pytest.raises(InputError, match=message):
        RetrievalDecoder(texts, vectors, **options)


@pytest.mark.parametrize(
    ("embeddings", "count", "message"),
    [
        (np.ones((1, 3)), 5, r"embeddings must be \[n, 2\]; got \[1, 3\]"),
        (torch.ones(2), 5, r"embeddings must be \[n, 2\]; got \[2\]"),
        (np.array([[1, 0], [np.inf, 0]]), 5, "embedding 1 is NaN or Inf"),
        (np.ones((1, 2)), 0, "count must be at least 1; got 0"),
    ],
)
def test_embeddings_that_cannot_be_asked_with_are_refused(embeddings, count, message):
    with pytest.raises(InputError, match=message):
        RetrievalDecoder(["a"], np.ones((1, 2))).decode(embeddings, count)


def test_marginal_relevance_takes_the_second_best_that_is_different():
    # Cosines to the query (1, 0): 0.8, 0.6, 0.28. The first two are alike (0.96), the third is unlike both.
    bank = np.array([[0.8, 0.6], [0.6, 0.8], [0.28, -0.96]])
    query = np.array([[1.0, 0.0]])

    def order(mmr):
        return [answer.text for answer in RetrievalDecoder(["a", "b", "c"], bank, mmr=mmr).decode(query, 3)[0]]

    # Second place: b 0.6 L - 0.96 (1 - L), c 0.28 L + 0.352 (1 - L); they are equal at L = 1.312 / 1.632 = 0.804.
    assert order(None) == order(1) == order(0.81) == ["a", "b", "c"]
    assert order(0.8) == order(0) == ["a", "c", "b"]
    found = RetrievalDecoder(["a", "b", "c"], bank, mmr=0.5).decode(query, 2)[0]
    assert [answer.score for answer in found] == pytest.approx([0.8, 0.28]), "scores are still the cosines"


def test_marginal_relevance_of_1_is_the_plain_order_with_a_handicap_too():
    vectors, queries = np.random.default_rng(0).standard_normal((2, 30, 8))
    options = {"handicap": np.where(np.arange(30) % 3 == 0, 0.3, 0.0)}
    plain = RetrievalDecoder(names(30), vectors, **options).decode(queries, 5)
    assert RetrievalDecoder(names(30), vectors, mmr=1.0, fetch=20, **options).decode(queries, 5) == plain


@pytest.mark.parametrize("mmr", [0.0, 0.3, 0.7])
def test_marginal_relevance_is_its_formula(mmr):
    bank, query = random(30, 4), random(1, 4, seed=1)
    to_query, alike = (unit(bank) @ unit(query).T)[:, 0], unit(bank) @ unit(bank).T
    left = list(np.argsort(-to_query)[:20])
    taken = [left.pop(0)]
    while len(taken) < 12:
        best = max(left, key=lambda d: mmr * to_query[d] - (1 - mmr) * max(alike[d, e] for e in taken))
        left.remove(best)
        taken.append(best)
    found = RetrievalDecoder(names(30), bank, mmr=mmr, fetch=20).decode(query, 12)[0]
    assert [answer.text for answer in found] == [f"answer {i}" for i in taken]


def test_marginal_relevance_chooses_among_the_nearest_only():
    bank = np.array([[1, 0.1], [1, 0.2], [1, 0.3], [0.1, -1]])
    query = np.array([[1.0, 0.0]])
    assert [a.text for a in RetrievalDecoder(names(4), bank, mmr=0.1, fetch=3).decode(query, 2)[0]] == [
        "answer 0",
        "answer 2",
    ]
    assert RetrievalDecoder(names(4), bank, mmr=0.1).decode(query, 2)[0][1].text == "answer 3"


@pytest.mark.parametrize("lengths", ["unit", "any"])
def test_a_handicap_changes_the_order_and_not_the_scores(lengths):
    vectors = unit(random(500, 12)) if lengths == "unit" else random(500, 12)
    queries = unit(random(20, 12, seed=1))
    handicap = np.where(np.arange(500) % 3 == 0, 0.2, 0.0)
    rows, scores = RetrievalDecoder(names(500), vectors, handicap=handicap).nearest(queries, 7)
    cosines = queries @ unit(vectors).T
    wanted = np.argsort(-(cosines - handicap), axis=1, kind="stable")[:, :7]
    assert (rows == wanted).all()
    assert np.allclose(scores, np.take_along_axis(cosines, wanted, axis=1), atol=1e-6)
    assert (rows != RetrievalDecoder(names(500), vectors).nearest(queries, 7)[0]).any()


def test_below_the_threshold_it_does_not_know():
    bank = np.eye(2)
    decoder = RetrievalDecoder(["x", "y"], bank, threshold=0.8)
    known, at, unknown = decoder.decode(np.array([[1.0, 0.1], [0.8, 0.6], [1.0, 1.0]]), 2)
    assert [answer.text for answer in known] == ["x", "y"], "the threshold is for the nearest alone"
    assert [answer.text for answer in at] == ["x", "y"]
    assert unknown == []


def test_calibration_takes_the_lowest_threshold_that_is_right_often_enough():
    scores = [0.9, 0.8, 0.7, 0.6, 0.5]
    correct = [True, True, False, True, False]
    # Right among those from each score up: 1/1, 2/2, 2/3, 3/4, 3/5.
    assert calibrate_threshold(scores, correct, 1.0) == CalibratedThreshold(0.8, 1.0, 1.0, 0.4, 5)
    assert calibrate_threshold(scores, correct, 0.7) == CalibratedThreshold(0.6, 0.7, 0.75, 0.8, 5)
    assert calibrate_threshold(scores[::-1], correct[::-1], 0.6) == CalibratedThreshold(0.5, 0.6, 0.6, 1.0, 5)


def test_the_interval_is_wilsons_and_narrows_with_the_number_of_answers():
    # 90 right of 100: Wilson's interval is 0.8256 to 0.9448.
    assert CalibratedThreshold(0.5, 0.9, 0.9, 0.5, 200).interval == pytest.approx((0.8256, 0.9448), abs=1e-4)
    few, many = (CalibratedThreshold(0.5, 0.9, 1.0, 1.0, n).interval for n in (5, 500))
    assert few == pytest.approx((0.5655, 1.0), abs=1e-4)
    assert many[0] > 0.99
    assert CalibratedThreshold(None, 0.9, None, 0.0, 5).interval is None
    assert "90% of those rightly (95% interval 83% to 94%)" in CalibratedThreshold(0.5, 0.9, 0.9, 0.5, 200).describe()


def test_equal_scores_are_answered_all_or_none():
    assert calibrate_threshold([0.9, 0.5, 0.5, 0.5], [True, True, True, False], 0.9).threshold == 0.9
    assert calibrate_threshold([0.5, 0.5], [True, False], 0.9) == CalibratedThreshold(None, 0.9, None, 0.0, 2)


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=30), st.sampled_from([0.5, 0.9, 1.0]))
def test_calibration_is_what_trying_every_threshold_finds(questions, precision):
    scores = np.array([score / 8 for score, _ in questions])
    correct = np.array([right for _, right in questions])
    good = [t for t in np.unique(scores) if correct[scores >= t].mean() >= precision]
    found = calibrate_threshold(scores, correct, precision)
    assert found.threshold == (min(good) if good else None)
    if good:
        answered = scores >= found.threshold
        assert (found.right, found.answered) == (correct[answered].mean(), answered.mean())


@pytest.mark.parametrize(
    ("scores", "correct", "precision", "message"),
    [
        ([], [], 0.9, "at least one score"),
        ([0.5], [True, False], 0.9, r"scores \[1\] \(0 NaN\) and correct \[2\]"),
        ([float("nan")], [True], 0.9, "1 NaN"),
        ([0.5], [True], 0, "precision must be more than 0 and at most 1; got 0"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(scores, correct, precision, message):
    with pytest.raises(InputError, match=message):
        calibrate_threshold(scores, correct, precision)


def test_usearch_takes_a_handicap_too():
    pytest.importorskip("usearch")
    vectors, queries = unit(random(300, 12)), unit(random(5, 12, seed=1))
    handicap = np.full(300, 0.1)
    rows, scores = RetrievalDecoder(names(300), vectors, index="usearch", handicap=handicap).nearest(queries, 3)
    assert np.allclose(scores, np.take_along_axis(queries @ vectors.T, rows, axis=1), atol=1e-6)
    assert (np.diff(scores, axis=1) <= 0).all()


def test_usearch_finds_most_of_what_the_exact_search_finds_with_the_same_scores():
    centres = random(40, 32)
    bank = np.repeat(centres, 50, axis=0) + 0.3 * random(2000, 32, seed=1)
    queries = centres + 0.3 * random(40, 32, seed=2)
    exact = RetrievalDecoder(names(2000), bank)
    fast = RetrievalDecoder(names(2000), bank, index="usearch")
    recall = fast.recall_against_exact(queries, 10)
    assert 0.9 < recall <= 1
    assert exact.recall_against_exact(queries, 10) == 1
    found = [set(each) for each in fast.decode(queries, 10)]
    right = [set(each) for each in exact.decode(queries, 10)]
    assert np.mean([len(a & b) / 10 for a, b in zip(found, right, strict=True)]) == pytest.approx(recall)
    scores = [answer.score for answer in fast.decode(queries[:1], 10)[0]]
    assert scores == sorted(scores, reverse=True)


def test_recall_counts_what_is_missed():
    decoder = RetrievalDecoder(names(4), np.eye(4))

    class Misses:
        def search(self, queries, count):
            return np.array([[0, 2]]), np.array([[1.0, 0.0]])

    decoder._index = Misses()
    assert decoder.recall_against_exact(np.array([[2.0, 1.0, 0.0, 0.0]]), 2) == 0.5
    with pytest.raises(InputError, match="a recall needs at least one embedding"):
        RetrievalDecoder(names(4), np.eye(4)).recall_against_exact(np.ones((0, 4)))


def test_a_missing_usearch_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "usearch", None)
    with pytest.raises(InputError, match=r"pip install 'cubefast\[ann\]'"):
        RetrievalDecoder(["a"], np.ones((1, 2)), index="usearch")


def test_the_old_name_of_a_calibrated_threshold_still_works_and_says_the_new_one():
    with pytest.warns(DeprecationWarning, match="cubefast.decoding.Calibration is now CalibratedThreshold"):
        assert decoding.Calibration is CalibratedThreshold
