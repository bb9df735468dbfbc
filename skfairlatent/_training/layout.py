"""Which rows of a batch belong to which (label, group) cell."""

__all__ = ["CellLayout"]

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class CellLayout:
    """The fixed order of a cell-balanced batch: cell after cell, `rows_per_cell` rows each.

    A cell is a combination of joint label and joint group that occurs in the training data.

    Parameters
    ----------
    labels : Tensor of shape (n_cells,), int64
        The joint label of each cell.

    groups : Tensor of shape (n_cells,), int64
        The joint group of each cell.

    rows_per_cell : int
        Rows of each cell in a batch, at least 2.

    comparable : Tensor of shape (n_cells,), bool
        Whether the cell has a distribution to speak of: at least two rows in the data.
    """

    labels: Tensor
    groups: Tensor
    rows_per_cell: int
    comparable: Tensor

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.labels)

    @property
    def batch_size(self) -> int:
        """Rows in a batch."""
        return self.n_cells * self.rows_per_cell

    @cached_property
    def group_pairs(self) -> Tensor:
        """Pairs of comparable cells with one label and two groups, shape (2, p).

        Computed once: looking them up in every step would make a GPU wait.
        """
        same_label = self.labels[:, None] == self.labels[None, :]
        usable = self.comparable[:, None] & self.comparable[None, :]
        return torch.triu(same_label & usable, diagonal=1).nonzero().T.contiguous()

    @cached_property
    def cells_of_each_label(self) -> list[Tensor]:
        """For each label with two comparable groups or more, the numbers of its cells."""
        return [
            cells
            for label in self.labels.unique().tolist()
            if len(cells := ((self.labels == label) & self.comparable).nonzero()[:, 0]) > 1
        ]

    def by_cell(self, z: Tensor) -> Tensor:
        """View a batch of shape (batch_size, k) as (n_cells, rows_per_cell, k)."""
        return z.reshape(self.n_cells, self.rows_per_cell, z.shape[1])

    def to(self, device: torch.device) -> "CellLayout":
        """Return the layout with its tensors on `device`."""
        return CellLayout(
            self.labels.to(device),
            self.groups.to(device),
            self.rows_per_cell,
            self.comparable.to(device),
        )
