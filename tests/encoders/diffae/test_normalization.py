"""The faster group normalisation gives what torch gives, whichever of the two is taken."""

import pytest
import torch
from torch import nn

from skfairlatent.encoders.diffae._networks.normalization import GroupNorm

# Rounding of values of order 1, in float32; torch takes variances as differences of large numbers.
ROUNDING, TORCH_ROUNDING = 1e-5, 2e-5


def _pair(groups, channels):
    torch.manual_seed(0)
    ours, theirs = GroupNorm(groups, channels), nn.GroupNorm(groups, channels)
    nn.init.normal_(ours.weight)
    nn.init.normal_(ours.bias)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(
    ("groups", "channels", "size"), [(16, 16, 8), (32, 64, 16), (8, 56, 4), (4, 64, 8), (2, 8, 20)]
)
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test__forward__is_that_of_torch(groups, channels, size, layout, offset):
    ours, theirs = _pair(groups, channels)
    x = torch.randn(3, channels, size, size) * torch.arange(1, channels + 1)[:, None, None]
    x = (x + offset * x.std()).to(memory_format=layout)
    kept = x.clone()
    with torch.inference_mode():
        found, stride = ours(x), theirs(x).stride()
        expected = theirs.double()(x.double()).float()  # torch's own in float32 is less exact
        is_own = ours._is_better_as_rows(x)
    # A large mean leaves fewer digits to the differences from it.
    tolerance = ROUNDING * (1 + offset) if is_own else TORCH_ROUNDING * (1 + offset**2)
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=ROUNDING)
    assert torch.equal(x, kept)
    assert found.stride() == stride


def test__forward__differentiates():
    ours, theirs = _pair(8, 16)
    x = torch.randn(2, 16, 4, 4).to(memory_format=torch.channels_last)
    gradients = []
    for norm in (ours, theirs):
        given = x.clone().requires_grad_()
        norm(given).square().sum().backward()
        gradients.append(given.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(("channels", "size", "expected"), [(64, 16, True), (64, 17, False)])
def test__forward__takes_its_own_way_where_that_is_faster(channels, size, expected):
    ours, _ = _pair(32, channels)
    x = torch.randn(2, channels, size, size).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        assert ours._is_better_as_rows(x) is expected
        assert not ours._is_better_as_rows(x.double())
        assert not ours._is_better_as_rows(x.contiguous())
    assert not ours._is_better_as_rows(x)


def test__forward__of_large_maps_is_exact():
    """Where torch, adding up one number after the other, loses the fifth digit."""
    torch.manual_seed(0)
    ours, _ = _pair(32, 64)
    x = (torch.randn(1, 64, 256, 256) + 1).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = torch.nn.functional.group_norm(
            x.double(), 32, ours.weight.double(), ours.bias.double(), ours.eps
        )
        assert (ours(x) - expected).abs().max() < 5e-6
