"""Features with heavy tails: the logarithm of what lies far from the middle."""

__all__ = ["HeavyTails"]

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float64]

# A feature has heavy tails if the spread of its middle half is less than this share of its
# standard deviation; of a normal one both are equal. Divided by the latter, nearly all of its
# values would be one.
HEAVY = 0.25
# The distance between the quartiles of a normal distribution, in standard deviations.
QUARTILES_APART = 1.349
# Of the standard deviation: a middle half that is narrower than so many is rounding.
ROUNDING_ERRORS = 100.0
# About as many rows tell the quartiles.
SOME_ROWS = 5000


@dataclass(frozen=True)
class HeavyTails:
    r"""Put the inverse hyperbolic sine of some features in their place, standardised.

    .. math:: (\operatorname{arsinh}((X_j - c_j) / w_j) - m_j) / s_j

    It is a line in the middle and a logarithm in both tails.

    Parameters
    ----------
    columns : ndarray of shape (k,), int64
        The features.
    center, width : ndarray of shape (k,), float64
        Median, and the distance between the quartiles divided by that of a normal distribution.
    mean, scale : ndarray of shape (k,), float64
        Mean and standard deviation of the inverse hyperbolic sine in fit.
    """

    columns: npt.NDArray[np.int64]
    center: Floats
    width: Floats
    mean: Floats
    scale: Floats

    @classmethod
    def of(cls, X: npt.NDArray[np.floating], std: Floats) -> Self | None:
        """Find the features with heavy tails, or return None if there are none.

        Parameters
        ----------
        X : ndarray of shape (n_samples, d)
        std : ndarray of shape (d,), float64
            Standard deviation of each feature.
        """
        some = np.asarray(X[:: 1 + len(X) // SOME_ROWS])
        precision = some.dtype if some.dtype == np.float32 else np.float64
        low, high = np.quantile(some, [0.25, 0.75], axis=0)
        width = (high.astype(np.float64) - low) / QUARTILES_APART
        rounding = ROUNDING_ERRORS * np.finfo(precision).eps * std
        columns = np.flatnonzero((width < HEAVY * std) & (width > rounding))
        if not len(columns):
            return None
        some = some[:, columns].astype(np.float64)
        center, width = np.median(some, axis=0), width[columns]
        bent = np.arcsinh((some - center) / width)
        return cls(columns, center, width, bent.mean(axis=0), bent.std(axis=0))

    def forward(self, rows: Tensor) -> Tensor:
        """Return what takes the place of the features of rows as they are given, shape (n, k)."""
        center, width, mean, scale = self._like(rows)
        return (torch.asinh((rows[:, self.places] - center) / width) - mean) / scale

    def inverse(self, x: Tensor) -> Tensor:
        """Return the features of rows with these inputs, shape (n, k)."""
        center, width, mean, scale = self._like(x)
        return torch.sinh(x[:, self.places] * scale + mean) * width + center

    def _like(self, x: Tensor) -> list[Tensor]:
        parts = self.center, self.width, self.mean, self.scale
        return [torch.tensor(part, dtype=x.dtype, device=x.device) for part in parts]

    @property
    def places(self) -> list[int]:
        """Return `columns`, not as an array, which may be read-only: torch warns of such."""
        return [int(j) for j in self.columns]
