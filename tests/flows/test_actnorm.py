"""ActNorm starts from data, and refuses to run before."""

import copy

import pytest
import torch

from skfairlatent.flows import ActNorm
from skfairlatent.flows._actnorm import STD_FLOOR

# Mean and standard deviation of a few hundred rows in float32.
MOMENT_TOLERANCE = 1e-4


def test__initialize__leaves_mean_0_and_standard_deviation_1():
    x = torch.randn(300, 4) * torch.tensor([1e-2, 1.0, 50.0, 1e3]) + 7.0
    z = ActNorm(4).initialize(x)
    torch.testing.assert_close(z.mean(dim=0), torch.zeros(4), atol=MOMENT_TOLERANCE, rtol=0)
    torch.testing.assert_close(z.std(dim=0), torch.ones(4), atol=MOMENT_TOLERANCE, rtol=0)


def test__initialize__limits_the_scale_of_a_constant_feature():
    x = torch.randn(50, 3)
    x[:, 1] = 4.0
    layer = ActNorm(3)
    z = layer.initialize(x)
    assert z.isfinite().all()
    assert torch.equal(z[:, 1].round(decimals=2), torch.zeros(50))
    assert float(layer.log_scale.detach()[1].exp()) == pytest.approx(1 / STD_FLOOR)
    assert float(layer.log_scale.detach().exp().max()) == pytest.approx(1 / STD_FLOOR)
    torch.testing.assert_close(layer.inverse(z), x, atol=1e-5, rtol=0)


@pytest.mark.parametrize("n_rows", [0, 1])
def test__initialize__refuses_fewer_than_two_rows_and_stays_uninitialised(n_rows):
    layer = ActNorm(3)
    with pytest.raises(ValueError, match=rf"at least 2 rows.* got \({n_rows}, 3\)"):
        layer.initialize(torch.randn(n_rows, 3))
    with pytest.raises(RuntimeError, match="not initialised"):
        layer(torch.randn(5, 3))


@pytest.mark.parametrize("method", ["forward", "inverse"])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test__actnorm__refuses_to_run_before_initialize(method, mode):
    layer = getattr(ActNorm(3), mode)()
    with pytest.raises(RuntimeError, match=r"call initialize\(batch\), or load a state dict"):
        getattr(layer, method)(torch.randn(5, 3))


def test__actnorm__refuses_after_the_state_of_an_uninitialised_layer():
    layer = ActNorm(3)
    layer.load_state_dict(ActNorm(3).state_dict())
    with pytest.raises(RuntimeError, match="not initialised"):
        copy.deepcopy(layer)(torch.randn(5, 3))


def test__actnorm__further_batches_do_not_change_it():
    layer = ActNorm(3)
    layer.initialize(torch.randn(50, 3))
    before = copy.deepcopy(layer.state_dict())
    layer(100 + torch.randn(50, 3))
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())
