"""Where there is no home folder, no place for the cache is guessed."""

import os

import pytest

from cubefast.data.cache.embedding_cache import EmbeddingCache, default_folder
from cubefast.errors import InputError


def test_without_a_home_folder_the_setting_is_named(monkeypatch, tmp_path):
    """As a container runs a user id without a name: there is no HOME, and nobody to ask where it is."""
    import pwd

    for name in ("HOME", "CUBEFAST_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    used = {entry.pw_uid for entry in pwd.getpwall()}
    monkeypatch.setattr(os, "getuid", lambda: next(uid for uid in range(60_000, 2**31) if uid not in used))
    with pytest.raises(InputError, match=r"no home folder \(HOME is not set\). Set cache=FOLDER \(or CUBEFAST_CACHE\)"):
        EmbeddingCache()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "cubefast"
