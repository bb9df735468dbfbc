"""Optimisation: the affine coupling in fewer passes over memory, with its own gradient."""

__all__ = ["couple_"]

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from skfairlatent.flows._base import matmul_precision
from skfairlatent.flows._coupling import AffineCoupling


def couple_(coupling: AffineCoupling, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return what ``coupling(x)`` does, in the memory of `x`. Differentiable once.

    Parameters
    ----------
    coupling : AffineCoupling
        The specification.
    x : Tensor of shape (n, d)
        Overwritten by z.

    Returns
    -------
    z : Tensor of shape (n, d)
    log_det : Tensor of shape (n,)
    """
    weights = coupling.conditioner.parameters()
    out: tuple[Tensor, Tensor] = _Couple.apply(x, matmul_precision(x), *weights)  # type: ignore[no-untyped-call]
    return out


class _Couple(Function):
    """The coupling in half as many passes over memory as its parts would take one by one.

    The network multiplies matrices in `precision`; scales, shifts and rows keep that of `x`.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, precision: torch.dtype, *conditioner: Tensor
    ) -> tuple[Tensor, Tensor]:
        w1, b1, w2, b2, w3, b3 = (part.to(precision) for part in conditioner)
        n_changed = len(b3) // 2
        changed, given = x[:, :n_changed], x[:, n_changed:].to(precision)
        hidden1 = torch.addmm(b1, given, w1.T).relu_()
        hidden2 = torch.addmm(b2, hidden1, w2.T).relu_()
        raw = torch.addmm(b3, hidden2, w3.T).to(x.dtype)
        log_scale, shift = raw[:, :n_changed].tanh_(), raw[:, n_changed:]
        scale = log_scale.exp()
        torch.addcmul(shift, changed, scale, out=changed)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x, hidden1, hidden2, raw, scale, w1, w2, w3)
        return x, log_scale.sum(dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_z: Tensor, grad_log_det: Tensor) -> tuple[Tensor | None, ...]:
        z, hidden1, hidden2, raw, scale, w1, w2, w3 = ctx.saved_tensors
        n_changed = scale.shape[1]
        log_scale, shift = raw[:, :n_changed], raw[:, n_changed:]
        grad_changed, grad_given = grad_z[:, :n_changed], grad_z[:, n_changed:]
        # The part that changed is only there as it is now: x * scale = z - shift.
        grad_log_scale = z[:, :n_changed] - shift
        torch.addcmul(grad_log_det[:, None], grad_changed, grad_log_scale, out=grad_log_scale)
        grad_raw = torch.empty_like(raw)
        _TANH_BACKWARD(grad_log_scale, log_scale, grad_input=grad_raw[:, :n_changed])
        grad_raw[:, n_changed:] = grad_changed
        grad3 = grad_raw.to(w3.dtype)
        grad2 = _through_relu(grad3 @ w3, hidden2)
        grad1 = _through_relu(grad2 @ w2, hidden1)
        grad_x = torch.empty_like(z)
        torch.mul(grad_changed, scale, out=grad_x[:, :n_changed])
        torch.add(grad_given, grad1 @ w1, out=grad_x[:, n_changed:])
        given = z[:, n_changed:].to(w1.dtype)
        layers = ((grad1, given), (grad2, hidden1), (grad3, hidden2))
        grads = [part.to(z.dtype) for g, h in layers for part in (g.T @ h, g.sum(dim=0))]
        return grad_x, None, *grads


_TANH_BACKWARD = torch.ops.aten.tanh_backward.grad_input


def _through_relu(grad: Tensor, value: Tensor) -> Tensor:
    """Return the gradient, changed in place, below a rectifier that gave `value`."""
    torch.ops.aten.threshold_backward.grad_input(grad, value, 0, grad_input=grad)
    return grad
