"""Files are whole or not there; what was killed half-way is swept; a disk that fails is told of by the file's name."""

import fcntl
import os
import subprocess
import sys

import pytest
from pydantic import TypeAdapter

from cubefast.errors import ArtifactError, DiskError, InputError
from cubefast.utils.files import new_folder_atomically, plain_name, read_json, write_atomically, write_json
from cubefast.utils.locks import only_writer


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_what_killed_writers_left_is_swept_and_what_is_being_written_is_not(tmp_path):
    (tmp_path / ".cubefast-killed1.tmp").write_text("half")
    (tmp_path / ".cubefast-killed2.tmp").mkdir()
    (tmp_path / ".cubefast-killed2.tmp" / "model").write_text("half")
    (tmp_path / ".cubefast-alive.tmp").write_text("half")
    (tmp_path / ".mine.tmp").write_text("of somebody else")
    with (tmp_path / ".cubefast-alive.tmp").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_atomically(tmp_path / "a", "whole")
        assert names(tmp_path) == [".cubefast-alive.tmp", ".mine.tmp", "a"]
    write_json(tmp_path / "b", {})
    assert names(tmp_path) == [".mine.tmp", "a", "b"]


WRITERS = """
import sys
from pathlib import Path
from cubefast.utils.files import write_atomically
for number in range(300):
    write_atomically(Path(sys.argv[1]) / f"{number % 3}", sys.argv[2] * 1000)
"""


def test_writers_of_one_folder_do_not_sweep_each_other(tmp_path):
    writers = [subprocess.Popen([sys.executable, "-c", WRITERS, tmp_path, letter]) for letter in "abc"]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    assert names(tmp_path) == ["0", "1", "2"]
    assert {(tmp_path / name).read_text() for name in "012"} <= {letter * 1000 for letter in "abc"}


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with new_folder_atomically(tmp_path / "new" / "folder") as place:
        (place / "file").write_text("x")
        assert not (tmp_path / "new" / "folder").exists()
    assert names(tmp_path / "new") == ["folder"]
    assert (tmp_path / "new" / "folder").stat().st_mode & 0o777 == tmp_path.joinpath("new").stat().st_mode & 0o777
    with pytest.raises(RuntimeError), new_folder_atomically(tmp_path / "other") as place:
        raise RuntimeError
    assert names(tmp_path) == ["new"]
    with (
        pytest.raises(InputError, match="is there already and not an empty folder"),
        new_folder_atomically(tmp_path / "new"),
    ):
        pass
    for path in ("x" * 5000, "/proc/none/x"):
        with pytest.raises(InputError, match="cannot be made"), new_folder_atomically(tmp_path / path):
            pass


def test_new_files_and_folders_may_be_read_by_whom_the_umask_of_the_moment_lets(tmp_path):
    before = os.umask(0o077)
    try:
        for mask, file_mode, folder_mode in ((0o077, 0o600, 0o700), (0o022, 0o644, 0o755), (0o002, 0o664, 0o775)):
            os.umask(mask)
            write_atomically(tmp_path / "file", "x")
            with new_folder_atomically(tmp_path / f"folder {mask}"):
                pass
            assert (tmp_path / "file").stat().st_mode & 0o777 == file_mode
            assert (tmp_path / f"folder {mask}").stat().st_mode & 0o777 == folder_mode
    finally:
        os.umask(before)


LIMITED = """
import resource, sys
from pathlib import Path
from cubefast.errors import DiskError
from cubefast.utils.files import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomically(Path(sys.argv[1]), "x" * 5000)
except DiskError as error:
    print(error)
"""


def test_a_disk_that_takes_no_more_keeps_the_old_file_and_is_told_of_by_its_name(tmp_path):
    path = tmp_path / "a"
    write_atomically(path, "old")
    done = subprocess.run([sys.executable, "-c", LIMITED, path], capture_output=True, text=True)
    assert done.stdout == f"{path} cannot be written: File too large\n", done.stderr
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a"]
    with pytest.raises(DiskError, match="none/a cannot be written: No such file or directory"):
        write_atomically(tmp_path / "none" / "a", "")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DiskError, match="folder cannot be written: Is a directory"):
        write_atomically(tmp_path / "folder", "")


@pytest.mark.parametrize("content", ["", "{", "[]", "7", "NaN", "[" * 10**6, "\0" * 50, '{"a": "1"}', '{"a": 1e999}'])
def test_json_of_another_kind_is_refused_by_the_files_name(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(ArtifactError, match="a.json cannot be read: .*. Delete it"):
        read_json(path, TypeAdapter(dict[str, int]), "Delete it")


def test_what_is_no_ordinary_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "none", tmp_path, "/dev/zero"):
        with pytest.raises(ArtifactError):
            read_json(path if path != "/dev/zero" else type(tmp_path)(path), TypeAdapter(dict[str, int]))


@pytest.mark.parametrize("name", ["", " ", ".", "..", "a/b", "/", "x\0", "水" * 67])
def test_a_name_that_is_a_way_is_refused(name):
    with pytest.raises(InputError, match="the name must be a plain name, of at most 200 bytes; got"):
        plain_name(name, "the name")
    assert plain_name("...jsonl", "the name") == "...jsonl"


def test_a_folder_has_one_writer_and_forked_workers_do_not_hold_its_lock(tmp_path):
    with only_writer(tmp_path):
        with pytest.raises(InputError, match=f"another process is writing into .*process {os.getpid()} on "):
            only_writer(tmp_path).__enter__()
        ready, done = os.pipe(), os.pipe()
        if os.fork() == 0:  # stands for a worker that outlives its parent
            os.write(ready[1], b"x")
            os.read(done[0], 1)
            os._exit(0)
        os.read(ready[0], 1)
    with only_writer(tmp_path):
        pass
    os.write(done[1], b"x")
    assert os.wait()[1] == 0
    for descriptor in (*ready, *done):
        os.close(descriptor)
