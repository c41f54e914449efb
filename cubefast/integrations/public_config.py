"""The part of a run's config that may be published: its settings, but no folder of the machine it ran on."""

from __future__ import annotations

from pathlib import Path

from ..config.encoder_names import is_model_path, map_models, transformer_models
from ..config.run_config import TrainingConfig
from ..data.embeddings.embedding_loader import is_embedding_file


def uses_precomputed_embeddings(config: TrainingConfig) -> bool:
    """Whether the data was given as embeddings, so that no encoder is known."""
    return config.data.vectors is not None or (config.mode == "autoencoder" and is_embedding_file(config.data.path))


def without_paths(config: TrainingConfig) -> TrainingConfig:
    """The config with the names of files and folders but not their paths, so that it can be published."""

    def encoder(name: str) -> str:
        return map_models(name, lambda model: f"./{Path(model).name}" if is_model_path(model) else model)

    defaults = {key: TrainingConfig.model_fields[key].default for key in ("runs", "cache", "cache_limit_mb")}
    return config.map_paths(lambda path: Path(path).name, encoder).model_copy(update=defaults)


def encoder_folders(config: TrainingConfig) -> list[str]:
    """The encoder's models that are folders."""
    return [name for name in _models(config) if is_model_path(name)]


def _models(config: TrainingConfig) -> list[str]:
    """The encoder's models of sentence-transformers."""
    if uses_precomputed_embeddings(config) or config.encoder is None:
        return []
    return transformer_models(config.encoder)


def base_models(config: TrainingConfig) -> list[str]:
    """The names on the hub of the encoder's models."""
    names = [name for name in _models(config) if not is_model_path(name)]
    return [name if "/" in name else f"sentence-transformers/{name}" for name in names]
