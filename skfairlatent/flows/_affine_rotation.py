"""Optimisation: ActNorm and rotation in one product of matrices, with their own gradient."""

__all__ = ["affine_rotation"]

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


def affine_rotation(
    x: Tensor,
    log_scale: Tensor,
    shift: Tensor,
    rotation: tuple[Tensor, Tensor, Tensor],
    precision: torch.dtype,
) -> Tensor:
    r"""Return :math:`(x \odot e^{s} + b) (Q - A B)`.

    The gradients of s, b, A and B need no second product of the size of the first: only
    that of x does. Differentiable once.

    Parameters
    ----------
    x : Tensor of shape (n, d)
    log_scale, shift : Tensor of shape (d,)
        s and b.
    rotation : tuple of Tensor of shape (d, d), (d, r) and (r, d)
        Q, which is fixed, and the thin A and B.
    precision : torch.dtype
        Precision of the products of the rows; everything else is in that of `x`, for which
        autocast must be off.

    Returns
    -------
    Tensor of shape (n, d)
    """
    y: Tensor = _AffineRotation.apply(x, precision, log_scale, shift, *rotation)  # type: ignore[no-untyped-call]
    return y


class _AffineRotation(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        precision: torch.dtype,
        log_scale: Tensor,
        shift: Tensor,
        *factors: Tensor,
    ) -> Tensor:
        base, left, right = factors
        rotation = torch.addmm(base, left, right, alpha=-1.0)
        # Scaling the d x d matrix instead of the n x d rows saves two passes over memory.
        weight = (log_scale.exp()[:, None] * rotation).to(precision)
        bias = (shift @ rotation).to(precision)
        ctx.save_for_backward(x, log_scale, shift, left, right, rotation, weight)
        return torch.addmm(bias, x.to(precision), weight).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, log_scale, shift, left, right, rotation, weight = ctx.saved_tensors
        grad_x = (grad.to(weight.dtype) @ weight.T).to(x.dtype)
        grad_log_scale = (x * grad_x).sum(dim=0)
        grad_shift = rotation @ grad.sum(dim=0)
        # With u = x * scale + shift, Q - A B has the gradient u.T grad; what A and B need of it
        # are products with a thin matrix.
        scale, grad_times_b = log_scale.exp()[:, None], grad @ right.T
        grad_a = -scale * (grad_times_b.T @ x).T - torch.outer(shift, grad_times_b.sum(dim=0))
        u_a = torch.addmm(shift @ left, x, scale * left)
        grad_b = -u_a.T @ grad
        return grad_x, None, grad_log_scale, grad_shift, None, grad_a, grad_b
