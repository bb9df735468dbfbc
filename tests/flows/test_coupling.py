"""The affine coupling: identity at the start, bounded afterwards."""

import pytest
import torch

from skfairlatent.flows import AffineCoupling
from skfairlatent.flows._fused_coupling import couple_

LOG_SCALE_BOUND = 1.0  # that of tanh
# exp(-1) and exp(1) times values of order 1000 in float32.
EXTREME_TOLERANCE = 1e-2


def extreme(features):
    """A coupling whose conditioner asks for enormous scales."""
    layer = AffineCoupling(features, hidden_features=16)
    with torch.no_grad():
        layer.conditioner[-1].weight.normal_(std=100.0)
    return layer


@pytest.mark.parametrize("features", [2, 3, 8, 33])
def test__coupling__starts_as_the_identity(features):
    x = 10 * torch.randn(20, features)
    z, log_det = AffineCoupling(features, hidden_features=16)(x)
    assert torch.equal(z, x)
    assert torch.equal(log_det, torch.zeros(20))


@pytest.mark.parametrize(("features", "n_changed"), [(2, 1), (3, 2), (8, 4), (33, 17)])
def test__coupling__changes_the_first_part_only(features, n_changed):
    x = torch.randn(20, features)
    z, _ = extreme(features)(x)
    assert torch.equal(z[:, n_changed:], x[:, n_changed:])
    assert z[:, :n_changed].ne(x[:, :n_changed]).all()


def test__coupling__bounds_the_scale_softly():
    layer = extreme(9)
    x = (1000 * torch.randn(20, 9)).requires_grad_()
    z, log_det = layer(x)
    assert log_det.abs().max() <= LOG_SCALE_BOUND * layer.n_changed
    assert log_det.abs().max() > 0.9 * LOG_SCALE_BOUND
    shift_size = float(z.detach().abs().max())
    torch.testing.assert_close(
        layer.inverse(z), x, atol=max(EXTREME_TOLERANCE, 1e-6 * shift_size), rtol=0
    )
    log_det.sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("features", [0, 1])
def test__coupling__needs_two_features(features):
    with pytest.raises(ValueError, match=f"at least 2 features to split, got {features}"):
        AffineCoupling(features, hidden_features=4)


def test__coupling__keeps_scales_in_full_precision_under_autocast():
    layer = extreme(8)
    x = torch.randn(20, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z, log_det = layer(x)
    assert z.dtype == log_det.dtype == torch.float32
    # The features passed through are exact: only the conditioner is computed in half.
    assert torch.equal(z[:, 4:], x[:, 4:])


def random_coupling(features):
    layer = AffineCoupling(features, hidden_features=4).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    return layer


@pytest.mark.parametrize("features", [2, 5])
def test__fused__is_the_layer_in_the_memory_of_its_input(features):
    layer, x = random_coupling(features), torch.randn(6, features, dtype=torch.float64)
    expected, given = layer(x), x.clone()
    with torch.no_grad():
        z, log_det = couple_(layer, given)
    assert z.data_ptr() == given.data_ptr()
    torch.testing.assert_close((z, log_det), expected)


@pytest.mark.parametrize("features", [2, 5])
def test__fused__gradients_are_those_of_the_layer(features):
    layer = random_coupling(features)
    weights = [torch.randn(6, features, dtype=torch.float64), torch.randn(6, dtype=torch.float64)]
    grads = []
    start = torch.randn(6, features, dtype=torch.float64)
    for function in (layer, lambda x: couple_(layer, x.clone())):
        x = start.clone().requires_grad_()
        loss = sum((w * part).sum() for w, part in zip(weights, function(x), strict=True))
        grads.append(torch.autograd.grad(loss, (x, *layer.parameters())))
    torch.testing.assert_close(*grads)
