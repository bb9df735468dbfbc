"""Whatever a program has set in torch, public methods give the same, bit for bit."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import nn

from skfairlatent import FairLatentTransformer
from skfairlatent.counterfactuals import CounterfactualExplainer
from skfairlatent.encoders import DiffAEConfig, DiffAEEncoder, DiffAETraining, TorchEncoder
from skfairlatent.encoders.diffae._training.first_weights import random_network
from skfairlatent.encoders.diffae._weights.write import write_weights

N_ROWS, SIZE = 80, 8
CONFIG = DiffAEConfig(
    image_size=SIZE,
    model_channels=8,
    channel_mult=(1, 2),
    enc_channel_mult=(1, 2),
    attention_resolutions=(4,),
    num_res_blocks=1,
    enc_num_res_blocks=1,
    embed_channels=12,
    dropout=0.1,
)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    y, s = np.arange(N_ROWS) % 2, np.arange(N_ROWS) // 2 % 2
    X = rng.normal(size=(N_ROWS, 40)).astype(np.float32)
    X[:, 0] += 2 * y
    X[:, 1] += 2 * s
    return X, y, s


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(256, size=(12, SIZE, SIZE, 3), dtype=np.uint8)


def quick(**parameters):
    settings = {"max_iter": 2, "hidden_features": 32, "random_state": 0, "device": "cpu"}
    return FairLatentTransformer(None, **{**settings, **parameters})


@pytest.fixture(scope="module")
def fitted(rows):
    X, y, s = rows
    return quick().fit(X, y, sensitive_features=s)


def assert_same(found, expected):
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.fixture(scope="module")
def learnt(rows):
    """Return a function that fits and returns the outcome, and its first outcome; as below."""
    X, y, s = rows

    def learn():
        fair = quick(distance="sliced_wasserstein", early_stopping=True, validation_fraction=0.25)
        Z = fair.fit_transform(X, y, sensitive_features=s)
        assert not any(value.is_inference() for value in fair.flow_.state_dict().values())
        return {"Z": Z, "loss": fair.history_["loss"], "error": fair.inverse_error_}

    return learn, learn()


def test__fit__is_the_same(ambient, learnt):
    learn, expected = learnt
    with ambient():
        found = learn()
    assert_same(found, expected)


def test__fitted_transformer__is_the_same(ambient, rows, fitted, tmp_path):
    X = rows[0]

    def used():
        Z, path = fitted.latent(X), tmp_path / "fair"
        fitted.save(path)
        loaded = FairLatentTransformer.load(path)
        assert not any(value.is_inference() for value in loaded.flow_.state_dict().values())
        return {
            "latent": Z,
            "double": fitted.latent(X.astype(np.float64)),
            "label": fitted.transform(X),
            "embed": fitted.embed(X),
            "inverse": fitted.inverse_transform(Z),
            "completed": fitted.inverse_transform(fitted.transform(X)),
            "loaded": loaded.latent(X),
        }

    expected = used()
    with ambient():
        found = used()
    assert_same(found, expected)


@pytest.fixture(scope="module")
def fitted_twice(rows, tmp_path_factory):
    X, y, s = rows
    path = tmp_path_factory.mktemp("warm") / "fair"

    def two_fits(inside):
        fair = quick(warm_start=True)
        with inside():
            fair.fit(X, y, sensitive_features=s).save(path)
            fair = FairLatentTransformer.load(path)
        return {"Z": fair.fit(X, y, sensitive_features=s).latent(X)}

    return two_fits, two_fits(torch.enable_grad)


def test__warm_start__goes_on_from_what_was_loaded_or_fitted(ambient, fitted_twice):
    two_fits, expected = fitted_twice
    assert_same(two_fits(ambient), expected)


@pytest.fixture(scope="module")
def explained(rows, fitted):
    X, y, s = rows
    classifier = LogisticRegression().fit(fitted.transform(X), y)
    model = make_pipeline(fitted, classifier)

    def explain():
        explainer = CounterfactualExplainer(model).fit(X, y, sensitive_features=s)
        edits = [explainer.explain_label(X[:5]), explainer.explain_sensitive(X[:5])]
        frames = {f"frame {i}": each.to_frame() for i, each in enumerate(edits)}
        return frames | {f"rows {i}": each.embeddings for i, each in enumerate(edits)}

    return explain, explain()


def test__explainer__is_the_same(ambient, explained):
    explain, expected = explained
    with ambient():
        found = explain()
    assert_same(found, expected)


def test__torch_encoder__is_the_same(ambient, images):
    class Net(nn.Module):
        """Makes tensors of its own, as many networks do."""

        def __init__(self, *layers):
            super().__init__()
            self.layers = nn.Sequential(*layers)

        def forward(self, x):
            return self.layers(x + torch.zeros(1, dtype=x.dtype))

    n_pixels = 3 * SIZE * SIZE
    decoder = Net(nn.Linear(6, n_pixels), nn.Unflatten(1, (3, SIZE, SIZE)))
    encoder = TorchEncoder(
        Net(nn.Flatten(), nn.Linear(n_pixels, 6)), decoder, image_size=SIZE, device="cpu"
    )

    def used():
        E = encoder.transform(images)
        names = encoder.get_feature_names_out()
        return {"E": E, "decoded": encoder.inverse_transform(E), "names": names}

    expected = used()
    with ambient():
        rounds = torch.get_float32_matmul_precision() != "highest"
        found = used()
    if not rounds:  # how exact the user's own networks are is the user's choice
        assert_same(found, expected)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    network = random_network(CONFIG, torch.Generator().manual_seed(0))
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    write_weights(path, network)
    return path


@pytest.fixture(scope="module")
def used_diffae(images, weights, tmp_path_factory):
    def use():
        # Not one that is in memory already.
        copied = tmp_path_factory.mktemp("copied") / "weights.safetensors"
        copied.write_bytes(weights.read_bytes())
        encoder = DiffAEEncoder(copied, n_steps=2, device="cpu", precision="float32")
        codes = encoder.transform(images)
        noise = encoder.invert(images, codes)
        return {
            "codes": codes,
            "noise": noise,
            "decoded": encoder.inverse_transform(codes, x_T=noise),
            "drawn": encoder.inverse_transform(codes),
            "again": encoder.reconstruct(images),
            "names": encoder.get_feature_names_out(),
            "fingerprint": encoder.fingerprint(),
        }

    return use, use()


def test__diffae__is_the_same(ambient, used_diffae):
    use, expected = used_diffae
    with ambient():
        found = use()
    assert_same(found, expected)


@pytest.fixture(scope="module")
def trained(images):
    """Return a function that trains a small network and returns it, and its first outcome."""
    y = np.arange(len(images)) % 2

    def train():
        training = DiffAETraining(max_iter=2, batch_size=6, label_weight=1.0)
        encoder = DiffAEEncoder(None, config=CONFIG, training=training, n_steps=2, device="cpu")
        codes = encoder.fit(images, y).transform(images)
        return {"loss": encoder.history_["loss"], "codes": codes, "drawn": encoder.sample(2)}

    return train, train()


def test__diffae_fit__is_the_same(ambient, trained):
    train, expected = trained
    with ambient():
        found = train()
    assert_same(found, expected)
