"""Which rows make a batch, and which of them the group distance compares."""

__all__ = ["CONSTRAINTS", "BatchPlan"]

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from skfairlatent._training.batches import rows_per_cell
from skfairlatent._training.cell_layout import CellLayout
from skfairlatent._validation.annotations import Annotations

Codes = npt.NDArray[np.int64]

CONSTRAINTS = ("equalized_odds", "demographic_parity", "true_positive_rate_parity")


@dataclass(frozen=True)
class BatchPlan:
    """The make-up of every batch.

    Parameters
    ----------
    cells : ndarray of shape (n_samples,), int64
        (Label, group) cell of each row; cells are numbered in their order in a batch.
    rows_per_cell : ndarray of shape (n_cells,), int64
        Rows of each cell in a batch.
    layout : CellLayout
        The parts of a batch that the group distance compares.
    """

    cells: Codes
    rows_per_cell: Codes
    layout: CellLayout

    @classmethod
    def of(
        cls, annotations: Annotations, training: Codes, batch_size: int, constraints: str
    ) -> "BatchPlan":
        """Return the plan for `constraints`, one of `CONSTRAINTS`.

        For equalised odds every (label, group) cell gives equally many rows, and the groups of
        each label are compared. The parity of true positive rates compares those of the
        positive label only. For demographic parity every group gives equally many rows, which
        have its shares of the labels, and the groups are compared whatever the label.
        """
        if constraints == "demographic_parity":
            return _by_group(annotations, training, batch_size)
        counts = np.bincount(annotations.cells[training])
        comparable = counts >= 2
        if constraints == "true_positive_rate_parity":
            comparable &= annotations.cell_labels == 1
        rows = rows_per_cell(batch_size, counts)
        layout = _layout(annotations.cell_labels, annotations.cell_groups, rows, comparable)
        return cls(annotations.cells, np.full(len(counts), rows), layout)


def _by_group(annotations: Annotations, training: Codes, batch_size: int) -> BatchPlan:
    order = np.lexsort((annotations.cell_labels, annotations.cell_groups))
    cells = np.argsort(order)[annotations.cells]
    groups = annotations.cell_groups[order]
    counts = np.bincount(cells[training])
    group_counts = np.bincount(groups, weights=counts).astype(np.int64)
    most_cells = int(np.bincount(groups).max())
    rows = max(rows_per_cell(batch_size, group_counts), most_cells)
    per_cell = np.concatenate(
        [_shares_of(rows, counts[groups == group]) for group in range(len(group_counts))]
    )
    layout = _layout(
        np.zeros_like(group_counts), np.arange(len(group_counts)), rows, group_counts >= 2
    )
    return BatchPlan(cells, per_cell, layout)


def _shares_of(total: int, counts: Codes) -> Codes:
    """Share out `total` rows in proportion to `counts`, at least one to each."""
    exact = counts / counts.sum() * (total - len(counts))
    shares: Codes = np.floor(exact).astype(np.int64)
    left = total - len(counts) - int(shares.sum())
    shares[np.argsort(shares - exact, kind="stable")[:left]] += 1
    shares += 1
    return shares


def _layout(
    labels: Codes, groups: Codes, rows: int, comparable: npt.NDArray[np.bool_]
) -> CellLayout:
    return CellLayout(
        labels=torch.from_numpy(labels),
        groups=torch.from_numpy(groups),
        rows_per_cell=rows,
        comparable=torch.from_numpy(comparable),
    )
