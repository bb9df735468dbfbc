"""Held-out rows, checked, as counts of what a classifier sees by label and group."""

__all__ = ["CONSTRAINTS", "Strata", "cell_codes"]

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from skfairlatent._validation.containers import reject_container
from skfairlatent._validation.groups import (
    MANY_VALUES,
    EncodedColumn,
    check_length,
    encode_columns,
)
from skfairlatent._wording import some_of
from skfairlatent.certification._bounds import Counts, Floats

CONSTRAINTS = ("equalized_odds", "demographic_parity", "true_positive_rate_parity")
# More combinations of pairs of groups and labels take minutes.
_MAX_COMBINATIONS = 20_000
_MAX_LABELS = 6
_WITHOUT_LABELS = 'set constraints="demographic_parity", which compares the groups over all labels'


@dataclass(frozen=True, eq=False)
class Strata:
    """The rows that a constraint compares, by label and group.

    Parameters
    ----------
    rows : ndarray of shape (n,), int64
        Positions of these rows among those given.
    codes : ndarray of shape (n,), int64
        The entry of `counts`, row by row, that counts each.
    labels, groups : list of str
        Names of the rows and columns of `counts`.
    counts : ndarray of shape (n_labels, n_groups), int64
        Number of rows.
    """

    rows: Counts
    codes: Counts
    labels: list[str]
    groups: list[str]
    counts: Counts

    @classmethod
    def of(
        cls,
        n_rows: int,
        y: Any,
        sensitive_features: Any,
        constraints: str,
        where: str,
        name: str,
    ) -> Self:
        """Check labels and groups and sort the rows by them.

        Parameters
        ----------
        n_rows : int
            How many rows there are.
        y, sensitive_features : array-like
            Labels and groups of them; `y` may be None for demographic parity.
        constraints : str
            One of `CONSTRAINTS`.
        where : str
            Text before names in messages.
        name : str
            Name of the rows in messages: X or cells.
        """
        if constraints == "demographic_parity":  # for which y may be anything
            n_labels = n_rows if y is None else len(y)
            labels, label_names = np.zeros(n_rows, dtype=np.int64), ["all"]
        else:
            given = encode_columns(y, "y").crossed
            n_labels = len(given.codes)
            labels, label_names = _compared(given, constraints, where)
        groups = encode_columns(sensitive_features).crossed
        check_length(f"{where}y", n_labels, n_rows, where + name)
        check_length(f"{where}sensitive_features", len(groups.codes), n_rows, where + name)
        rows = np.flatnonzero(labels >= 0)
        shape = len(label_names), len(groups.values)
        codes = labels[rows] * shape[1] + groups.codes[rows]
        counts = np.bincount(codes, minlength=shape[0] * shape[1]).reshape(shape)
        strata = cls(rows, codes, label_names, groups.values, counts)
        strata.check(where, name)
        return strata

    def check(self, where: str, name: str) -> None:
        """Refuse one group, too many, and a label and group without rows."""
        if len(self.groups) < 2:
            raise ValueError(
                f"{where}sensitive_features has one group only ({self.groups[0]!r}): expected two "
                "or more. Give rows of the other groups as well."
            )
        n_pairs = len(self.groups) * (len(self.groups) - 1) // 2
        if len(self.labels) > _MAX_LABELS or n_pairs ** len(self.labels) > _MAX_COMBINATIONS:
            raise ValueError(
                f"{where}y has {len(self.labels)} labels and {where}sensitive_features "
                f"{len(self.groups)} groups, which are too many to try every classifier: merge "
                "labels or groups."
            )
        empty = [
            f"(label {self.labels[label]}, group {self.groups[group]})"
            for label, group in np.argwhere(self.counts == 0)
        ]
        if empty:
            merged = "merge groups" if len(self.groups) > 2 else _WITHOUT_LABELS
            raise ValueError(
                f"{where}{name} has no rows of {', '.join(some_of(empty))}: nothing can be "
                f"certified for them. Collect rows of them, or {merged}."
            )

    def rates(self, columns: Counts, n_columns: int) -> Floats:
        """Return the rates of columns, shape (n_labels, n_groups, n_columns).

        Parameters
        ----------
        columns : ndarray of shape (n_given,), int64
            The column that each row given falls into.
        n_columns : int
            How many there are.
        """
        flat = self.codes * n_columns + columns[self.rows]
        table = np.bincount(flat, minlength=self.counts.size * n_columns)
        return np.asarray(table.reshape(*self.counts.shape, n_columns) / self.counts[..., None])


def _compared(given: EncodedColumn, constraints: str, where: str) -> tuple[Counts, list[str]]:
    """Return the labels within which a constraint compares the groups; -1 where it does not."""
    labels, names = given.codes, given.values
    if constraints == "true_positive_rate_parity":
        if len(names) != 2:
            raise ValueError(
                f"{where}y has the labels {', '.join(some_of(names))}: expected two, of which the "
                "second is the positive one that constraints='true_positive_rate_parity' is about."
            )
        return labels - 1, names[1:]
    if len(names) < 2:
        raise ValueError(
            f"{where}y has one label only ({names[0]!r}): expected two or more. Give rows of the "
            f"other labels as well, or {_WITHOUT_LABELS}."
        )
    return labels, names


def cell_codes(*parts: Any) -> list[Counts]:
    """Return the cell of each row of each part.

    Parameters
    ----------
    *parts : array-like of shape (n,) or (n, n_columns)
        Equal rows are one cell.
    """
    frames = [_frame(part) for part in parts]
    together = pd.concat(frames, ignore_index=True)
    codes = together.groupby(list(together), sort=True, observed=True).ngroup().to_numpy()
    n_cells = int(codes.max()) + 1
    if n_cells > MANY_VALUES and 2 * n_cells > len(codes):
        raise ValueError(
            f"cells has {n_cells} different values in {len(codes)} rows, as a continuous "
            "representation has, for which no bound holds over all classifiers: cut it into "
            "cells first, as FairLatentTransformer(n_bins=4) does."
        )
    return np.split(codes, np.cumsum([len(each) for each in frames])[:-1])


def _frame(cells: Any) -> pd.DataFrame:
    reject_container("cells", cells)
    values = np.asarray(cells)
    if values.ndim not in (1, 2) or not values.size:
        raise ValueError(
            f"cells has shape {values.shape}: expected one row or more of shape (n_samples,) or "
            "(n_samples, n_columns)."
        )
    frame = pd.DataFrame(values)
    if frame.isna().to_numpy().any():
        row = int(frame.isna().any(axis=1).to_numpy().argmax())
        raise ValueError(f"cells has missing values, the first at row {row}: drop these rows.")
    return frame
