"""AutoencoderKLEncoder, by the real code of diffusers on a tiny autoencoder of random weights."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skfairlatent import FairLatentTransformer
from skfairlatent.counterfactuals import CounterfactualExplainer
from skfairlatent.encoders import AutoencoderKLEncoder
from skfairlatent.exceptions import CheckpointError

diffusers = pytest.importorskip("diffusers")

IMAGES = np.random.default_rng(0).integers(256, size=(40, 16, 16, 3), dtype=np.uint8)
# Tolerance of images, in levels: float32 sums in another order, and rounding to whole levels.
LEVELS = 1


def save(folder, **changes):
    torch.manual_seed(0)
    network = diffusers.AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        **changes,
    )
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return save(tmp_path_factory.mktemp("vae"))


@pytest.fixture(scope="module")
def encoder(vae):
    return AutoencoderKLEncoder(vae, image_size=16, n_components=12).fit(IMAGES)


def through_the_network(vae, images):
    network = diffusers.AutoencoderKL.from_pretrained(vae, low_cpu_mem_usage=False).eval()
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        decoded = network.decode(network.encode(pixels).latent_dist.mean).sample
    return ((decoded.permute(0, 2, 3, 1) + 1) * 127.5).clamp(0, 255).numpy()


def test__autoencoder_kl__embeddings_are_white(encoder):
    E = encoder.transform(IMAGES)
    assert E.shape == (40, 12)
    assert E.dtype == np.float32
    np.testing.assert_allclose(np.cov(E.T), np.eye(12), atol=1e-3)
    np.testing.assert_allclose(E.mean(axis=0), 0.0, atol=1e-3)


def test__autoencoder_kl__decodes_with_the_residual_as_the_network_does(encoder, vae):
    E = encoder.transform(IMAGES)
    decoded = encoder.inverse_transform(E, x_T=encoder.invert(IMAGES))
    expected = through_the_network(vae, IMAGES)
    assert np.abs(decoded - expected).max() <= LEVELS
    np.testing.assert_array_equal(
        encoder.invert(IMAGES, E), encoder.invert(IMAGES, np.array(E, dtype=np.float64))
    )


def test__autoencoder_kl__without_the_residual_the_embedding_stays(encoder):
    E = encoder.transform(IMAGES[:5])
    back = encoder._components_of(encoder._latents_of(E))
    np.testing.assert_allclose(back, E, atol=1e-4)
    assert encoder.inverse_transform(E).shape == (5, 16, 16, 3)


def test__autoencoder_kl__does_not_depend_on_batches(encoder):
    one = clone(encoder).set_params(batch_size=1).fit(IMAGES)
    np.testing.assert_allclose(
        one.inverse_transform(one.transform(IMAGES)).astype(int),
        encoder.inverse_transform(encoder.transform(IMAGES)).astype(int),
        atol=LEVELS,
    )


@pytest.mark.filterwarnings("ignore:Decoded images differ:UserWarning")  # random weights
def test__autoencoder_kl__edits_of_a_fair_latent_keep_what_is_left_out(encoder):
    y, s = np.arange(40) % 2, np.arange(40) // 2 % 2
    fair = FairLatentTransformer(encoder, max_iter=1, random_state=0)
    model = make_pipeline(fair, LogisticRegression())
    model.fit(IMAGES, y, fairlatenttransformer__sensitive_features=s)
    explainer = CounterfactualExplainer(model).fit(IMAGES, y, sensitive_features=s)
    found = explainer.explain_label(IMAGES[:2], strengths=[0.0])
    images = found.decode(n_corrections=0).images
    expected = encoder.inverse_transform(
        encoder.transform(IMAGES[:2]), x_T=encoder.invert(IMAGES[:2])
    )
    assert np.abs(images.reshape(expected.shape).astype(int) - expected).max() <= LEVELS


def test__autoencoder_kl__pickle_holds_the_components_and_no_network(encoder):
    kept = pickle.dumps(encoder)
    assert len(kept) < 4 * encoder.components_.size + 10_000
    same = pickle.loads(kept)  # noqa: S301
    assert same.fingerprint() == encoder.fingerprint()
    np.testing.assert_array_equal(same.transform(IMAGES), encoder.transform(IMAGES))
    other = clone(encoder).fit(IMAGES[:20])
    assert other.fingerprint() != encoder.fingerprint()


def test__autoencoder_kl__takes_a_folder_of_a_whole_generator(vae, encoder, tmp_path):
    shutil.copytree(vae, tmp_path / "vae")
    found = AutoencoderKLEncoder(tmp_path, image_size=16, n_components=12).fit(IMAGES)
    np.testing.assert_array_equal(found.transform(IMAGES), encoder.transform(IMAGES))


def test__autoencoder_kl__encodes_what_is_cached_once(encoder, tmp_path, monkeypatch):
    cached = pickle.loads(pickle.dumps(encoder)).set_params(cache_dir=tmp_path)  # noqa: S301
    first = cached.transform(IMAGES)
    monkeypatch.setattr(AutoencoderKLEncoder, "_latents", None)
    np.testing.assert_array_equal(cached.transform(IMAGES), first)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_components": 40}, "needs more images than components"),
        ({"image_size": 17}, "not a multiple of 2.*set image_size=16"),
    ],
)
def test__autoencoder_kl__refuses_sizes_that_do_not_fit(vae, parameters, message):
    given = {"image_size": 16, "n_components": 4} | parameters
    with pytest.raises(ValueError, match=message):
        AutoencoderKLEncoder(vae, **given).fit(IMAGES)


@pytest.mark.parametrize("n_different", [1, 5])
def test__autoencoder_kl__refuses_more_components_than_images_that_differ(vae, n_different):
    # An image of any other kind would lie 1e5 standard deviations away along the rest.
    encoder = AutoencoderKLEncoder(vae, image_size=16, n_components=5)
    with pytest.raises(ValueError, match=f"vary along {n_different - 1} components only"):
        encoder.fit(IMAGES[:n_different].repeat(9, axis=0))


def test__autoencoder_kl__refuses_another_network_than_that_of_fit(vae, tmp_path):
    folder = shutil.copytree(vae, tmp_path / "vae")
    encoder = AutoencoderKLEncoder(folder, image_size=16, n_components=4).fit(IMAGES)
    larger = pickle.loads(pickle.dumps(encoder)).set_params(image_size=32)  # noqa: S301
    save(folder, latent_channels=3)
    for other in (encoder, larger):
        for method in (other.transform, other.invert):
            with pytest.raises(ValueError, match=r"call fit\(images\) again"):
                method(IMAGES)
        with pytest.raises(ValueError, match=r"call fit\(images\) again"):
            other.inverse_transform(np.zeros((2, 4)))


@pytest.mark.parametrize(
    ("x_T", "message"),
    [(np.zeros((2, 3)), "as invert"), (np.full((2, 4, 8, 8), np.nan), "finite")],
)
def test__autoencoder_kl__refuses_a_residual_of_another_shape(encoder, x_T, message):
    with pytest.raises(ValueError, match=message):
        encoder.inverse_transform(np.zeros((2, 12)), x_T=x_T)
    with pytest.raises(ValueError, match="the encoder makes 12"):
        encoder.inverse_transform(np.zeros((2, 5)))
    with pytest.raises(ValueError, match="one code for each image"):
        encoder.invert(IMAGES[:2], np.zeros((3, 12)))


def test__autoencoder_kl__says_which_file_is_lacking(vae, tmp_path):
    unfitted = AutoencoderKLEncoder(tmp_path / "vae", image_size=16)
    with pytest.raises(NotFittedError):
        unfitted.transform(IMAGES)
    with pytest.raises(FileNotFoundError, match="is not a folder: pass the path"):
        unfitted.fit(IMAGES)
    with pytest.raises(FileNotFoundError, match=r"snapshot_download.*diffusion_pytorch_model"):
        AutoencoderKLEncoder("stabilityai/no-such-vae").fit(IMAGES)
    folder = shutil.copytree(vae, tmp_path / "vae")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"_class_name": "VQModel"}))
    with pytest.raises(CheckpointError, match="holds 'VQModel'"):
        unfitted.fit(IMAGES)
    (folder / "config.json").write_text(json.dumps(config | {"in_channels": 1}))
    with pytest.raises(CheckpointError, match="1 channels in and 3 out"):
        unfitted.fit(IMAGES)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "diffusion_pytorch_model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="cannot be loaded as AutoencoderKL"):
        unfitted.fit(IMAGES)
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no diffusion_pytorch_model.safetensors"):
        unfitted.fit(IMAGES)
