"""The data that a run's config names: opened, encoded, and split."""

from __future__ import annotations

from ..config.run_config import TrainingConfig
from ..data.cache.embedding_cache import EmbeddingCache
from ..data.create_datasets import ProgressFactory, open_dataset
from ..data.datasets import AutoencoderDataset, DialogueDataset, Parts


def open_data(
    config: TrainingConfig, progress: ProgressFactory | None = None, *, teachers: bool = True
) -> DialogueDataset | AutoencoderDataset:
    """Open the data set of a config; without ``teachers``, further teachers, which only help in training, are left
    out.
    """
    limit = config.cache_limit_mb * 1_000_000 if config.cache_limit_mb is not None else None
    return open_dataset(
        config.data if teachers else config.data.model_copy(update={"teacher_vectors": ()}),
        config.mode,
        encoder=config.encoder or "",  # not looked at where data.vectors are given
        teachers=config.teachers if teachers else (),
        cache=EmbeddingCache(config.cache, limit_bytes=limit),
        seed=config.seed,
        progress=progress,
    )


def split_data(config: TrainingConfig, dataset: DialogueDataset | AutoencoderDataset) -> Parts:
    """Split the data set. A mixed run is split as question -> answer; noisy embeddings are added in training."""
    return dataset.split(task_of(config), config.seed) if isinstance(dataset, DialogueDataset) else dataset.split()


def task_of(config: TrainingConfig) -> str:
    """The task of the parts: dialogue or autoencoder."""
    return "autoencoder" if config.mode == "autoencoder" else "dialogue"
