"""CubeTransformer among scikit-learn's own: its checks, pipelines, searches, and what it learns."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="pip install 'cubefast[sklearn]'")

from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from cubefast.errors import ConfigError, InputError
from cubefast.integrations.sklearn import CubeTransformer

TINY = {"epochs": 1, "state_size": 2, "hidden_size": 4, "steps": 2}


class WithTargets(CubeTransformer):
    """The estimator checks give labels as y; this puts embeddings in their place."""

    def fit(self, X, y=None):
        return super().fit(X, None if y is None else X)


@parametrize_with_checks(
    [CubeTransformer(noise=0.1, **TINY), WithTargets(**TINY)],
    expected_failed_checks=lambda estimator: {
        "check_estimators_dtypes": "it draws whole numbers, a row of zeros among them, which has no direction",
    },
)
def test_the_checks_of_scikit_learn_pass(estimator, check):
    check(estimator)


def pairs(count, seed=0):
    """Unit rows and what they become under a rotation of neighboring numbers."""
    x = np.random.default_rng(seed).standard_normal((count, 16)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x, np.stack([-x[:, 1::2], x[:, ::2]], axis=2).reshape(count, 16)


def cosine(a, b):
    return float(((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).mean())


def test_it_learns_what_y_says_and_the_same_seed_gives_the_same_bits():
    x, y = pairs(400)
    new, wanted = pairs(100, seed=1)
    cube = CubeTransformer(epochs=12, learning_rate=1e-2, steps=4, random_state=0).fit(x, y)
    out = cube.transform(new)
    assert (out.shape, out.dtype) == ((100, 16), np.float32)
    assert abs(cosine(new, wanted)) < 0.1
    assert cosine(out, wanted) > 0.5
    assert len(cube.history_) == 12
    np.testing.assert_array_equal(clone(cube).fit(x, y).transform(new), out)
    assert (clone(cube).set_params(random_state=1).fit(x, y).transform(new) != out).any()


def test_with_noise_it_learns_to_take_it_off_and_does_not_look_at_y():
    basis = np.random.default_rng(0).standard_normal((3, 16))
    x = np.random.default_rng(1).standard_normal((300, 3)) @ basis  # only three directions of sixteen
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    dirty = x + 0.2 * np.random.default_rng(2).standard_normal(x.shape)
    cube = CubeTransformer(noise=0.2, epochs=8, learning_rate=1e-2, steps=4, random_state=0).fit(x)
    assert cosine(cube.transform(dirty), x) > cosine(dirty, x) + 0.1
    labelled = clone(cube).fit(x, np.arange(300) % 2)
    np.testing.assert_array_equal(labelled.transform(dirty), cube.transform(dirty))


def test_in_a_pipeline_in_a_search_and_with_names():
    x, _ = pairs(60)
    labels = x[:, 0] > 0
    chain = make_pipeline(PCA(8), CubeTransformer(noise=0.05, random_state=0, **TINY), LogisticRegression())
    search = GridSearchCV(chain, {"cubetransformer__steps": [1, 2]}, cv=2).fit(x, labels)
    assert search.best_estimator_[1].core_.lattice.steps == search.best_params_["cubetransformer__steps"]
    assert search.predict(x).shape == (60,)
    names = chain[:2].fit(x, labels).get_feature_names_out()
    assert list(names[:2]) == ["cubetransformer0", "cubetransformer1"]


def test_further_keys_of_the_config_are_heard_and_arguments_come_before_them():
    x, y = pairs(40)
    config = {"training": {"epochs": 3, "losses": {"mse": 1.0}}, "core": {"placement": "order"}}
    cube = CubeTransformer(**{**TINY, "epochs": 2}, config=config).fit(x, y)
    assert len(cube.history_) == 2
    assert cube.core_.reshaper.placement == "order"
    assert "loss_mse" in cube.history_[0]
    assert config["training"]["epochs"] == 3
    with pytest.raises(ConfigError, match=r"training.losses.msee.*mse"):
        CubeTransformer(config={"training": {"losses": {"msee": 1.0}}}).fit(x, y)


def test_equal_targets_are_held_out_together():
    x, y = pairs(40)
    y[:] = y[np.arange(40) // 20]  # two targets: one is learnt, the other held out
    cube = CubeTransformer(**TINY, validation_fraction=0.5).fit(x, y)
    assert cube.history_[0]["pairs"] == 20
    with pytest.raises(InputError, match="all 20 targets are the same"):
        CubeTransformer(**TINY).fit(x[:20], y[:20])


def test_what_cannot_be_fitted_is_refused_in_words():
    x, y = pairs(20)
    for arguments, message in [
        ((x,), "requires y to be passed.*Set noise= to learn to take noise off"),
        ((x, y[:, :8]), r"y must be the embeddings wanted, \[20, 16\] as X is; got \[20, 8\]"),
        ((x, np.arange(20)), "If y is the labels of a later step, set noise="),
        ((x * 0, y), "row 0 of inputs is all zeros"),
        ((x, y * np.nan), "Input y contains NaN"),
    ]:
        with pytest.raises(ValueError, match=message):
            CubeTransformer(**TINY).fit(*arguments)
    with pytest.raises(NotFittedError):
        CubeTransformer().transform(x)
    with pytest.raises(ValueError, match="X has 8 features, but CubeTransformer is expecting 16"):
        CubeTransformer(**TINY).fit(x, y).transform(x[:, :8])


def test_without_scikit_learn_the_extra_is_named(tmp_path):
    (tmp_path / "sklearn.py").write_text("raise ImportError('no sklearn here')")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import cubefast.integrations.sklearn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip install 'cubefast[sklearn]'" in done.stderr
