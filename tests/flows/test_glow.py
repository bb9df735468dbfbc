"""The whole flow: a density, frozen for speed, exact in float32 at full width after training."""

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from skfairlatent.flows import ActNorm, Glow
from skfairlatent.flows._linear import make_linear

# The same products in another order, in float32.
FROZEN_TOLERANCE = 1e-5
# Required of the round trip at d = 512, relative to the norm of a row.
ROUND_TRIP_TOLERANCE = 1e-5
# A sum over a grid instead of an integral.
INTEGRAL_TOLERANCE = 1e-3


def trained(features=6, dtype=torch.float32, n_blocks=3):
    flow = Glow(features, n_blocks=n_blocks, hidden_features=16).to(dtype)
    flow.initialize((2 + 3 * torch.randn(100, features)).to(dtype))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return flow


def test__glow__is_a_density_that_integrates_to_one():
    flow = trained(2, torch.float64)
    step = 0.25
    axis = torch.arange(-30, 34, step, dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        log_density = flow.log_prob(x)
    total = float(log_density.exp().sum()) * step**2
    assert total == pytest.approx(1.0, abs=INTEGRAL_TOLERANCE)


@pytest.mark.parametrize("columns", [[3], [4, 0]])
def test__lead__makes_the_first_features_of_some_columns_alone(columns):
    flow = Glow(6, n_blocks=3, hidden_features=16).double()
    x = torch.randn(100, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64)
    flow.initialize(x)
    unit = torch.eye(6, dtype=torch.float64)
    read_by = (flow.inverse(unit) - flow.inverse(torch.zeros_like(unit))).T
    flow.lead(read_by[columns])
    first = slice(len(columns))
    others = [i for i in range(6) if i not in columns]
    for moved_columns, moves in ((columns, True), (others, False)):
        moved = x.clone()
        moved[:, moved_columns] += 1.0
        change = (flow.transform(moved) - flow.transform(x))[:, first].abs().max(dim=1).values
        assert (change.min() > 0.01) if moves else (change.max() < 1e-12)
    torch.testing.assert_close(flow.inverse(flow.transform(x)), x)


def test__glow__samples_have_the_density_of_log_prob():
    flow = trained(2, torch.float64)
    with torch.no_grad():
        x = flow.sample(4000, generator=torch.Generator().manual_seed(0))
        z, _ = flow(x)
    assert x.dtype == torch.float64
    # Five standard errors of a mean and of a variance over 4,000 draws.
    torch.testing.assert_close(z.mean(dim=0), torch.zeros(2, dtype=z.dtype), atol=0.08, rtol=0)
    torch.testing.assert_close(z.var(dim=0), torch.ones(2, dtype=z.dtype), atol=0.11, rtol=0)


def test__glow__seed_decides_the_sample():
    flow = trained()
    first, second, other = (
        flow.sample(5, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test__glow__log_likelihood_rises_with_training():
    x = torch.randn(200, 2)
    x = torch.cat((x[:, :1], x[:, :1].square() + 0.1 * x[:, 1:]), dim=1)  # a parabola
    flow = Glow(2, n_blocks=2, hidden_features=16)
    flow.initialize(x)

    def loss():
        z, log_det = flow(x)
        return (0.5 * z.square().sum(dim=1) - log_det).mean()

    start = float(loss().detach())
    optimizer = torch.optim.Adam(flow.parameters(), lr=2e-2)
    for _ in range(40):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    # A Gaussian cannot follow the parabola: what ActNorm and rotation reach is the start.
    assert float(loss().detach()) < start - 0.5


def test__glow__transform_is_forward_without_log_det():
    flow, x = trained(), torch.randn(20, 6)
    assert torch.equal(flow.transform(x), flow(x)[0])


def test__glow__refuses_to_run_before_initialize():
    flow, x = Glow(4, n_blocks=2, hidden_features=8), torch.randn(10, 4)
    for method in (flow.forward, flow.inverse, flow.transform):
        with pytest.raises(RuntimeError, match="not initialised"):
            method(x)


def test__glow__initialize_sets_every_actnorm_from_what_reaches_it():
    flow = Glow(5, n_blocks=3, hidden_features=8)
    flow.initialize(100 + 10 * torch.randn(200, 5) @ torch.randn(5, 5))
    norms = [module for module in flow.modules() if isinstance(module, ActNorm)]
    assert len(norms) == 3
    assert all(bool(norm.initialized) for norm in norms)


def test__glow__seed_decides_the_start():
    flows = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        flows.append(Glow(6, n_blocks=2, hidden_features=8).state_dict())
    base = "blocks.0.rotation.base"
    assert torch.equal(flows[0][base], flows[1][base])
    assert not torch.equal(flows[0][base], flows[2][base])


class TestFused:
    @pytest.mark.parametrize("features", [2, 3, 33])
    def test__fused__maps_as_the_flow(self, features):
        flow, x = trained(features, torch.float64), torch.randn(20, features).double()
        torch.testing.assert_close(flow.fused(x), flow(x))

    @pytest.mark.parametrize("features", [2, 3, 33])
    def test__fused__gradients_are_those_of_the_flow(self, features):
        flow, x = trained(features, torch.float64), torch.randn(20, features).double()
        x.requires_grad_()
        grads = []
        for function in (flow, flow.fused):
            z, log_det = function(x)
            loss = (z.square().sum(dim=-1) - log_det).mean()
            grads.append(torch.autograd.grad(loss, (x, *flow.parameters())))
        torch.testing.assert_close(*grads)

    def test__fused__rounds_as_the_flow_does_under_autocast(self):
        flow, x = trained(16), torch.randn(20, 16)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            z, log_det = flow(x)
            fused_z, fused_log_det = flow.fused(x)
        assert z.dtype == fused_z.dtype == log_det.dtype == torch.float32
        # Two digits are left of products in bfloat16, and values are of order 1 to 10.
        torch.testing.assert_close(fused_z, z, atol=0.3, rtol=0.1)
        torch.testing.assert_close(fused_log_det, log_det, atol=0.3, rtol=0.1)


class TestFrozen:
    @pytest.mark.parametrize("features", [2, 3, 33])
    def test__frozen__maps_as_the_flow(self, features):
        flow, x = trained(features), torch.randn(20, features)
        z, frozen = flow.transform(x), flow.frozen()
        torch.testing.assert_close(frozen.transform(x), z, atol=FROZEN_TOLERANCE, rtol=1e-5)
        back = flow.inverse(z)
        torch.testing.assert_close(frozen.inverse(z), back, atol=10 * FROZEN_TOLERANCE, rtol=0)

    @pytest.mark.parametrize("columns", [(0, 1), (1, 3), (0, 4), (2, 7), (0, 0), (None, None)])
    @pytest.mark.parametrize("n_blocks", [1, 3])
    def test__frozen__computes_some_columns_as_it_does_all(self, n_blocks, columns):
        flow, x, columns = trained(7, n_blocks=n_blocks), torch.randn(20, 7), slice(*columns)
        z = flow.frozen().transform(x, columns)
        expected = flow.transform(x)[:, columns]
        torch.testing.assert_close(z, expected, atol=FROZEN_TOLERANCE, rtol=1e-5)

    def test__frozen__computes_no_more_of_the_last_block_than_the_columns_need(self):
        frozen, x = trained(100, n_blocks=1).frozen(), torch.randn(20, 100)
        counts = []
        for columns in (slice(None), slice(0, 2)):
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                frozen.transform(x, columns)
            counts.append(counter.get_total_flops())
        assert counts[1] < 0.7 * counts[0]

    def test__frozen__computes_the_matrices_once_and_leaves_the_flow_alone(self):
        flow, x = trained(), torch.randn(20, 6)
        with torch.no_grad():
            frozen = flow.frozen()
            z = frozen.transform(x)
            for block in flow.blocks:
                block.rotation.vectors.normal_()
            assert torch.equal(frozen.transform(x), z)
            assert not torch.allclose(flow.transform(x), z, atol=0.01)
            assert not torch.allclose(flow.frozen().transform(x), z, atol=0.01)

    def test__frozen__refuses_an_uninitialised_flow(self):
        flow = Glow(4, n_blocks=2, hidden_features=8)
        flow.blocks[0].initialize(torch.randn(10, 4))
        with pytest.raises(RuntimeError, match="not initialised"):
            flow.frozen()

    def test__frozen__gives_gradients_of_the_input(self):
        flow, x = trained(), torch.randn(5, 6).requires_grad_()
        flow.transform(x)[:, 0].sum().backward()
        expected, x.grad = x.grad, None
        flow.frozen().transform(x)[:, 0].sum().backward()
        torch.testing.assert_close(x.grad, expected, atol=FROZEN_TOLERANCE, rtol=1e-4)


class TestFirstWeights:
    def test__generator__decides_the_start_and_leaves_torch_alone(self):
        before = torch.get_rng_state()
        states = []
        for seed in (1, 1, 2):
            generator = torch.Generator().manual_seed(seed)
            states.append(Glow(6, 2, 16, generator=generator).state_dict())
        assert torch.equal(torch.get_rng_state(), before)
        drawn = [name for name in states[0] if name.endswith((".base", "vectors", "0.weight"))]
        for name in drawn:
            assert torch.equal(states[0][name], states[1][name])
            assert not torch.equal(states[0][name], states[2][name])
        assert len(drawn) == 6

    def test__linear_layers__are_those_that_torch_makes(self):
        torch.manual_seed(3)
        expected = torch.nn.Linear(5, 7)
        made = make_linear(5, 7, generator=torch.Generator().manual_seed(3))
        assert torch.equal(made.weight, expected.weight)
        assert torch.equal(made.bias, expected.bias)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
    def test__dtype__is_the_one_asked_for(self, dtype, default_dtype):
        default_dtype(dtype)
        flow = Glow(4, 1, 8, dtype=torch.float32)
        assert {value.dtype for value in flow.parameters()} == {torch.float32}
        assert {value.dtype for value in ActNorm(3).parameters()} == {dtype}


class _OneDevice(TorchDispatchMode):
    """Fails when an operation makes or takes a tensor of another device."""

    def __init__(self, device_type):
        super().__init__()
        self.device_type = device_type

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves((args, kwargs, out)):
            if isinstance(value, torch.Tensor) and value.device.type != self.device_type:
                msg = f"{func} uses a tensor on {value.device}"
                raise AssertionError(msg)
        return out


def test__glow__takes_nothing_from_another_device():
    """A copy from the CPU within a step would forbid to record it as a CUDA graph."""
    flow = trained().to("meta")
    x = torch.empty(20, 6, device="meta")
    with _OneDevice("meta"):
        for function in (flow, flow.fused):
            z, log_det = function(x)
            (z.sum() + log_det.sum()).backward()
        flow.inverse(x)


def test__glow__round_trip_at_full_width_after_training():
    x = torch.randn(256, 512) @ torch.randn(512, 512) / 16 + torch.randn(512)
    flow = Glow(512, n_blocks=4, hidden_features=32)
    flow.initialize(x)
    untrained = copy.deepcopy(flow)
    optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
    for _ in range(6):
        z, log_det = flow(x + 0.1 * torch.randn_like(x))
        loss = 0.5 * z.square().mean() - log_det.mean() / 512
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        moved = (flow.transform(x) - untrained.transform(x)).norm(dim=1) / x.norm(dim=1)
        assert float(moved.min()) > 0.1
        error = (flow.inverse(flow.transform(x)) - x).norm(dim=1) / x.norm(dim=1)
    assert float(error.max()) <= ROUND_TRIP_TOLERANCE
