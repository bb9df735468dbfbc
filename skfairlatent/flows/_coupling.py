"""Affine coupling: one part of the vector scales and shifts the other."""

__all__ = ["AffineCoupling"]

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from skfairlatent.flows._base import Bijection, matmul_precision
from skfairlatent.flows._linear import make_linear

# That of tanh. A log-scale in [-1, 1] a layer keeps the inverse as exact as the forward map in
# float32, and eight layers can still stretch a feature by e^8.
LOG_SCALE_BOUND = 1.0


class AffineCoupling(Bijection):
    r"""Scale and shift the first part of the vector by functions of the second.

    .. math:: z_a = x_a \odot e^{s(x_b)} + t(x_b), \qquad z_b = x_b,

    with (s, t) from one fully connected network, the *conditioner*. s is clamped softly,
    :math:`s = \tanh r`, and the conditioner's last layer starts at zero, so that the layer
    starts as the identity. The part that changes comes first because that is where the
    label block of a fair latent lies: the last coupling then acts on it directly.

    Parameters
    ----------
    features : int
        Width d of the vectors, at least 2; the first d - d // 2 features are changed.
    hidden_features : int
        Width of the conditioner's two hidden layers.
    generator : torch.Generator, optional
        What the weights are drawn from; torch's own if there is none.
    device, dtype : optional
        Of the parameters; torch's defaults if not given.

    References
    ----------
    L. Dinh, J. Sohl-Dickstein, S. Bengio, "Density estimation using Real NVP", ICLR 2017,
    arXiv:1605.08803.

    Examples
    --------
    >>> import torch
    >>> layer = AffineCoupling(5, hidden_features=8)
    >>> x = torch.randn(10, 5)
    >>> z, log_det = layer(x)
    >>> bool(torch.equal(z, x)), tuple(log_det.shape)
    (True, (10,))
    """

    def __init__(
        self,
        features: int,
        hidden_features: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if features < 2:
            raise ValueError(f"A coupling needs at least 2 features to split, got {features}.")
        super().__init__(features)
        self.n_given = features // 2
        self.n_changed = features - self.n_given
        linear = partial(make_linear, generator=generator, device=device, dtype=dtype)
        last = linear(hidden_features, 2 * self.n_changed)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.conditioner = nn.Sequential(
            linear(self.n_given, hidden_features),
            nn.ReLU(),
            linear(hidden_features, hidden_features),
            nn.ReLU(),
            last,
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and the log-determinant, the sum of s over the features of each row."""
        return self.forward_(x.clone())

    def forward_(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `forward` does, in the memory of `x`, which saves copying the given part."""
        self._check_width(x)
        weights = self.conditioner.parameters()
        out: tuple[Tensor, Tensor] = _Couple.apply(x, matmul_precision(x), *weights)  # type: ignore[no-untyped-call]
        return out

    def inverse(self, z: Tensor) -> Tensor:
        """Return x."""
        self._check_width(z)
        changed, given = z.split((self.n_changed, self.n_given), dim=1)
        log_scale, shift = self._log_scale_and_shift(given)
        return torch.cat(((changed - shift) * (-log_scale).exp(), given), dim=1)

    def _log_scale_and_shift(self, given: Tensor) -> tuple[Tensor, Tensor]:
        # Under mixed precision the conditioner answers in half; scales are kept in full precision.
        raw, shift = self.conditioner(given).to(given.dtype).chunk(2, dim=1)
        return torch.tanh(raw), shift


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
