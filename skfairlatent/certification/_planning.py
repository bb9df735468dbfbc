"""How many held-out rows a bound needs."""

__all__ = ["required_rows"]

from numbers import Integral, Real
from typing import Any

import numpy as np

from skfairlatent.certification._bounds import Counts, Floats, bound_over_pairs, worst_on_cells

_DRAWS = 40
# More rows than there are people.
_MOST_ROWS = 1e10
# The number of rows is found to this share of it.
_PRECISION = 1.01


def required_rows(
    bound: float,
    *,
    n_bins: int,
    group_shares: Any,
    gap: float = 0.0,
    confidence: float = 0.95,
) -> int:
    """Return how many held-out rows a certificate needs to reach a bound on average.

    Parameters
    ----------
    bound : float
        The bound to reach, above `gap` and below 1.

    n_bins : int
        Cells, 2 or more, which are taken to be equally frequent.

    group_shares : array-like of shape (n_labels, n_groups) or (n_groups,)
        Share of the rows in each label and group, or their numbers in rows at hand; for
        demographic parity, or within one label, the shares of the groups.

    gap : float, default=0.0
        The true gap of the last group to the others within each label, between 0 and 0.5: what
        you expect the cells to leave.

    confidence : float, default=0.95
        Between 0 and 1, both excluded.

    Returns
    -------
    int
        Rows of all labels and groups together, found by simulation to about one per cent.

    Raises
    ------
    ValueError
        If a parameter is out of range, or no number of rows is enough.

    Examples
    --------
    >>> from skfairlatent.certification import required_rows
    >>> shares = [[0.3, 0.2], [0.2, 0.3]]
    >>> 2_000 < required_rows(0.08, n_bins=4, group_shares=shares) < 3_000
    True
    """
    shares = _check(bound, n_bins, group_shares, gap, confidence)
    low, high = 0.0, float(shares.size / shares.min())
    while _expected(shares, high, n_bins, gap, 1 - confidence) > bound:
        low, high = high, 2 * high
        if high > _MOST_ROWS:
            raise ValueError(
                f"bound={bound} is not reached with {_MOST_ROWS:.0e} rows: give a larger bound, "
                f"or a smaller gap than {gap}."
            )
    while low and high > _PRECISION * low:
        middle = np.sqrt(low * high)
        if _expected(shares, middle, n_bins, gap, 1 - confidence) > bound:
            low = middle
        else:
            high = middle
    return int(np.ceil(high))


def _expected(shares: Floats, n_rows: float, n_bins: int, gap: float, delta: float) -> float:
    """Return the mean bound of simulated rows."""
    counts: Counts = np.maximum(n_rows * shares, 1).astype(np.int64)
    half = np.arange(n_bins) < n_bins // 2
    law = np.full((shares.shape[1], n_bins), 1 / n_bins)
    law[-1] += np.where(half, gap / half.sum(), -gap / (~half).sum())
    rng = np.random.default_rng(0)
    found = []
    for _ in range(_DRAWS):
        rates = rng.multinomial(counts, law) / counts[..., None]
        found.append(bound_over_pairs(rates, counts, delta, worst_on_cells).bound)
    return float(np.mean(found))


def _check(bound: Any, n_bins: Any, group_shares: Any, gap: Any, confidence: Any) -> Floats:
    ranges = {"gap": (gap, 0.0, 0.5), "bound": (bound, gap, 1.0), "confidence": (confidence, 0, 1)}
    for name, (value, low, high) in ranges.items():
        is_zero = name == "gap" and value == 0
        if not is_zero and not (isinstance(value, Real) and low < float(value) < high):
            raise ValueError(f"{name}={value!r}: expected a number between {low} and {high}.")
    if not isinstance(n_bins, Integral) or n_bins < 2:
        raise ValueError(f"n_bins={n_bins!r}: expected an integer of 2 or more.")
    try:
        shares: Floats = np.atleast_2d(np.asarray(group_shares, dtype=np.float64))
    except (TypeError, ValueError):  # text, or rows of different lengths
        shares = np.empty((0, 0))
    if shares.ndim != 2 or shares.shape[1] < 2 or not (np.isfinite(shares) & (shares > 0)).all():
        raise ValueError(
            f"group_shares={group_shares!r}: expected positive numbers of two groups or more, of "
            "shape (n_labels, n_groups) or (n_groups,)."
        )
    return np.asarray(shares / shares.sum())
