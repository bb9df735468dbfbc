"""The learned rotation: orthogonal whatever training does to its vectors."""

import pytest
import torch

from skfairlatent.flows import Rotation

# Products of orthogonal matrices in float64, and in float32 at d = 33.
EXACT = 1e-12
SINGLE = 1e-5

every_number = pytest.mark.parametrize("n_reflections", [0, 1, 2, 3, 8, 20])


def distance_to_orthogonal(matrix):
    return float((matrix @ matrix.T - torch.eye(len(matrix)).to(matrix)).detach().abs().max())


def trained(features, n_reflections, *, n_steps=10):
    """A rotation whose vectors have gone a long way towards an arbitrary matrix."""
    layer = Rotation(features, n_reflections)
    target = torch.linalg.qr(torch.randn(features, features)).Q
    if n_reflections:
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
        for _ in range(n_steps):
            optimizer.zero_grad()
            (layer.matrix() - target).square().sum().backward()
            optimizer.step()
    return layer


@every_number
@pytest.mark.parametrize("features", [1, 2, 3, 33])
def test__matrix__is_orthogonal_at_the_start_and_after_training(n_reflections, features):
    assert distance_to_orthogonal(Rotation(features, n_reflections).matrix()) < SINGLE
    layer = trained(features, n_reflections)
    assert distance_to_orthogonal(layer.matrix()) < SINGLE


@every_number
def test__matrix__is_the_base_times_the_reflections(n_reflections):
    layer = Rotation(7, n_reflections).double()
    with torch.no_grad():
        layer.vectors.normal_(std=3.0)
        layer.base.copy_(torch.linalg.qr(layer.base).Q)
    expected = layer.base
    for v in layer.vectors:
        expected = expected @ (torch.eye(7) - 2 * torch.outer(v, v) / v.square().sum())
    torch.testing.assert_close(layer.matrix(), expected, atol=EXACT, rtol=0)


@pytest.mark.parametrize("n_reflections", [0, 2, 8])
def test__matrix__starts_at_the_base(n_reflections):
    layer = Rotation(7, n_reflections)
    torch.testing.assert_close(layer.matrix(), layer.base, atol=SINGLE, rtol=0)


def test__matrix__cast_to_float64_is_orthogonal_to_float64():
    layer = trained(33, 8)
    assert distance_to_orthogonal(layer.double().matrix()) < EXACT
    fixed = trained(33, 0)
    assert distance_to_orthogonal(fixed.double().matrix()) < EXACT


def test__matrix__can_be_trained():
    torch.manual_seed(1)
    start = Rotation(6, 8)
    torch.manual_seed(1)
    moved = trained(6, 8)
    assert torch.equal(moved.base, start.base)
    assert (moved.matrix() - start.matrix()).norm() > 0.5


def test__matrix__with_a_vector_of_zeros_is_still_orthogonal():
    layer = Rotation(5, 4)
    with torch.no_grad():
        layer.vectors[1] = 0.0
    layer.matrix().sum().backward()
    assert distance_to_orthogonal(layer.matrix()) < SINGLE
    assert layer.vectors.grad.isfinite().all()


def test__base__is_uniform_over_rotations():
    # The first entry of a uniform rotation in d = 2 is a cosine: mean 0, variance 1/2. A Q
    # straight from a QR decomposition has a negative one always.
    first = torch.stack([Rotation(2, 0).base[0, 0] for _ in range(400)])
    four_standard_errors = 4 * (0.5 / 400) ** 0.5
    assert abs(float(first.mean())) < four_standard_errors
    assert float(first.var()) == pytest.approx(0.5, abs=0.15)


def test__base__is_kept_from_training():
    layer = Rotation(5)
    assert "base" in layer.state_dict()
    assert "base" not in dict(layer.named_parameters())
    assert "n_reflections=8" in repr(layer)
