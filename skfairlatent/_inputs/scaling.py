"""Standardisation of embeddings, part of the fitted map."""

__all__ = ["Standardizer", "as_rows", "rows_of", "standardized"]

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from skfairlatent._inputs.arrays import like, places
from skfairlatent._inputs.heavy_tails import HeavyTails, Middles, is_told
from skfairlatent._out_of_core.mapped_rows import MappedRows, is_large_map, pieces_of
from skfairlatent._user_warnings import warn_user

# A standard deviation of so many steps between neighbouring numbers, at the feature's magnitude
# and in the precision of X, is rounding, not signal: dividing by it would blow noise up. Such
# features count as constant.
ROUNDING_STEPS = 2.0
# A standard deviation of less than so many steps of a type cannot be told in it.
STEPS_TO_TELL = 0.5
# Rounding left after standardisation, in standard deviations of a feature that varies.
ROUNDING_LEFT = 1e-3
# Columns that a warning names.
MAX_NAMED = 5
# Differences of larger values, relative to the largest number, might not be numbers.
LARGEST_SHARE = 0.25


@dataclass(frozen=True)
class Standardizer:
    """Mean and scale of every feature, in float64.

    Parameters
    ----------
    mean, scale : ndarray of shape (d,), float64
        The scale of a constant feature is 1: it becomes 0 and comes back exactly. That of one
        that varies by rounding only is larger where its rounding would count otherwise.
    heavy_tails : HeavyTails or None
        What is done to features with heavy tails instead.
    """

    mean: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]
    heavy_tails: HeavyTails | None = None

    @classmethod
    def fit(cls, X: npt.NDArray[np.floating], names: Sequence[str] | None = None) -> Self:
        """Measure X of shape (n_samples, d).

        Parameters
        ----------
        X : ndarray of shape (n_samples, d)
            Finite.
        names : sequence of str, optional
            Names of the features in errors.

        Raises
        ------
        ValueError
            If a feature is too near the largest number of its type, or every feature is constant.
        """
        moments = map(partial(_Moments.of, origin=X[0].copy(), names=names), pieces_of(X))
        _, largest, offset, std = reduce(_Moments.merged, moments)
        mean = X[0] + offset
        constant = std <= ROUNDING_STEPS * np.spacing(largest).astype(np.float64)
        if constant.all():
            raise ValueError(
                f"X is constant: each of its {X.shape[1]} feature(s) has one value, but for "
                "rounding, in all rows, so there is nothing to learn from. Check how X was made."
            )
        rounding = np.where(constant, std, 0.0) / ROUNDING_LEFT
        scale = np.where(constant, np.maximum(1.0, rounding), std)
        heavy_tails, lost = HeavyTails.of(X, std)
        if len(lost.columns):
            _warn_of_lost_values(X, std, lost, names)
        return cls(mean, scale, heavy_tails)

    def forward(self, X: npt.NDArray[np.floating]) -> Tensor | MappedRows:
        """Return X standardised, as a tensor of shape (n, d) in the precision of X."""
        rows = rows_of(X)
        return self.standardize(rows) if isinstance(rows, Tensor) else rows.then(self.standardize)

    def standardize(self, rows: Tensor) -> Tensor:
        """Return the rows standardised, on their device and in their precision."""
        x = (rows - like(rows, self.mean)).div_(like(rows, self.scale))
        if self.heavy_tails is not None:
            x[:, places(self.heavy_tails.columns)] = self.heavy_tails.forward(rows)
        return x

    def reject_far_rows(
        self,
        rows: npt.NDArray[np.floating],
        mapped: Tensor | MappedRows,
        names: Sequence[str] | None = None,
    ) -> None:
        """Raise ValueError, by row and column, if rows were mapped to no finite number."""
        if not isinstance(mapped, Tensor) or _is_finite(mapped):
            return  # rows of a file are looked at as they are mapped
        row = int(mapped.isfinite().all(dim=1).long().argmin())
        with np.errstate(over="ignore"):
            distances = np.abs(rows[row] - self.mean) / self.scale
        column = int(distances.argmax())
        raise ValueError(
            f"X holds {float(rows[row, column]):.3g} at row {row} in "
            f"{column_name(names, column)}, too far from the rows of fit to be mapped: those have "
            f"a mean of {self.mean[column]:.3g} and a standard deviation of "
            f"{self.scale[column]:.3g}. Check its unit and its missing values, or drop the row."
        )

    def reject_lost_precision(
        self, name: str, dtype: npt.DTypeLike, names: Sequence[str] | None = None
    ) -> None:
        """Raise ValueError if rows in `dtype` cannot tell the values of a feature apart.

        Parameters
        ----------
        name : str
            Name of the rows in errors: X or Z.
        dtype : dtype
            Data type of the rows as they were given.
        names : sequence of str, optional
            Names of the features in errors.
        """
        if dtype != np.float32:  # half precision and integers become double
            return
        mean, scale = self.mean.copy(), self.scale.copy()
        if (heavy := self.heavy_tails) is not None:
            mean[heavy.columns], scale[heavy.columns] = heavy.center, heavy.width
        with np.errstate(over="ignore"):
            steps = np.spacing(np.abs(mean).astype(dtype)).astype(np.float64)
        # A scale of 1 is a constant feature's, which stays one.
        lost = (scale < STEPS_TO_TELL * steps) & (scale != 1.0)
        if lost.any():
            column = int(lost.argmax())
            raise ValueError(
                f"{name} is {np.dtype(dtype).name}, which cannot tell the values of "
                f"{column_name(names, column)} of X apart: in the rows of fit they lie around "
                f"{mean[column]:.10g} with a standard deviation of {scale[column]:.3g}. "
                "Use float64 from the data on: rounded values cannot be distinguished any more."
            )

    def inverse(self, x: Tensor) -> npt.NDArray[np.floating]:
        """Undo `forward`, in the precision of `x`."""
        values = x.numpy()
        with np.errstate(over="ignore", invalid="ignore"):  # the caller looks for infinity
            scale, mean = (part.astype(values.dtype) for part in (self.scale, self.mean))
            rows = np.asarray(values * scale + mean)
        if self.heavy_tails is not None:
            rows[:, places(self.heavy_tails.columns)] = self.heavy_tails.inverse(x).numpy()
        return rows


class _Moments(NamedTuple):
    """Number of rows; largest size, mean offset from an origin and deviation of each feature."""

    n_rows: int
    largest: npt.NDArray[np.floating]
    offset: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]

    @classmethod
    def of(
        cls,
        X: npt.NDArray[np.floating],
        origin: npt.NDArray[np.floating],
        names: Sequence[str] | None,
    ) -> "_Moments":
        largest = np.abs(X).max(axis=0)
        _reject_too_large(largest, names)
        # Powers of two, which scale without rounding: a square may overflow, or vanish, where
        # the values themselves do not.
        exponent = np.frexp(largest.astype(np.float64))[1]
        # From one of the rows on: what a small spread on a large mean leaves is exact.
        spread = np.subtract(X, origin, dtype=np.float64)
        np.ldexp(spread, -exponent, out=spread)
        offset, std = spread.mean(axis=0), spread.std(axis=0)
        return cls(len(X), largest, np.ldexp(offset, exponent), np.ldexp(std, exponent))

    def merged(self, other: "_Moments") -> "_Moments":
        """Return the moments of both sets of rows together."""
        n_rows = self.n_rows + other.n_rows
        offset = self.offset + (other.offset - self.offset) * (other.n_rows / n_rows)
        parts = (
            np.hypot(part.std, part.offset - offset) * np.sqrt(part.n_rows / n_rows)
            for part in (self, other)
        )
        return _Moments(n_rows, np.maximum(self.largest, other.largest), offset, np.hypot(*parts))


def column_name(names: Sequence[str] | None, column: int) -> str:
    """Return what an error calls a column: its name, or its position if it has none."""
    return f"column {column}" if names is None else f"column {names[column]!r}"


def _warn_of_lost_values(
    X: npt.NDArray[np.floating],
    std: npt.NDArray[np.float64],
    lost: Middles,
    names: Sequence[str] | None,
) -> None:
    deviations = std[lost.columns]
    told = {
        precision: [
            is_told(width, deviation, precision)
            for width, deviation in zip(lost.width.tolist(), deviations.tolist(), strict=True)
        ]
        for precision in (np.float32, np.float64)
    }
    wider = X.dtype == np.float32 and any(np.greater(told[np.float64], told[np.float32]))
    listed = [column_name(names, column) for column in lost.columns[:MAX_NAMED].tolist()]
    more = f" and {len(lost.columns) - MAX_NAMED} more" if len(lost.columns) > MAX_NAMED else ""
    of_first = f" in {listed[0]}" if len(listed) > 1 else ""
    warn_user(
        f"Half of the values in {', '.join(listed)}{more} of X lie so near one another, beside "
        f"a standard deviation of {deviations[0]:.3g}{of_first}, that they count as one value. If "
        f"they are not, {'pass X in float64, or ' if wider else ''}impute the values far off, "
        "which may stand for missing ones."
    )


def _reject_too_large(largest: npt.NDArray[np.floating], names: Sequence[str] | None) -> None:
    limit = LARGEST_SHARE * float(np.finfo(largest.dtype).max)
    if largest.max() > limit:
        column = int(largest.argmax())
        raise ValueError(
            f"X holds values of {float(largest[column]):.3g} in {column_name(names, column)}, too "
            f"near the largest number of {largest.dtype} to be standardised: expected at most "
            f"{limit:.3g}. Scale X down first, e.g. by sklearn.preprocessing.MaxAbsScaler()."
        )


def _is_finite(x: Tensor) -> bool:
    """Return whether all numbers are finite; their sum, if it is, says so without an array."""
    return bool(x.sum().isfinite() or x.isfinite().all())


def rows_of(X: npt.NDArray[np.floating]) -> Tensor | MappedRows:
    """Return the rows as a tensor, or as they are read from a large memory map."""
    return MappedRows(X, as_rows) if is_large_map(X) else as_rows(X)


def as_rows(X: npt.NDArray[np.floating]) -> Tensor:
    """View an array as a tensor; copy it only if torch cannot share its memory."""
    return torch.from_numpy(np.require(X, requirements=("C", "W")))


def standardized(
    scores: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return scores of mean 0 and standard deviation 1, their mean, and their scale.

    The scale of scores that are all alike is 1.
    """
    mean, spread = scores.mean(axis=0), scores.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    return (scores - mean) / scale, mean, scale
