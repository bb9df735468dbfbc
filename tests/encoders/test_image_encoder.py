"""Encoders of the user's own: what the base class does for them, and their names."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skfairlatent import FairLatentTransformer
from skfairlatent.encoders import ENCODERS, DiffAEEncoder, ImageEncoder, register_encoder

IMAGES = np.random.default_rng(0).integers(256, size=(20, 8, 8, 3), dtype=np.uint8)
Y, S = np.arange(20) % 2, np.arange(20) // 2 % 2
QUICK = {"max_iter": 1, "hidden_features": 8, "random_state": 0, "device": "cpu"}


class Flat(ImageEncoder):
    """The pixels themselves, plus a shift; `kind` is what it returns them as."""

    image_size = 8

    def __init__(self, shift=0.0, batch_size=7, kind="array"):
        self.shift = shift
        self.batch_size = batch_size
        self.kind = kind

    def encode_batch(self, images):
        E = images.reshape(len(images), -1) / 255 + self.shift
        return E if self.kind == "array" else torch.from_numpy(E).requires_grad_()

    def decode_batch(self, embeddings):
        images = (embeddings - self.shift).reshape(-1, 8, 8, 3)
        return images if self.kind == "array" else torch.from_numpy(images)


class Learning(ImageEncoder):
    """Subtracts the mean image, and cannot decode."""

    def fit(self, X, y=None):  # noqa: ARG002 - scikit-learn's signature
        self.mean_ = np.mean(X, axis=0)
        return self

    def encode_batch(self, images):
        return (images - self.mean_).reshape(len(images), -1)


@pytest.fixture
def names():
    before = dict(ENCODERS)
    yield
    ENCODERS.clear()
    ENCODERS.update(before)


@pytest.mark.parametrize("kind", ["array", "tensor"])
def test__image_encoder__encodes_and_decodes_in_batches(kind):
    encoder = Flat(0.5, kind=kind)
    E = encoder.fit_transform(IMAGES)
    assert (E.dtype, E.shape) == (np.float32, (20, 192))
    np.testing.assert_allclose(E, IMAGES.reshape(20, -1) / 255 + 0.5, rtol=1e-6)
    np.testing.assert_array_equal(encoder.inverse_transform(E), IMAGES)
    assert clone(encoder).get_params() == encoder.get_params()
    assert len(encoder.get_feature_names_out()) == 192


def test__image_encoder__reads_other_forms_and_sizes():
    E = Flat().transform([image / 255 for image in IMAGES])
    np.testing.assert_array_equal(E, Flat().transform(IMAGES))
    assert Flat().transform(IMAGES.repeat(2, axis=1).repeat(2, axis=2)).shape == (20, 192)


def test__image_encoder__clips_images():
    assert Flat().inverse_transform(np.full((1, 192), 1.5)).min() == 255


def test__image_encoder__learns_in_fit():
    encoder = Learning()
    with pytest.raises(NotFittedError):
        encoder.transform(IMAGES)
    np.testing.assert_allclose(encoder.fit(IMAGES).transform(IMAGES).mean(axis=0), 0, atol=1e-4)
    assert not hasattr(encoder, "inverse_transform")


@pytest.mark.parametrize(
    ("returned", "match"),
    [
        (lambda images: images, r"turned 7 images into an array of shape \(7, 8, 8, 3\)"),
        (lambda images: images[:1, 0, 0], r"turned 7 images into an array of shape \(1, 3\)"),
        (lambda images: np.where(np.arange(len(images)) == 3, np.nan, 1)[:, None], "for row 3"),
    ],
)
def test__transform__names_what_encode_batch_returned(returned, match):
    class Wrong(Flat):
        def encode_batch(self, images):
            return returned(images)

    with pytest.raises(ValueError, match=match):
        Wrong().transform(IMAGES)


@pytest.mark.parametrize(
    ("returned", "error", "match"),
    [
        (np.zeros((2, 3, 8, 8)), ValueError, r"\(2, 3, 8, 8\): expected \(n, height, width, 3"),
        (np.zeros((2, 8, 8, 3), dtype=int), TypeError, "int64: expected uint8"),
        (np.full((2, 8, 8, 3), np.inf), ValueError, "decoder returned NaN or infinity, .* row 0"),
    ],
)
def test__inverse_transform__names_what_decode_batch_returned(returned, error, match):
    class Wrong(Flat):
        def decode_batch(self, embeddings):  # noqa: ARG002
            return returned

    with pytest.raises(error, match=match):
        Wrong().inverse_transform(np.zeros((2, 192)))


def test__image_encoder__needs_encode_batch_and_valid_parameters():
    with pytest.raises(TypeError, match="encode_batch"):
        ImageEncoder()
    with pytest.raises(ValueError, match="'batch_size' parameter"):
        Flat(batch_size=0).transform(IMAGES)
    with pytest.raises(ValueError, match="has no image_size"):
        Learning().fit(IMAGES).get_feature_names_out()


@pytest.mark.usefixtures("names")
def test__register_encoder__makes_a_name_known(tmp_path):
    register_encoder("flat", lambda device: Flat())  # noqa: ARG005 - it computes on the CPU
    fair = FairLatentTransformer("flat", **QUICK).fit(IMAGES, Y, sensitive_features=S)
    expected = FairLatentTransformer(Flat(), **QUICK).fit(IMAGES, Y, sensitive_features=S)
    Z = fair.transform(IMAGES)
    np.testing.assert_array_equal(Z, expected.transform(IMAGES))
    assert fair.inverse_transform(Z).shape == IMAGES.shape
    fair.save(tmp_path / "fair.safetensors")
    loaded = FairLatentTransformer.load(tmp_path / "fair.safetensors", encoder="flat")
    np.testing.assert_array_equal(loaded.transform(IMAGES), Z)


@pytest.mark.usefixtures("names")
def test__register_encoder__of_the_class_that_has_the_name_changes_nothing():
    before = dict(ENCODERS)
    register_encoder("diffae", DiffAEEncoder)
    assert before == ENCODERS
    with pytest.raises(ValueError, match="name='diffae' is taken"):
        register_encoder("diffae", Flat)


@pytest.mark.usefixtures("names")
def test__register_encoder__refuses_what_is_no_name_and_no_factory():
    register_encoder("flat", Flat)
    register_encoder("flat", Flat)
    with pytest.raises(ValueError, match="name='flat' is taken"):
        register_encoder("flat", Learning)
    with pytest.raises(ValueError, match="is empty"):
        register_encoder(" ", Flat)
    with pytest.raises(TypeError, match="is not a text"):
        register_encoder(3, Flat)
    with pytest.raises(TypeError, match="cannot be called"):
        register_encoder("other", Flat())
    with pytest.raises(ValueError, match=r"use one of 'diffae', .*'flat', None"):
        FairLatentTransformer("flt", **QUICK).fit(IMAGES, Y, sensitive_features=S)
