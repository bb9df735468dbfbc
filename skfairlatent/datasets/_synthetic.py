"""Synthetic embeddings whose label, group and nuisance factors are known."""

__all__ = ["make_biased_embeddings"]

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import helmert
from scipy.stats import ortho_group
from sklearn.utils import Bunch, check_random_state

_Floats: TypeAlias = NDArray[np.float64]
_Ints: TypeAlias = NDArray[np.int64]

# Factors by group whose spread, not whose mean, tells the group: what a linear probe cannot see.
_SPREAD_FACTORS_PER_GROUP = 2
# The log of the spread ratio for each unit of group_strength: 0.5 at the default strength.
_LOG_SPREAD_PER_STRENGTH = 1.0 / 6.0
_LEAK = 0.2
_SHARPNESS = 4.0


def make_biased_embeddings(  # noqa: PLR0913 - a generator, in the manner of make_classification
    n_samples: int = 2000,
    n_features: int = 32,
    *,
    n_labels: int = 2,
    n_groups: int | Sequence[int] = 2,
    correlation: float = 0.6,
    label_strength: float = 1.8,
    group_strength: float = 3.0,
    nonlinear: bool = True,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Draw embeddings that hold a label and a sensitive attribute correlated with it.

    Every row has a label, a group for each sensitive attribute, and independent factors: label
    factors whose mean depends on the label, group factors whose mean (and, with ``nonlinear``,
    spread) depends on the group, and standard normal nuisance. The factors are mixed into
    ``n_features`` embeddings by an invertible map. Given the label, the label factors are
    independent of the group, so a predictor that reads only them has equal odds in every group;
    one that reads the whole embedding gains accuracy by using the group.

    Parameters
    ----------
    n_samples : int, default=2000
        Number of rows.
    n_features : int, default=32
        Number of embedding features. At least ``n_labels - 1`` plus, for each attribute,
        ``n_groups - 1`` (and ``2 * n_groups`` more with ``nonlinear``).
    n_labels : int, default=2
        Number of label classes, all equally frequent.
    n_groups : int or sequence of int, default=2
        Number of groups, all equally frequent. A sequence gives one sensitive attribute for each
        entry; attributes are independent of one another given the label.
    correlation : float, default=0.6
        Association of the label with each sensitive attribute, in [-1, 1]; see Notes. 0 is
        independence, 1 (or -1) makes the group a function of the label or the reverse.
    label_strength : float, default=1.8
        Distance between the means of two labels' factors, whose standard deviation is 1.
        With two balanced labels, the label factor alone predicts with accuracy
        ``Phi(label_strength / 2)``: 0.82 by default.
    group_strength : float, default=3.0
        Distance between the means of two groups' factors, whose standard deviation is 1. At 0
        the embedding does not hold the group.
    nonlinear : bool, default=True
        Mix by a rotation, a smooth leaky non-linearity and a second rotation, and let the spread
        of some factors depend on the group, so that removing the group's mean directions does
        not remove the group. Otherwise mix by one rotation; only means depend on the group.
    random_state : int, RandomState instance or None, default=None
        Seed. With one int, calls that differ only in ``n_samples``, ``correlation`` or a strength
        share the map from factors to embeddings.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the entries:

        data : ndarray of shape (n_samples, n_features), float32
            The embeddings.
        target : ndarray of shape (n_samples,), int64
            The labels, 0 to ``n_labels - 1``.
        sensitive_features : Series or DataFrame of n_samples rows, int64
            The groups, 0 to ``n_groups - 1``: a Series named ``group``, or with a sequence of
            ``n_groups`` a DataFrame with columns ``group_0``, ``group_1``, ...
        label_factors : ndarray of shape (n_samples, n_labels - 1), float64
            The factors that a fair predictor may use.
        group_factors : ndarray of shape (n_samples, n_group_factors), float64
            For each attribute, ``n_groups - 1`` factors that differ in mean, then the factors that
            differ in spread.
        nuisance : ndarray of shape (n_samples, n_nuisance), float64
            Factors independent of the label and of every group.
        DESCR : str
            Description of the data.

    Raises
    ------
    TypeError
        If a count is not an integer or a strength is not a number.
    ValueError
        If a parameter is out of range, or ``n_features`` cannot hold the factors.

    Notes
    -----
    With ``u`` and ``w`` uniform on [0, 1), the label is ``floor(u * n_labels)`` and the group is
    ``floor(v * n_groups)``, where ``v = u`` (``v = 1 - u`` for a negative correlation) with
    probability ``abs(correlation)`` and ``v = w`` otherwise. Both margins stay uniform whatever
    the correlation. When labels and groups are equally many, ``abs(correlation)`` is exactly
    their Cramér's V, and for two of each, ``correlation`` is their Pearson correlation.

    Examples
    --------
    >>> from skfairlatent.datasets import make_biased_embeddings
    >>> drawn = make_biased_embeddings(1000, 16, n_groups=3, random_state=0)
    >>> drawn.data.shape, drawn.data.dtype
    ((1000, 16), dtype('float32'))
    >>> sorted(int(group) for group in drawn.sensitive_features.unique())
    [0, 1, 2]
    >>> drawn.label_factors.shape, drawn.group_factors.shape, drawn.nuisance.shape
    ((1000, 1), (1000, 8), (1000, 7))
    """
    sizes = tuple(n_groups) if isinstance(n_groups, Sequence) else (n_groups,)
    _check_counts(n_samples, n_labels, sizes)
    _check_strengths(correlation, label_strength, group_strength)
    n_nuisance = _count_nuisance(n_features, n_labels, sizes, nonlinear)
    rng = check_random_state(random_state)
    mixing = _Mixing.draw(n_features, nonlinear, rng)  # first: it must not depend on n_samples
    target, groups = _draw_memberships(n_samples, n_labels, sizes, correlation, rng)
    label_factors = _shifted_factors(target, n_labels, label_strength, rng)
    group_factors = np.hstack(
        [
            _group_factors(codes, size, group_strength, nonlinear, rng)
            for codes, size in zip(groups, sizes, strict=True)
        ]
    )
    nuisance = rng.standard_normal((n_samples, n_nuisance))
    factors = np.hstack([label_factors, group_factors, nuisance])
    return Bunch(
        data=mixing.apply(factors).astype(np.float32),
        target=target,
        sensitive_features=_as_pandas(groups, single=not isinstance(n_groups, Sequence)),
        label_factors=label_factors,
        group_factors=group_factors,
        nuisance=nuisance,
        DESCR=(
            f"{n_samples} synthetic embeddings, {n_labels} labels, groups {sizes}, "
            f"correlation {correlation}. Drawn by make_biased_embeddings; no real person."
        ),
    )


@dataclass(frozen=True)
class _Mixing:
    """An invertible map: a rotation, or two with an elementwise non-linearity between."""

    first: _Floats
    second: _Floats | None

    @classmethod
    def draw(cls, n_features: int, nonlinear: bool, rng: np.random.RandomState) -> "_Mixing":
        first = _draw_rotation(n_features, rng)
        return cls(first, _draw_rotation(n_features, rng) if nonlinear else None)

    def apply(self, factors: _Floats) -> _Floats:
        mixed: _Floats = factors @ self.first
        if self.second is None:
            return mixed
        # Slope between _LEAK and 1 everywhere: smooth, strictly increasing, hence invertible.
        softplus = np.logaddexp(0.0, _SHARPNESS * mixed) / _SHARPNESS
        bent: _Floats = (_LEAK * mixed + (1.0 - _LEAK) * softplus) @ self.second
        return bent


def _draw_rotation(n_features: int, rng: np.random.RandomState) -> _Floats:
    if n_features == 1:
        return np.ones((1, 1))  # scipy draws orthogonal matrices from two dimensions on
    rotation: _Floats = ortho_group.rvs(n_features, random_state=rng)
    return rotation


def _draw_memberships(
    n_samples: int,
    n_labels: int,
    sizes: tuple[int, ...],
    correlation: float,
    rng: np.random.RandomState,
) -> tuple[_Ints, list[_Ints]]:
    """Return the label, and the group for each attribute, of every row."""
    position = rng.random_sample(n_samples)
    # random_sample is below 1, so 1 - position could only reach 1 itself from an exact 0.
    aligned = position if correlation >= 0 else np.nextafter(1.0, 0.0) - position
    groups = []
    for size in sizes:
        follows = rng.random_sample(n_samples) < abs(correlation)
        where = np.where(follows, aligned, rng.random_sample(n_samples))
        groups.append(np.clip(where * size, 0, size - 1).astype(np.int64))
    return (position * n_labels).astype(np.int64), groups


def _shifted_factors(
    codes: _Ints, n_classes: int, strength: float, rng: np.random.RandomState
) -> _Floats:
    """Return normal factors whose class means are the corners of a regular simplex."""
    corners = helmert(n_classes).T * (strength / np.sqrt(2.0))  # rows of helmert are orthonormal
    noise = rng.standard_normal((len(codes), n_classes - 1))
    factors: _Floats = corners[codes] + noise
    return factors


def _group_factors(
    codes: _Ints, n_groups: int, strength: float, nonlinear: bool, rng: np.random.RandomState
) -> _Floats:
    shifted = _shifted_factors(codes, n_groups, strength, rng)
    if not nonlinear:
        return shifted
    own = np.eye(n_groups)[codes].repeat(_SPREAD_FACTORS_PER_GROUP, axis=1)
    spread = np.exp(_LOG_SPREAD_PER_STRENGTH * strength * (2.0 * own - 1.0))
    return np.hstack([shifted, spread * rng.standard_normal(spread.shape)])


def _as_pandas(groups: list[_Ints], *, single: bool) -> pd.Series | pd.DataFrame:
    if single:
        return pd.Series(groups[0], name="group")
    return pd.DataFrame({f"group_{index}": codes for index, codes in enumerate(groups)})


def _count_nuisance(
    n_features: int, n_labels: int, sizes: tuple[int, ...], nonlinear: bool
) -> int:
    by_attribute = [
        size - 1 + (_SPREAD_FACTORS_PER_GROUP * size if nonlinear else 0) for size in sizes
    ]
    n_needed = n_labels - 1 + sum(by_attribute)
    _check_count("n_features", n_features, minimum=1)
    if n_features < n_needed:
        raise ValueError(
            f"n_features={n_features} cannot hold the factors of n_labels={n_labels} and "
            f"n_groups={sizes}: pass n_features={n_needed} or more, or nonlinear=False."
        )
    return n_features - n_needed


def _check_counts(n_samples: int, n_labels: int, sizes: tuple[int, ...]) -> None:
    _check_count("n_samples", n_samples, minimum=1)
    _check_count("n_labels", n_labels, minimum=2)
    if not sizes:
        raise ValueError(
            "n_groups is empty: pass one number of groups, or one for each attribute."
        )
    for size in sizes:
        _check_count("n_groups", size, minimum=2)


def _check_count(name: str, value: int, *, minimum: int) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}: pass an integer.")
    if value < minimum:
        raise ValueError(f"{name}={value} is too small: pass {minimum} or more.")


def _check_strengths(correlation: float, label_strength: float, group_strength: float) -> None:
    _check_number("correlation", correlation, low=-1.0, high=1.0)
    _check_number("label_strength", label_strength, low=0.0, high=np.inf)
    _check_number("group_strength", group_strength, low=0.0, high=np.inf)


def _check_number(name: str, value: float, *, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}: pass a number.")
    if not (low <= value <= high and np.isfinite(value)):
        raise ValueError(
            f"{name}={value} is out of range: pass a finite number in [{low:g}, {high:g}]."
        )
