"""Rates by group and gaps between groups, in the data and in every bootstrap draw of its rows."""

__all__ = ["Decisions", "difference_draws", "group_draws", "group_sources", "resample"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skfairlatent.metrics._group_counts import GroupCounts
from skfairlatent.report._rows import Grouping

Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Decisions:
    """How often each combination of label, decisions and crossed group occurs.

    Everything that is reported depends on these counts alone, so that a draw of rows with
    replacement is a multinomial draw of counts: the same distribution, without touching rows.

    Parameters
    ----------
    counts : ndarray of shape (1 + n_bootstrap, n_cells)
        First those of the data, then those of each draw.

    y, before, after : ndarray of shape (n_cells,), int64
        Codes of the label and of the decisions of each cell.

    first_rows : ndarray of shape (n_cells,)
        A row of each cell.

    labels : list of str
        What the codes stand for.
    """

    counts: Floats
    y: Codes
    before: Codes
    after: Codes
    first_rows: npt.NDArray[np.intp]
    labels: list[str]

    def tables(self, model: str, grouping: Grouping) -> Floats:
        """Return confusion matrices, shape (1 + n_bootstrap, n_labels, n_labels, n_groups).

        Parameters
        ----------
        model : {"before", "after"}
            Whose decisions.

        grouping : Grouping
            The groups.
        """
        predicted = self.before if model == "before" else self.after
        groups = grouping.codes[self.first_rows]
        shape = (len(self.labels), len(self.labels), len(grouping.names))
        place = np.ravel_multi_index((self.y, predicted, groups), shape)
        member = np.zeros((len(groups), np.prod(shape)))
        member[np.arange(len(groups)), place] = 1.0
        return (self.counts @ member).reshape(-1, *shape)


def resample(
    codes: Sequence[Codes], crossed: Codes, labels: list[str], n_bootstrap: int, rng: Any
) -> Decisions:
    """Count the cells, and draw them anew.

    Parameters
    ----------
    codes : sequence of three ndarray of shape (n,)
        Labels, decisions before, and decisions after.

    crossed : ndarray of shape (n,)
        Group of each row by all attributes at once.

    labels : list of str
        What the codes stand for.

    n_bootstrap : int
        Draws.

    rng : RandomState
        Draws them.
    """
    n = len(crossed)
    rows = np.column_stack((*codes, crossed))
    cells, first_rows, counts = np.unique(rows, axis=0, return_index=True, return_counts=True)
    draws = rng.multinomial(n, counts / n, size=n_bootstrap)
    return Decisions(
        counts=np.vstack((counts, draws)).astype(np.float64),
        y=cells[:, 0],
        before=cells[:, 1],
        after=cells[:, 2],
        first_rows=first_rows,
        labels=labels,
    )


def group_draws(tables: Floats, labels: list[str]) -> dict[str, Floats]:
    """Return the rates of each group, by fairlearn's names of them.

    Of two labels the second is the positive one. Of more, each is in turn, and the rates are
    named after it.

    Parameters
    ----------
    tables : ndarray of shape (..., n_labels, n_labels, n_groups)
        Counts by true label, predicted label and group.

    labels : list of str
        The labels.

    Returns
    -------
    dict of str to ndarray of shape (..., n_groups)
        NaN where there are no rows to measure a rate on.
    """
    totals = tables.sum(axis=(-3, -2))
    rates = {"count": totals, "accuracy": _share(np.einsum("...yyg->...g", tables), totals)}
    is_binary = len(labels) == 2
    for k, label in enumerate(labels):
        if is_binary and k == 0:
            continue
        of_label = "" if is_binary else f" of {label}"
        hits, selected = tables[..., k, k, :], tables[..., :, k, :].sum(axis=-2)
        positives = tables[..., k, :, :].sum(axis=-2)
        rates[f"true_positive_rate{of_label}"] = _share(hits, positives)
        rates[f"false_positive_rate{of_label}"] = _share(selected - hits, totals - positives)
        rates[f"selection_rate{of_label}"] = _share(selected, totals)
    return rates


def difference_draws(tables: Floats) -> dict[str, Floats]:
    """Return what compares the groups, as `skfairlatent.metrics` defines it.

    Parameters
    ----------
    tables : ndarray of shape (1 + n_bootstrap, n_labels, n_labels, n_groups)
        Counts by true label, predicted label and group; those of the data come first.

    Returns
    -------
    dict of str to ndarray of shape (1 + n_bootstrap,)
        NaN where a (label, group) cell that is needed has no rows.
    """
    # A label that is neither true of a row nor predicted for it has no rates to compare.
    occurs = tables[0].sum(axis=(1, 2)) + tables[0].sum(axis=(0, 2)) > 0
    tables = tables[:, occurs][:, :, occurs]
    given_label = _share(tables, tables.sum(axis=2, keepdims=True))
    selected = tables.sum(axis=1)
    selected = _share(selected, selected.sum(axis=1, keepdims=True))
    hits = np.einsum("...yyg->...yg", given_label)
    return {
        "equalized_odds_difference": np.ptp(given_label, axis=3).max(axis=(1, 2)),
        "demographic_parity_difference": np.ptp(selected, axis=2).max(axis=1),
        "worst_group_accuracy": hits.min(axis=(1, 2)),
    }


def group_sources(tables: Floats, decisions: Decisions, grouping: Grouping) -> GroupCounts:
    """Return the counts of the data in the form that can say which cells are empty."""
    occurs = tables[0].sum(axis=(1, 2)) + tables[0].sum(axis=(0, 2)) > 0
    labels = [label for label, does in zip(decisions.labels, occurs, strict=True) if does]
    return GroupCounts(tables[0][occurs][:, occurs], labels, grouping.names)


def _share(part: Floats, whole: Floats) -> Floats:
    out = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    return np.asarray(np.divide(part, whole, out=out, where=whole > 0))
