import copy
import json
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from skfairlatent.encoders import OFFICIAL_CONFIGS, DiffAEConfig
from skfairlatent.encoders.diffae._networks.blocks import Attention, ResBlock
from skfairlatent.encoders.diffae._networks.networks import DiffusionAutoencoder
from skfairlatent.encoders.diffae._networks.pieces import in_pieces
from skfairlatent.encoders.diffae._networks.winograd import Conv3x3
from skfairlatent.encoders.diffae._solvers.ddim import DDIM
from skfairlatent.encoders.diffae._weights.read import build, read_weights

# Largest differences from the official results, float32 on a CPU.
CODE_TOLERANCE = 1e-5
NOISE_TOLERANCE = 1e-5
# Decoding magnifies rounding: dividing by the small noise share of the last steps. The official
# code itself differs by as much between two memory layouts.
SAMPLING_TOLERANCE = 1e-3
# Rounding of sums of some hundred products in another order, relative to values of about 1.
ORDER_OF_SUMS = {"rtol": 1e-4, "atol": 1e-5}


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


def randomised(network):
    """Give every tensor values: blocks that start at zero would hide what is behind them."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


@pytest.fixture(scope="module")
def reference(data_dir):
    folder = data_dir / "diffae_parity"
    network = build(read_weights(folder / "tiny32.ckpt"))
    with np.load(folder / "tiny32.npz") as stored:
        results = {name: torch.from_numpy(value) for name, value in stored.items()}
    results["x"] = results["image"].permute(0, 3, 1, 2) / 127.5 - 1
    assert network.config.to_dict().items() >= _sizes(folder / "tiny32.json").items()
    return network, results


def _sizes(path):
    sizes = json.loads(path.read_text())
    return {k: v for k, v in sizes.items() if k not in {"style_channels", "beta_schedule"}}


@pytest.mark.data
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test__networks__agree_with_the_official_code(reference, layout):
    network, results = reference
    with torch.inference_mode():
        code = network.encoder(results["x"].contiguous(memory_format=layout))
        noisy = results["eps_xt"].contiguous(memory_format=layout)
        noise = network(noisy, results["eps_t"], results["z_sem"])
    assert float((code - results["z_sem"]).abs().max()) <= CODE_TOLERANCE
    assert float((noise - results["eps_pred"]).abs().max()) <= NOISE_TOLERANCE


@pytest.mark.data
@pytest.mark.parametrize("n_steps", [10, 20])
def test__sampling__agrees_with_the_official_code(reference, n_steps):
    network, results = reference

    def predict(x, t):
        return network(x, t, results["z_sem"])

    ddim = DDIM(1000, n_steps)
    with torch.inference_mode():
        found = ddim.invert(predict, results["x"])
        again = ddim.decode(predict, results[f"x_T_{n_steps}"])
        drawn = ddim.decode(predict, results[f"noise_{n_steps}"])
    for name, value in (("x_T", found), ("decoded", again), ("decoded_noise", drawn)):
        difference = float((value - results[f"{name}_{n_steps}"]).abs().max())
        assert difference <= SAMPLING_TOLERANCE, name


@pytest.mark.data
def test__checkpoint__averaged_weights_are_taken(reference, data_dir):
    """The others differ by noise, and so would the codes."""
    network, _ = reference
    path = data_dir / "diffae_parity" / "tiny32.ckpt"
    content = read_weights(path).tensors["encoder.out.3.weight"]
    assert torch.equal(content, network.state_dict()["encoder.out.3.weight"])


def test__networks__train_every_parameter(tiny_config):
    network = randomised(DiffusionAutoencoder(tiny_config)).train()
    x = channels_last(torch.randn(3, 3, 8, 8))
    code = network.encoder(x)
    network(x, torch.tensor([0, 500, 999]), code).square().mean().backward()
    idle = [name for name, p in network.named_parameters() if not p.grad.abs().sum() > 0]
    assert idle == []


def test__networks__give_the_same_with_and_without_gradients(tiny_config):
    """Inference overwrites features and goes piece by piece, training does neither."""
    network = randomised(DiffusionAutoencoder(tiny_config))
    x = channels_last(torch.randn(40, 3, 8, 8))
    t = torch.arange(40) * 25
    code = network.encoder(x)
    noise = network(x, t, code)
    kept = x.clone()
    with torch.inference_mode():
        torch.testing.assert_close(network.encoder(x), code, **ORDER_OF_SUMS)
        torch.testing.assert_close(network(x, t, code.detach()), noise, **ORDER_OF_SUMS)
    assert torch.equal(x, kept)


def test__unet__starts_by_predicting_nothing(tiny_config):
    network = DiffusionAutoencoder(tiny_config)
    predicted = network(torch.randn(2, 3, 8, 8), torch.tensor([1, 2]), torch.randn(2, 12))
    assert float(predicted.detach().abs().max()) == 0


def test__unet__brightness_passes_where_groups_have_several_channels():
    """With as many groups as channels, the last normalisation takes the mean away."""
    sizes = {
        "image_size": 8, "model_channels": 8, "channel_mult": (1, 1), "enc_channel_mult": (1, 1),
        "num_res_blocks": 1, "enc_num_res_blocks": 1, "embed_channels": 4, "dropout": 0.0,
    }  # fmt: skip
    noise = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    t, code = torch.tensor([500]), torch.zeros(1, 4)

    def moved(norm_groups):
        torch.manual_seed(0)
        network = randomised(DiffusionAutoencoder(DiffAEConfig(**sizes, norm_groups=norm_groups)))
        with torch.no_grad():
            before = network(noise, t, code).mean(dim=(2, 3))
            return float((network(noise + 0.5, t, code).mean(dim=(2, 3)) - before).abs().mean())

    assert moved(2) > 2 * moved(32)


@pytest.mark.parametrize("num_heads", [1, 2, 4])
def test__attention__is_head_by_head(num_heads):
    """Queries, keys and values of a head lie together, as in the official (legacy) order."""
    block = randomised(Attention(32, num_heads))
    x = torch.randn(2, 32, 4, 4)
    qkv = block.qkv(block.norm(x).flatten(2)).reshape(2 * num_heads, 3 * 32 // num_heads, 16)
    q, k, v = qkv.split(32 // num_heads, dim=1)
    weights = torch.softmax(q.transpose(1, 2) @ k / (32 // num_heads) ** 0.5, dim=-1)
    mixed = (v @ weights.transpose(1, 2)).reshape(2, 32, 16)
    expected = x + block.proj_out(mixed).reshape(2, 32, 4, 4)
    torch.testing.assert_close(block(x), expected, **ORDER_OF_SUMS)


def test__res_block__needs_its_conditions():
    block = ResBlock(8, 8, embed_channels=4)
    with pytest.raises(ValueError, match="needs time and code"):
        block(torch.randn(1, 8, 4, 4))


@pytest.mark.parametrize("size", [(8, 8), (12, 20), (32, 32)])
@pytest.mark.parametrize("channels", [(128, 192), (192, 160)])
def test__fast_convolution__is_the_plain_one(size, channels):
    layer = Conv3x3(*channels)
    n = 64 if size == (8, 8) else 9
    x = channels_last(torch.randn(n, channels[0], *size))
    with torch.inference_mode():
        assert layer._is_faster(x)
        found, plain = layer(x), nn.Conv2d.forward(layer, x)
        exact = nn.functional.conv2d(
            x.double(), layer.weight.double(), layer.bias.double(), padding=1
        )
    scale = float(exact.abs().max())
    assert float((found - plain).abs().max()) < 1e-5 * scale
    assert float((found - exact).abs().max()) < 5e-6 * scale
    assert found.is_contiguous(memory_format=torch.channels_last)


def test__fast_convolution__follows_weights_that_change():
    layer = Conv3x3(128, 192)
    x = channels_last(torch.randn(16, 128, 16, 16))
    with torch.no_grad():
        first = layer(x)
        layer.weight.mul_(2)
        layer.bias.mul_(2)
        torch.testing.assert_close(layer(x), 2 * first, **ORDER_OF_SUMS)
        layer.load_state_dict({k: v / 2 for k, v in layer.state_dict().items()})
        torch.testing.assert_close(layer(x), first, **ORDER_OF_SUMS)


def test__fast_convolution__copies_and_files_hold_the_weights_alone():
    layer = Conv3x3(128, 192)
    x = channels_last(torch.randn(16, 128, 16, 16))
    size = len(pickle.dumps(layer))
    with torch.no_grad():
        expected = layer(x)
        assert layer._transformed is not None
        assert len(pickle.dumps(layer)) == size
        copied = copy.deepcopy(layer)
        assert copied._transformed is None
        assert torch.equal(copied(x), expected)
    assert list(layer.state_dict()) == ["weight", "bias"]


def test__fast_convolution__only_where_it_may():
    layer = Conv3x3(128, 192)
    x = channels_last(torch.randn(16, 128, 16, 16))
    assert not layer._is_faster(x)
    layer(x).sum().backward()
    assert layer.weight.grad.abs().sum() > 0
    with torch.no_grad():
        assert layer._is_faster(x)
        assert not Conv3x3(128, 128)._is_faster(x)
        assert not layer._is_faster(x.contiguous())
        assert not layer._is_faster(x[:, :, :-1])
        assert not layer._is_faster(x.double())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert not layer._is_faster(x)
            assert layer(x).dtype == torch.bfloat16


@pytest.mark.parametrize("n", [1, 5, 64])
def test__pieces__give_what_the_whole_gives(n):
    x = torch.randn(n, 4)
    with torch.no_grad():
        found = in_pieces(lambda a, b: a + 2 * b, 4 * 2**20, x, x + 1)
    torch.testing.assert_close(found, 3 * x + 2)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"image_size": 0}, "image_size=0: expected positive integers"),
        ({"image_size": 8.5}, "image_size=8.5: expected positive integers"),
        ({"channel_mult": (1, 1.5)}, "expected a tuple of positive integers"),
        ({"channel_mult": 3}, "channel_mult=3: expected a tuple of positive integers"),
        ({"attention_resolutions": None}, "expected a tuple of positive integers"),
        ({"dropout": "a"}, "dropout='a': expected a share"),
        ({"image_size": 40}, "image_size=40 cannot be halved 4 times.*multiple of 16"),
        ({"channel_mult": ()}, r"channel_mult=\(\): expected a tuple of positive"),
        ({"dropout": 1.0}, "dropout=1.0: expected a share from 0 up to 1"),
        ({"model_channels": 48}, "cannot be divided into 32 groups"),
        ({"num_heads": 3}, "num_heads=3 does not divide"),
        ({"num_res_blocks": 10**9}, "more than 64 residual blocks"),
    ],
)
def test__config__refuses_sizes_that_do_not_fit(sizes, message):
    with pytest.raises(ValueError, match=message):
        DiffAEConfig(**sizes)


def test__config__round_trip_and_unknown_names():
    config = OFFICIAL_CONFIGS["ffhq256_autoenc"]
    assert DiffAEConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ValueError, match="unknown sizes \\['depth'\\]"):
        DiffAEConfig.from_dict({"depth": 3})
    with pytest.raises(ValueError, match="beta_schedule='cosine' is not supported"):
        DiffAEConfig.from_dict({"beta_schedule": "cosine"})
