"""A trained encoder is shared by many models, and none of them changes it for the others."""

from typing import ClassVar

import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skfairlatent import FairLatentTransformer
from skfairlatent.encoders import DiffAEEncoder, PixelFlattener, TorchEncoder

QUICK = {"max_iter": 1, "hidden_features": 8, "batch_size": 32, "random_state": 0, "device": "cpu"}
IMAGES = np.random.default_rng(0).integers(256, size=(40, 8, 8, 3), dtype=np.uint8)
Y, S = np.arange(40) % 2, np.arange(40) // 2 % 2


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def principal():
    return make_pipeline(PixelFlattener(), PCA(4, random_state=0)).fit(IMAGES)


def fitted(encoder):
    return FairLatentTransformer(encoder, **QUICK).fit(IMAGES, Y, sensitive_features=S)


class Shifting(TransformerMixin, BaseEstimator):
    """An encoder of the user's that notes which shifts it encoded with."""

    seen: ClassVar = set()

    def __init__(self, shift=0):
        self.shift = shift

    def transform(self, X):
        Shifting.seen.add(self.shift)
        return np.reshape(X, (len(X), -1))[:, self.shift : self.shift + 4] / 255.0


ENCODERS = {
    "Pipeline": (principal, "pca__whiten", True),
    "Pipeline in a Pipeline": (
        lambda: Pipeline([("inner", principal()), ("scale", StandardScaler())]).fit(IMAGES),
        "inner__pca__whiten",
        True,
    ),
    "FeatureUnion": (
        lambda: FeatureUnion([("one", principal()), ("two", principal())]).fit(IMAGES),
        "two__pca__whiten",
        True,
    ),
    "own object": (Shifting, "shift", 5),
}


@pytest.mark.parametrize(("make", "name", "value"), ENCODERS.values(), ids=ENCODERS)
@pytest.mark.parametrize("of", ["clone", "the other", "itself"])
def test__set_params__changes_no_other_model(make, name, value, of):
    encoder = make()
    model, other = fitted(encoder), fitted(encoder)
    before, codes = model.transform(IMAGES), encoder.transform(IMAGES)
    twin = {"clone": clone(model), "the other": other, "itself": other.set_params(output="full")}[
        of
    ]
    twin.set_params(**{f"encoder__{name}": value})
    assert twin.get_params()[f"encoder__{name}"] == value
    assert not np.array_equal(twin.encoder.transform(IMAGES), codes)
    np.testing.assert_array_equal(encoder.transform(IMAGES), codes)
    np.testing.assert_array_equal(model.transform(IMAGES), before)
    assert model.encoder is encoder


def test__set_params__replaces_parts_of_a_copy_only():
    encoder = principal()
    model = fitted(encoder)
    twin = clone(model).set_params(encoder__pca="passthrough")
    assert encoder[1] is not twin.encoder[1] == "passthrough"
    assert twin.encoder.transform(IMAGES).shape == (40, 192)
    given = principal()
    twin.set_params(encoder=given, encoder__pca__whiten=True)
    assert not given[1].whiten
    assert twin.encoder[1].whiten


def test__set_params__shares_what_was_learnt():
    encoder = principal()
    twin = FairLatentTransformer(encoder).set_params(encoder__pca__whiten=True).encoder
    assert twin[1].components_ is encoder[1].components_
    network = lambda images: images.flatten(1)[:, :4]  # noqa: E731 - it must be this object
    torch_encoder = TorchEncoder(network, image_size=8)
    model = FairLatentTransformer(torch_encoder).set_params(encoder__image_size=6)
    assert model.encoder.encoder is network
    assert (torch_encoder.image_size, model.encoder.image_size) == (8, 6)
    table = ColumnTransformer([("a", StandardScaler(), [0]), ("b", "passthrough", [1])])
    model = FairLatentTransformer(table).set_params(encoder__a__with_mean=False)
    assert table.transformers[0][1].with_mean


def test__set_params__of_an_encoder_without_any():
    for encoder, remedy in (("diffae", r"pass encoder=DiffAEEncoder\(\)"), (None, "encoder=None")):
        with pytest.raises(TypeError, match=remedy):
            FairLatentTransformer(encoder).set_params(encoder__n_steps=3)
    model = FairLatentTransformer(DiffAEEncoder()).set_params(encoder__n_steps=3)
    assert model.encoder.n_steps == 3
    with pytest.raises(ValueError, match="Invalid parameter 'steps'"):
        model.set_params(encoder__steps=3)


@pytest.mark.usefixtures("routing")
def test__search__tries_parameters_of_the_encoder_and_leaves_it():
    encoder = Shifting()
    Shifting.seen = set()
    pipe = Pipeline(
        [("fair", FairLatentTransformer(encoder, **QUICK)), ("clf", LogisticRegression())]
    )
    search = GridSearchCV(pipe, {"fair__encoder__shift": [3, 7]}, cv=2, error_score="raise")
    search.fit(IMAGES, Y, sensitive_features=S)
    assert Shifting.seen == {3, 7}
    assert encoder.shift == pipe["fair"].encoder.shift == 0
    best = search.best_estimator_["fair"].encoder
    assert best.shift == search.best_params_["fair__encoder__shift"]


@pytest.mark.usefixtures("routing")
def test__search__over_encoders_takes_frozen_ones():
    one, two = principal(), make_pipeline(PixelFlattener(), PCA(3)).fit(IMAGES)
    pipe = Pipeline([("fair", FairLatentTransformer(one, **QUICK)), ("clf", LogisticRegression())])

    def search(encoders):
        found = GridSearchCV(pipe, {"fair__encoder": encoders}, cv=2, error_score="raise")
        return found.fit(IMAGES, Y, sensitive_features=S)

    with pytest.raises(NotFittedError, match=r"pass sklearn.frozen.FrozenEstimator\(encoder\)"):
        search([one, two])
    best = search([FrozenEstimator(one), FrozenEstimator(two)]).best_estimator_["fair"]
    images = best.inverse_transform(best.transform(IMAGES))
    assert images.shape == IMAGES.shape


def test__fit__says_of_an_untrained_encoder_what_to_do():
    encoder = make_pipeline(PixelFlattener(), PCA(4))
    model = FairLatentTransformer(encoder, **QUICK)
    with pytest.raises(NotFittedError, match=r"call encoder.fit\(images\) first"):
        model.fit(IMAGES, Y, sensitive_features=S)
    encoder.fit(IMAGES)
    assert model.fit(IMAGES, Y, sensitive_features=S).n_features_in_ == 4
    with pytest.raises(NotFittedError, match=r"DiffAEEncoder.*is not fitted, and fit does not"):
        FairLatentTransformer(DiffAEEncoder(None)).fit(IMAGES, Y, sensitive_features=S)


def test__inverse_transform__says_of_an_untrained_encoder_what_to_do():
    model = fitted(principal()).set_params(encoder=make_pipeline(PixelFlattener(), PCA(4)))
    with pytest.raises(NotFittedError, match=r"call encoder.fit\(images\) first"):
        model.inverse_transform(np.zeros((1, 4)))
