"""The affine coupling: identity at the start, bounded afterwards."""

import pytest
import torch

from skfairlatent.flows import AffineCoupling
from skfairlatent.flows._coupling import LOG_SCALE_BOUND

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


@pytest.mark.parametrize("features", [2, 5])
def test__coupling__gradients_are_those_of_finite_differences(features):
    layer = AffineCoupling(features, hidden_features=4).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    names, values = zip(*layer.named_parameters(), strict=True)

    def function(x, *values):
        parameters = dict(zip(names, values, strict=True))
        return torch.func.functional_call(layer, parameters, (x,))

    x = torch.randn(6, features, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, (x, *values))


def test__coupling__forward_leaves_its_input_alone():
    layer, x = AffineCoupling(4, hidden_features=4), torch.randn(6, 4)
    torch.nn.init.ones_(layer.conditioner[-1].bias)
    before = x.clone()
    z, _ = layer(x)
    assert torch.equal(x, before)
    assert not torch.equal(z, x)
