"""Images as rows of pixels: exact round trips, encoders made with PCA, and errors."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from skfairlatent import FairLatentTransformer
from skfairlatent.encoders import _flatten
from skfairlatent.encoders._flatten import PixelFlattener

HEIGHT, WIDTH = 6, 5


def _images(n=20, height=HEIGHT, width=WIDTH):
    return np.random.default_rng(0).integers(256, size=(n, height, width, 3), dtype=np.uint8)


def test__pixel_flattener__keeps_every_grey_level(monkeypatch):
    monkeypatch.setattr(_flatten.PixelFlattener, "batch_size", 3)
    levels = np.arange(256, dtype=np.uint8).reshape(-1, 1, 1, 1)
    images = np.broadcast_to(levels, (256, 2, 2, 3))
    flattener = PixelFlattener()

    rows = flattener.fit_transform(images)

    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows[:, 0], np.arange(256) / 255, rtol=1e-6)
    np.testing.assert_array_equal(flattener.inverse_transform(rows), images)


def test__pixel_flattener__orders_rows_as_numpy_does():
    images = _images()
    flattener = PixelFlattener().fit(images)
    assert flattener.image_shape_ == (HEIGHT, WIDTH, 3)
    rows = flattener.transform(images)
    np.testing.assert_allclose(rows, images.reshape(20, -1) / 255, rtol=1e-6)
    np.testing.assert_array_equal(flattener.inverse_transform(rows.astype(np.float64)), images)


def test__pixel_flattener__rounds_floats_to_half_a_grey_level():
    images = np.random.default_rng(0).random((20, HEIGHT, WIDTH, 3))
    flattener = PixelFlattener()
    back = flattener.inverse_transform(flattener.fit_transform(images))
    assert np.abs(back / 255 - images).max() <= 1 / 510 + 1e-6


def test__inverse_transform__clips_and_leaves_its_input_alone():
    flattener = PixelFlattener().fit(_images())
    rows = np.full((1, HEIGHT * WIDTH * 3), 1.5)
    rows[0, 0] = -0.5
    image = flattener.inverse_transform(rows)[0]
    assert image[0, 0].tolist() == [0, 255, 255]
    assert (rows[0, 0], rows[0, 1]) == (-0.5, 1.5)


def test__pixel_flattener__resizes_when_given_a_size():
    flattener = PixelFlattener(4).fit(_images(height=8, width=8))
    assert flattener.image_shape_ == (4, 4, 3)
    assert flattener.transform(_images(2, 16, 16)).shape == (2, 48)
    pictures = [pytest.importorskip("PIL.Image").fromarray(image) for image in _images(3, 4, 4)]
    rows = flattener.transform(pictures)
    np.testing.assert_array_equal(flattener.inverse_transform(rows), _images(3, 4, 4))


def test__pixel_flattener__and_pca_are_an_encoder():
    images = _images(200)
    encoder = make_pipeline(PixelFlattener(), PCA(whiten=True, random_state=0)).fit(images)
    E = encoder.transform(images)
    assert E.shape == (200, HEIGHT * WIDTH * 3)
    np.testing.assert_array_equal(encoder.inverse_transform(E), images)

    y, group = np.random.default_rng(0).integers(2, size=(2, 200))
    fair = FairLatentTransformer(encoder, max_iter=2, hidden_features=8, random_state=0)
    fair.fit(images, y, sensitive_features=group)
    back = fair.inverse_transform(fair.latent(images))
    assert np.abs(back.astype(int) - images).max() <= 1


def test__pixel_flattener__names_its_columns_and_clones():
    pandas = PixelFlattener(2).set_output(transform="pandas")
    table = clone(pandas).fit_transform(_images(4, 2, 2))
    assert list(table.columns) == [f"pixelflattener{i}" for i in range(12)]


def test__pixel_flattener__must_be_fitted():
    with pytest.raises(NotFittedError):
        PixelFlattener(4).transform(_images())
    with pytest.raises(NotFittedError):
        PixelFlattener(4).inverse_transform(np.zeros((1, 48)))


@pytest.mark.parametrize("size", [0, 2.5])
def test__pixel_flattener__refuses_a_bad_size(size):
    with pytest.raises(ValueError, match="'image_size' parameter"):
        PixelFlattener(size).fit(_images())


def test__transform__refuses_images_of_another_size():
    flattener = PixelFlattener().fit(_images())
    with pytest.raises(ValueError, match=r"\(5, 6, 3\), but fit was given \(6, 5, 3\)"):
        flattener.transform(_images(height=WIDTH, width=HEIGHT))


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        (np.zeros((1, 89)), r"X has 89 features, but the encoder makes 90"),
        (np.full((1, 90), np.nan), "X contains NaN"),
        (np.zeros(90), "Expected 2D array"),
    ],
)
def test__inverse_transform__refuses_what_is_no_image(rows, match):
    with pytest.raises(ValueError, match=match):
        PixelFlattener().fit(_images()).inverse_transform(rows)
