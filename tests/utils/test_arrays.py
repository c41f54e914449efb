"""What CubeTrainer.fit, CubicCore.transform and data sets take for arrays, and what they refuse in words."""

from decimal import Decimal

import numpy as np
import pytest
import torch

from cubefast import AutoencoderDataset, CubeTrainer, CubicCore, EmbeddingReshaper
from cubefast.data.embeddings.vectors import ArrayVectors
from cubefast.data.pairs import EmbeddingPairs
from cubefast.errors import InputError
from cubefast.utils.arrays import real_array, real_tensor, whole_numbers

X = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)


def column_of(rows):
    column = np.empty(len(rows), object)
    column[:] = rows
    return column


def frame():
    return pytest.importorskip("pandas").DataFrame(X)


def read_only():
    array = X.copy()
    array.flags.writeable = False
    return array


TAKEN = {
    "float32": lambda: X,
    "float64": lambda: X.astype(np.float64),
    "long double": lambda: X.astype(np.longdouble),
    "big-endian": lambda: X.astype(">f4"),
    "reversed": lambda: X[::-1][::-1],
    "reversed columns": lambda: np.ascontiguousarray(X[:, ::-1])[:, ::-1],
    "Fortran order": lambda: np.asfortranarray(X),
    "every other row": lambda: np.repeat(X, 2, axis=0)[::2],
    "read-only": read_only,
    "no mask": lambda: np.ma.masked_array(X),
    "matrix of objects": lambda: X.astype(object),
    "column of arrays": lambda: column_of(list(X)),
    "column of lists": lambda: column_of(X.tolist()),
    "list of lists": X.tolist,
    "list of arrays": lambda: list(X),
    "tuple of tensors": lambda: tuple(torch.from_numpy(X)),
    "generator": lambda: (row for row in X),
    "decimals": lambda: [[Decimal(float(x)) for x in row] for row in X],
    "data frame": frame,
    "tensor": lambda: torch.from_numpy(X),
    "float64 tensor": lambda: torch.from_numpy(X).double(),
    "tensor with a gradient": lambda: torch.from_numpy(X).requires_grad_(),
    "transposed tensor": lambda: torch.from_numpy(X.T.copy()).T,
    "sparse tensor": lambda: torch.from_numpy(X).to_sparse(),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_arrays_of_every_kind_give_the_same_pairs(kind):
    pairs = EmbeddingPairs.of(TAKEN[kind](), X)
    assert pairs.inputs.dtype == torch.float32
    assert torch.equal(pairs.inputs, torch.from_numpy(X))


@pytest.mark.parametrize("kind", [kind for kind in TAKEN if kind != "generator"])
def test_arrays_of_every_kind_are_transformed(kind):
    torch.manual_seed(0)
    core = CubicCore(8)
    assert np.array_equal(core.transform(TAKEN[kind]()), core.transform(X))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_taken_as_it_is(dtype):
    given = torch.from_numpy(X).to(dtype)
    assert torch.equal(EmbeddingPairs.of(given, X).inputs, given.float())
    assert CubicCore(8).transform(given).shape == X.shape


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (X + 1j * X, "inputs must be real numbers; got an array of complex64. Give the real parts"),
        (torch.from_numpy(X) + 1j, "inputs must be real numbers; got an array of complex"),
        (np.ma.masked_array(X, mask=X > 0), r"inputs: \d+ numbers are masked; fill or remove them"),
        (X.astype(str), "inputs must be real numbers; got an array of <U"),
        (X.astype("datetime64[s]"), "inputs must be real numbers; got an array of datetime64"),
        ([[1.0, 2.0], [3.0]], "inputs must be an array of numbers; got list"),
        (column_of([X[0], X[1, :3]]), "inputs must be numbers, in rows of one length"),
        (column_of(["a", None]), "inputs must be numbers, in rows of one length; got 'a'"),
        ({"a": 1}, "inputs must be numbers, in rows of one length; got {'a': 1}"),
        (None, "inputs must be numbers, in rows of one length|inputs must be"),
        (np.array([[1.0, np.inf]] * 6), "row 0 of inputs is NaN or Inf"),
        (np.array([[1.0, 1e300]] * 6), "row 0 of inputs is NaN or Inf"),
        (X[0], r"inputs must be \[n, D\]"),
        (np.zeros((2, 2), [("a", "f4")]), "inputs must be real numbers; got an array of"),
    ],
)
def test_what_is_no_array_of_real_numbers_is_refused_in_words(given, message):
    with pytest.raises(InputError, match=message):
        EmbeddingPairs.of(given, X)


@pytest.mark.parametrize(
    "ids",
    [
        np.arange(6),
        np.arange(6, dtype=np.uint64),
        np.arange(6, dtype=">i4"),
        np.arange(6.0),
        np.arange(6)[::-1][::-1],
        np.arange(6).astype(object),
        list(range(6)),
        range(6),
        torch.arange(6, dtype=torch.int32),
        (i for i in range(6)),
    ],
    ids=lambda ids: type(ids).__name__,
)
def test_ids_of_every_kind_are_taken(ids):
    assert whole_numbers("target_ids", ids).tolist() == list(range(6))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.arange(6) / 4, "must be whole numbers; got 0.25 among them. Number them, such as with numpy.unique"),
        (np.array([1, 2, np.nan, 4, 5, 6]), "got nan among them"),
        ([1, 2, np.inf, 4, 5, 6], "got inf among them"),
        (np.array(list("aabbcc")), "got 'a' among them"),
        ([1, "b", 3, 4, 5, 6], "got '1' among them"),
        (column_of([1, None, 3, 4, 5, 6]), "got None among them"),
        (np.arange(6) + 1j, "got 1j among them"),
        (np.full(6, 2**63, np.uint64), "got 9223372036854775808 among them"),
        (np.ma.masked_array(np.arange(6), mask=[1, 0, 0, 0, 0, 0]), "1 numbers are masked"),
        (np.arange(5), r"target_ids must be \[6\]; got \[5\]"),
        (np.arange(6)[:, None], r"target_ids must be \[6\]; got \[6, 1\]"),
    ],
    ids=str,
)
def test_ids_that_are_no_whole_numbers_are_refused_rather_than_cut(ids, message):
    with pytest.raises(InputError, match=message):
        EmbeddingPairs.of(X, X, ids)


def test_a_data_set_of_vectors_takes_and_refuses_the_same():
    reversed_rows = AutoencoderDataset(ArrayVectors(X[::-1]))
    assert torch.equal(reversed_rows.batch([0], noisy=False)[1][0], torch.from_numpy(X[-1] / np.linalg.norm(X[-1])))
    with pytest.raises(InputError, match="complex64"):
        ArrayVectors(X + 1j)
    with pytest.raises(InputError, match="are masked"):
        ArrayVectors(np.ma.masked_array(X, mask=X > 0))
    with pytest.raises(InputError, match=r"embeddings must be \[n, dim\]; got \[8\]"):
        ArrayVectors(X[0])


def test_a_reshaper_takes_arrays_of_every_order():
    reshaper = EmbeddingReshaper(8).fit(X.astype(">f8"))
    assert np.array_equal(reshaper.to_lattice(X[::-1]), reshaper.to_lattice(X)[::-1])
    lattice = reshaper.to_lattice(X)
    assert np.array_equal(reshaper.to_embedding(lattice[::-1]), reshaper.to_embedding(lattice)[::-1])


def test_an_array_is_not_copied_where_it_can_be_shared():
    assert real_array("x", X) is X
    assert real_tensor("x", X).data_ptr() == X.ctypes.data


def test_another_default_dtype_of_torch_changes_no_training():
    options = {
        "core": {"shape": [2, 2, 2], "prototypes": 4},
        "training": {"epochs": 1, "losses": {"hard_negatives": 2}},
    }
    pairs = np.random.default_rng(1).standard_normal((2, 60, 8))
    data = (pairs[0, :40], pairs[1, :40]), (pairs[0, 40:], pairs[1, 40:])
    usual = CubeTrainer(options).fit(*data)
    torch.set_default_dtype(torch.float64)
    try:
        trainer = CubeTrainer(options)
        found = trainer.fit(*data)
        trainer.evaluate(data[1])
        assert np.array_equal(found.core.transform(X), usual.core.transform(X))
        assert torch.get_default_dtype() == torch.float64, "which is left as it was"
    finally:
        torch.set_default_dtype(torch.float32)
    assert {parameter.dtype for parameter in found.core.parameters()} == {torch.float32}
