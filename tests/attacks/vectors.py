"""Files of vectors that were made to do harm, or damaged at random: nothing is run or hangs, memory stays small."""

from __future__ import annotations

import io
import os
import pickle
import random
import resource
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save as save_safetensors

from cubefast.data.embeddings.embedding_loader import EmbeddingLoader

from .attacker import Tally, in_child, mutated, problem_of, refused

MEMORY = 2**30  # beyond what is used, for one file


class Boom:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, ("executed",))


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """A .npy file with any header."""
    text = header.encode("latin-1") + b"\n"
    width = 2 if version == b"\x01\x00" else 4
    return b"\x93NUMPY" + version + len(text).to_bytes(width, "little") + text + data


def header(shape: object, descr: str = "<f4", order: object = False) -> str:
    return repr({"descr": descr, "fortran_order": order, "shape": shape})


def zipped(name: str, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        archive.writestr(name, content)
    return made.getvalue()


def bomb(gigabytes: int) -> bytes:
    """A .npz of zeros that unpacks to so much."""
    made = io.BytesIO()
    with (
        zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("a.npy", "w", force_zip64=True) as entry,
    ):
        entry.write(npy(header((gigabytes * 2**20, 256))))
        for _ in range(gigabytes * 64):
            entry.write(bytes(2**24))
    return made.getvalue()


def hostile() -> Iterator[tuple[str, str, bytes]]:
    """Kind, suffix and content of each."""
    good = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    objects = np.array([Boom()], dtype=object)
    pickled = io.BytesIO()
    np.save(pickled, objects, allow_pickle=True)
    yield "pickles", ".npy", pickled.getvalue()
    yield "pickles", ".npz", zipped("a.npy", pickled.getvalue())
    yield "pickles", ".pt", pickle.dumps(Boom())
    made = io.BytesIO()
    torch.save(Boom(), made)
    yield "pickles", ".pt", made.getvalue()
    made = io.BytesIO()
    torch.save({"a": torch.ones(3, 4), "b": Boom()}, made)
    yield "pickles", ".pth", made.getvalue()
    for shape in (
        *((10**18,), (10**9, 10**9), (2**63, 1), (-1, 5), (-5, -5), (0, 10**18), (10**18, 0), (5, 8, 10**15)),
        *((1.5, 2), ("a", "b"), 5, (), (2**62, 4), (None, 3), (True, True), ((1, 2), 3)),
    ):
        content = npy(header(shape), good.tobytes())
        yield "headers", ".npy", content
        yield "headers", ".npz", zipped("a.npy", content)
    for descr in ("O", "|V10", "<U100000000", "<f2", "<c8", "<M8[s]", "x", "<f4,<f4", "|S2147483647", ">i8", "|b1"):
        yield "headers", ".npy", npy(header((20, 8), descr), good.tobytes())
    for text in (
        "__import__('os').mkdir('executed')",
        "[" * 5000,
        "{" * 100 + "}" * 100,
        "9" * 10**5,
        "\0",
        "{'descr': ",
    ):
        yield "headers", ".npy", npy(text[:60_000])
        yield "headers", ".npy", npy(text, version=b"\x02\x00")
    yield "headers", ".npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b" " * 1000
    yield "zip bombs", ".npz", bomb(3)
    yield "zip bombs", ".npz", zipped("../../executed.npy", npy(header((2, 2)), bytes(16)))
    lie = bytearray(zipped("a.npy", npy(header((20, 8)), good.tobytes()), zipfile.ZIP_STORED))
    place = lie.rindex(b"PK\x01\x02")
    lie[place + 24 : place + 28] = (2**32 - 2).to_bytes(4, "little")  # the size unpacked, as the directory has it
    yield "zip bombs", ".npz", bytes(lie)
    length = 2**60
    yield "headers", ".safetensors", length.to_bytes(8, "little") + b"{}"
    for text in (
        '{"a":{"dtype":"F32","shape":[1000000000,1000000000],"data_offsets":[0,16]}}',
        '{"a":{"dtype":"F32","shape":[-2,-2],"data_offsets":[0,16]}}',
        '{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[16,0]}}',
        "[" * 10**5,
        '{"a":' * 10**5,
        "9" * 10**5,
    ):
        yield "headers", ".safetensors", len(text).to_bytes(8, "little") + text.encode() + bytes(16)
    for text in ("1000000000000 300", "300 1000000000000", "9" * 5000 + " 3", "-1 5", "2 2", "1 1\n" + "x" * 10**7):
        yield "headers", ".vec", f"{text}\na 1 2\n".encode()
        yield "headers", ".bin", f"{text}\na ".encode() + bytes(8)
        yield "headers", ".txt", f"{text}\na 1 2\n".encode()
    yield "long lines", ".txt", b"key " + b"1 " * 5_000_000
    yield "long lines", ".glove", b"key" * 10_000_000


def main(rounds: int, tally: Tally) -> None:
    def attack(kind: str, suffix: str, content: bytes) -> None:
        path = Path(f"v{suffix}")
        path.write_bytes(content)

        def work() -> int:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
            return refused(lambda: EmbeddingLoader(path).load())()

        problem = problem_of(in_child(work))
        if Path("executed").exists():
            problem = "it was executed"
            Path("executed").rmdir()
        tally.count(kind, problem and f"{suffix} {content[:80]!r}: {problem}")
        path.unlink()

    for each in hostile():
        attack(*each)
    array = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    made = {suffix: io.BytesIO() for suffix in (".npy", ".npz", ".pt")}
    np.save(made[".npy"], array)
    np.savez_compressed(made[".npz"], a=array)
    torch.save({"a": torch.from_numpy(array)}, made[".pt"])
    good = {suffix: file.getvalue() for suffix, file in made.items()}
    good[".safetensors"] = save_safetensors({"a": array})
    lines = "\n".join(f"word{i} " + " ".join(map(str, row)) for i, row in enumerate(array.tolist()))
    good[".glove"], good[".vec"] = lines.encode(), f"20 8\n{lines}".encode()
    good[".bin"] = b"20 8\n" + b"".join(f"word{i} ".encode() + row.tobytes() + b"\n" for i, row in enumerate(array))
    for _ in range(rounds):
        for suffix, content in good.items():
            attack("fuzzed files", suffix, mutated(content))
    random.seed(0)
