"""Encoders from the sentence-transformers library: any name on the hub, or a local folder."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...config.encoder_names import is_model_path
from ...errors import InputError
from ...utils.files import is_folder, sha256_of
from ...utils.messages import shown
from .base import Embeddings, batches_by_length, unit_rows

# Files of a model folder that do not change its vectors: documentation, and the weights of other frameworks.
_UNUSED_SUFFIXES = {".md", ".onnx", ".h5", ".ot", ".msgpack", ".png"}
_UNUSED_FOLDERS = {"onnx", "openvino"}
_PADDED_CHARS = 131_072  # of texts that are encoded together: some 32,000 tokens, of English or German
_CHARS_PER_TOKEN = 8  # of long texts hardly any have more, so that what is cut is not counted
_MARKS = ("modules.json", "config.json")  # a model's folder has one of them


class SentenceTransformerEncoder:
    """An encoder from a sentence-transformers model, which is loaded when a text, the dim or a hub model's fingerprint
    is first needed.

    Args:
        name_or_path: a hub name (``all-MiniLM-L6-v2``, ``intfloat/e5-small-v2``) or a folder saved by the library.
        batch_size: texts per forward pass.
        max_length: tokens after which a text is cut; None: what the model says.
        prompt: put before every text; None: what the model says, ``""``: nothing.
        normalize: whether rows have unit length. False gives the pooled vectors as they are, without the model's own
            last Normalize module: then the promise of :class:`TextEncoder` to give unit rows does not hold.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        offline: never ask the network; a hub model has to be in the local cache.
        progress: show the library's progress bars.

    Raises InputError when sentence-transformers is not installed, or for a setting that cannot be; a model that is
    not there or cannot be read raises one where it is loaded.
    """

    def __init__(
        self,
        name_or_path: str | Path,
        *,
        batch_size: int = 32,
        max_length: int | None = None,
        prompt: str | None = None,
        normalize: bool = True,
        device: str = "cpu",
        offline: bool = False,
        progress: bool = False,
    ) -> None:
        if importlib.util.find_spec("sentence_transformers") is None:
            raise InputError(
                "SentenceTransformerEncoder needs the package sentence-transformers; pip install 'cubefast[encoders]'"
            )
        if not str(name_or_path):
            raise InputError("SentenceTransformerEncoder needs a model: a hub name (all-MiniLM-L6-v2) or a folder")
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1; got {batch_size}")
        if max_length is not None and max_length < 3:
            raise InputError(f"max_length must be at least 3 (two tokens mark begin and end); got {max_length}")
        self.name = str(name_or_path)
        self.batch_size = batch_size
        self.max_length = max_length
        self.prompt = prompt
        self.normalize = normalize
        self.device = device
        self.offline = offline
        self.progress = progress

    @cached_property
    def dim(self) -> int:
        """The size of the embeddings. Loads the model."""
        return int(self._model.encode(["a"], show_progress_bar=False).shape[1])

    @cached_property
    def fingerprint(self) -> str:
        """A name that changes with the contents of the model's files, the prompt, max_length and normalize.

        Not with the folder's place, the device, the batch size or the version of a library. Reads the whole model
        once: 0.1 s for 90 MB. Loads a hub model first, to have its files.
        """
        folder = self._folder
        if folder is None:
            _ = self._model  # fetches it
            folder = _cached_snapshot(self.name)
        if folder is None:
            raise InputError(f"the model {self.name} was loaded, but the hub's cache does not hold it; give a folder")
        options = f"max_length={self.max_length}-prompt={self.prompt!r}-normalize={self.normalize}"
        return f"sentence-transformers-v1-{_hash_of_folder(folder)}-{options}"

    def encode(self, texts: list[str]) -> Embeddings:
        """Embed texts: float32 [n, dim], unit rows unless ``normalize`` is False. Longer texts than max_length are cut.

        Raises InputError for a text whose vector is zero or not finite.
        """
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        lengths = self._counted_chars
        if max(map(len, texts)) * self.batch_size <= _PADDED_CHARS or lengths * self.batch_size <= _PADDED_CHARS:
            vectors = self._encode_batches(texts, self.batch_size)
        else:
            vectors = np.empty((len(texts), self.dim), np.float32)
            for rows in batches_by_length(texts, self.batch_size, _PADDED_CHARS, lengths):
                vectors[rows] = self._encode_batches([texts[row] for row in rows], len(rows))
        unit = unit_rows(vectors, texts)
        return unit if self.normalize else vectors

    def _encode_batches(self, texts: list[str], batch_size: int) -> Embeddings:
        vectors = self._model.encode(
            list(texts), batch_size=batch_size, prompt=self.prompt, show_progress_bar=self.progress
        )
        return np.asarray(vectors, dtype=np.float32)

    @property
    def _counted_chars(self) -> int:
        """The number of characters of a text that can matter before the model cuts it."""
        tokens = getattr(self._model, "max_seq_length", None)
        return _CHARS_PER_TOKEN * int(tokens) if tokens is not None and math.isfinite(tokens) else sys.maxsize

    @cached_property
    def _folder(self) -> Path | None:
        """The folder of the model; None if the library has to find or fetch it."""
        folder = Path(self.name).expanduser()
        if is_folder(folder) and any((folder / file).is_file() for file in _MARKS):
            return folder
        if is_folder(folder) or is_model_path(self.name):
            not_a_model = f"{folder} is not a sentence-transformers model: it has neither {' nor '.join(_MARKS)}"
            raise InputError(
                f"{not_a_model if is_folder(folder) else f'there is no model folder {folder}'}. Give a folder written "
                "by SentenceTransformer.save, or a hub name (all-MiniLM-L6-v2)"
            )
        if not self.offline:
            return None
        # Looked up here, because the library asks the network for other things even with local_files_only.
        cached = _cached_snapshot(self.name)
        if cached is None:
            raise InputError(
                f"the model {self.name} is not in the local cache, and offline=True forbids to fetch it. Load it once "
                "with offline=False, or give a folder that holds it"
            )
        return cached

    @cached_property
    def _model(self) -> Any:
        folder = self._folder
        from sentence_transformers import SentenceTransformer  # several seconds

        source = self.name if folder is None else str(folder)
        with _bars(self.progress):
            try:
                model = SentenceTransformer(source, device=self.device, local_files_only=folder is not None)
            except Exception as error:  # a missing or damaged model raises whatever its reader raises
                reason = str(error).strip().split("\n")[0] or type(error).__name__
                if folder is not None:
                    raise InputError(f"the model in {folder} cannot be loaded: {reason}") from error
                raise InputError(
                    f"the model {self.name} cannot be fetched or loaded: {reason} Check the name and the network, or "
                    "give a folder that holds it"
                ) from error
        if not self.normalize:
            # The last modules are a sequence; one that scales to unit length hides the length that is asked for.
            while type(model[-1]).__name__ == "Normalize":
                del model[-1]
        if self.max_length is not None:
            self._set_max_length(model, self.max_length)
        return model

    def _set_max_length(self, model: Any, max_length: int) -> None:
        own = model.max_seq_length
        try:
            model.max_seq_length = max_length
            # One text of that many tokens: more than the model has positions for would fail at the first long text.
            model.encode(["a " * max_length], show_progress_bar=False)
        except AttributeError:  # static token vectors: every token counts
            raise InputError(f"the model {self.name} never cuts a text; leave max_length out") from None
        except (RuntimeError, IndexError):
            raise InputError(
                f"max_length={max_length} is more than the model {self.name} can read; it cuts at {own} by itself"
            ) from None


@contextmanager
def _bars(shown: bool) -> Iterator[None]:
    """A context without the progress bar of transformers for loading weights, unless bars are wanted."""
    from transformers.utils import logging

    silenced = logging.is_progress_bar_enabled() and not shown
    if silenced:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if silenced:
            logging.enable_progress_bar()


def _cached_snapshot(name: str) -> Path | None:
    """The folder of a model in the hub's cache, or None. Does not use the network."""
    from huggingface_hub import try_to_load_from_cache

    # The library looks up a name without an owner under its own organization first.
    for repository in [name] if "/" in name else [f"sentence-transformers/{name}", name]:
        for file in _MARKS:
            try:
                path = try_to_load_from_cache(repository, file, cache_dir=os.getenv("SENTENCE_TRANSFORMERS_HOME"))
            except ValueError as error:  # of the hub, for what cannot be a name
                raise InputError(f"{shown(name)} is neither a folder nor a hub name: {error}") from None
            if isinstance(path, str):
                return Path(path).parent
    return None


def _hash_of_folder(folder: Path) -> str:
    """A hash of the names and contents of the files that can change the vectors: 32 hexadecimal digits."""
    found: dict[str, Path] = {}
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _UNUSED_FOLDERS]
        for file in (Path(parent, name) for name in files if not name.startswith(".")):
            if file.suffix.lower() not in _UNUSED_SUFFIXES:
                found[file.relative_to(folder).as_posix()] = file
    content = "".join(f"{name}\0{sha256_of(file)}\n" for name, file in sorted(found.items()))
    return hashlib.sha256(content.encode()).hexdigest()[:32]
