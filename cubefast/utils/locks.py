"""A lock that lets one process at a time write into a folder. It is flock's, and ends with its process."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import InputError

LOCK = ".lock"
_held: set[int] = set()


@contextmanager
def only_writer(folder: Path) -> Iterator[int]:
    """A context in which no other process can write into ``folder``; it gives the descriptor of its lock, a file
    ``.lock``.

    Raises InputError where another process writes, or the lock cannot be made.
    """
    path = folder / LOCK
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror} ({path})") from None
    _held.add(handle)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            writer = os.read(handle, 200).decode(errors="replace").strip()
            raise InputError(
                f"another process is writing into {folder} ({writer or 'which one is not known'}). Wait for it to end, "
                "or stop it"
            ) from None
        except OSError as error:
            raise InputError(f"{path} cannot be locked, which keeps writers apart: {error.strerror}") from None
        with suppress(OSError):  # words for others; a full disk does not keep the lock from holding
            os.ftruncate(handle, 0)
            os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield handle
    finally:
        if handle in _held:
            _held.remove(handle)
            os.close(handle)


def _let_go() -> None:
    """Close the lock in a forked worker, which may outlive its killed parent and would hold the lock in its place."""
    for handle in _held:
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
