"""The worst gap that a classifier of a family can have, and what sampling adds."""

__all__ = [
    "Bound",
    "Counts",
    "Family",
    "Floats",
    "Pairs",
    "bound_over_pairs",
    "least_gap",
    "pair_differences",
    "pair_sizes",
    "sampling_slack",
    "worst_on_cells",
    "worst_threshold",
]

import itertools
from collections.abc import Callable, Iterator
from functools import cache, lru_cache, reduce
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
# Two groups for each label.
Pairs: TypeAlias = tuple[tuple[int, int], ...]
# From differences of rates, shape (n_labels, n_columns), to the largest mean gap and the weights
# of the same shape with which the classifier that has it adds the differences up.
Family: TypeAlias = Callable[[Floats], tuple[float, Floats]]

# Points of the lattice on which a sum of half-normal variables is added up, and its half width
# in standard deviations of the sum.
_POINTS = 4096
_REACH = 18.0


def worst_on_cells(differences: Floats) -> tuple[float, Floats]:
    r"""Return the largest mean gap of a classifier on cells, and its weights.

    Parameters
    ----------
    differences : ndarray of shape (n_labels, n_cells), float64
        P(cell | label, first group) - P(cell | label, second group).

    Returns
    -------
    gap : float
        The maximum over classifiers h of the mean over labels y of
        ``max_c |P(h = c | y, first) - P(h = c | y, second)|``, with as many classes c as
        labels, at least 2. With one label it is the total variation distance.
    weights : ndarray of shape (n_labels, n_cells), float64
        The gap is the sum of their products with the differences.

    Notes
    -----
    For two labels it is :math:`\max_\pm \tfrac14 \sum_b |d_1(b) \pm d_0(b)|`. With more labels,
    the gaps of two labels may be those of different predicted classes, so that every partition
    of the labels among the classes is tried.
    """
    patterns = _patterns(len(differences))
    totals = patterns @ differences
    best = int(totals.max(axis=1).sum(axis=1).argmax())
    decided = totals[best].argmax(axis=0)
    chosen = patterns[best][decided].T / len(differences)
    return float((chosen * differences).sum()), chosen


def worst_threshold(differences: Floats) -> tuple[float, Floats]:
    """Return the largest mean gap of a score cut at a threshold, and its weights.

    Parameters
    ----------
    differences : ndarray of shape (n_labels, n_thresholds), float64
        P(score at most the threshold | label, first group), minus the same of the second.

    Returns
    -------
    gap : float
        The largest mean over the labels of the absolute difference; with one label it is the
        two-sample Kolmogorov-Smirnov statistic.
    weights : ndarray of shape (n_labels, n_thresholds), float64
        As `worst_on_cells` returns them.
    """
    gaps = np.abs(differences).mean(axis=0)
    best = int(gaps.argmax())
    weights = np.zeros_like(differences)
    weights[:, best] = np.sign(differences[:, best]) / len(differences)
    return float(gaps[best]), weights


class Bound(NamedTuple):
    """The largest gap on the rows, and the largest with its slack, each with its pairs."""

    plug_in: float
    bound: float
    pairs: Pairs
    bound_pairs: Pairs


def bound_over_pairs(rates: Floats, counts: Counts, delta: float, worst: Family) -> Bound:
    """Return the bound over all pairs of groups.

    Each label has a pair of its own: within a label, the gap is that of its two extreme groups.

    Parameters
    ----------
    rates : ndarray of shape (n_labels, n_groups, n_columns), float64
        Observed rates, whose differences `worst` takes.
    counts : ndarray of shape (n_labels, n_groups), int64
        Rows of each label and group.
    delta : float
        Probability of a miss, between 0 and 1.
    worst : callable
        The family of classifiers.

    Returns
    -------
    Bound
        Its `pairs` are, for each label, the pair of groups of the largest gap on the rows, and
        `bound_pairs` those of the bound.
    """
    n_labels = len(counts)
    choices, differences, hoeffding = _choices(rates, counts, delta)
    # No classifier has more than the mean of the largest gaps within each label.
    within = [[worst(each[np.newaxis])[0] for each in row] for row in differences]
    most = _sums(np.array(within)) / n_labels

    @cache
    def gap(i: int) -> float:
        return worst(pair_differences(rates, choices[i]))[0]

    plug_in, widest = 0.0, 0
    for i in _descending(most):
        if most[i] <= plug_in:
            break
        if gap(i) > plug_in:
            plug_in, widest = gap(i), i
    bound, attained = 0.0, 0
    ceilings = most + hoeffding
    for i in _descending(ceilings):
        if ceilings[i] <= bound:
            break
        if gap(i) + hoeffding[i] > bound:
            slack = sampling_slack(pair_sizes(counts, choices[i]), 1 / n_labels, delta)
            bound, attained = max((bound, attained), (gap(i) + slack, i))
    return Bound(min(plug_in, 1.0), min(bound, 1.0), choices[widest], choices[attained])


def _sums(values: Floats) -> Floats:
    """Return the sum over labels for each choice of a pair for each label, in product order."""
    return np.asarray(reduce(np.add.outer, values)).ravel()


def _descending(values: Floats) -> list[int]:
    places: list[int] = np.argsort(-values, kind="stable").tolist()
    return places


def least_gap(rates: Floats, counts: Counts, delta: float) -> float:
    """Return what the gap of one classifier, trained on other rows, is at least.

    Parameters
    ----------
    rates : ndarray of shape (n_labels, n_groups, n_classes), float64
        Observed rates of its decisions, a column for each class that it knows.
    counts : ndarray of shape (n_labels, n_groups), int64
        Rows of each label and group.
    delta : float
        Probability that the gap is smaller, between 0 and 1.

    Notes
    -----
    The gap is the largest mean over the labels of a signed difference between two groups in the
    rate of one class. `delta` is split over all these means, of which any may be chosen then.
    """
    n_labels, n_groups, n_classes = rates.shape
    # Of two classes, the difference of one is minus that of the other.
    n_columns = 1 if n_classes == 2 else n_classes
    share = delta / (n_groups * (n_groups - 1) * n_columns) ** n_labels
    choices, differences, hoeffding = _choices(rates, counts, share)
    gaps = _sums(np.abs(differences).max(axis=2)) / n_labels
    best = int((gaps - hoeffding).argmax())
    slack = sampling_slack(pair_sizes(counts, choices[best]), 1 / n_labels, share)
    return max(float(gaps[best]) - slack, 0.0)


def _choices(rates: Floats, counts: Counts, delta: float) -> tuple[list[Pairs], Floats, Floats]:
    """Return each choice of a pair for each label, and what it takes to bound them.

    That is the differences of each label and pair, and the slack of each choice by Hoeffding.
    """
    n_labels, n_groups = counts.shape
    pairs = list(itertools.combinations(range(n_groups), 2))
    choices = list(itertools.product(pairs, repeat=n_labels))
    first, second = np.array(pairs).T
    inverse = _sums(1 / counts[:, first] + 1 / counts[:, second])
    hoeffding = np.sqrt(-np.log(delta) * inverse / 2) / n_labels
    return choices, rates[:, first] - rates[:, second], hoeffding


def pair_differences(rates: Floats, pairs: Pairs) -> Floats:
    """Return the differences between the groups of each label's pair."""
    return np.stack([rates[y, a] - rates[y, b] for y, (a, b) in enumerate(pairs)])


def pair_sizes(counts: Counts, pairs: Pairs) -> tuple[int, ...]:
    """Return the rows of the groups of each label's pair, sorted."""
    return tuple(sorted(int(counts[y, g]) for y, pair in enumerate(pairs) for g in pair))


@lru_cache(maxsize=16)
def _patterns(n_labels: int) -> Floats:
    """Return each way to score classes by signed labels, shape (n, n_classes, n_labels).

    A class of a pattern adds up the labels that are its own, each with a sign.
    """
    found = []
    for classes in _partitions(n_labels):
        for signs in itertools.product((1.0, -1.0), repeat=n_labels):
            pattern = np.zeros((max(n_labels, 2), n_labels))
            pattern[list(classes), range(n_labels)] = signs
            found.append(pattern)
    return np.stack(found)


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
