"""The weights that ship: size, and quality on real faces beside the given weak embeddings."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfairlatent.datasets import load_image_folder
from skfairlatent.encoders import DiffAEEncoder

MAX_BYTES = 16 * 2**20
N_TRAIN, N_VALID = 1500, 1000


def test__weights__of_each_model_fit_into_sixteen_mebibytes():
    folder = files("skfairlatent.encoders.diffae") / "weights"
    sizes = {file.name: len(file.read_bytes()) for file in folder.iterdir()}
    names = ("faces64", "faces64_attributes", "faces64_unsupervised")
    assert set(sizes) == {f"{name}.safetensors" for name in names}
    both = sizes["faces64.safetensors"] + sizes["faces64_attributes.safetensors"]
    assert max(both, sizes["faces64_unsupervised.safetensors"]) <= MAX_BYTES


def test__sample__faces_differ_and_are_pictures():
    faces = DiffAEEncoder(n_steps=10, device="cpu").sample(2).astype(float)
    assert np.abs(faces[0] - faces[1]).mean() > 5  # of 255 levels
    # Neighbouring pixels of a picture are alike, those of noise are not.
    steps = np.abs(np.diff(faces, axis=2)).mean()
    assert steps < 0.5 * np.abs(faces - faces[:, :, ::-1]).mean()


def test__unsupervised__ships_as_well_with_codes_of_its_own():
    faces = DiffAEEncoder(n_steps=4, device="cpu").sample(2)
    codes = DiffAEEncoder(device="cpu").transform(faces)
    other = DiffAEEncoder("faces64_unsupervised", n_steps=10, device="cpu")
    assert np.linalg.norm(other.transform(faces) - codes) > 0.1 * np.linalg.norm(codes)
    faces = other.sample(2)
    assert psnr(other.reconstruct(faces), faces) > 40


@pytest.mark.data
def test__codes__tell_more_than_the_briefly_trained_ones(data_dir):
    """A probe of few rows, the same for both embeddings; the full figures are in the results."""
    encoder = DiffAEEncoder(device="cpu", precision="float32")
    stored = np.load(data_dir / "celeba_diffae32" / "embeddings.npz")
    decoded = stored["codes"] * stored["scale"] + stored["offset"]
    names = pd.Index(stored["image_id"])
    found, given = {}, {}
    for split, n in (("train", N_TRAIN), ("valid", N_VALID)):
        faces = load_image_folder(data_dir / "celeba64", split=split, max_images=n)
        found[split] = encoder.transform(faces.images), faces.frame
        rows = names.get_indexer([Path(name).stem for name in faces.filenames])
        given[split] = decoded[rows], faces.frame

    def accuracy(rows, name):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
        (train, labels), (valid, expected) = rows["train"], rows["valid"]
        return probe.fit(train, labels[name]).score(valid, expected[name])

    for name in ("Male", "Smiling", "Attractive", "Young"):
        # Two standard errors of a difference of accuracies on so many rows.
        assert accuracy(found, name) > accuracy(given, name) + 0.025


def psnr(images, others):
    error = np.mean((images.astype(float) - others) ** 2, axis=(1, 2, 3))
    return np.mean(10 * np.log10(255**2 / error))


@pytest.mark.data
def test__reconstruction__is_close_with_inverted_noise_and_of_the_code_alone_a_likeness(data_dir):
    faces = load_image_folder(data_dir / "celeba64", split="valid", max_images=2).images
    encoder = DiffAEEncoder(device="cpu")
    codes = encoder.transform(faces)
    closely = psnr(encoder.reconstruct(faces), faces)
    assert closely > 40
    # The official solver does it less well with five times the steps.
    assert closely > psnr(encoder.set_params(solver="ddim").reconstruct(faces), faces) > 30
    found = encoder.inverse_transform(codes, x_T=np.zeros((1, 64, 64, 3)))
    assert psnr(found, faces) > 20
    # Another's code gives another face.
    assert psnr(found[::-1], faces) < 15
