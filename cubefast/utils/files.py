"""Files that are written whole or not at all: beside their place, flushed to the disk, then renamed.

What is not yet in place has a name of its own, ``.cubefast-....tmp``, and is locked by its writer as long as that lives
(flock: it dies with its process). Whoever writes into a folder takes away what killed writers left there.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from ..errors import ArtifactError, DiskError, InputError
from .escaping import json_text

T = TypeVar("T")
_PREFIX, _SUFFIX = ".cubefast-", ".tmp"
LONGEST_NAME = 200
"""Bytes of the name of a run or a file: file systems allow 255, and something may be put before or behind it."""


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write ``content`` to ``path``; a reader sees the old file or the new one, never a part.

    Raises DiskError, which names the file, when the disk is full or fails; the old file is kept.
    """
    data = content.encode() if isinstance(content, str) else content
    with writing(path):
        with _unfinished(path.parent) as (temporary, handle):
            with os.fdopen(os.dup(handle), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        flush_folder(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON, atomically."""
    write_atomically(path, json_text(content, indent=2) + "\n")


@contextmanager
def new_folder_atomically(folder: Path) -> Iterator[Path]:
    """A context with a temporary folder to fill, which is renamed to ``folder`` at the end, or deleted if anything
    fails.

    Raises InputError when ``folder`` is there and not an empty folder, or cannot be made.
    """
    with ExitStack() as stack:
        try:
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise InputError(f"{folder} is there already and not an empty folder; choose another, or delete it")
            folder.parent.mkdir(parents=True, exist_ok=True)
            temporary, _ = stack.enter_context(_unfinished(folder.parent, is_dir=True))
        except OSError as error:
            raise InputError(f"the folder {folder} cannot be made: {error.strerror}") from None
        yield temporary
        with writing(folder):
            temporary.replace(folder)
            flush_folder(folder.parent)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A context in which an OSError of a write becomes a DiskError that names the file."""
    try:
        yield
    except DiskError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = ". Free space on that disk, or take another folder" if full else ""
        raise DiskError(f"{path} cannot be written: {error.strerror or error}{advice}") from error


def sweep(folder: Path) -> None:
    """Delete the unfinished files of killed writers in ``folder``; those of living writers are locked, and stay."""
    for path in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(OSError):  # gone by now, somebody else's, or locked
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            finally:
                os.close(handle)


@contextmanager
def _unfinished(folder: Path, is_dir: bool = False) -> Iterator[tuple[Path, int]]:
    """A context with a new file or folder in ``folder`` and its descriptor, which holds a lock on it; it is deleted at
    the end if it is still there.
    """
    sweep(folder)
    while True:
        path = folder / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
        if is_dir:
            path.mkdir()
        # 0o666, less the umask, is what any new file has.
        handle = os.open(path, os.O_RDONLY if is_dir else os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        with suppress(OSError):  # a disk that knows no locks: then nobody can sweep there either
            fcntl.flock(handle, fcntl.LOCK_EX)
        if path.exists():  # else another writer swept it before it was locked
            break
        os.close(handle)
    try:
        yield path, handle
    finally:
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        os.close(handle)


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: str | Path) -> str:
    """The SHA-256 of a file's content, 64 hexadecimal digits; it is read in pieces."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def is_folder(path: str | Path) -> bool:
    """Whether there is such a folder; False also for a path that cannot exist or is not accessible."""
    return os.path.isdir(path)  # noqa: PTH112  (Path.is_dir raises for a name that is too long)


def is_file(path: str | Path) -> bool:
    """Whether there is such a file; False also for a path that cannot exist or is not accessible."""
    return os.path.isfile(path)  # noqa: PTH113


def is_plain_name(name: str) -> bool:
    """Whether a file or folder can have this name: not blank, no path, at most LONGEST_NAME bytes."""
    is_path = name.strip() in (".", "..") or set(name) & set("/\\\0")
    return bool(name.strip()) and not is_path and len(os.fsencode(name)) <= LONGEST_NAME


def plain_name(name: str, what: str) -> str:
    """The name, if a file or folder can have it; else raises InputError with ``what`` at the beginning."""
    if not is_plain_name(name):
        raise InputError(f"{what} must be a plain name, of at most {LONGEST_NAME} bytes; got {name[:80]!r}")
    return name


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file for reading. Raises OSError for a folder, and for a pipe or device, which may have no end."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a pipe does not wait for a writer
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device, which may have no end"
        raise OSError(errno.EINVAL, f"it is {kind}; give a file", str(path))
    return os.fdopen(handle, "rb")


def read_json(path: Path, kind: TypeAdapter[T], advice: str = "") -> T:
    """Read a JSON file of exactly the type that ``kind`` describes: a number in quotes is not a number.

    Raises ArtifactError where it is missing, cannot be read or is of another type; it ends with the ``advice``.
    """
    try:
        with open_regular(path) as file:
            return kind.validate_json(file.read(), strict=True)
    except (OSError, ValueError, MemoryError) as error:
        message = f"{path} cannot be read: {why(error)}"
        raise ArtifactError(f"{message}. {advice}" if advice else message) from None


def why(error: Exception) -> str:
    """A one-line reason why a file could not be read."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        return f"{place}: {first['msg']}" if place else first["msg"]
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
