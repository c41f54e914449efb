import contextlib
import io
import os
import struct
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors.torch import save_file

from cubefast.data.embeddings.embedding_loader import EmbeddingLoader, is_embedding_file
from cubefast.data.embeddings.vectors import CHUNK, ArrayVectors
from cubefast.errors import InputError

VECTORS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
MAPS = Path("/proc/self/maps")
KEYS = ["the", ". . .", "at name@domain.com", "Zürich\u2028", "1999"]


def write_text(path, vectors, keys, *, header, end="\n"):
    rows = [f"{key} {' '.join(repr(float(x)) for x in row)}{end}" for key, row in zip(keys, vectors, strict=True)]
    path.write_bytes((f"{len(vectors)} {vectors.shape[1]}{end}" * header + "".join(rows)).encode())


def write_binary(path, vectors, keys, *, end=b""):
    rows = [key.encode() + b" " + row.astype("<f4").tobytes() + end for key, row in zip(keys, vectors, strict=True)]
    path.write_bytes(f"{len(vectors)} {vectors.shape[1]}\n".encode() + b"".join(rows))


def write_parquet(path, **columns):
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def write(path, vectors, keys):
    """In the format of the suffix; the keys where it has some."""
    if path.suffix == ".npy":
        np.save(path, vectors)
    elif path.suffix == ".npz":
        np.savez(path, vectors=vectors)
    elif path.suffix in (".pt", ".pth"):
        torch.save(torch.from_numpy(vectors.copy()), path)
    elif path.suffix == ".safetensors":
        save_file({"vectors": torch.from_numpy(vectors.copy())}, path)
    elif path.suffix == ".parquet":
        write_parquet(path, vectors=list(vectors))
    elif path.suffix == ".bin":
        write_binary(path, vectors, keys)
    else:
        write_text(path, vectors, keys, header=path.suffix == ".vec")
    return path


SUFFIXES = [".npy", ".npz", ".pt", ".pth", ".safetensors", ".parquet", ".vec", ".bin", ".glove", ".txt"]
WITH_KEYS = [".vec", ".bin", ".glove", ".txt"]


def told(path, message, **load):
    """The error of loading ``path``, without the path in front, is ``message``."""
    arguments = {key: load.pop(key) for key in ("format", "dim", "keys") if key in load}
    with pytest.raises(InputError) as error:
        EmbeddingLoader(path, **arguments).load(**load)
    assert str(error.value).replace(str(path), "PATH", 1) == message


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_loaded_is_what_was_written(tmp_path, suffix):
    keys = [key.replace(" ", "_") for key in KEYS] if suffix == ".bin" else KEYS
    loaded = EmbeddingLoader(write(tmp_path / f"a{suffix}", VECTORS, keys), dim=3).load()
    np.testing.assert_array_equal(loaded.vectors, VECTORS)
    assert loaded.vectors.dtype == np.float32
    assert loaded.keys == (keys if suffix in WITH_KEYS else None)


numbers = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False)
tables = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=numbers)


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=25, deadline=None)
@given(vectors=tables, data=st.data())
def test_any_finite_table_comes_back_as_it_was(tmp_path_factory, suffix, vectors, data):
    vectors[:, 0] = np.where(vectors.any(axis=1), vectors[:, 0], 1)
    letters = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=" \r\n"), min_size=1)
    keys = data.draw(st.lists(letters, min_size=len(vectors), max_size=len(vectors), unique=True))
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    # A GloVe file whose one number per row and key are digits reads like word2vec's header; its format is said.
    loaded = EmbeddingLoader(write(path, vectors, keys), format="glove" if suffix == ".txt" else None).load()
    np.testing.assert_array_equal(loaded.vectors, vectors)
    if suffix in WITH_KEYS:
        assert loaded.keys == keys


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4", np.int8])
def test_other_types_of_numbers_become_float32(tmp_path, dtype):
    vectors = (VECTORS * 10).astype(dtype)
    torch_vectors = torch.from_numpy(vectors.astype(vectors.dtype.newbyteorder("=")))
    np.save(tmp_path / "a.npy", vectors)
    np.savez_compressed(tmp_path / "a.npz", a=vectors)
    torch.save(torch_vectors, tmp_path / "a.pt")
    save_file({"a": torch_vectors}, tmp_path / "a.safetensors")
    for name in ("a.npy", "a.npz", "a.pt", "a.safetensors"):
        loaded = ArrayVectors(EmbeddingLoader(tmp_path / name).load().vectors).gather(np.arange(5))
        assert loaded.dtype == np.float32
        np.testing.assert_array_equal(loaded, vectors.astype(np.float32))


def test_bfloat16_becomes_float32(tmp_path):
    tensor = torch.from_numpy(VECTORS).bfloat16()
    torch.save(tensor.requires_grad_(), tmp_path / "a.pt")
    save_file({"a": tensor.detach()}, tmp_path / "a.safetensors")
    for name in ("a.pt", "a.safetensors"):
        loaded = EmbeddingLoader(tmp_path / name).load().vectors
        assert loaded.dtype == np.float32
        np.testing.assert_array_equal(loaded, tensor.detach().float().numpy())


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_npy_stays_a_map_of_the_file(tmp_path, dtype):
    np.save(tmp_path / "a.npy", np.asfortranarray(VECTORS.astype(dtype)))
    loaded = EmbeddingLoader(tmp_path / "a.npy").load().vectors
    assert isinstance(loaded, np.memmap)
    assert loaded.dtype == dtype


@pytest.mark.skipif(not MAPS.exists(), reason="what a process has mapped is told by Linux")
def test_safetensors_stay_a_map_of_the_file(tmp_path):
    save_file({"a": torch.ones(CHUNK, 1024)}, tmp_path / "a.safetensors")  # 16 MB
    loaded = EmbeddingLoader(tmp_path / "a.safetensors").load().vectors
    assert str(tmp_path / "a.safetensors") in MAPS.read_text()
    assert loaded.shape == (CHUNK, 1024)


@pytest.mark.parametrize("suffix", [".npz", ".pt", ".safetensors"])
def test_one_of_several_arrays_is_chosen_by_its_name(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    several = {"question": VECTORS, "answer": -VECTORS}
    if suffix == ".npz":
        np.savez(path, **several)
    else:
        tensors = {name: torch.from_numpy(array) for name, array in several.items()}
        torch.save(tensors, path) if suffix == ".pt" else save_file(tensors, path)
    loader = EmbeddingLoader(path)
    assert sorted(loader.names()) == ["answer", "question"]
    np.testing.assert_array_equal(loader.load(array="answer").vectors, -VECTORS)
    np.testing.assert_array_equal(loader.load(array="question").vectors, VECTORS)
    names = ", ".join(loader.names())
    told(path, f"PATH holds 2 arrays ({names}); choose one with array=NAME")
    told(path, f"PATH holds no array 'other'; it holds {names}", array="other")


def test_a_file_of_one_array_needs_no_name(tmp_path):
    assert EmbeddingLoader(write(tmp_path / "a.npy", VECTORS, KEYS)).names() == []
    assert EmbeddingLoader(write(tmp_path / "a.npz", VECTORS, KEYS)).names() == ["vectors"]
    assert EmbeddingLoader(write(tmp_path / "a.pt", VECTORS, KEYS)).names() == ["tensor"]
    told(tmp_path / "a.npy", "PATH: npy holds one array, without a name; leave array='a' out", array="a")


@pytest.mark.parametrize("end", ["\n", " \n", "\r\n"])
@pytest.mark.parametrize("header", [True, False])
def test_a_txt_is_word2vec_or_glove_by_its_first_line(tmp_path, header, end):
    write_text(tmp_path / "a.txt", VECTORS, KEYS, header=header, end=end)
    loaded = EmbeddingLoader(tmp_path / "a.txt").load()
    assert loaded.keys == KEYS
    np.testing.assert_array_equal(loaded.vectors, VECTORS)


def test_the_last_line_needs_no_newline(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"a 1 2\nb 3 4")
    np.testing.assert_array_equal(EmbeddingLoader(tmp_path / "a.txt").load().vectors, [[1, 2], [3, 4]])


def test_word2vec_binary_with_newlines_between_rows(tmp_path):
    write_binary(tmp_path / "a.bin", VECTORS, "abcde", end=b"\n")
    loaded = EmbeddingLoader(tmp_path / "a.bin").load()
    assert loaded.keys == list("abcde")
    np.testing.assert_array_equal(loaded.vectors, VECTORS)


def test_the_format_may_be_said(tmp_path):
    path = write(tmp_path / "a.npy", VECTORS, KEYS).rename(tmp_path / "a.data")
    np.testing.assert_array_equal(EmbeddingLoader(path, format="npy").load().vectors, VECTORS)
    known = "npy, npz, torch, safetensors, parquet, word2vec, word2vec-binary, glove, text"
    told(path, f"format must be one of {known}; got 'numpy'", format="numpy")
    told(
        path,
        "PATH: no format of embeddings has the suffix '.data'; known are .npy, .npz, .pt, .pth, .safetensors, "
        f".parquet, .vec, .bin, .glove, .txt. Else give format=, one of {known}",
    )


def test_a_text_is_not_taken_for_embeddings():
    assert [is_embedding_file(f"a{suffix}") for suffix in (".npy", ".BIN", ".pt", ".txt", ".jsonl", "")] == [
        *(True, True, True),
        *(False, False, False),
    ]


def test_keys_from_a_file(tmp_path):
    path = write(tmp_path / "a.npy", VECTORS, KEYS)
    keys = tmp_path / "keys.txt"
    keys.write_text("\n".join(KEYS) + "\n", "utf-8")
    assert EmbeddingLoader(path, keys=keys).load().keys == KEYS
    keys.write_text("a\nb\n")
    told(path, f"keys {keys} has 2 lines, but PATH has 5 rows; give a line per row", keys=keys)
    keys.write_bytes(b"a\nb\n\xff\nd\ne\n")
    told(path, rf"{keys}: line 3: the key b'\xff' is not UTF-8; convert the file to UTF-8", keys=keys)
    keys.write_text("a\nb\nc\nb\ne\n")
    told(path, "PATH: row 1 (key 'b') and row 3 (key 'b') have the same key; remove one", keys=keys)
    keys.write_text("a\n\nc\nd\ne\n")
    told(path, "PATH: row 1 (key '') has an empty key", keys=keys)
    missing = tmp_path / "no.txt"
    told(
        path,
        f"keys {missing} cannot be read: No such file or directory. Give a text file, a key per line",
        keys=missing,
    )
    told(tmp_path / "a.vec", f"PATH: word2vec holds its keys itself; leave keys={str(keys)!r} out", keys=keys)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_wrong_dim_is_told(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", VECTORS, "abcde")
    told(path, "PATH: its rows have 3 numbers, but dim=4 is wanted", dim=4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_row_that_is_not_finite_is_told(tmp_path, suffix, value):
    vectors = VECTORS.copy()
    vectors[3, 1] = value
    path = write(tmp_path / f"a{suffix}", vectors, "abcde")
    line = {".vec": "line 5, ", ".glove": "line 4, ", ".txt": "line 4, "}.get(suffix, "")
    key = f" ({line}key 'd')" if suffix in WITH_KEYS else ""
    told(path, f"PATH: row 3{key} holds {value} in float32; every number must be finite, remove the row")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_row_of_zeros_is_told(tmp_path, suffix):
    vectors = VECTORS.copy()
    vectors[4] = [0, -0.0, 0]
    path = write(tmp_path / f"a{suffix}", vectors, "abcde")
    line = {".vec": "line 6, ", ".glove": "line 5, ", ".txt": "line 5, "}.get(suffix, "")
    key = f" ({line}key 'e')" if suffix in WITH_KEYS else ""
    told(path, f"PATH: row 4{key} is all zeros; such a vector has no direction, remove it")


def test_rows_are_counted_through_all_chunks(tmp_path):
    vectors = np.ones((2 * CHUNK + 10, 2), np.float16)
    vectors[CHUNK + 7] = 0
    told(write(tmp_path / "a.npy", vectors, None), f"PATH: row {CHUNK + 7} is all zeros; such a vector has no "
         "direction, remove it")  # fmt: skip
    vectors[2 * CHUNK + 9] = np.nan
    vectors[CHUNK + 7] = 1
    told(write(tmp_path / "a.npy", vectors, None), f"PATH: row {2 * CHUNK + 9} holds nan in float32; every number "
         "must be finite, remove the row")  # fmt: skip


@pytest.mark.parametrize("suffix", [".npy", ".pt"])
def test_a_number_too_large_for_float32_is_told(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", np.array([[1.0, 2.0], [1e60, 1.0]]), None)
    told(path, "PATH: row 1 holds inf in float32; every number must be finite, remove the row")


def test_a_number_too_large_for_float32_in_a_text_is_told(tmp_path):
    (tmp_path / "a.txt").write_text("a 1 2\nb 1e60 1\n")
    told(
        tmp_path / "a.txt",
        "PATH: row 1 (line 2, key 'b') holds inf in float32; every number must be finite, remove the row",
    )


@pytest.mark.parametrize(("suffix", "places"), [(".vec", ("line 3, ", "line 6, ")), (".bin", ("", ""))])
def test_a_key_that_comes_twice_is_told(tmp_path, suffix, places):
    path = write(tmp_path / f"a{suffix}", VECTORS, "abcdb")
    first, second = places
    told(path, f"PATH: row 1 ({first}key 'b') and row 4 ({second}key 'b') have the same key; remove one")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".safetensors"])
@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.ones(4, np.float32), "PATH: embeddings must have the shape [rows, dim]; got [4]"),
        (np.ones((2, 2, 2), np.float32), "PATH: embeddings must have the shape [rows, dim]; got [2, 2, 2]"),
        (np.ones((0, 3), np.float32), "PATH holds no numbers: its shape is [0, 3]"),
        (np.ones((3, 0), np.float32), "PATH holds no numbers: its shape is [3, 0]"),
        (np.ones((2, 2), bool), "PATH: embeddings must be numbers; got the type bool"),
        (np.ones((2, 2), np.complex64), "PATH: embeddings must be numbers; got the type complex64"),
    ],
)
def test_what_is_no_table_of_numbers_is_told(tmp_path, suffix, vectors, message):
    told(write(tmp_path / f"a{suffix}", vectors, None), message)


def test_an_array_of_texts_is_told(tmp_path):
    told(write(tmp_path / "a.npy", np.array([["a"]]), None), "PATH: embeddings must be numbers; got the type <U1")
    told(write(tmp_path / "a.npz", np.array([["a"]]), None), "PATH: embeddings must be numbers; got the type <U1")


@pytest.mark.parametrize(
    ("suffix", "reason", "expected"),
    [
        (".npy", "as npy: Array can't be memory-mapped: Python objects in dtype", "numpy.save(path, array)"),
        (".npz", "as npz: Object arrays cannot be loaded when allow_pickle=False", "numpy.savez(path, name=array)"),
    ],
)
def test_an_array_of_objects_is_refused(tmp_path, suffix, reason, expected):
    path = write(tmp_path / f"a{suffix}", np.array([[1, None]], dtype=object), None)
    told(
        path,
        f"PATH cannot be read {reason}. Expected: {expected}. For a file in another format give format=",
    )


class Trap:
    def __reduce__(self):
        return exec, ("raise SystemExit('code of a file was run')",)


def test_a_torch_file_with_code_is_refused(tmp_path):
    torch.save(Trap(), tmp_path / "a.pt")
    told(
        tmp_path / "a.pt",
        "PATH holds more than tensors, which could run code when loaded, or is damaged; write it again with "
        "torch.save(tensor or dict of tensors, path)",
    )


@pytest.mark.parametrize(("content", "kind"), [([torch.ones(2, 2)], "list"), ({"a": 1}, "dict"), ({}, "dict")])
def test_a_torch_file_of_something_else_is_told(tmp_path, content, kind):
    torch.save(content, tmp_path / "a.pt")
    told(tmp_path / "a.pt", f"PATH must hold a tensor or a dict of tensors; got {kind}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_empty_file_is_told(tmp_path, suffix):
    (tmp_path / f"a{suffix}").touch()
    told(tmp_path / f"a{suffix}", "PATH is empty. Give a file of embeddings")


def test_no_file_and_a_folder_are_told(tmp_path):
    told(tmp_path / "a.npy", "PATH: no such file. Give a file of embeddings")
    (tmp_path / "a.vec").mkdir()
    told(tmp_path / "a.vec", "PATH: is a folder. Give a file of embeddings")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".safetensors", ".vec", ".bin"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.97])
def test_a_truncated_file_is_told(tmp_path, suffix, part):
    vectors = np.random.default_rng(1).normal(size=(300, 16)).astype(np.float32)
    path = write(tmp_path / f"a{suffix}", vectors, [f"key-{i}" for i in range(300)])
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(InputError, match=r"cannot be read as|is damaged|the header says \d+") as error:
        EmbeddingLoader(path).load()
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=40, deadline=None)
@given(data=st.binary(min_size=1, max_size=200))
def test_any_bytes_load_or_are_told(tmp_path_factory, suffix, data):
    path = tmp_path_factory.getbasetemp() / f"bytes{suffix}"
    path.write_bytes(data)
    with contextlib.suppress(InputError):
        EmbeddingLoader(path).load()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.vec", b"2 2\na 1 2\nb 3\n", "line 3 (row 1) ends in 1 numbers after its key, but the header says 2"),
        ("a.vec", b"2 2\na 1 2\nb 3 4 5\n", "line 3 (row 1) ends in 3 numbers after its key, but the header says 2"),
        ("a.glove", b"a 1 2\nb 3\n", "line 2 (row 1) ends in 1 numbers after its key, but the first row has 2"),
        ("a.glove", b"a 1 2\nb 3 4 5\n", "line 2 (row 1) ends in 3 numbers after its key, but the first row has 2"),
        ("a.glove", b"a 1 2\nb c x 4\n", "line 2 (row 1) ends in 1 numbers after its key, but the first row has 2"),
        ("a.glove", b"a 1 2\n\nb 3 4\n", "line 2 (row 1) ends in 0 numbers after its key, but the first row has 2"),
        ("a.glove", b"only words\n", "line 1 (row 0) ends in 0 numbers after its key, but a row has some"),
        ("a.glove", b"a 1 2\n\xff 3 4\n", r"line 2: the key b'\xff' is not UTF-8; convert the file to UTF-8"),
        ("a.vec", b"1 2\n\xe9t 3 4\n", r"line 2: the key b'\xe9t' is not UTF-8; convert the file to UTF-8"),
        ("a.vec", b"3 2\na 1 2\nb 3 4\n", "the header says 3 rows, but there are 2; it may be truncated"),
        ("a.vec", b"1 2\na 1 2\nb 3 4\n", "the header says 1 rows, but there are 2; it may be truncated"),
        ("a.vec", b"a 1 2\n", "the first line must be 'ROWS DIM', as in '400000 300'; got b'a 1 2'"),
        ("a.vec", b"0 2\n", "the first line must be 'ROWS DIM', as in '400000 300'; got b'0 2'"),
        ("a.vec", b"1 2\n 1 2\n", "row 0 (line 2, key '') has an empty key"),
        ("a.bin", b"a 1 2\n", r"the first line must be 'ROWS DIM', as in '400000 300'; got b'a 1 2\n'"),
        (
            "a.bin",
            b"9999999999 300\na ",
            "the header says 9999999999 rows of 300 numbers, but 17 bytes cannot hold them; it may be truncated",
        ),
    ],
)
def test_a_wrong_line_is_told(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    told(tmp_path / name, f"PATH: {message}")


def test_a_wrong_word2vec_binary_is_told(tmp_path):
    row = struct.pack("<2f", 1, 2)
    for content, message in [
        (b"2 2\na " + row + b"\xff " + row, r"row 1: the key b'\xff' is not UTF-8; convert the file to UTF-8"),
        (b"1 2\na " + row + b"b " + row, "the header says 1 rows, but 10 bytes follow them"),
        (b"2 2\nlong " + row + b"b " + row[:-1], "the header says 2 rows, but the file ends in row 1"),
    ]:
        (tmp_path / "a.bin").write_bytes(content)
        told(tmp_path / "a.bin", f"PATH: {message}")


def test_a_damaged_npz_is_told(tmp_path):
    memory = io.BytesIO()
    np.savez_compressed(memory, a=VECTORS)
    content = bytearray(memory.getvalue())
    content[60] ^= 255
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz cannot be read as npz: .*Expected: numpy\.savez"):
        EmbeddingLoader(tmp_path / "a.npz").load()


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    for name, content in {"a.glove": "a 1 2\nb 3 4\n", "a.vec": "2 2\na 1 2\nb 3 4\n"}.items():
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + content.encode())
        assert EmbeddingLoader(tmp_path / name).load().keys == ["a", "b"]
    np.save(tmp_path / "a.npy", np.ones((2, 2), np.float32))
    (tmp_path / "keys.txt").write_bytes(b"\xef\xbb\xbfa\nb\n")
    assert EmbeddingLoader(tmp_path / "a.npy", keys=tmp_path / "keys.txt").load().keys == ["a", "b"]


def test_what_was_made_to_take_all_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("cubefast.data.embeddings.embedding_loader._MOST_FROM_LITTLE", 10**6)
    np.savez_compressed(tmp_path / "bomb.npz", x=np.ones((10_000, 100), np.float32))
    with pytest.raises(InputError, match=r"bomb.npz unpacks to 4,000,\d+ bytes, over 100 times its own size"):
        EmbeddingLoader(tmp_path / "bomb.npz").load()
    np.savez_compressed(tmp_path / "ok.npz", x=np.random.default_rng(0).standard_normal((10_000, 100)))
    assert len(EmbeddingLoader(tmp_path / "ok.npz").load().vectors) == 10_000
    (tmp_path / "a.glove").write_bytes(b"x" * 20_000_001)
    with pytest.raises(InputError, match="line 1 is longer than 20,000,000 bytes"):
        EmbeddingLoader(tmp_path / "a.glove").load()


def test_keys_without_an_end_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((2, 2), np.float32))
    os.mkfifo(tmp_path / "keys")
    with pytest.raises(InputError, match="keys cannot be read: it is a pipe, a socket or a device"):
        EmbeddingLoader(tmp_path / "a.npy", keys=tmp_path / "keys").load()


def test_of_very_many_arrays_the_first_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", **{f"x{i}": np.ones(1) for i in range(500)})
    with pytest.raises(InputError, match="holds 500 arrays .x0, x1, .* and 480 more") as caught:
        EmbeddingLoader(tmp_path / "a.npz").load()
    assert len(str(caught.value)) < 500


def test_a_column_of_a_table_of_texts_is_chosen_by_its_name(tmp_path):
    path = tmp_path / "a.parquet"
    vectors = list(VECTORS)
    write_parquet(
        path, question=list("abcde"), tags=[["x"]] * 5, q_embedding=vectors, n=[1] * 5, a_embedding=vectors[::-1]
    )
    loader = EmbeddingLoader(path)
    assert loader.names() == ["q_embedding", "a_embedding"]
    np.testing.assert_array_equal(loader.load(array="a_embedding").vectors, VECTORS[::-1])
    told(path, "PATH holds 2 arrays (q_embedding, a_embedding); choose one with array=NAME")
    told(path, "PATH holds no array 'question'; it holds q_embedding, a_embedding", array="question")
    fixed = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(VECTORS.astype(np.float64).ravel()), 3)
    write_parquet(path, vectors=fixed)
    np.testing.assert_array_equal(EmbeddingLoader(path).load().vectors, VECTORS)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1.0, 2.0], [1.0]], "row 1 of v has 1 numbers, and row 0 has 2; they must have one length"),
        ([[1.0, 2.0], None], "row 1 of v is empty; remove it"),
        ([[1.0, 2.0], [None, 1.0]], "row 1 of v has a gap in its numbers; remove it"),
        (pyarrow.array([[], []], pyarrow.list_(pyarrow.float32())), " holds no numbers: its shape is [2, 0]"),
        ([[1.0, 2.0], [0.0, 0.0]], "row 1 is all zeros; such a vector has no direction, remove it"),
    ],
)
def test_a_column_that_is_no_table_of_numbers_is_told(tmp_path, rows, message):
    write_parquet(tmp_path / "a.parquet", v=rows)
    told(tmp_path / "a.parquet", f"PATH{'' if message[0] == ' ' else ': '}{message}")


def test_a_table_of_texts_is_not_taken_for_embeddings(tmp_path):
    assert not is_embedding_file("a.parquet")
    write_parquet(tmp_path / "a.parquet", question=["q"], answer=["a"])
    told(tmp_path / "a.parquet", "PATH holds 0 arrays (none); choose one with array=NAME")
