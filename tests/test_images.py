"""Pictures in, pictures out: the estimator with the diffusion autoencoder that ships."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn
from fairlearn.metrics import MetricFrame
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline

from skfairlatent import FairLatentTransformer
from skfairlatent.counterfactuals import CounterfactualExplainer
from skfairlatent.datasets import LazyImages, load_image_folder
from skfairlatent.encoders import DiffAEEncoder, PixelFlattener
from skfairlatent.encoders.diffae._codec import Codec
from skfairlatent.exceptions import CheckpointError
from skfairlatent.metrics import equalized_odds_difference, fairness_scorers

QUICK = {"max_iter": 2, "batch_size": 64, "random_state": 0, "device": "cpu"}
N_FACES = 24


@pytest.fixture(scope="module")
def faces():
    """Faces of nobody, with a label and a group that alternate."""
    images = DiffAEEncoder(n_steps=2, device="cpu").sample(N_FACES)
    return images, np.arange(N_FACES) % 2, np.arange(N_FACES) // 2 % 2


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.fixture
def counted(monkeypatch):
    """Count the images that go through the network."""
    counts = []
    encode = Codec.encode

    def counting(self, pixels):
        counts.append(len(pixels))
        return encode(self, pixels)

    monkeypatch.setattr(Codec, "encode", counting)
    return counts


@pytest.mark.usefixtures("routing")
def test__pipeline__from_images_to_metric_frame(faces):
    images, y, s = faces
    pipe = Pipeline([("fair", FairLatentTransformer(**QUICK)), ("clf", LogisticRegression())]).fit(
        images, y, sensitive_features=s
    )
    predicted = pipe.predict(images)
    frame = MetricFrame(metrics=accuracy_score, y_true=y, y_pred=predicted, sensitive_features=s)
    assert frame.by_group.notna().all()
    decoded = pipe["fair"].inverse_transform(pipe["fair"].transform(images[:2]))
    assert decoded.shape == (2, 64, 64, 3)
    assert decoded.dtype == np.uint8


def test__fit__is_the_same_for_arrays_lists_paths_and_embeddings(faces, tmp_path):
    images, y, s = faces
    paths = [tmp_path / f"{i:02}.png" for i in range(N_FACES)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    table = pd.DataFrame({"image_id": [path.stem for path in paths]})
    wanted = FairLatentTransformer(**QUICK).fit_transform(images, y, sensitive_features=s)
    lazy = load_image_folder(tmp_path, table, images="lazy").images
    assert isinstance(lazy, LazyImages)
    codes = DiffAEEncoder(device="cpu").transform(images)
    for form in (paths, list(map(str, paths)), [Image.open(p) for p in paths], lazy, codes):
        fair = FairLatentTransformer(**QUICK)
        found = fair.fit_transform(form, y, sensitive_features=s)
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test__fit_transform__encodes_once(faces, counted):
    images, y, s = faces
    FairLatentTransformer(**QUICK).fit_transform(images, y, sensitive_features=s)
    assert sum(counted) == N_FACES


@pytest.mark.usefixtures("routing")
def test__search__with_a_cache_encodes_no_image_twice(faces, counted, tmp_path):
    images, y, s = faces
    encoder = DiffAEEncoder(cache_dir=tmp_path, device="cpu")
    pipe = Pipeline(
        [("fair", FairLatentTransformer(encoder, **QUICK)), ("clf", LogisticRegression())]
    )
    search = GridSearchCV(
        pipe,
        {"fair__lambda_di": [1.0, 20.0]},
        scoring=fairness_scorers(),
        refit="accuracy",
        cv=2,
        error_score="raise",
    )
    search.fit(images, y, sensitive_features=s)
    assert sum(counted) == N_FACES
    assert len(search.predict(images)) == N_FACES
    assert sum(counted) == N_FACES


def test__inverse_transform__with_the_own_noise_gives_the_images_back(faces):
    images, y, s = faces
    encoder = DiffAEEncoder(n_steps=5, device="cpu")
    fair = FairLatentTransformer(encoder, **QUICK).fit(images, y, sensitive_features=s)
    noise = encoder.invert(images[:4])
    Z = fair.latent(images[:4])
    again = fair.inverse_transform(Z, x_T=noise)
    wanted = encoder.inverse_transform(encoder.transform(images[:4]), x_T=noise)
    # The flow's round trip is exact to 1e-5; decoding magnifies it, to a level here and there.
    assert np.abs(again.astype(int) - wanted).mean() < 1
    codes = encoder.transform(images)
    on_codes = FairLatentTransformer(**QUICK).fit(codes, y, sensitive_features=s)
    with pytest.raises(ValueError, match="x_T is for images"):
        on_codes.inverse_transform(Z, x_T=noise)


@pytest.mark.parametrize(
    ("meant", "message"),
    [
        ([], "X is empty: pass one or more rows, or images"),
        (Path().glob("*.png"), r"read once only: pass list\(X\)"),
        ("face.png", "got one image: pass a list"),
        (Image.new("RGB", (64, 64)), "got one image: pass a list"),
        (np.zeros((64, 64, 3), np.uint8), r"For one image pass X\[np.newaxis\]"),
        ([b"png"], r"X\[0\] is not an image that Pillow can read"),
        ([np.zeros((64, 64))] * 2 + ["x.png"], "x.png.*is not a file that can be read"),
    ],
)
def test__transform__what_was_meant_as_images(faces, meant, message):
    images, y, s = faces
    fair = FairLatentTransformer(**QUICK).fit(images, y, sensitive_features=s)
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=message):
        fair.transform(meant)


def test__save__keeps_a_fingerprint_of_the_weights(faces, tmp_path):
    images, y, s = faces
    fair = FairLatentTransformer(**QUICK).fit(images, y, sensitive_features=s)
    assert fair.encoder_fingerprint_ == DiffAEEncoder().fingerprint()
    path = tmp_path / "fair.safetensors"
    fair.save(path)
    assert path.stat().st_size < 8e6  # the flow, not the encoder's 16 MB beside it
    loaded = FairLatentTransformer.load(path)
    np.testing.assert_array_equal(loaded.transform(images), fair.transform(images))
    with pytest.raises(CheckpointError, match="pass the same one"):
        FairLatentTransformer.load(path, encoder=PixelFlattener(8))
    with pytest.raises(NotFittedError, match="DiffAEEncoder"):
        FairLatentTransformer.load(path, encoder=DiffAEEncoder(None))


@pytest.mark.data
@pytest.mark.usefixtures("routing")
def test__real_faces__fewer_gaps_than_without(data_dir):
    """A thousand faces and a short fit, so only the order of the results is asked for."""
    faces = load_image_folder(
        data_dir / "celeba64", split="valid", max_images=1200, random_state=0
    )
    y, s = faces.frame["Attractive"].to_numpy(), faces.frame["Male"].to_numpy()
    codes = DiffAEEncoder(device="cpu").transform(faces.images)
    train, test = slice(0, 800), slice(800, None)

    def gap(pipe, **given):
        predicted = pipe.fit(codes[train], y[train], **given).predict(codes[test])
        return equalized_odds_difference(y[test], predicted, sensitive_features=s[test])

    plain = gap(Pipeline([("clf", LogisticRegression(C=0.01, max_iter=2000))]))
    fair = FairLatentTransformer(max_iter=100, random_state=0, device="cpu")
    fairer = gap(
        Pipeline([("fair", fair), ("clf", LogisticRegression())]), sensitive_features=s[train]
    )
    assert fairer < 0.6 * plain


@pytest.mark.parametrize("enable_metadata_routing", [False, True])
def test__inverse_transform__noise_is_refused_where_the_encoder_has_none(enable_metadata_routing):
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(40, 6, 6, 3), dtype=np.uint8)
    y, s = rng.integers(2, size=(2, 40))
    encoder = make_pipeline(PixelFlattener(), PCA(4)).fit(images)
    small = {"n_blocks": 1, "hidden_features": 4, "max_iter": 1, "random_state": 0}
    fair = FairLatentTransformer(encoder, **small).fit(images, y, sensitive_features=s)
    Z, noise = fair.latent(images[:2]), np.zeros((2, 6, 6, 3))
    model = make_pipeline(fair, LogisticRegression().fit(fair.transform(images), y))
    edits = CounterfactualExplainer(model).fit(images).explain_label(images[:2])
    with sklearn.config_context(enable_metadata_routing=enable_metadata_routing):
        with pytest.raises(ValueError, match=r"has no noise to decode from: leave x_T out"):
            fair.inverse_transform(Z, x_T=noise)
        with pytest.raises(ValueError, match=r"has no noise to decode from: leave x_T out"):
            edits.decode(noise)
        assert fair.inverse_transform(Z).shape == (2, 6, 6, 3)
