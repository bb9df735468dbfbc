import copy
import dataclasses
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skfairlatent import FairLatentTransformer
from skfairlatent.datasets import make_biased_embeddings
from skfairlatent.encoders import OFFICIAL_CONFIGS, DiffAEConfig, DiffAEEncoder, DiffAETraining
from skfairlatent.encoders.diffae._codec import Codec
from skfairlatent.encoders.diffae._model import Model
from skfairlatent.encoders.diffae._networks.networks import DiffusionAutoencoder, SemanticEncoder
from skfairlatent.encoders.diffae._solvers.registry import SOLVERS
from skfairlatent.encoders.diffae._weights.read import read_weights
from skfairlatent.encoders.diffae._weights.write import write_weights
from skfairlatent.exceptions import CheckpointError, FairLatentWarning

# Chunks of other sizes are computed by other kernels of the same precision, float32.
CHUNK_TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def weights(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    trained.save_weights(path)
    return path


@pytest.fixture
def encoder(weights):
    return DiffAEEncoder(weights, n_steps=4, device="cpu")


def test__transform__codes_do_not_depend_on_chunks_or_form(encoder, pictures, tmp_path):
    codes = encoder.transform(pictures)
    assert codes.shape == (96, 12)
    assert codes.dtype == np.float32
    encoder.set_params(chunk_size=7)
    np.testing.assert_allclose(encoder.transform(pictures), codes, **CHUNK_TOLERANCE)
    paths = []
    for i, image in enumerate(pictures[:3]):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(image).save(paths[-1])
    for form in (paths, [str(p) for p in paths], [Image.open(p) for p in paths],
                 list(pictures[:3]), pictures[:3] / 255):  # fmt: skip
        np.testing.assert_allclose(encoder.transform(form), codes[:3], **CHUNK_TOLERANCE)


def test__transform__without_weights_or_fit_says_so(tiny_config):
    with pytest.raises(NotFittedError):
        DiffAEEncoder(None, config=tiny_config).transform(np.zeros((1, 8, 8, 3), np.uint8))


def test__fit__pretrained_weights_stay_as_they_are(encoder, pictures):
    """In a pipeline, fit must not start to train what is trained."""
    before = encoder.fingerprint()
    labels = np.arange(96) % 2
    pipe = make_pipeline(encoder, LogisticRegression()).fit(pictures, labels)
    assert pipe[0].fingerprint() == before
    assert not hasattr(encoder, "model_")
    with pytest.raises(ValueError, match="images"):
        encoder.fit(np.zeros((3, 4)))


def test__inverse_transform__same_code_same_image_whatever_else_is_decoded(encoder, pictures):
    codes = encoder.transform(pictures[:3])
    images = encoder.inverse_transform(codes)
    assert images.shape == (3, 8, 8, 3)
    assert images.dtype == np.uint8
    alone = encoder.inverse_transform(codes[:1])
    # One level of 255: rounding of float32 at the border between two levels.
    assert np.abs(alone[0].astype(int) - images[0]).max() <= 1
    other = encoder.set_params(random_state=5).inverse_transform(codes)
    assert (other != images).any()


def test__inverse_transform__one_noise_serves_all_codes(encoder, pictures):
    codes = encoder.transform(pictures[:2])
    noise = encoder.invert(pictures[:1])
    both = encoder.inverse_transform(codes, x_T=noise)
    repeated = encoder.inverse_transform(codes, x_T=np.repeat(noise, 2, axis=0))
    np.testing.assert_array_equal(both, repeated)


def test__invert__more_steps_reconstruct_better(weights, pictures):
    def error(n_steps):
        again = DiffAEEncoder(weights, n_steps=n_steps, device="cpu").reconstruct(pictures[:16])
        return np.mean((again.astype(float) - pictures[:16]) ** 2)

    assert error(100) < error(20) < error(2)


@pytest.mark.parametrize(
    ("file", "solver", "n_steps"),
    [("ours.safetensors", "dpmsolver++", 10), ("state_dict.pt", "ddim", 50)],
)
def test__solver__auto_is_that_of_whoever_wrote_the_weights(
    trained, tiny_config, pictures, tmp_path, file, solver, n_steps
):
    path = tmp_path / file
    if path.suffix == ".pt":
        torch.save(trained.model_.network.state_dict(), path)
    else:
        trained.save_weights(path)
    auto = DiffAEEncoder(path, config=tiny_config, device="cpu")
    found, codes = auto.invert(pictures[:2]), auto.transform(pictures[:2])
    decoded = auto.inverse_transform(codes)
    for other in SOLVERS:
        named = DiffAEEncoder(path, config=tiny_config, device="cpu", solver=other)
        same = other == solver
        assert np.array_equal(named.invert(pictures[:2]), found) == same
        assert np.array_equal(named.inverse_transform(codes), decoded) == same
    counted = DiffAEEncoder(path, config=tiny_config, device="cpu", n_steps=n_steps)
    np.testing.assert_array_equal(counted.invert(pictures[:2]), found)


def test__invert__known_codes_are_not_computed_again(encoder, pictures, monkeypatch):
    encoder.set_params(precision="float32")  # "auto" may encode images to compare precisions
    codes = encoder.transform(pictures[:4])
    expected = encoder.invert(pictures[:4])

    def fail(*_):
        raise AssertionError

    monkeypatch.setattr(Codec, "encode", fail)
    np.testing.assert_allclose(encoder.invert(pictures[:4], codes), expected, atol=1e-6)


def test__sample__draws_other_images_by_seed(encoder):
    first = encoder.sample(3)
    assert first.shape == (3, 8, 8, 3)
    np.testing.assert_array_equal(first, encoder.sample(3))
    assert (first != encoder.sample(3, random_state=1)).any()
    cold = encoder.sample(3, temperature=0.0)
    assert (cold == cold[:1]).all()
    with pytest.raises(ValueError, match="temperature == -1, must be >= 0"):
        encoder.sample(3, temperature=-1)


def test__sample__without_statistics_says_what_to_give(trained, tmp_path):
    bare = tmp_path / "bare.safetensors"
    write_weights(bare, trained.model_.network)
    with pytest.raises(ValueError, match="statistics="):
        DiffAEEncoder(bare).sample()


def test__fingerprint__tells_heads_that_no_shape_shows(tiny_config):
    torch.manual_seed(0)
    network = DiffusionAutoencoder(tiny_config)
    other = dataclasses.replace(tiny_config, num_heads=2 * tiny_config.num_heads)
    prints = [Model(network, config, None).fingerprint for config in (tiny_config, other)]
    assert prints[0] != prints[1]


@pytest.mark.parametrize("wrong", [{"solver": "x"}, {"precision": "x"}, {"n_steps": 2.5}])
def test__trained_encoder__checks_its_parameters(trained, pictures, wrong):
    encoder = copy.copy(trained).set_params(**wrong)
    with pytest.raises(ValueError, match=f"The '{next(iter(wrong))}' parameter"):
        encoder.reconstruct(pictures[:1])


def test__sample__of_nothing_is_refused(encoder):
    with pytest.raises(ValueError, match="n_samples == 0, must be >= 1"):
        encoder.sample(0)


def test__save_weights__encoder_only_encodes_and_cannot_decode(trained, pictures, tmp_path):
    path = tmp_path / "encoder.safetensors"
    trained.save_weights(path, encoder_only=True)
    small = DiffAEEncoder(path, device="cpu")
    assert isinstance(small._model().network, SemanticEncoder)
    np.testing.assert_array_equal(small.transform(pictures), trained.transform(pictures))
    assert small.fingerprint() == trained.fingerprint()
    for call in (
        lambda: small.inverse_transform(np.zeros((1, 12))),
        lambda: small.invert(pictures[:1]),
        small.sample,
        lambda: small.save_weights(tmp_path / "whole.safetensors"),
    ):
        with pytest.raises(TypeError, match="encoder only, which cannot decode"):
            call()


def test__save_weights__half_precision_moves_codes_little(trained, pictures, tmp_path):
    path = tmp_path / "half.safetensors"
    trained.save_weights(path, half=True)
    whole = tmp_path / "whole.safetensors"
    trained.save_weights(whole)
    assert path.stat().st_size < 0.6 * whole.stat().st_size
    exact, rounded = (
        DiffAEEncoder(file, precision="float32").transform(pictures) for file in (whole, path)
    )
    moved = np.linalg.norm(exact - rounded, axis=1) / np.linalg.norm(exact, axis=1)
    # 11 bits of mantissa are 5e-4 of each weight.
    assert 0 < moved.max() < 5e-3
    assert DiffAEEncoder(path).fingerprint() != trained.fingerprint()


def test__estimator__clones_and_pickles(trained, encoder, pictures):
    codes = trained.transform(pictures)
    again = pickle.loads(pickle.dumps(trained))  # noqa: S301 - made in this line
    np.testing.assert_array_equal(again.transform(pictures), codes)
    np.testing.assert_array_equal(clone(encoder).transform(pictures), codes)
    assert not hasattr(clone(trained), "model_")
    assert len(pickle.dumps(encoder)) < 2000  # a name or a path, not the weights
    assert list(encoder.get_feature_names_out()[:2]) == ["diffaeencoder0", "diffaeencoder1"]


def test__set_output__pandas(encoder, pictures):
    frame = encoder.set_output(transform="pandas").transform(pictures[:2])
    assert frame.shape == (2, 12)
    assert frame.columns[0] == "diffaeencoder0"


def test__load__replaced_file_is_read_again(trained, pictures, tmp_path):
    path = tmp_path / "model.safetensors"
    trained.save_weights(path)
    encoder = DiffAEEncoder(path)
    before = encoder.fingerprint()
    other = DiffAEEncoder(
        None, config=trained.config, training=DiffAETraining(max_iter=1, batch_size=16)
    )
    other.fit(pictures).save_weights(path)
    assert encoder.fingerprint() == other.fingerprint() != before


def test__parity__official_layout(data_dir):
    """The official code's own results, through the public class."""
    folder = data_dir / "diffae_parity"
    with np.load(folder / "tiny32.npz") as stored:
        expected = dict(stored)
    encoder = DiffAEEncoder(
        folder / "tiny32.ckpt",
        statistics=folder / "tiny32_latent.pkl",
        n_steps=20,
        precision="float32",
        device="cpu",
    )
    codes = encoder.transform(expected["image"])
    np.testing.assert_allclose(codes, expected["z_sem"], rtol=0, atol=1e-5)
    noise = encoder.invert(expected["image"], codes)
    wanted = np.moveaxis(expected["x_T_20"], 1, -1)
    np.testing.assert_allclose(noise, wanted, rtol=0, atol=1e-3)
    decoded = encoder.inverse_transform(codes, x_T=wanted)
    levels = (np.moveaxis(expected["decoded_20"], 1, -1) + 1) * 127.5
    # 1e-3 of [-1, 1] are 0.13 levels, and half a level is rounding.
    np.testing.assert_allclose(decoded, levels, rtol=0, atol=0.5 + 0.13)
    assert encoder.sample(2).shape == (2, 32, 32, 3)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ([], ValueError, "empty|no images"),
        (np.zeros((0, 8, 8, 3), np.uint8), ValueError, "empty|no images"),
        (["missing.png"], FileNotFoundError, r"missing\.png"),
        (np.full((1, 8, 8, 3), 150.0), ValueError, "floats go from 0 to 1: divide by 255"),
        (np.full((1, 8, 8, 3), np.nan), ValueError, "NaN"),
        (np.zeros((2, 3, 8, 8), np.uint8), ValueError, "channels"),
    ],
)
def test__transform__bad_images_have_their_own_message(encoder, images, error, message):
    with pytest.raises(error, match=message):
        encoder.transform(images)


def test__transform__corrupt_file_is_named(encoder, tmp_path, pictures):
    path = tmp_path / "broken.png"
    Image.fromarray(pictures[0]).save(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"broken\.png"):
        encoder.transform([path])


@pytest.mark.parametrize(
    ("codes", "noise", "message"),
    [
        (np.zeros((2, 5)), None, "X has 5 features: expected 12"),
        (np.full((1, 12), np.inf), None, "infinity"),
        (np.zeros((2, 12)), np.zeros((3, 8, 8, 3)), "x_T has shape"),
        (np.zeros((1, 12)), np.full((1, 8, 8, 3), np.nan), "x_T holds NaN"),
    ],
)
def test__inverse_transform__bad_input(encoder, codes, noise, message):
    with pytest.raises(ValueError, match=message):
        encoder.inverse_transform(codes, x_T=noise)


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"weights": "face64"}, FileNotFoundError),
        ({"weights": Path("nowhere/last.ckpt")}, FileNotFoundError),
        ({"n_steps": 0}, ValueError),
        ({"solver": "euler"}, ValueError),
        ({"precision": "float64"}, ValueError),
        ({"device": "gpu"}, ValueError),
        ({"training": {"max_iter": 3}}, ValueError),
    ],
)
def test__parameters__are_checked(encoder, parameters, error, pictures):
    with pytest.raises(error):
        encoder.set_params(**parameters).transform(pictures[:1])


def test__weights__misspelt_name_gets_a_suggestion(pictures):
    with pytest.raises(FileNotFoundError, match="did you mean 'faces64'"):
        DiffAEEncoder("face64").transform(pictures[:1])


def test__fit__one_image_is_not_enough(tiny_config, pictures):
    with pytest.raises(ValueError, match="training needs 2 or more"):
        DiffAEEncoder(None, config=tiny_config).fit(pictures[:1])


def test__weights__of_another_shape_are_refused(weights, pictures):
    config = DiffAEConfig(image_size=16, model_channels=32, embed_channels=12)
    with pytest.raises(CheckpointError):
        DiffAEEncoder(weights, config=config).transform(pictures[:1])


def test__cache__encodes_each_image_once(encoder, pictures, tmp_path, monkeypatch):
    plain = encoder.transform(pictures)
    encoder.set_params(cache_dir=tmp_path)
    first = encoder.transform(pictures[:50])
    encoded = []
    encode = Codec.encode

    def counting(self, pixels):
        encoded.extend(pixels)
        return encode(self, pixels)

    monkeypatch.setattr(Codec, "encode", counting)
    np.testing.assert_array_equal(encoder.transform(pictures[:50]), first)
    assert encoded == []
    again = encoder.transform(pictures)
    np.testing.assert_array_equal(encoded, pictures[50:])
    np.testing.assert_allclose(again, plain, **CHUNK_TOLERANCE)


def test__official_name__is_read_from_the_cache_folder(data_dir, tmp_path, monkeypatch):
    """As a user puts it there, since the authors' own place cannot be downloaded from."""
    monkeypatch.setenv("SKFAIRLATENT_CACHE", str(tmp_path))
    monkeypatch.setenv("SKFAIRLATENT_OFFLINE", "1")
    named = DiffAEEncoder("celeba64d2c_autoenc", n_steps=2, device="cpu")
    with pytest.raises(FileNotFoundError, match=r"celeba64d2c_autoenc.last\.ckpt"):
        named.sample()
    folder = tmp_path / "celeba64d2c_autoenc"
    folder.mkdir()
    for suffix, name in ((".ckpt", "last.ckpt"), ("_latent.pkl", "latent.pkl")):
        shutil.copy(data_dir / "diffae_parity" / f"tiny32{suffix}", folder / name)
    with pytest.raises(CheckpointError, match="official name: image_size: 64 given, 32"):
        named.sample(2)
    tiny = read_weights(folder / "last.ckpt").config
    monkeypatch.setitem(OFFICIAL_CONFIGS, "celeba64d2c_autoenc", tiny)
    assert named.sample(2).shape == (2, 32, 32, 3)


@pytest.mark.parametrize("name", ["latent.pkl", ""])
def test__statistics__that_are_not_there_are_named(weights, tmp_path, name):
    path = tmp_path / name
    expected = rf"{path} (does not exist|is a folder): give statistics= the path .*latent\.pkl"
    with pytest.raises(OSError, match=expected):
        DiffAEEncoder(weights, statistics=path).sample()


def test__weights__of_a_fitted_transformer_are_told_apart(tmp_path, pictures):
    path = tmp_path / "fair.safetensors"
    data = make_biased_embeddings(60, n_features=6, random_state=0)
    fair = FairLatentTransformer(max_iter=1, hidden_features=8, random_state=0)
    fair.fit(data.data, data.target, sensitive_features=data.sensitive_features).save(path)
    expected = rf"{path} holds a fitted .*: load it by FairLatentTransformer\.load\('{path}'\)"
    with pytest.raises(CheckpointError, match=expected):
        DiffAEEncoder(path).transform(pictures[:1])


@pytest.mark.parametrize("method", ["transform", "invert", "reconstruct"])
@pytest.mark.parametrize("options", [{}, {"cache": True}, {"pandas": True}])
def test__warnings__come_once_and_show_the_line_of_the_user(encoder, tmp_path, method, options):
    if "cache" in options:
        encoder.set_params(cache_dir=tmp_path)
    if "pandas" in options:
        encoder.set_output(transform="pandas")
    wide = np.random.default_rng(0).integers(256, size=(10, 8, 12, 3), dtype=np.uint8)
    with pytest.warns(FairLatentWarning, match="cuts off 33%") as caught:
        getattr(encoder, method)(wide)
    assert [warning.filename for warning in caught] == [__file__]


def test__statistics__of_another_width_are_refused(weights, data_dir):
    statistics = data_dir / "diffae_parity" / "tiny32_latent.pkl"
    with pytest.raises(CheckpointError, match="statistics of 64 features, and the codes"):
        DiffAEEncoder(weights, statistics=statistics).sample()


def test__save_weights__others_may_read_the_file(trained, tmp_path):
    trained.save_weights(tmp_path / "model.safetensors")
    (tmp_path / "plain").touch()
    expected = (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "model.safetensors").stat().st_mode == expected


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"temperature": float("inf")}, ValueError, "temperature=inf: expected a finite number"),
        ({"temperature": float("nan")}, ValueError, "temperature=nan: expected a finite number"),
        ({"temperature": "1"}, TypeError, "temperature must be an instance of float"),
        ({"n_samples": 1.5}, TypeError, "n_samples must be an instance of int, not float"),
        ({"random_state": "a"}, TypeError, "random_state must be an instance of int"),
    ],
)
def test__sample__names_what_is_out_of_range(given, error, message):
    with pytest.raises(error, match=message):
        DiffAEEncoder(device="cpu").sample(**given)


@pytest.mark.parametrize("name", ["weights", "statistics", "cache_dir"])
def test__transform__refuses_an_empty_path(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    encoder = DiffAEEncoder(device="cpu").set_params(**{name: ""})
    with pytest.raises(ValueError, match=f"{name}='' is empty: pass"):
        encoder.transform(np.zeros((1, 64, 64, 3), np.uint8))
    assert not list(tmp_path.iterdir())
    with pytest.raises(IsADirectoryError, match="is a folder"):
        DiffAEEncoder(".").transform(np.zeros((1, 64, 64, 3), np.uint8))
