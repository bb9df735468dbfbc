"""Fused functions for CUDA: their formulas on any machine, their kernels where there is a GPU."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from skfairlatent.encoders.diffae import _fused
from skfairlatent.encoders.diffae._networks import DiffusionAutoencoder

# Sums in another order, of some thousand numbers of order 1, in float32.
TOLERANCE = {"atol": 2e-5, "rtol": 2e-5}
# float16 keeps eleven bits.
HALF_TOLERANCE = {"atol": 0.02, "rtol": 0.01}


def plain_kernels():
    """What the kernels compute, written with torch."""

    def affine(x, scale, shift, *, silu):
        u = x * scale[:, None] + shift[:, None]
        return F.silu(u) if silu else u

    def inner_gradient(gradient, x, scale, shift, silu):
        u = x * scale[:, None] + shift[:, None]
        s = u.sigmoid()
        return gradient * s * (1 + u * (1 - s)) if silu else gradient

    def affine_gradient_sums(gradient, x, scale, shift, *, silu):
        inner = inner_gradient(gradient, x, scale, shift, silu)
        return inner.sum(1), (inner * x).sum(1)

    def affine_gradient(gradient, x, scale, shift, offset, slope, *, silu):
        inner = inner_gradient(gradient, x, scale, shift, silu)
        return inner * scale[:, None] + offset[:, None] + slope[:, None] * x

    def spread_to_four(x, factor):
        return factor * x.repeat_interleave(2, 1).repeat_interleave(2, 2)

    return SimpleNamespace(
        channel_sums=lambda x: (x.sum(1), x.square().sum(1)),
        affine=affine,
        affine_gradient_sums=affine_gradient_sums,
        affine_gradient=affine_gradient,
        spread_to_four=spread_to_four,
        sum_of_four=lambda x, factor: (
            factor * x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).sum((2, 4))
        ),
    )


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request, monkeypatch):
    if request.param == "cpu":
        monkeypatch.setattr(_fused, "_kernels", plain_kernels)
    return torch.device(request.param)


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
