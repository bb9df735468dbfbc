"""A fitted flow over many rows: in pieces, in either direction and precision."""

import numpy as np
import pytest
import torch

from skfairlatent import FairLatentTransformer
from skfairlatent._inference import largest_round_trip_error, map_rows
from skfairlatent.flows import Glow
from skfairlatent.flows._glow import FrozenGlow

CPU = torch.device("cpu")
# Other sizes of products add up in another order.
PIECES_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-13}
INVERSE_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}
# Required of the round trip at d = 512, relative to the norm of a row.
ROUND_TRIP_TOLERANCE = 1e-5

every_dtype = pytest.mark.parametrize("dtype", PIECES_TOLERANCE, ids=str)


@pytest.fixture
def flow():
    flow = Glow(6, n_blocks=2, hidden_features=8)
    flow.initialize(torch.randn(100, 6))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return flow


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr("skfairlatent._inference.ROWS_ON_CPU", 7)


@every_dtype
@pytest.mark.parametrize("n_rows", [0, 1, 7, 20])
@pytest.mark.usefixtures("small_pieces")
def test__map_rows__is_the_flow_in_pieces(flow, dtype, n_rows):
    x = torch.randn(n_rows, 6, dtype=dtype)
    z = map_rows(flow, x, CPU)
    assert z.dtype == dtype
    assert not z.requires_grad
    expected = flow.double()(x.double())[0].detach()
    scale = 1.0 if dtype == torch.float64 else 10.0
    torch.testing.assert_close(z.double(), expected, atol=scale * PIECES_TOLERANCE[dtype], rtol=0)


@every_dtype
@pytest.mark.usefixtures("small_pieces")
def test__map_rows__inverse_gives_the_rows_back(flow, dtype):
    x = torch.randn(20, 6, dtype=dtype)
    back = map_rows(flow, map_rows(flow, x, CPU), CPU, inverse=True)
    torch.testing.assert_close(back, x, atol=INVERSE_TOLERANCE[dtype], rtol=0)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("columns", [slice(0, 2), slice(2, 6), slice(None)], ids=str)
def test__map_rows__keeps_the_columns_asked_for(flow, columns):
    x = torch.randn(20, 6)
    expected = map_rows(flow, x, CPU)[:, columns]
    z = map_rows(flow, x, CPU, columns=columns)
    torch.testing.assert_close(z, expected, atol=PIECES_TOLERANCE[z.dtype], rtol=0)


@pytest.mark.usefixtures("small_pieces")
def test__map_rows__prepares_each_piece_and_leaves_the_rows_alone(flow):
    x = torch.randn(20, 6)
    before, prepared = x.clone(), 2 * x + 1
    z = map_rows(flow, x, CPU, prepare=lambda piece: 2 * piece + 1)
    assert torch.equal(z, map_rows(flow, prepared, CPU))
    assert torch.equal(x, before)


@every_dtype
def test__map_rows__a_row_alone_maps_as_in_its_batch(flow, dtype):
    x = torch.randn(20, 6, dtype=dtype)
    alone = torch.cat([map_rows(flow, row[None], CPU) for row in x])
    torch.testing.assert_close(alone, map_rows(flow, x, CPU), atol=PIECES_TOLERANCE[dtype], rtol=0)


@every_dtype
def test__map_rows__leaves_the_flow_as_it_was(flow, dtype):
    before = {name: value.clone() for name, value in flow.state_dict().items()}
    map_rows(flow, torch.randn(5, 6, dtype=dtype), CPU)
    for name, value in flow.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name])
    flow(torch.randn(5, 6))[0].sum().backward()  # still trainable


def same(rows):
    return rows


def test__largest_round_trip_error__is_relative_to_the_row(flow, monkeypatch):
    x = torch.randn(20, 6) * torch.logspace(-3, 0, 20)[:, None]
    assert largest_round_trip_error(flow, x, CPU, same) < 1e-2
    inverse = FrozenGlow.inverse

    def wrong_in_one_row(self, z):
        back = inverse(self, z)
        back[3] *= 1.5
        return back

    monkeypatch.setattr(FrozenGlow, "inverse", wrong_in_one_row)
    assert largest_round_trip_error(flow, x, CPU, same) == pytest.approx(0.5, abs=0.01)


def test__largest_round_trip_error__of_a_row_of_zeros_is_finite(flow):
    zeros = torch.zeros(2, 6, dtype=torch.float64)
    assert np.isfinite(largest_round_trip_error(flow, zeros, CPU, same))


def test__inverse_error__at_full_width_after_a_short_fit():
    rng = np.random.default_rng(0)
    y, s = rng.integers(2, size=(2, 256))
    X = rng.normal(size=(256, 512)) @ rng.normal(size=(512, 512)) / 20 + y[:, None]
    X = X.astype(np.float32)
    model = FairLatentTransformer(
        hidden_features=64, max_iter=6, learning_rate_init=5e-3, random_state=0, device="cpu"
    )
    model.fit(X, y, sensitive_features=s)
    assert model.history_["loss"].iloc[-1] < model.history_["loss"].iloc[0]
    assert 0 < model.inverse_error_ <= ROUND_TRIP_TOLERANCE


@pytest.mark.gpu
@every_dtype
def test__map_rows__on_a_gpu_is_as_on_a_cpu(flow, dtype):
    x = torch.randn(20, 6, dtype=dtype)
    z = map_rows(flow, x, torch.device("cuda"))
    assert z.device.type == "cpu"
    assert all(p.device.type == "cpu" for p in flow.parameters())
    torch.testing.assert_close(z, map_rows(flow, x, CPU), atol=1e-3, rtol=0)
