"""Fused functions for CUDA: their formulas on any machine, their kernels where there is a GPU.

Where there is Triton and no GPU, its interpreter runs the kernels.
"""

import importlib

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from skfairlatent.encoders.diffae._networks import fused as _fused
from skfairlatent.encoders.diffae._networks.networks import DiffusionAutoencoder

from . import plain_kernels

# Sums in another order, of some thousand numbers of order 1, in float32.
TOLERANCE = {"atol": 2e-5, "rtol": 2e-5}
# float16 keeps eleven bits.
HALF_TOLERANCE = {"atol": 0.02, "rtol": 0.01}


def exact_convolutions():
    """Let cuDNN multiply with all bits."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def interpreted_kernels():
    """The kernels themselves, run by Triton's interpreter: tests/conftest.py asks for it."""
    if torch.cuda.is_available():
        pytest.skip("run on the GPU instead")
    pytest.importorskip("triton")
    return importlib.import_module("skfairlatent.encoders.diffae._networks.triton_kernels")


@pytest.fixture(params=["formulas", "interpreted", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request, monkeypatch):
    kernels = {
        "formulas": lambda: plain_kernels,
        "interpreted": interpreted_kernels,
        "cuda": lambda: None,
    }[request.param]()
    if kernels is None:
        return torch.device("cuda")
    monkeypatch.setattr(_fused, "_kernels", lambda: kernels)
    # The needs of the functions, but for CUDA.
    monkeypatch.setattr(
        _fused,
        "fusible",
        lambda x: x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last),
    )
    return torch.device("cpu")


def features(device, channels=24, size=6, dtype=torch.float32):
    torch.manual_seed(0)
    x = (2 * torch.randn(3, channels, size, size) + 1).to(device, dtype)
    return x.contiguous(memory_format=torch.channels_last).requires_grad_()


def assert_same(found, expected, inputs, **tolerance):
    """Compare values and the gradients of all inputs."""
    torch.testing.assert_close(found.float(), expected.float(), **tolerance)
    assert found.is_contiguous(memory_format=torch.channels_last)
    weights = torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad(found, inputs, weights),
        torch.autograd.grad(expected, inputs, weights),
        strict=True,
    ):
        scale = float(other.abs().max())
        torch.testing.assert_close(one / scale, other / scale, **tolerance)


@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize(("channels", "groups", "size"), [(24, 8, 6), (7, 7, 5), (96, 32, 16)])
def test__normalized__is_the_separate_functions(device, modulated, silu, channels, groups, size):
    x = features(device, channels, size)
    norm = nn.GroupNorm(groups, channels).to(device)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    inputs, scale, shift = [x, norm.weight, norm.bias], None, None
    expected = norm(x)
    if modulated:
        scale, shift = (
            torch.randn(3, channels, device=device, requires_grad=True) for _ in range(2)
        )
        inputs += [scale, shift]
        expected = expected * scale[..., None, None] + shift[..., None, None]
    expected = F.silu(expected) if silu else expected
    found = _fused.normalized(norm, x, scale, shift, silu=silu)
    assert_same(found, expected, inputs, **TOLERANCE)


def test__halved_and_doubled__are_pooling_and_interpolation(device):
    x = features(device)
    assert_same(_fused.halved(x), F.avg_pool2d(x, 2), [x], **TOLERANCE)
    assert_same(_fused.doubled(x), F.interpolate(x, scale_factor=2), [x], **TOLERANCE)


@pytest.mark.parametrize("modulated", [False, True])
def test__normalized__of_features_without_their_bias(device, modulated):
    x = features(device).detach()
    norm, offset = nn.GroupNorm(8, 24).to(device), torch.linspace(-1, 3, 24, device=device)
    nn.init.normal_(norm.weight)
    scale, shift = (torch.randn(3, 24, device=device) for _ in range(2))
    expected = norm(x + offset[:, None, None])
    if modulated:
        expected = expected * scale[..., None, None] + shift[..., None, None]
    given = (scale, shift) if modulated else (None, None)
    found = _fused.normalized(norm, x, *given, silu=False, offset=offset)
    torch.testing.assert_close(found, expected, **TOLERANCE)


@pytest.mark.parametrize(("channels", "size"), [(24, 6), (96, 16)])
def test__normalized_and_halved__is_both(device, channels, size):
    x = features(device, channels, size).detach()
    norm = nn.GroupNorm(8, channels).to(device)
    nn.init.normal_(norm.weight)
    h, halved = _fused.normalized_and_halved(norm, x)
    torch.testing.assert_close(h, F.avg_pool2d(F.silu(norm(x)), 2), **TOLERANCE)
    torch.testing.assert_close(halved, F.avg_pool2d(x, 2), **TOLERANCE)


def test__added__adds_what_is_there(device):
    x, change = features(device).detach(), features(device).detach().flip(0)
    offset = torch.arange(24.0, device=device)
    expected = change + offset[:, None, None]
    torch.testing.assert_close(_fused.added(None, change.clone(), offset), expected)
    torch.testing.assert_close(_fused.added(x, change.clone(), offset), x + expected)


def test__added__of_features_in_another_layout(device):
    x, change = features(device).detach(), features(device).detach().contiguous()
    offset = torch.arange(24.0, device=device)
    expected = x + change + offset[:, None, None]
    torch.testing.assert_close(_fused.added(x, change, offset), expected)


@pytest.mark.parametrize("inference", [False, True])
def test__network__of_fused_functions_is_the_same(device, tiny_config, monkeypatch, inference):
    torch.manual_seed(0)
    network = DiffusionAutoencoder(tiny_config).to(device, memory_format=torch.channels_last)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    x = torch.randn(4, 3, 8, 8, device=device).contiguous(memory_format=torch.channels_last)
    t = torch.arange(4, device=device)

    def noise():
        with torch.inference_mode(inference), exact_convolutions():
            return network(x, t, network.encoder(x)).detach()

    calls = []
    affine = _fused._kernels().affine
    monkeypatch.setattr(
        _fused._kernels(), "affine", lambda *a, **k: calls.append(1) or affine(*a, **k)
    )
    fused = noise()
    assert calls
    monkeypatch.setattr(_fused, "fusible", lambda _: False)
    plain = noise()
    # Rounding through some thirty layers.
    assert (fused - plain).norm() < 1e-5 * plain.norm()


def test__fusible__is_nothing_on_a_cpu():
    assert not _fused.fusible(features("cpu"))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test__normalized__of_half_precision_is_computed_in_full(dtype):
    x = features("cuda", 64, 16, dtype)
    norm = nn.GroupNorm(8, 64).cuda()
    found = _fused.normalized(norm, x, silu=True)
    assert found.dtype == dtype
    exact = F.silu(norm(x.float()))
    tolerance = {name: value * (8 if dtype is torch.bfloat16 else 1)
                 for name, value in HALF_TOLERANCE.items()}  # fmt: skip
    torch.testing.assert_close(found.float(), exact, **tolerance)


@pytest.mark.gpu
def test__network__with_fused_functions_is_the_same(tiny_config, monkeypatch):
    torch.manual_seed(0)
    network = DiffusionAutoencoder(tiny_config).cuda().to(memory_format=torch.channels_last)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    x = torch.randn(4, 3, 8, 8, device="cuda").contiguous(memory_format=torch.channels_last)
    t = torch.arange(4, device="cuda")

    def result():
        loss = network(x, t, network.encoder(x)).square().mean()
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, network.parameters())])

    calls = []
    normalized = _fused.normalized
    monkeypatch.setattr(
        _fused, "normalized", lambda *a, **k: calls.append(1) or normalized(*a, **k)
    )
    fused = result()
    assert calls
    monkeypatch.setattr(_fused, "fusible", lambda _: False)
    plain = result()
    # TF32 in some of the kernels.
    assert (fused - plain).norm() < 1e-2 * plain.norm()
