"""Features with heavy tails: the logarithm of what lies far from the middle."""

__all__ = ["HeavyTails"]

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from skfairlatent._inputs.arrays import like, places

Floats = npt.NDArray[np.float64]

# A feature has heavy tails if the spread of its middle half is less than this share of its
# standard deviation; of a normal one both are equal. Divided by the latter, nearly all of its
# values would be one.
HEAVY = 0.25
# The distance between the quartiles of a normal distribution, in standard deviations.
QUARTILES_APART = 1.349
# If more than a quarter of the values are so many widths from the middle, they are no tails: what
# lies in the middle may be noise.
FAR, MOST_FAR = 10.0, 0.25
# A value that so large a share of the rows has, and that is so many times further from all others
# than these are from one another, is a code: it has no part in the middle half.
LEAST_OF_A_CODE, FAR_OF_A_CODE = 0.05, 2.0
# Rounding errors of the standard deviation: a middle half that is narrower may be rounding.
ROUNDING_ERRORS = 10.0
# At most so many rows, drawn at random, tell the quartiles.
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
    def of(
        cls, X: npt.NDArray[np.floating], std: Floats
    ) -> tuple[Self | None, npt.NDArray[np.int64]]:
        """Find the features with heavy tails.

        Parameters
        ----------
        X : ndarray of shape (n_samples, d)
        std : ndarray of shape (d,), float64
            Standard deviation of each feature.

        Returns
        -------
        heavy_tails : HeavyTails or None
            None if there are no such features.
        lost : ndarray of shape (n_lost,), int64
            Features that seem to have heavy tails, but whose middle half is so narrow that it may
            be rounding: they are left as they are.
        """
        some = np.asarray(X[_some(len(X))])
        precision = some.dtype if some.dtype == np.float32 else np.float64
        some = some.astype(np.float64)
        middles = _middles(some, std)
        is_wide = middles.width > ROUNDING_ERRORS * np.finfo(precision).eps * std[middles.columns]
        lost = middles.columns[~is_wide]
        if not is_wide.any():
            return None, lost
        columns, center, width = (part[is_wide] for part in middles)
        bent = np.arcsinh((some[:, columns] - center) / width)
        return cls(columns, center, width, bent.mean(axis=0), bent.std(axis=0)), lost

    def forward(self, rows: Tensor) -> Tensor:
        """Return what takes the place of the features of rows as they are given, shape (n, k)."""
        center, width, mean, scale = (like(rows, part) for part in self._parts)
        return (torch.asinh((rows[:, places(self.columns)] - center) / width) - mean) / scale

    def inverse(self, x: Tensor) -> Tensor:
        """Return the features of rows with these inputs, shape (n, k)."""
        center, width, mean, scale = (like(x, part) for part in self._parts)
        return torch.sinh(x[:, places(self.columns)] * scale + mean) * width + center

    @property
    def _parts(self) -> tuple[Floats, Floats, Floats, Floats]:
        return self.center, self.width, self.mean, self.scale


class _Middles(NamedTuple):
    """Features with a narrow middle half, its median and its width."""

    columns: npt.NDArray[np.int64]
    center: Floats
    width: Floats


def _some(n_rows: int) -> npt.NDArray[np.int64]:
    """Return the numbers of random rows, in order: rows at equal distances may be alike."""
    rng = np.random.default_rng(0)
    return np.sort(rng.choice(n_rows, min(n_rows, SOME_ROWS), replace=False))


def _middles(some: Floats, std: Floats) -> _Middles:
    low, high = np.quantile(some, [0.25, 0.75], axis=0)
    narrow = (low < high) & (high - low < HEAVY * QUARTILES_APART * std)
    coded = ((some == some.min(axis=0)).mean(axis=0) >= LEAST_OF_A_CODE) | (
        (some == some.max(axis=0)).mean(axis=0) >= LEAST_OF_A_CODE
    )
    found: list[tuple[int, float, float]] = []
    for column in np.flatnonzero(narrow | coded).tolist():
        values = _without_code(some[:, column])
        first, center, third = np.quantile(values, [0.25, 0.5, 0.75])
        width = (third - first) / QUARTILES_APART
        is_far = abs(values - center) > FAR * width
        if 0 < width < HEAVY * std[column] and is_far.mean() <= MOST_FAR:
            found.append((column, center, width))
    columns, center, width = np.array(found, dtype=np.float64).reshape(-1, 3).T
    return _Middles(columns.astype(np.int64), center, width)


def _without_code(values: Floats) -> Floats:
    """Return the values without their least or largest, if that is a code."""
    for code in (values.min(), values.max()):
        others: Floats = values[values != code]
        if len(others) > 1 and 1 - len(others) / len(values) >= LEAST_OF_A_CODE:
            spread = np.ptp(others)
            if spread > 0 and abs(others - code).min() > FAR_OF_A_CODE * spread:
                return others
    return values
