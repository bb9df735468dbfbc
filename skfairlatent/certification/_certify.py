"""From held-out rows to a statement with a confidence."""

__all__ = ["Certificate", "certify_cells"]

import itertools
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from skfairlatent._validation.containers import reject_other_order
from skfairlatent._validation.groups import check_length, cross_columns
from skfairlatent._wording import some_of
from skfairlatent.certification._bounds import sampling_slack, worst_mean_gap

_CONSTRAINTS = ("equalized_odds", "demographic_parity")
# More combinations of pairs of groups and labels take minutes.
_MAX_COMBINATIONS = 20_000
_MAX_LABELS = 5


@dataclass(frozen=True, eq=False)
class Certificate:
    """A bound on the gap of every classifier that sees the cells only.

    Parameters
    ----------
    bound : float
        The gap of any classifier is at most this, with probability `confidence` over the draw
        of the rows; in [0, 1].
    plug_in : float
        The worst gap on the rows themselves; in [0, 1].
    confidence : float
        Between 0 and 1.
    constraint : str
        ``"equalized_odds"``, the mean over the labels of the gap between groups, or
        ``"demographic_parity"``.
    rows : DataFrame
        Rows of each label (one line for demographic parity) and group.
    n_cells : int
        Cells that occur.
    """

    bound: float
    plug_in: float
    confidence: float
    constraint: str
    rows: pd.DataFrame
    n_cells: int

    def __str__(self) -> str:
        """Say it in a sentence."""
        name = self.constraint.replace("_", " ")
        note = " This says nothing: more rows are needed." if self.bound >= 1 else ""
        return (
            f"With a confidence of {self.confidence:.0%}, no classifier that sees only these "
            f"{self.n_cells} cells has a difference in {name} above {self.bound:.3f} on people "
            f"drawn like these {int(self.rows.to_numpy().sum())} rows.{note}"
        )


def certify_cells(
    cells: Any,
    y: Any,
    *,
    sensitive_features: Any,
    constraints: str = "equalized_odds",
    confidence: float = 0.95,
) -> Certificate:
    """Bound the gap between groups of any classifier on a representation of finitely many cells.

    Parameters
    ----------
    cells : array-like of shape (n_samples,)
        What a classifier sees of each row: a number or a name, such as the leaf of a tree. Rows,
        and the way in which rows become cells, must be independent: no row was used in a fit, an
        early stopping or a search.

    y : array-like of shape (n_samples,)
        True labels. Demographic parity does not look at them.

    sensitive_features : array-like of shape (n_samples,) or (n_samples, n_attributes)
        Groups; several columns are crossed.

    constraints : {"equalized_odds", "demographic_parity"}, default="equalized_odds"
        The difference that is bounded, as :mod:`skfairlatent.metrics` defines it; of equalised
        odds the mean over the labels.

    confidence : float, default=0.95
        Between 0 and 1, both excluded.

    Returns
    -------
    Certificate

    Raises
    ------
    ValueError
        If there is one group or one label only, a (label, group) cell has no rows, lengths differ
        or values are missing, or a parameter is out of range.

    Notes
    -----
    The classifier with the largest true gap is unknown, but it does not depend on the rows. Its
    observed gap is a weighted sum of independent rates, which falls below the true one by more
    than the slack with probability 1 - `confidence` at most; and the largest observed gap of all
    classifiers is no smaller. So neither the number of cells nor the number of groups enters the
    slack. The statement is conditional on the rows of each label and group, is made for one look
    at the rows, and holds for rows drawn independently from the same population.

    Examples
    --------
    >>> import numpy as np
    >>> from skfairlatent.certification import certify_cells
    >>> rng = np.random.default_rng(0)
    >>> cells, y, group = rng.integers(4, size=8000), rng.integers(2, size=8000), rng.choice(
    ...     ["a", "b"], size=8000)
    >>> certificate = certify_cells(cells, y, sensitive_features=group)
    >>> certificate.plug_in < certificate.bound < 0.06
    True
    """
    if constraints not in _CONSTRAINTS:
        raise ValueError(
            f"constraints={constraints!r} is not supported: expected one of {_CONSTRAINTS}."
        )
    if not isinstance(confidence, Real) or not 0 < confidence < 1:
        raise ValueError(
            f"confidence={confidence!r} is not between 0 and 1: 95 per cent is confidence=0.95, "
            "and no sample gives certainty."
        )
    reject_other_order(cells=cells, y=y, sensitive_features=sensitive_features)
    codes, labels = cross_columns(y, "y")
    groups, names = cross_columns(sensitive_features)
    values = np.asarray(cells)
    if values.ndim != 1 or pd.isna(values).any():
        raise ValueError(
            f"cells has shape {values.shape}, or missing values: expected one cell a row."
        )
    check_length("y", len(codes), len(values), "cells")
    check_length("sensitive_features", len(groups), len(values), "cells")
    if constraints == "demographic_parity":
        codes, labels = np.zeros_like(codes), ["all"]
    _check_values(labels, names, constraints)
    _, bins = np.unique(values, return_inverse=True)
    table = np.zeros((len(labels), len(names), bins.max() + 1))
    np.add.at(table, (codes, groups, bins), 1.0)
    rows = pd.DataFrame(table.sum(axis=2).astype(int), index=labels, columns=names)
    _check_rows(rows)
    plug_in, bound = _bound(table, 1 - float(confidence))
    return Certificate(bound, plug_in, float(confidence), constraints, rows, table.shape[2])


def _bound(table: npt.NDArray[np.float64], delta: float) -> tuple[float, float]:
    """Return the largest observed gap, and the largest with its slack, over all pairs of groups.

    Each label has a pair of its own: within a label, the gap is that of its two extreme groups.
    """
    n_labels, n_groups, _ = table.shape
    counts = table.sum(axis=2)
    rates = table / counts[:, :, None]
    pairs = list(itertools.combinations(range(n_groups), 2))
    plug_in = bound = 0.0
    for chosen in itertools.product(pairs, repeat=n_labels):
        gap = worst_mean_gap(
            np.stack([rates[y, a] - rates[y, b] for y, (a, b) in enumerate(chosen)])
        )
        sizes = sorted(int(counts[y, g]) for y, pair in enumerate(chosen) for g in pair)
        plug_in = max(plug_in, gap)
        bound = max(bound, gap + sampling_slack(tuple(sizes), 1 / n_labels, delta))
    return min(plug_in, 1.0), min(bound, 1.0)


def _check_values(labels: list[str], names: list[str], constraints: str) -> None:
    if len(names) < 2:
        raise ValueError(
            f"sensitive_features has one group only ({names[0]!r}): expected two or more."
        )
    if constraints == "equalized_odds" and len(labels) < 2:
        raise ValueError(
            f"y has one label only ({labels[0]!r}): expected two or more, or "
            "constraints='demographic_parity'."
        )
    n_pairs = len(names) * (len(names) - 1) // 2
    if len(labels) > _MAX_LABELS or n_pairs ** len(labels) > _MAX_COMBINATIONS:
        raise ValueError(
            f"y has {len(labels)} labels and sensitive_features {len(names)} groups, which are "
            "too many to try every classifier: merge labels or groups."
        )


def _check_rows(rows: pd.DataFrame) -> None:
    empty = [
        f"(label {label}, group {group})"
        for label, group in itertools.product(rows.index, rows.columns)
        if rows.loc[label, group] == 0
    ]
    if empty:
        raise ValueError(
            f"{', '.join(some_of(empty))} have no rows: nothing can be certified for them. Merge "
            "groups, or collect rows of them."
        )
