"""Trained torch modules as an encoder: values, modules left as they were, and errors."""

import copy
import functools
import pickle

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skfairlatent import FairLatentTransformer
from skfairlatent.encoders._torch import TorchEncoder

SIZE, WIDTH = 8, 6
N_VALUES = 3 * SIZE * SIZE


def _images(n=20, size=SIZE):
    return np.random.default_rng(0).integers(256, size=(n, size, size, 3), dtype=np.uint8)


class _View(nn.Module):
    """Stands for networks that cannot take a permuted tensor."""

    def forward(self, x):
        return x.view(len(x), -1)


class _VAE(nn.Module):
    """Draws in training mode, as real ones do, and counts in its batch norm."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.linear = nn.Linear(N_VALUES, WIDTH)
        self.dropout = nn.Dropout(0.5)
        self.unlinear = nn.Linear(WIDTH, N_VALUES)

    def encode(self, x):
        return self.dropout(self.linear(self.norm(x).flatten(1))), "log-variance"

    def mean(self, x):
        return self.encode(x)[0]

    def decode(self, z):
        return torch.tanh(self.unlinear(z)).unflatten(1, (3, SIZE, SIZE))


def _flat(**changes):
    """An encoder whose embedding is the pixels themselves."""
    parameters = {
        "encoder": _View(),
        "decoder": nn.Unflatten(1, (3, SIZE, SIZE)),
        "image_size": SIZE,
        "device": "cpu",
    }
    return TorchEncoder(**{**parameters, **changes})


def _vae_encoder(vae, **changes):
    parameters = {"image_size": SIZE, "device": "cpu", "batch_size": 7}
    return TorchEncoder(lambda x: vae.encode(x)[0], vae.decode, **{**parameters, **changes})


@pytest.mark.parametrize("value_range", [(-1.0, 1.0), (0, 1), (-2.5, 0.5)])
def test__torch_encoder__scales_pixels_there_and_back(value_range):
    images = _images()
    images[0, 0, 0], images[0, 0, 1] = 0, 255
    encoder = _flat(value_range=value_range, batch_size=7)

    E = encoder.fit_transform(images)

    assert E.dtype == np.float32
    low, high = value_range
    expected = images.transpose(0, 3, 1, 2).reshape(20, -1) / 255 * (high - low) + low
    np.testing.assert_allclose(E, expected, atol=1e-6)
    assert (E.min(), E.max()) == pytest.approx(value_range, abs=1e-6)
    back = encoder.inverse_transform(E)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, images)


def test__torch_encoder__clips_what_lies_outside_the_range():
    E = np.full((1, N_VALUES), 1.7)
    E[0, 0] = -9
    image = _flat().inverse_transform(E)[0]
    assert image[0, 0].tolist() == [0, 255, 255]


@pytest.mark.parametrize("to_numpy", [True, False])
def test__torch_encoder__takes_floats_lists_and_other_sizes(to_numpy):
    picture = pytest.importorskip("PIL.Image").fromarray(_images(1)[0])
    given = np.asarray([picture]) / 255 if to_numpy else [picture]
    np.testing.assert_array_equal(_flat().transform(given), _flat().transform(_images(1)))
    assert _flat().transform(_images(2, size=12)).shape == (2, N_VALUES)


def test__torch_encoder__does_not_depend_on_the_batch_size():
    vae = _VAE()
    whole, pieces = (_vae_encoder(vae, batch_size=size).transform(_images()) for size in (64, 3))
    np.testing.assert_allclose(whole, pieces, atol=1e-6)


@pytest.mark.parametrize("how", ["lambda", "global", "method", "partial", "module"])
def test__torch_encoder__evaluates_without_touching_the_modules(how):
    vae = _VAE().train()
    vae.norm.eval()  # frozen by its owner
    before = copy.deepcopy(vae.state_dict())
    calls = {
        "lambda": lambda x: vae.encode(x)[0],
        # A function that finds the module among the globals of its file.
        "global": eval("lambda x: vae.encode(x)[0]", {"vae": vae}),  # noqa: S307
        "method": vae.mean,
        "partial": functools.partial(lambda model, x: model.encode(x)[0], vae),
        "module": nn.Sequential(nn.Flatten(), vae.linear, vae.dropout),
    }
    encoder = _flat(encoder=calls[how], decoder=vae.decode)

    first, second = encoder.transform(_images()), encoder.transform(_images())
    encoder.inverse_transform(first)

    np.testing.assert_array_equal(first, second)  # no dropout
    assert (first != 0).all()
    assert [vae.training, vae.dropout.training, vae.norm.training] == [True, True, False]
    for name, value in vae.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert all(parameter.requires_grad for parameter in vae.parameters())


def test__torch_encoder__puts_the_modules_back_after_an_error():
    vae = _VAE().train()
    with pytest.raises(ValueError, match="NaN"):
        _flat(encoder=lambda x: vae.encode(x)[0] * torch.nan).transform(_images())
    assert vae.training
    assert vae.dropout.training


def test__torch_encoder__leaves_modules_trainable():
    class Caching(nn.Module):
        def forward(self, x):
            if not hasattr(self, "scale"):
                self.scale = x.new_ones(())
            return self.scale * x.flatten(1)

    caching = Caching()
    _flat(encoder=caching).transform(_images())

    x = torch.ones(1, 3, SIZE, SIZE, requires_grad=True)
    (caching(x) ** 2).sum().backward()  # fails on a tensor made in inference mode
    assert x.grad is not None


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test__torch_encoder__feeds_modules_in_their_precision(dtype):
    vae = _VAE().to(dtype)
    encoder = _vae_encoder(vae)
    E = encoder.transform(_images())
    assert E.dtype == np.float32
    assert encoder.inverse_transform(E).shape == (20, SIZE, SIZE, 3)
    assert next(vae.parameters()).dtype == dtype


def test__torch_encoder__has_no_inverse_without_a_decoder():
    encoder = _flat(decoder=None)
    assert not hasattr(encoder, "inverse_transform")
    with pytest.raises(AttributeError) as caught:
        encoder.inverse_transform(np.zeros((1, N_VALUES)))
    assert "decoder=None" in str(caught.value.__cause__)
    assert hasattr(_flat(), "inverse_transform")


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"encoder": lambda x: (x.flatten(1), 0)}, TypeError, "returned tuple.*model\\(x\\)\\[0"),
        ({"encoder": lambda x: x}, ValueError, r"\(20, 3, 8, 8\): expected \(n, n_features\)"),
        ({"encoder": lambda x: x.flatten(1)[:1]}, ValueError, "n = 20"),
        ({"encoder": lambda x: x.flatten(1) / 0}, ValueError, "infinity, first for row 0"),
        ({"encoder": _View}, TypeError, "encoder=_View is a class"),
        ({"encoder": nn.Linear(3, 3).state_dict()}, ValueError, "OrderedDict: pass a trained mod"),
        (
            {"decoder": {"weight": torch.zeros(3)}},
            ValueError,
            "'decoder' .* is of type dict: pass",
        ),
        ({"encoder": None}, ValueError, "'encoder' parameter"),
        ({"decoder": 3}, ValueError, "'decoder' parameter"),
        ({"image_size": 0}, ValueError, "'image_size' parameter"),
        ({"batch_size": 0}, ValueError, "'batch_size' parameter"),
        ({"value_range": (1, -1)}, ValueError, r"value_range=\(1, -1\) is not a valid range"),
        ({"value_range": (0, 1, 2)}, ValueError, "is not a valid range"),
        ({"value_range": (0, np.inf)}, ValueError, "is not a valid range"),
        ({"device": "nowhere"}, ValueError, "is not a device"),
    ],
)
def test__transform__says_what_is_wrong(changes, error, match):
    with pytest.raises(error, match=match):
        _flat(**changes).transform(_images())


@pytest.mark.parametrize("how", ["module", "function"])
def test__transform__says_to_check_the_size_if_the_network_fails(how):
    network = nn.Sequential(nn.Flatten(), nn.Linear(N_VALUES, WIDTH))
    encoder = {"module": network, "function": lambda x: network(2 * x)}[how]
    expected = r"failed on images of shape \(20, 3, 16, 16\) \(RuntimeError: mat1.*image_size=16"
    with pytest.raises(RuntimeError, match=expected) as caught:
        _flat(encoder=encoder, image_size=16).transform(_images())
    assert "Linear(" not in str(caught.value)
    assert ("encoder (Sequential)" in str(caught.value)) == (how == "module")


def test__transform__still_halves_the_batch_when_memory_runs_out():
    sizes = []

    def encode(x):
        sizes.append(len(x))
        if len(x) > 5:
            raise RuntimeError("CUDA out of memory")
        return x.flatten(1)

    assert len(_flat(encoder=encode).transform(_images())) == 20
    assert sizes == [20, 10, 5, 5, 5, 5]


def test__repr__names_modules_and_not_their_layers():
    network = nn.Sequential(nn.Flatten(), *[nn.Linear(N_VALUES, N_VALUES) for _ in range(9)])
    encoder = _flat(encoder=network, decoder=None)
    assert repr(encoder) == "TorchEncoder(device='cpu', encoder=Sequential, image_size=8)"
    assert "decoder=Unflatten" in repr(_flat())
    y, group = np.random.default_rng(0).integers(2, size=(2, 20))
    fair = FairLatentTransformer(encoder, max_iter=1, hidden_features=8, random_state=0)
    Z = fair.fit_transform(_images(), y, sensitive_features=group)
    with pytest.raises(TypeError, match=r"encoder=Sequential, .*has no inverse_transform"):
        fair.inverse_transform(Z)


def test__transform__names_the_row_that_is_not_finite():
    images = np.full((20, SIZE, SIZE, 3), 200, dtype=np.uint8)
    images[13] = 0
    encoder = _flat(encoder=lambda x: x.flatten(1).log(), value_range=(0, 1), batch_size=4)
    with pytest.raises(ValueError, match="first for row 13"):
        encoder.transform(images)


@pytest.mark.parametrize(
    ("decoder", "match"),
    [
        (lambda z: z, r"shape \(2, 192\): expected \(n, 3, height, width\)"),
        (lambda z: z.view(-1, SIZE, SIZE, 3), r"\(2, 8, 8, 3\).*permute\(0, 3, 1, 2\)"),
        (lambda z: z.view(-1, 3, SIZE, SIZE).log(), "decoder returned NaN or infinity"),
    ],
)
def test__inverse_transform__says_what_is_wrong(decoder, match):
    with pytest.raises(ValueError, match=match):
        _flat(decoder=decoder).inverse_transform(np.full((2, N_VALUES), -0.5))


@pytest.mark.parametrize(
    ("E", "match"),
    [
        (np.zeros((2, N_VALUES + 1)), "X has 193 features, but the encoder makes 192"),
        (np.full((2, N_VALUES), np.nan), "X contains NaN"),
        (np.zeros(N_VALUES), "Expected 2D array"),
    ],
)
def test__inverse_transform__refuses_what_is_no_embedding(E, match):
    with pytest.raises(ValueError, match=match):
        _flat().inverse_transform(E)


def test__torch_encoder__reads_arrays_that_cannot_be_written():
    images = _images()
    images.setflags(write=False)
    E = _flat().transform(images)
    E.setflags(write=False)
    np.testing.assert_array_equal(_flat().inverse_transform(E), images)


def test__clone__shares_the_modules():
    encoder = _flat(batch_size=3).set_output(transform="pandas")
    twin = clone(encoder)
    assert twin is not encoder
    assert (twin.encoder, twin.decoder) == (encoder.encoder, encoder.decoder)
    assert twin.get_params() == encoder.get_params()
    assert list(twin.transform(_images(2)).columns) == [f"torchencoder{i}" for i in range(192)]


def test__torch_encoder__is_a_step_of_a_pipeline():
    pipe = make_pipeline(_flat(), StandardScaler())
    E = pipe.fit_transform(_images())
    np.testing.assert_array_equal(pipe.inverse_transform(E), _images())
    assert len(pipe.get_feature_names_out()) == N_VALUES


def test__fingerprint__tells_weights_and_not_where_they_are_used():
    vae = _VAE()
    encoder = TorchEncoder(vae.linear, vae.unlinear, image_size=SIZE)
    copied = pickle.loads(pickle.dumps(encoder))  # noqa: S301 - our own
    copied.set_params(device="cpu", batch_size=1)
    copied.encoder.train(not vae.training)

    assert copied.fingerprint() == encoder.fingerprint()
    assert joblib.hash(copied) != joblib.hash(encoder)  # which is why there is a fingerprint

    assert clone(encoder).set_params(image_size=9).fingerprint() != encoder.fingerprint()
    with torch.no_grad():
        copied.decoder.bias[0] += 1e-6
    assert copied.fingerprint() != encoder.fingerprint()


def test__fingerprint__sees_the_weights_behind_a_function():
    vae, other = _VAE(), _VAE()
    assert _vae_encoder(vae).fingerprint() == _vae_encoder(copy.deepcopy(vae)).fingerprint()
    assert _vae_encoder(vae).fingerprint() != _vae_encoder(other).fingerprint()


def test__fair_latent_transformer__fits_and_decodes_through_it(tmp_path):
    vae = _VAE()
    y, group = np.random.default_rng(0).integers(2, size=(2, 20))
    fair = FairLatentTransformer(
        _vae_encoder(vae), max_iter=2, hidden_features=8, random_state=0, device="cpu"
    )
    Z = fair.fit_transform(_images(), y, sensitive_features=group)
    decoded = fair.inverse_transform(Z)
    assert (decoded.shape, decoded.dtype) == ((20, SIZE, SIZE, 3), np.uint8)

    fair.save(tmp_path / "fair.safetensors")
    same = _vae_encoder(copy.deepcopy(vae))
    loaded = FairLatentTransformer.load(tmp_path / "fair.safetensors", encoder=same)
    np.testing.assert_array_equal(loaded.transform(_images()), Z)


@pytest.mark.gpu
def test__torch_encoder__computes_on_the_gpu_and_gives_the_modules_back():
    vae = _VAE()
    on_cpu = _vae_encoder(vae).transform(_images())
    encoder = _vae_encoder(vae, device="cuda")
    on_gpu = encoder.transform(_images())
    np.testing.assert_allclose(on_gpu, on_cpu, atol=1e-4)
    assert encoder.inverse_transform(on_gpu).shape == (20, SIZE, SIZE, 3)
    assert {parameter.device.type for parameter in vae.parameters()} == {"cpu"}
