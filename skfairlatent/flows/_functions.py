"""The two differentiable functions that a step of Glow is made of, with their own gradients.

What automatic differentiation would do in some thirty passes over the batch is done here in half
as many, and without the product for the gradient of a rotation's matrix, of which only a
few reflections are learned. Both multiply matrices in `precision` and do everything else in
the precision of their input. They can be differentiated once.
"""

__all__ = ["affine_rotation", "couple_", "matmul_precision"]

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

# A log-scale in [-1, 1] a layer keeps the inverse as exact as the forward map in float32, and
# eight layers can still stretch a feature by e^8.
LOG_SCALE_BOUND = 1.0


def matmul_precision(x: Tensor) -> torch.dtype:
    """Return what matrices are to be multiplied in: what autocast says, or the type of `x`."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


class _AffineRotation(Function):
    """``(x * exp(log_scale) + shift) @ (base - left @ right)`` as one product of matrices."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        x: Tensor,
        log_scale: Tensor,
        shift: Tensor,
        base: Tensor,
        left: Tensor,
        right: Tensor,
        precision: torch.dtype,
    ) -> Tensor:
        rotation = torch.addmm(base, left, right, alpha=-1.0)
        # Scaling the d x d matrix instead of the n x d batch saves two passes over memory.
        weight = (log_scale.exp()[:, None] * rotation).to(precision)
        ctx.save_for_backward(x, log_scale, shift, left, right, rotation, weight)
        bias = (shift @ rotation).to(precision)
        return torch.addmm(bias, x.to(precision), weight).to(x.dtype)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, log_scale, shift, left, right, rotation, weight = ctx.saved_tensors
        grad_x = (grad.to(weight.dtype) @ weight.T).to(x.dtype)
        grad_log_scale = (x * grad_x).sum(dim=0)
        grad_shift = rotation @ grad.sum(dim=0)
        # With u = x * scale + shift, the gradient of the matrix would be u.T @ grad. Those of its
        # two thin factors need only products with a thin matrix.
        scale = log_scale.exp()[:, None]
        grad_right_t = grad @ right.T
        grad_left = -scale * (x.T @ grad_right_t) - torch.outer(shift, grad_right_t.sum(dim=0))
        u_left = torch.addmm(shift @ left, x, scale * left)
        return grad_x, grad_log_scale, grad_shift, None, grad_left, -(u_left.T @ grad), None


class _Couple(Function):
    """An affine coupling, in place."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, precision: torch.dtype, *conditioner: Tensor
    ) -> tuple[Tensor, Tensor]:
        weights = [w.to(precision) for w in conditioner[::2]]
        biases = [b.to(precision) for b in conditioner[1::2]]
        n_changed = len(biases[-1]) // 2
        changed, given = x[:, :n_changed], x[:, n_changed:].to(precision)
        hidden1 = torch.addmm(biases[0], given, weights[0].T).relu_()
        hidden2 = torch.addmm(biases[1], hidden1, weights[1].T).relu_()
        raw = torch.addmm(biases[2], hidden2, weights[2].T).to(x.dtype)
        tanh, shift = raw[:, :n_changed].div_(LOG_SCALE_BOUND).tanh_(), raw[:, n_changed:]
        scale = (LOG_SCALE_BOUND * tanh).exp_()
        torch.addcmul(shift, changed, scale, out=changed)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x, hidden1, hidden2, raw, scale, *weights)
        return x, LOG_SCALE_BOUND * tanh.sum(dim=1)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(  # type: ignore[override]
        ctx: Any, grad_z: Tensor, grad_log_det: Tensor
    ) -> tuple[Tensor | None, ...]:
        z, hidden1, hidden2, raw, scale, w1, w2, w3 = ctx.saved_tensors
        n_changed = scale.shape[1]
        grad_changed, grad_given = grad_z[:, :n_changed], grad_z[:, n_changed:]
        # The changed part is only there after the change: x_a * scale = z_a - shift.
        scaled = z[:, :n_changed] - raw[:, n_changed:]
        torch.addcmul(grad_log_det[:, None], grad_changed, scaled, out=scaled)
        grad_raw = torch.empty_like(raw)
        torch.mul(scaled, 1.0, out=grad_raw[:, :n_changed])
        grad_raw = torch.cat((_through_tanh(scaled, raw[:, :n_changed]), grad_changed), dim=1)
        grad_raw = grad_raw.to(w3.dtype)
        grad_hidden2 = _through_relu(grad_raw @ w3, hidden2)
        grad_hidden1 = _through_relu(grad_hidden2 @ w2, hidden1)
        grad_x = torch.empty_like(z)
        torch.mul(grad_changed, scale, out=grad_x[:, :n_changed])
        torch.add(grad_given, grad_hidden1 @ w1, out=grad_x[:, n_changed:])
        return grad_x, None
