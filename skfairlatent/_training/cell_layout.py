"""Which rows of a batch belong to which cell, and which cells are compared."""

__all__ = ["CellLayout"]

import torch
from torch import Tensor, nn


class CellLayout(nn.Module):
    """The fixed order of a batch: cell after cell, `rows_per_cell` rows each.

    A cell is a combination of joint label and joint group that occurs in the training data, or
    a joint group whatever the label, as for demographic parity: all cells then have label 0.
    A module without parameters, so that an objective moves it to its own device.

    Parameters
    ----------
    labels : Tensor of shape (n_cells,), int64
        The joint label of each cell.

    groups : Tensor of shape (n_cells,), int64
        The joint group of each cell.

    rows_per_cell : int
        Rows of each cell in a batch, at least 2.

    comparable : Tensor of shape (n_cells,), bool
        Whether the cell's distribution is compared with others. It needs at least two rows in
        the data.

    Attributes
    ----------
    group_pairs : Tensor of shape (2, n_pairs), int64
        Pairs of comparable cells with one label and two groups.
    """

    labels: Tensor
    groups: Tensor
    comparable: Tensor
    group_pairs: Tensor
    _compared: Tensor

    def __init__(
        self, labels: Tensor, groups: Tensor, rows_per_cell: int, comparable: Tensor
    ) -> None:
        super().__init__()
        self.rows_per_cell = rows_per_cell
        # Computed once: looking them up in every step would make a GPU wait.
        same_label = labels[:, None] == labels[None, :]
        usable = comparable[:, None] & comparable[None, :]
        pairs = torch.triu(same_label & usable, diagonal=1).nonzero().T.contiguous()
        cells = [((labels == label) & comparable).nonzero()[:, 0] for label in labels.unique()]
        cells = [each for each in cells if len(each) > 1]
        self._sizes = [len(each) for each in cells]
        buffers = {
            "labels": labels,
            "groups": groups,
            "comparable": comparable,
            "group_pairs": pairs,
            "_compared": torch.cat(cells) if cells else labels.new_empty(0),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.labels)

    @property
    def batch_size(self) -> int:
        """Rows in a batch."""
        return self.n_cells * self.rows_per_cell

    @property
    def cells_of_each_label(self) -> tuple[Tensor, ...]:
        """For each label with two comparable groups or more, the numbers of its cells."""
        cells: tuple[Tensor, ...] = self._compared.split(self._sizes)
        return cells

    def by_cell(self, z: Tensor) -> Tensor:
        """View a batch of shape (batch_size, k) as (n_cells, rows_per_cell, k)."""
        return z.reshape(self.n_cells, self.rows_per_cell, z.shape[1])
