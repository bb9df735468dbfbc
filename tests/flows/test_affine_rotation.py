"""ActNorm and rotation in one: the same map as one after the other, and its own gradients."""

import pytest
import torch

from skfairlatent.flows import ActNorm, Rotation
from skfairlatent.flows._affine_rotation import affine_rotation


def parts(features, n_reflections):
    """An ActNorm and a rotation that do something, in float64."""
    norm, rotation = ActNorm(features).double(), Rotation(features, n_reflections).double()
    norm.initialize(3 + 2 * torch.randn(50, features, dtype=torch.float64))
    torch.nn.init.normal_(rotation.vectors)
    return norm, rotation


@pytest.mark.parametrize("n_reflections", [0, 1, 4])
def test__affine_rotation__is_act_norm_then_rotation(n_reflections):
    norm, rotation = parts(5, n_reflections)
    x = torch.randn(7, 5, dtype=torch.float64)
    expected, _ = rotation(norm(x)[0])
    y = affine_rotation(x, norm.log_scale, norm.shift, rotation.factors(), torch.float64)
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("rows", [1, 7])
def test__affine_rotation__gradients_are_those_of_finite_differences(rows):
    def function(x, log_scale, shift, left, right):
        return affine_rotation(x, log_scale, shift, (base, left, right), torch.float64)

    shapes = [(rows, 5), (5,), (5,), (5, 3), (3, 5)]
    inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]
    base = torch.randn(5, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(function, inputs)


def test__affine_rotation__multiplies_in_half_and_keeps_the_type_of_the_rows():
    norm, rotation = (layer.float() for layer in parts(16, 4))
    x = torch.randn(32, 16)
    exact, rounded = (
        affine_rotation(x, norm.log_scale, norm.shift, rotation.factors(), precision)
        for precision in (torch.float32, torch.bfloat16)
    )
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, atol=0.05, rtol=0.05)
    rounded.square().sum().backward()
    assert norm.log_scale.grad.dtype == rotation.vectors.grad.dtype == torch.float32
