"""The interface of every invertible layer."""

__all__ = ["Bijection", "matmul_precision", "without_autocast"]

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn


class Bijection(nn.Module):
    r"""An invertible, differentiable map of vectors of one width, the last dimension.

    Sign convention, for every subclass: ``forward(x)`` returns :math:`z = f(x)` together with
    :math:`\log |\det \partial f / \partial x|`, a number for every vector, so that
    :math:`\log p(x) = \log p(z) + \text{log\_det}`. Nothing in it depends on values, so that
    ``torch.func.vmap`` maps it over a stack of layers and ``torch.compile`` takes it whole.

    Parameters
    ----------
    features : int
        Width d of the vectors.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map `x` of shape (..., d) to z of shape (..., d) and the log-determinant, (...,)."""
        raise NotImplementedError

    def inverse(self, z: Tensor) -> Tensor:
        """Map `z` of shape (..., d) back to x of shape (..., d)."""
        raise NotImplementedError

    def initialize(self, x: Tensor) -> Tensor:
        """Fit what depends on data to `x` of shape (n, d), and return the batch mapped forward.

        A layer without such state only maps forward.
        """
        with torch.no_grad():
            z: Tensor = self(x)[0]
            return z

    def extra_repr(self) -> str:
        """Show the width in ``repr``."""
        return f"features={self.features}"

    def _check_width(self, x: Tensor) -> None:
        if x.ndim < 1 or x.shape[-1] != self.features:
            raise ValueError(
                f"{type(self).__name__} expects a tensor of shape (..., {self.features}), "
                f"got {tuple(x.shape)}."
            )


def matmul_precision(x: Tensor) -> torch.dtype:
    """Return what to multiply matrices in: what autocast says, or else the type of `x`."""
    device = x.device.type
    # A meta tensor's device is unknown to autocast, which makes asking it an error.
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return x.dtype


def without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """Return a context in which operations on the device of `x` keep the types they are given."""
    if matmul_precision(x) == x.dtype:
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)
