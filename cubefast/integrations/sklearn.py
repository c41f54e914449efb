"""A core as a scikit-learn estimator. Needs the extra ``sklearn``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..config.run_config import TrainingConfig
from ..core import CubicCore
from ..data.pairs import EmbeddingPairs
from ..errors import InputError
from ..training.trainer import CubeTrainer

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.model_selection import GroupShuffleSplit
    from sklearn.utils import Tags, check_array, check_random_state
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        f"CubeTransformer needs scikit-learn 1.6 or newer ({error}); pip install 'cubefast[sklearn]'"
    ) from error

# Where the arguments stand in TrainingConfig.
_KEYS = {
    "epochs": ("training", "epochs"),
    "learning_rate": ("training", "lr"),
    "batch_size": ("training", "batch_size"),
    "state_size": ("core", "state_size"),
    "hidden_size": ("core", "hidden_size"),
    "steps": ("core", "steps"),
}


class CubeTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A scikit-learn transformer that trains a :class:`~cubefast.CubicCore` in ``fit`` and applies it in ``transform``.

    Without ``noise`` it learns to turn each row of X into the same row of y, the embedding that is wanted. With it, it
    learns to take that noise off the rows of X, and y is not looked at: in a pipeline y is the labels of the last step.

    Args:
        noise: standard deviation per number of the Gaussian noise to take off; None: y is what is wanted.
        epochs, learning_rate, batch_size, state_size, hidden_size, steps: see ``python -m cubefast.train --help``,
            which has their defaults; None leaves them to ``config``.
        validation_fraction: share of the different targets that are held out to choose the best epoch; equal targets
            stay together.
        config: further keys of :class:`~cubefast.TrainingConfig`, such as ``{"training": {"losses": {"mse": 1.0}}}``.
        random_state: of the weights, the order, the noise and what is held out: a whole number, a RandomState, or None.

    Attributes:
        core_: the trained core, with the weights of the best epoch.
        history_: a mapping per epoch, as in metrics.jsonl.
        n_features_in_: D.

    The same data and ``random_state`` give the same bits.
    """

    core_: CubicCore
    history_: list[dict[str, Any]]
    n_features_in_: int

    def __init__(
        self,
        *,
        noise: float | None = None,
        epochs: int | None = None,
        learning_rate: float | None = None,
        batch_size: int | None = None,
        state_size: int | None = None,
        hidden_size: int | None = None,
        steps: int | None = None,
        validation_fraction: float = 0.1,
        config: Mapping[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.noise = noise
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.state_size = state_size
        self.hidden_size = hidden_size
        self.steps = steps
        self.validation_fraction = validation_fraction
        self.config = config
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> CubeTransformer:
        """Train on X [n, D] and, without ``noise``, y [n, D]; rows must not be zero. At least two rows must differ.

        Raises ValueError for arrays of other shapes, for NaN or Inf, and for settings that cannot be.
        """
        inputs = validate_data(self, X, dtype=np.float32, ensure_min_samples=2, force_writeable=True)
        targets = inputs if self.noise is not None else self._targets(y, inputs.shape)
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        pairs = EmbeddingPairs.of(inputs, targets)
        groups = pairs.target_ids.numpy()
        if len(np.unique(groups)) < 2:
            raise InputError(f"all {len(groups)} targets are the same, so none can be held out; give different ones")
        held_out = GroupShuffleSplit(1, test_size=self.validation_fraction, random_state=seed)
        train, validation = (
            EmbeddingPairs(pairs.inputs[rows], pairs.targets[rows], pairs.target_ids[rows])
            for rows in next(held_out.split(groups, groups=groups))
        )
        result = CubeTrainer(self._config(seed)).fit(train, validation)
        self.core_, self.history_ = result.core, result.records
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Map X [n, D] -> float32 [n, D]. Raises NotFittedError before :meth:`fit`, ValueError for bad rows."""
        check_is_fitted(self)
        return self.core_.transform(validate_data(self, X, dtype=np.float32, reset=False))

    @property
    def _n_features_out(self) -> int:
        return self.n_features_in_

    def _targets(self, y: ArrayLike | None, shape: tuple[int, int]) -> NDArray[np.float32]:
        if y is None:
            raise InputError(
                "requires y to be passed, but the target y is None: the embeddings wanted, row for row. Set noise= to "
                "learn to take noise off the rows of X instead"
            )
        targets: NDArray[np.float32] = check_array(
            y, dtype=np.float32, ensure_2d=False, force_writeable=True, input_name="y"
        )
        if targets.shape != shape:
            raise InputError(
                f"y must be the embeddings wanted, {list(shape)} as X is; got {list(targets.shape)}. If y is the "
                "labels of a later step, set noise= to learn without them"
            )
        return targets

    def _config(self, seed: int) -> TrainingConfig:
        given = dict(self.config or {})
        for name, (section, key) in _KEYS.items():
            if (value := getattr(self, name)) is not None:
                given[section] = {**given.get(section, {}), key: value}
        given["seed"] = seed
        if self.noise is not None:
            given |= {"mode": "autoencoder", "data": {**given.get("data", {}), "noise": {"levels": (self.noise,)}}}
        return TrainingConfig.load(given)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.target_tags.required = self.noise is None
        tags.target_tags.single_output = False
        tags.target_tags.multi_output = True
        return tags
