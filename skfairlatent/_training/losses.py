r"""The loss terms of a fair latent, each a pure function of tensors.

The method's five terms (Joo et al. 2025) with the normalisation that this package chose: no
term's size depends on the width of the latent or on the size of the batch. Formulas that
the paper leaves open are this package's reading of it. The forms of the group-distance term
are in :mod:`skfairlatent._training.distances`.

Each returns a scalar. `cov` is the covariance of the latent over a batch, shape (d, d), whose
first `n_label_components` features are the label block; `z` is the latent, shape (n, d), and
`log_det`, shape (n,), the log-determinant of the map that made it.
"""

__all__ = ["density_loss", "equal_variance_loss", "redundancy_loss"]

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


def covariance(z: Tensor) -> Tensor:
    """Return the (d, d) covariance of a batch (n, d), divided by n - 1."""
    cov: Tensor = _Covariance.apply(z)  # type: ignore[no-untyped-call]
    return cov


def redundancy_loss(cov: Tensor, n_label_components: int) -> Tensor:
    r"""L_dg: mean squared off-diagonal covariance within and between the blocks.

    .. math:: L_{dg} = \frac{1}{3} \Big( \overline{C_{ij}^2}\,_{Y,\, i \ne j}
        + \overline{C_{ij}^2}\,_{S,\, i \ne j} + \overline{C_{ij}^2}\,_{YS} \Big)

    Every part is the squared Frobenius norm divided by its number of entries, so that the narrow
    label block weighs as much as the wide sensitive block. 0 if and only if all features of
    the latent are uncorrelated.
    """
    label, sensitive = slice(None, n_label_components), slice(n_label_components, None)
    return (
        _mean_square_off_diagonal(cov[label, label])
        + _mean_square_off_diagonal(cov[sensitive, sensitive])
        + cov[label, sensitive].square().mean()
    ) / 3.0


def equal_variance_loss(cov: Tensor, n_label_components: int) -> Tensor:
    r"""L_eq: mean squared deviation of each block's variances from the block's mean variance.

    .. math:: L_{eq} = \frac{1}{2} \Big( \overline{(C_{ii} - \bar C_Y)^2}\,_Y
        + \overline{(C_{ii} - \bar C_S)^2}\,_S \Big)

    At a fixed trace and with zero off-diagonal, equal variances maximise the determinant, hence
    the entropy of a Gaussian block. 0 if and only if the variances are equal in each block.
    """
    variance = cov.diagonal()
    label, sensitive = variance[:n_label_components], variance[n_label_components:]
    return 0.5 * (
        (label - label.mean()).square().mean() + (sensitive - sensitive.mean()).square().mean()
    )


def density_loss(z: Tensor, log_det: Tensor) -> Tensor:
    r"""L_g: negative log-likelihood of the flow under a standard normal, in nats per dimension.

    .. math:: L_g = \frac{1}{n d} \sum_i \Big( \tfrac{1}{2} \|z_i\|^2
        + \tfrac{d}{2} \log 2 \pi - \log |\det J_i| \Big)
    """
    mean_square: Tensor = _MeanSquare.apply(z)  # type: ignore[no-untyped-call]
    return 0.5 * mean_square + _HALF_LOG_TWO_PI - log_det.mean() / z.shape[1]


def _mean_square_off_diagonal(block: Tensor) -> Tensor:
    width = len(block)
    if width < 2:
        return block.new_zeros(())
    return (block.square().sum() - block.diagonal().square().sum()) / (width * (width - 1))


class _Covariance(Function):
    """The covariance, with one product of matrices in the backward pass instead of two."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        centred = z - z.mean(dim=0)
        ctx.save_for_backward(centred)
        return (centred.T @ centred).div_(len(z) - 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (centred,) = ctx.saved_tensors
        # The columns of the product sum to zero already, as those of `centred` do.
        product: Tensor = centred @ (grad + grad.T).div_(len(centred) - 1)
        return product


class _MeanSquare(Function):
    """The mean of all squares, with one pass over the rows in each direction."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        values = z.reshape(-1)
        return torch.dot(values, values).div_(z.numel())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        product: Tensor = z * (grad * (2.0 / z.numel()))
        return product
