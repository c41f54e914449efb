import os
import shutil
import stat

import pytest

from cubefast import CubicCore
from cubefast.errors import ArtifactError, DiskError, InputError
from cubefast.training.run_folder import RunFolder
from cubefast.utils.files import write_atomically


def test_a_run_never_overwrites_another(tmp_path):
    assert RunFolder.create(tmp_path, None, "dialogue").path == tmp_path / "dialogue"
    assert RunFolder.create(tmp_path, None, "dialogue").path == tmp_path / "dialogue-2"
    assert RunFolder.create(tmp_path, None, "dialogue").path == tmp_path / "dialogue-3"
    with pytest.raises(InputError, match=r"dialogue is there already, and a run never overwrites another"):
        RunFolder.create(tmp_path, "dialogue", "x")


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Set runs=FOLDER|is not a folder; set runs=FOLDER"):
        RunFolder.create(tmp_path / "file", "r", "x")
    with pytest.raises(InputError, match="the run folder /proc/none/r cannot be made: .*Set runs=FOLDER"):
        RunFolder.create("/proc/none", "r", "x")


def test_a_run_that_learnt_nothing_leaves_nothing(tmp_path):
    run = RunFolder.create(tmp_path, "r", "x")
    run.record({"epoch": 1})
    run.discard_if_empty()
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no run at .*none; train one with"):
        RunFolder.open(tmp_path / "none")
    with pytest.raises(ArtifactError, match="is not a finished run: config.yaml or best/ is missing"):
        RunFolder.open(tmp_path)


@pytest.mark.parametrize("path", ["x" * 5000, "a/" * 3000, "nul\0"])
def test_a_path_that_cannot_be_is_refused(tmp_path, path):
    with pytest.raises(InputError):
        RunFolder.open(path)
    with pytest.raises(InputError):
        RunFolder.resume(path)
    with pytest.raises(InputError):
        RunFolder.create(tmp_path / path, "r", "x")


@pytest.mark.parametrize("name", ["", " ", ".", "..", "a/b", "../a", "x" * 300, "nul\0"])
def test_what_is_no_plain_name_makes_no_folder(tmp_path, name):
    with pytest.raises(InputError, match="the name of a run must be a plain name"):
        RunFolder.create(tmp_path / "runs", name, "x")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_replaced_is_neither_written_nor_deleted(tmp_path):
    run = RunFolder.create(tmp_path, "r", "x")
    with run.locked():
        shutil.rmtree(run.path)
        run.path.mkdir()
        (run.path / "another's").write_text("")
        for write in (
            lambda: run.write("config.yaml", ""),
            lambda: run.write_json("data.json", {}),
            lambda: run.record({"event": "steps"}),
            lambda: run.save_best(CubicCore(8, steps=2)),
            lambda: run.save_refit(CubicCore(8, steps=2)),
            lambda: run.checkpoints,
        ):
            with pytest.raises(DiskError, match="the run folder .*r was taken away while it was written"):
                write()
        run.discard_if_empty()
        assert [file.name for file in run.path.iterdir()] == ["another's"]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_atomically(path, "old")
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_have_the_permissions_that_the_user_asked_for(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("")
    write_atomically(tmp_path / "ours", "")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
