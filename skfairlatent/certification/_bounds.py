"""The worst gap that a classifier on finitely many cells can have, and what sampling adds."""

__all__ = ["sampling_slack", "worst_mean_gap"]

import itertools
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

Floats = npt.NDArray[np.float64]

# Points of the lattice on which a sum of half-normal variables is added up, and its half width
# in standard deviations of the sum.
_POINTS = 4096
_REACH = 18.0


def worst_mean_gap(differences: Floats) -> float:
    r"""Return the largest mean gap of one classifier on cells.

    Parameters
    ----------
    differences : ndarray of shape (n_labels, n_cells), float64
        P(cell | label, first group) - P(cell | label, second group).

    Returns
    -------
    float
        The maximum over classifiers h of the mean over labels y of
        ``max_c |P(h = c | y, first) - P(h = c | y, second)|``, with as many classes c as
        labels, at least 2. With one label it is the total variation distance.

    Notes
    -----
    For two labels it is :math:`\max_\pm \tfrac14 \sum_b |d_1(b) \pm d_0(b)|`. With more labels,
    the gaps of two labels may be those of different predicted classes, so that every partition
    of the labels among the classes is tried.
    """
    n_labels = len(differences)
    best = 0.0
    for signs in itertools.product((1.0, -1.0), repeat=n_labels):
        signed = differences * np.array(signs)[:, None]
        for classes in _partitions(n_labels):
            totals = np.zeros((max(n_labels, 2), differences.shape[1]))
            np.add.at(totals, list(classes), signed)
            best = max(best, float(totals.max(axis=0).sum()))
    return best / n_labels


def _partitions(n: int) -> Iterator[tuple[int, ...]]:
    """Return each partition of n labels once, as the class of each label."""
    for classes in itertools.product(range(n), repeat=n):
        if all(c <= max(classes[:i], default=-1) + 1 for i, c in enumerate(classes)):
            yield classes


@lru_cache(maxsize=4096)
def sampling_slack(counts: tuple[int, ...], weight: float, delta: float) -> float:
    r"""Return how far a weighted sum of observed rates falls below its mean, at most.

    Parameters
    ----------
    counts : tuple of int
        Rows of each independent sample.
    weight : float
        Weight of each rate, up to its sign.
    delta : float
        Probability of a larger shortfall, between 0 and 1.

    Returns
    -------
    float
        The smaller of two valid bounds, which is chosen by `counts` alone.

    Notes
    -----
    Hoeffding's inequality gives :math:`w \sqrt{\ln(1/\delta) \sum_c 1 / n_c / 2}`. By Zubkov and
    Serov (2013), a binomial rate falls below its mean by x with probability at most
    :math:`\Phi(-2 \sqrt n (x - 1/n))`, so that the shortfall of the sum is stochastically at most
    :math:`w \sum_c (1/n_c + \max(0, \xi_c) / (2 \sqrt{n_c}))` with independent standard normal
    :math:`\xi_c`, whose quantile is computed on a lattice, with masses moved upwards.
    """
    n = np.array(counts, dtype=np.float64)
    hoeffding = weight * np.sqrt(np.log(1 / delta) * (1 / n).sum() / 2)
    scales = 0.5 / np.sqrt(n)
    step = 2 * _REACH * np.sqrt((scales**2).sum()) / _POINTS
    spectrum = np.ones(_POINTS + 1, dtype=np.complex128)
    for scale in scales:
        masses = np.diff(norm.cdf(np.arange(_POINTS) * step / scale), prepend=0.0)
        spectrum *= np.fft.rfft(masses, 2 * _POINTS)
    cumulated = np.cumsum(np.fft.irfft(spectrum, 2 * _POINTS))
    # One step more than the lattice's quantile: more than all rounding can take away.
    quantile = (int(np.searchsorted(cumulated, 1 - delta)) + 1) * step
    return float(min(hoeffding, weight * (quantile + (1 / n).sum())))
