"""Features with heavy tails: the logarithm of what lies far from the middle."""

__all__ = ["HeavyTails", "Middles", "is_told", "without_codes"]

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
# Values that so large a share of the rows has each, and that lie at an end so many times further
# from the others than these, but for the hundredth at both ends, are from one another, are codes:
# they have no part in the middle half.
LEAST_OF_A_CODE, FAR_OF_A_CODE, OUTLYING = 0.05, 2.0, 0.01
# Rounding errors of the standard deviation: a middle half that is narrower may be rounding.
ROUNDING_ERRORS = 10.0
# Standard deviations between values that the flow, and scores of the label, can tell apart.
TOLD_APART = 0.02
# At most so many rows, drawn at random, tell the quartiles.
SOME_ROWS = 5000


class Middles(NamedTuple):
    """Features with a narrow middle half, its median and its width."""

    columns: npt.NDArray[np.int64]
    center: Floats
    width: Floats


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
        Median, and the distance between the quartiles divided by that of a normal distribution,
        of the values beside the median where the quartiles are one value.
    mean, scale : ndarray of shape (k,), float64
        Mean and standard deviation of the inverse hyperbolic sine in fit.
    """

    columns: npt.NDArray[np.int64]
    center: Floats
    width: Floats
    mean: Floats
    scale: Floats

    @classmethod
    def of(cls, X: npt.NDArray[np.floating], std: Floats) -> tuple[Self | None, Middles]:
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
        lost : Middles
            Of features that seem to have heavy tails, but whose middle half is so narrow that it
            may be rounding, or beside so many values far off that these are no tails: they are
            left as they are, and the values of the middle become one.
        """
        some = np.asarray(X[_some(len(X))])
        precision = some.dtype if some.dtype == np.float32 else np.float64
        some = some.astype(np.float64)
        found, lost = _middles(some, std, precision)
        if not len(found.columns):
            return None, lost
        columns, center, width = found
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


def _some(n_rows: int) -> npt.NDArray[np.int64]:
    """Return the numbers of random rows, in order: rows at equal distances may be alike."""
    rng = np.random.default_rng(0)
    return np.sort(rng.choice(n_rows, min(n_rows, SOME_ROWS), replace=False))


def _middles(some: Floats, std: Floats, precision: npt.DTypeLike) -> tuple[Middles, Middles]:
    """Return the middles of features with heavy tails, and those that are lost beside others."""
    ordered = np.sort(some.T, axis=1)
    low, high = np.quantile(ordered, [0.25, 0.75], axis=1)
    narrow = (low < high) & (high - low < HEAVY * QUARTILES_APART * std)
    apart = int(LEAST_OF_A_CODE * len(some))
    has_frequent = (ordered[:, apart:] == ordered[:, : len(some) - apart]).any(axis=1)
    found: list[tuple[int, float, float]] = []
    lost: list[tuple[int, float, float]] = []
    for column in np.flatnonzero(narrow | has_frequent).tolist():
        values = without_codes(ordered[column])
        first, center, third = np.quantile(values, [0.25, 0.5, 0.75])
        width, heavy = (third - first) / QUARTILES_APART, HEAVY
        if width == 0:  # amounts beside it count only where a far value hides them
            values = values[values != center]
            if len(values) < apart or not len(values):
                continue
            first, third = np.quantile(values, [0.25, 0.75])
            width, heavy = (third - first) / QUARTILES_APART, TOLD_APART
        if not 0 < width < heavy * std[column]:
            continue
        is_far = abs(values - center) > FAR * width
        has_tails = is_far.mean() <= MOST_FAR
        if has_tails and is_told(width, std[column], precision):
            found.append((column, center, width))
        elif has_tails or width < TOLD_APART * std[column]:
            lost.append((column, center, width))
    return _as_middles(found), _as_middles(lost)


def _as_middles(found: list[tuple[int, float, float]]) -> Middles:
    columns, center, width = np.array(found, dtype=np.float64).reshape(-1, 3).T
    return Middles(columns.astype(np.int64), center, width)


def is_told(width: float, deviation: float, precision: npt.DTypeLike) -> bool:
    """Return whether a middle half of that width is more than rounding in that precision."""
    return bool(width > ROUNDING_ERRORS * np.finfo(precision).eps * deviation)


def without_codes(ordered: Floats) -> Floats:
    """Return the values between codes; all of them, which come in order, if there are none.

    Codes are frequent values at either end, or at both, that lie far from the values between:
    -999 and 9999, or 9998 and 9999. Of several choices the one with fewest values between counts.
    """
    distinct, counts = np.unique(ordered, return_counts=True)
    frequent = distinct[counts >= max(LEAST_OF_A_CODE * len(ordered), 2)].tolist()
    between = ordered
    for low in [-np.inf, *frequent]:
        for high in [*frequent, np.inf]:
            rest = ordered[
                np.searchsorted(ordered, low, "right") : np.searchsorted(ordered, high, "left")
            ]
            if 1 < len(rest) < len(between) and _lie_far(low, high, rest):
                between = rest
    return between


def _lie_far(low: float, high: float, ordered: Floats) -> bool:
    """Return whether both, but for infinity, lie far from values in order."""
    last = len(ordered) - 1
    first, third = ordered[last // 4], ordered[last - last // 4]
    least, most = ordered[int(OUTLYING * last)], ordered[last - int(OUTLYING * last)]
    gap = min(least - low, high - most)
    return bool(first < third and gap > FAR_OF_A_CODE * (most - least))
