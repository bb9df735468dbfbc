"""The interface of every invertible layer: one table of layers, widths and precisions."""

import copy
import pickle

import pytest
import torch

from skfairlatent.flows import ActNorm, AffineCoupling, Glow, Rotation

LAYERS = {
    "actnorm": ActNorm,
    "rotation": Rotation,
    "rotation, odd": lambda features: Rotation(features, n_reflections=3),
    "rotation, fixed": lambda features: Rotation(features, n_reflections=0),
    "coupling": lambda features: AffineCoupling(features, hidden_features=16),
    "glow": lambda features: Glow(features, n_blocks=2, hidden_features=16),
}
WIDTHS = [2, 3, 8, 33]
N_ROWS = 20

# Rounding of a few layers, relative to values of order 1 to 10.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
# A log-determinant sums as many terms as there are features.
LOG_DET_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}
# Products of matrices add up in another order when they have other sizes.
BATCH_TOLERANCE = {torch.float64: 1e-13, torch.float32: 1e-5}

every_layer = pytest.mark.parametrize("name", LAYERS)
every_width = pytest.mark.parametrize("features", WIDTHS)
every_dtype = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


def rows(features, dtype=torch.float32, n_rows=N_ROWS):
    return (2 + 3 * torch.randn(n_rows, features)).to(dtype)


def trained(name, features, dtype=torch.float32):
    """A layer as training leaves it: set from data, no parameter at its start."""
    layer = LAYERS[name](features).to(dtype)
    layer.initialize(rows(features, dtype))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return layer


@every_layer
@every_width
@every_dtype
def test__layer__inverse_undoes_forward(name, features, dtype):
    layer, x = trained(name, features, dtype), rows(features, dtype)
    z, _ = layer(x)
    assert not torch.allclose(z, x, atol=0.01)
    assert z.dtype == dtype
    torch.testing.assert_close(layer.inverse(z), x, atol=TOLERANCE[dtype], rtol=0)
    torch.testing.assert_close(layer(layer.inverse(x))[0], x, atol=TOLERANCE[dtype], rtol=0)


@every_layer
@every_width
@every_dtype
def test__layer__log_det_is_that_of_the_jacobian(name, features, dtype):
    layer, x = trained(name, features, dtype), rows(features, dtype, n_rows=3)
    _, log_det = layer(x)
    assert log_det.shape == (3,)
    assert log_det.dtype == dtype

    jacobians = [
        torch.autograd.functional.jacobian(lambda row: layer(row[None])[0][0], row) for row in x
    ]
    expected = torch.stack([torch.linalg.slogdet(j.double()).logabsdet for j in jacobians])
    torch.testing.assert_close(log_det.double(), expected, atol=LOG_DET_TOLERANCE[dtype], rtol=0)


@every_layer
@every_width
def test__layer__gradients_reach_every_parameter_and_the_input(name, features):
    layer, x = trained(name, features), rows(features).requires_grad_()
    z, log_det = layer(x)
    (z * torch.randn_like(z)).sum().add(log_det.square().sum()).backward()
    assert x.grad.ne(0).any()
    for parameter_name, parameter in layer.named_parameters():
        if parameter.numel():
            assert parameter.grad.isfinite().all(), parameter_name
            assert parameter.grad.ne(0).any(), parameter_name


@pytest.mark.parametrize("name", ["actnorm", "coupling", "glow"])
def test__layer__log_det_alone_has_gradients(name):
    layer = trained(name, 8)
    layer(rows(8))[1].sum().backward()
    assert any(p.grad is not None and p.grad.ne(0).any() for p in layer.parameters())


@every_layer
@every_width
@every_dtype
def test__layer__state_dict_makes_a_new_layer_the_same(name, features, dtype):
    layer, x = trained(name, features, dtype), rows(features, dtype)
    other = LAYERS[name](features).to(dtype)
    other.load_state_dict(layer.state_dict())
    for mine, theirs in zip(layer(x), other(x), strict=True):
        assert torch.equal(mine, theirs)
    assert torch.equal(layer.inverse(x), other.inverse(x))


@every_layer
@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))],  # noqa: S301 - our bytes
    ids=["deepcopy", "pickle"],
)
def test__layer__copies_are_the_same_and_apart(name, duplicate):
    layer, x = trained(name, 8), rows(8)
    before = [part.detach().clone() for part in layer(x)]
    other = duplicate(layer)
    for mine, theirs in zip(before, other(x), strict=True):
        assert torch.equal(mine, theirs)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1.0)
    assert torch.equal(before[0], layer(x)[0])


@every_layer
@every_width
@every_dtype
def test__layer__a_row_alone_maps_as_in_its_batch(name, features, dtype):
    layer, x = trained(name, features, dtype), rows(features, dtype)
    z, log_det = (part[:3] for part in layer(x))
    alone = [layer(row[None]) for row in x[:3]]
    back = torch.cat([layer.inverse(row[None]) for row in x[:3]])
    largest = float(z.detach().abs().max())
    close = {"atol": BATCH_TOLERANCE[dtype] * max(1.0, largest), "rtol": 0}
    torch.testing.assert_close(torch.cat([a[0] for a in alone]), z, **close)
    torch.testing.assert_close(torch.cat([a[1] for a in alone]), log_det, **close)
    torch.testing.assert_close(back, layer.inverse(x)[:3], **close)


@every_layer
@pytest.mark.parametrize("shape", [(4, 7), (4, 9), (), (8, 2)], ids=str)
@pytest.mark.parametrize("method", ["forward", "inverse", "initialize"])
def test__layer__wrong_shape_is_named_beside_the_right_one(name, shape, method):
    layer = trained(name, 8)
    with pytest.raises(ValueError, match=r"shape \(\.\.\., 8\), got \(") as error:
        getattr(layer, method)(torch.zeros(shape))
    assert str(shape) in str(error.value)


@every_layer
@pytest.mark.parametrize("leading", [(), (4,), (2, 5), (2, 1, 3)], ids=str)
def test__layer__takes_any_leading_dimensions(name, leading):
    layer, x = trained(name, 8, torch.float64), torch.randn(*leading, 8, dtype=torch.float64)
    z, log_det = layer(x)
    flat_z, flat_log_det = layer(x.reshape(-1, 8))
    torch.testing.assert_close(z, flat_z.reshape(x.shape))
    torch.testing.assert_close(log_det, flat_log_det.reshape(leading))
    torch.testing.assert_close(layer.inverse(z), x)


@every_layer
def test__layer__is_mapped_over_a_stack_by_vmap(name):
    layers = [trained(name, 8, torch.float64) for _ in range(3)]
    parameters, buffers = torch.func.stack_module_state(layers)
    base = copy.deepcopy(layers[0]).to("meta")

    def loss(parameters, buffers, x):
        z, log_det = torch.func.functional_call(base, (parameters, buffers), (x,))
        return (z.square().sum(dim=-1) - log_det).mean()

    x = rows(8, torch.float64)
    together = torch.func.vmap(torch.func.grad(loss), (0, 0, None))(parameters, buffers, x)
    for i, layer in enumerate(layers):
        z, log_det = layer(x)
        loss_alone = (z.square().sum(dim=-1) - log_det).mean()
        alone = torch.autograd.grad(loss_alone, layer.parameters())
        for grad, name_of_part in zip(alone, parameters, strict=True):
            torch.testing.assert_close(together[name_of_part][i], grad)


@every_layer
def test__layer__is_compiled_whole(name):
    layer, x = trained(name, 8), rows(8)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))


@every_layer
def test__layer__maps_no_rows_to_no_rows(name):
    layer = trained(name, 8)
    z, log_det = layer(torch.zeros(0, 8))
    assert z.shape == (0, 8)
    assert log_det.shape == (0,)
    assert layer.inverse(z).shape == (0, 8)


@every_layer
def test__layer__initialize_returns_the_batch_mapped(name):
    layer, x = LAYERS[name](8), rows(8)
    z = layer.initialize(x)
    assert not z.requires_grad
    torch.testing.assert_close(z, layer(x)[0], atol=TOLERANCE[torch.float32], rtol=0)


@every_layer
def test__layer__repr_shows_the_width(name):
    assert "features=8" in repr(LAYERS[name](8))
