"""Standardisation of embeddings, part of the fitted map."""

__all__ = ["Standardizer", "as_rows"]

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# A standard deviation below this share of the feature's magnitude is rounding, not signal:
# dividing by it would blow noise up. Such features count as constant.
RELATIVE_STD_FLOOR = 1e-7


@dataclass(frozen=True)
class Standardizer:
    """Mean and scale of every feature, in float64.

    Parameters
    ----------
    mean, scale : ndarray of shape (d,), float64
        The scale of a constant feature is 1: it becomes 0 and comes back exactly.
    """

    mean: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]

    @classmethod
    def fit(cls, X: npt.NDArray[np.floating]) -> "Standardizer":
        """Measure X of shape (n_samples, d)."""
        mean = X.mean(axis=0, dtype=np.float64)
        # The mean square may overflow where the values themselves do not.
        largest = np.abs(X).max(axis=0).astype(np.float64)
        unit = np.where(largest > 0, largest, 1.0)
        std = np.sqrt(np.mean((X / unit - mean / unit) ** 2, axis=0)) * unit
        constant = std <= RELATIVE_STD_FLOOR * unit
        return cls(mean, np.where(constant, 1.0, std))

    def forward(self, X: npt.NDArray[np.floating]) -> Tensor:
        """Return X standardised, as a tensor of shape (n, d) in the precision of X."""
        return self.standardize(as_rows(X))

    def standardize(self, rows: Tensor) -> Tensor:
        """Return the rows standardised, on their device and in their precision."""
        mean, scale = (torch.from_numpy(part).to(rows) for part in (self.mean, self.scale))
        return (rows - mean).div_(scale)

    def inverse(self, x: Tensor) -> npt.NDArray[np.floating]:
        """Undo `forward`, in the precision of `x`."""
        values = x.numpy()
        return np.asarray(
            values * self.scale.astype(values.dtype) + self.mean.astype(values.dtype)
        )


def as_rows(X: npt.NDArray[np.floating]) -> Tensor:
    """View an array as a tensor; copy it only if torch cannot share its memory."""
    return torch.from_numpy(np.require(X, requirements=("C", "W")))
