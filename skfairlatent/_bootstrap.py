"""Means over rows and ratios of them, with percentile bootstrap intervals."""

__all__ = ["MIN_SHIFT", "Floats", "Resampling", "check_bootstrap", "interval_of", "ratio_of"]

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from skfairlatent._device import own_random_state

Floats = npt.NDArray[np.float64]

# Nothing is divided by a mean shift that is nearer to zero: one percentage point.
MIN_SHIFT = 0.01


@dataclass(frozen=True)
class Resampling:
    """Means of columns over rows drawn with replacement, from the same rows for all columns.

    Parameters
    ----------
    n_bootstrap : int
        Number of draws.
    random_state : int, RandomState instance or None
        Seed of the draws.
    """

    n_bootstrap: int
    random_state: Any = None

    def means(self, columns: Floats) -> Floats:
        """Return the means of columns, shape (n, q), in each draw: shape (n_bootstrap, q)."""
        n, rng = len(columns), own_random_state(self.random_state)
        # How often each row is drawn times the row: no copy of the rows for each draw.
        drawn = (
            np.bincount(rng.randint(n, size=n), minlength=n) @ columns / n
            for _ in range(self.n_bootstrap)
        )
        return np.stack(list(drawn))


def check_bootstrap(n_bootstrap: Any, confidence: Any) -> None:
    """Raise ValueError unless there are draws, and the confidence is a share."""
    is_count = isinstance(n_bootstrap, Integral) and not isinstance(n_bootstrap, bool)
    if not is_count or n_bootstrap < 1:
        raise ValueError(f"n_bootstrap={n_bootstrap!r}: expected an integer of 1 or more.")
    if not isinstance(confidence, float) or not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence={confidence!r}: expected within (0, 1), such as 0.95.")


def ratio_of(above: Any, below: Any) -> Any:
    """Return above / below; NaN where `below` is under `MIN_SHIFT`, or is negative."""
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    defined = below >= MIN_SHIFT
    return np.divide(above, below, out=np.full(below.shape, np.nan), where=defined)


def interval_of(draws: Floats, confidence: float) -> tuple[float, float]:
    """Return the percentile interval of draws; NaN if more than a tail of them is undefined."""
    tail = (1.0 - confidence) / 2.0
    defined = draws[np.isfinite(draws)]
    if len(defined) < (1.0 - tail) * len(draws):
        return math.nan, math.nan
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return float(low), float(high)
