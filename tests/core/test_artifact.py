"""A saved core: the same bits back, the same bytes again, and nothing taken that was changed, forged or too large."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from cubefast import CubicCore
from cubefast.core.artifact import FORMAT_VERSION, _sum
from cubefast.errors import ArtifactError, InputError

from ..cores import principal, shaken


@pytest.fixture
def folder(tmp_path):
    """A saved core."""
    shaken(principal()).save_pretrained(tmp_path / "core")
    return tmp_path / "core"


def refused(folder, message):
    with pytest.raises(ArtifactError, match=message):
        CubicCore.from_pretrained(folder)


def described(folder):
    """What the header says of the core, and the tensors."""
    path = folder / "model.safetensors"
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["cubefast"]), load_file(path)


def change(folder, forge=False, **arguments):
    """Other arguments in the header; forged: with the sum that belongs to them."""
    said, tensors = described(folder)
    said["core"] |= arguments
    if forge:
        said["sha256"] = _sum(said, tensors)
    save_file(tensors, folder / "model.safetensors", {"cubefast": json.dumps(said)})
    (folder / "config.json").unlink(missing_ok=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    "keywords",
    [
        {"boundary": "periodic"},
        {"io": "faces", "residual": False},
        {"code_size": 0, "neighborhood": "moore", "update": "tanh", "checkpoint_every": 2},
        {"shape": (3, 3, 4)},
    ],
)
def test_saved_and_loaded_it_has_the_same_bits_and_saved_again_the_same_bytes(tmp_path, dtype, keywords):
    core = shaken(principal(**keywords)).to(dtype)
    core.save_pretrained(tmp_path / "one" / "core")
    loaded = CubicCore.from_pretrained(tmp_path / "one" / "core")
    x = torch.randn(4, 32, dtype=dtype)
    assert torch.equal(loaded(x), core(x))
    assert loaded.config == core.config
    loaded(x).sum().backward()  # what is loaded can be trained
    loaded.save_pretrained(tmp_path / "two")
    files = [{f.name: f.read_bytes() for f in folder.iterdir()} for folder in (tmp_path / "one/core", tmp_path / "two")]
    assert files[0] == files[1]
    assert sorted(files[0]) == ["config.json", "model.safetensors"]


def test_a_core_that_is_not_fitted_is_loaded_as_one(tmp_path):
    CubicCore(32, placement="principal", steps=4).save_pretrained(tmp_path)
    assert not CubicCore.from_pretrained(tmp_path).reshaper.fitted


def test_loading_draws_no_random_number_and_other_files_do_no_harm(folder):
    (folder / "core.py").write_text("raise SystemExit('executed')")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    before = torch.random.get_rng_state()
    CubicCore.from_pretrained(folder)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_change_anywhere_in_the_file_is_refused(folder):
    """Each byte of the header, and some of the rest; each argument."""
    weights = folder / "model.safetensors"
    good = weights.read_bytes()
    header = 8 + int.from_bytes(good[:8], "little")
    spaces = len(good[:header]) - len(good[:header].rstrip(b" "))  # padding, of no meaning
    for place in [*range(header - spaces), *range(header, len(good), 997), len(good) - 1]:
        weights.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        refused(folder, "model.safetensors")
    weights.write_bytes(good)
    CubicCore.from_pretrained(folder)

    other = {"steps": 5, "residual": False, "boundary": "walls", "activation": "relu", "update": "tanh"}
    for name, value in {
        **other,
        "checkpoint_every": 2,
        "phases": 1,
        "dilations": [3],
        "io": "faces",
        "dim": 31,
        "state_size": 5,
    }.items():
        change(folder, **{name: value})
        refused(folder, "model.safetensors")
        weights.write_bytes(good)
    CubicCore.from_pretrained(folder)


def test_a_copy_of_the_arguments_that_was_edited_is_refused_and_one_of_another_save_is_not_looked_at(folder, tmp_path):
    path = folder / "config.json"
    good = path.read_text()
    copy = json.loads(good)
    assert copy["core"] == CubicCore.from_pretrained(folder).config
    path.write_text(json.dumps({**copy, "core": {**copy["core"], "steps": 5}}))
    refused(folder, "config.json was changed since the core was saved.*delete it to go on")
    for text in ("", "{", "[]", "7", "[" * 100_000, "\0" * 100):
        path.write_text(text)
        refused(folder, "config.json (cannot be read|was changed)")
    path.unlink()
    CubicCore.from_pretrained(folder)

    shaken(principal(boundary="walls")).save_pretrained(tmp_path / "other")
    (tmp_path / "other" / "config.json").replace(path)
    assert CubicCore.from_pretrained(folder).config == copy["core"]


KILLED = """
import os, shutil, sys
import torch
from cubefast import CubicCore

torch.set_num_threads(1)
torch.manual_seed(1)
core = CubicCore(32, steps=6, state_size=3, hidden_size=8)

def save(place, moment):
    calls = 0
    for name in ("fsync", "replace", "open", "mkdir", "unlink"):
        def dying(*arguments, _real=getattr(os, name), **keywords):
            nonlocal calls
            calls += 1
            if calls == moment:
                os.kill(os.getpid(), 9)
            return _real(*arguments, **keywords)
        setattr(os, name, dying)
    core.save_pretrained(place)
    os._exit(0)

code = 9
while code == 9:
    moment = len(os.listdir(sys.argv[2]))
    place = shutil.copytree(sys.argv[1], f"{sys.argv[2]}/{moment:02d}")
    child = os.fork()
    if not child:
        save(place, moment + 1)
    code = os.waitpid(child, 0)[1]
"""


def test_saved_over_another_and_killed_at_any_moment_it_leaves_one_of_the_two(folder, tmp_path):
    """Before each call that changes the disk; and the next save takes away what was left."""
    old = CubicCore.from_pretrained(folder)
    places = tmp_path / "places"
    places.mkdir()
    subprocess.run([sys.executable, "-c", KILLED, folder, places], timeout=60, check=True)
    found = [CubicCore.from_pretrained(place) for place in sorted(places.iterdir())]
    steps = [core.config["steps"] for core in found]
    assert len(steps) > 8
    assert steps == sorted(steps), "the old core, and from one moment on the new one"
    assert set(steps) == {4, 6}
    assert all(torch.equal(core.codes, old.codes) for core in found if core.config["steps"] == 4)
    for place in places.iterdir():
        old.save_pretrained(place)
        assert sorted(file.name for file in place.iterdir()) == ["config.json", "model.safetensors"]


def test_what_is_missing_cut_short_or_no_core_is_refused_in_words(folder, tmp_path):
    refused(tmp_path / "none", "no saved core in .*none: model.safetensors is missing")
    weights = folder / "model.safetensors"
    good_weights = weights.read_bytes()
    for length in (0, 5, 100, len(good_weights) - 10):
        weights.write_bytes(good_weights[:length])
        refused(folder, "model.safetensors is damaged or truncated")
    header = b"[" * 100_000
    weights.write_bytes(len(header).to_bytes(8, "little") + header)
    refused(folder, "model.safetensors is damaged or truncated")
    weights.unlink()
    os.mkfifo(weights)
    refused(folder, "it is a pipe, a socket or a device, which may have no end; give a file")
    weights.unlink()
    tensors = load_file_without_sum(good_weights, tmp_path)
    save_file(tensors, weights)
    refused(folder, "is no core of this format: its header has no 'cubefast'. It is another program's, or of a")
    for version in (FORMAT_VERSION + 1, 1, "2"):
        save_file(tensors, weights, {"cubefast": json.dumps({"format_version": version, "cubefast": "0.9"})})
        refused(folder, rf"is of format version {version}; this cubefast .* reads version 7. Use .* \(0.9\)")
    for text in ("", "{", "[]", "7", "[" * 100_000):
        save_file(tensors, weights, {"cubefast": text})
        refused(folder, "model.safetensors is damaged or truncated")
    save_file(tensors, weights, {"cubefast": json.dumps({"format_version": 7, "core": [1]})})
    refused(folder, "its arguments must be a mapping")


def load_file_without_sum(data, tmp_path):
    (tmp_path / "kept.safetensors").write_bytes(data)
    return load_file(tmp_path / "kept.safetensors")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"speed": 9}, "does not hold a core: .*speed"),
        ({"io": "edges"}, "does not hold a core: io must be one of volume, faces"),
        ({"steps": 40, "phases": 20}, r"do not fit its arguments: it has lattice.phases.\d+.w_update None"),
        ({"steps": 10**9, "phases": 4}, "steps must be a whole number of at most 10,000; got 1000000000"),
        ({"steps": 4.0}, "steps must be a whole number of at most 10,000; got 4.0"),
        ({"steps": True}, "steps must be a whole number of at most 10,000; got True"),
        ({"phases": 10**9}, "phases must be a whole number of at most 1,000"),
        ({"dilations": [1] * 10**5}, "dilations must be a list of at most 1000; got"),
        ({"dilations": [10**9]}, "dilations must be a whole number of at most 1,024"),
        ({"checkpoint_every": 10**400}, "checkpoint_every must be .* got an integer of 1,329 bits"),
        ({"steps": -1}, "does not describe a core: steps must be"),
        ({"neighborhood": "moore"}, "(?s)does not hold a core: .*w_perceive"),
        ({"hidden_size": 9}, r"do not fit its arguments: it has w_gain \[8, 32\], not \[9, 32\]"),
        ({"shape": "444"}, "does not describe a core"),
        ({"shape": None}, "does not describe a core"),
        ({"dim": "32"}, "does not describe a core"),
    ],
)
def test_arguments_of_no_core_are_refused_even_with_their_sum(folder, arguments, message):
    change(folder, forge=True, **arguments)
    refused(folder, message)


MEASURED = """
import resource, sys
from cubefast import CubicCore
from cubefast.errors import ArtifactError

used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, used + 2**29))
for folder in sys.argv[1:]:
    try:
        CubicCore.from_pretrained(folder)
    except ArtifactError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_sizes_that_would_not_fit_in_memory_are_refused_before_it_is_taken(folder, tmp_path):
    """In a process that may take half a gigabyte more than it has."""
    huge = [{"dim": 10**9}, {"shape": [1000] * 3}, {"hidden_size": 10**9}, {"state_size": 10**9}, {"code_size": 10**9}]
    huge += [{"placement": "order", "dim": 10**9}, {"dim": 10**9, "shape": [1000] * 3}]
    folders = [shutil.copytree(folder, tmp_path / str(number)) for number in range(len(huge))]
    for place, arguments in zip(folders, huge, strict=True):
        change(place, forge=True, **arguments)
    done = subprocess.run([sys.executable, "-c", MEASURED, *folders], capture_output=True, text=True, timeout=60)
    assert done.stdout.count(" at most ") + done.stdout.count("do not fit its arguments: it has ") == len(huge), (
        done.stderr
    )


def test_a_core_that_could_not_be_loaded_is_not_saved(folder):
    core = CubicCore.from_pretrained(folder)
    core.config["steps"] = 10**6
    with pytest.raises(InputError, match="the core is not saved, since it could not be loaded: steps must be"):
        core.save_pretrained(folder)


def test_numbers_that_are_none_are_neither_saved_nor_loaded(folder):
    good = (folder / "model.safetensors").read_bytes()
    core = CubicCore.from_pretrained(folder)
    with torch.no_grad():
        core.readout[3] = torch.inf
    with pytest.raises(InputError, match="the core is not saved: readout holds NaN or Inf"):
        core.save_pretrained(folder)
    assert (folder / "model.safetensors").read_bytes() == good

    said, tensors = described(folder)
    tensors["reshaper.rotation"][0, 0] = torch.nan
    said["sha256"] = _sum(said, tensors)
    save_file(tensors, folder / "model.safetensors", {"cubefast": json.dumps(said)})
    refused(folder, "is of no use: reshaper.rotation holds NaN or Inf")
    tensors = {name: t.long() for name, t in tensors.items()}
    save_file(tensors, folder / "model.safetensors", {"cubefast": json.dumps(said)})
    change(folder, forge=True)
    refused(folder, r"must hold floating-point numbers of one kind; got \['torch.int64'\]")
