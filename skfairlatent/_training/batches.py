"""Batches with a fixed number of rows from every (label, group) cell."""

__all__ = ["CellSampler", "ReadingSampler", "rows_per_cell"]

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# Batches of an epoch of rows in a file, at most: five epochs are then 200 steps.
MOST_BATCHES_READ = 40


def rows_per_cell(batch_size: int, counts: npt.NDArray[np.int64]) -> int:
    """Return how many rows each cell gives to a batch, at least 2.

    More than the largest cell holds would only repeat rows.

    Parameters
    ----------
    batch_size : int
        Rows wanted in a batch.
    counts : ndarray of shape (n_cells,), int64
        Rows of each cell in the data.
    """
    return max(2, min(batch_size // len(counts), int(counts.max())))


class CellSampler:
    """Draws the row numbers of an epoch, shuffled within each cell.

    A cell goes through all its rows before any comes back; small cells therefore go round
    several times while large ones go round once or less.

    Parameters
    ----------
    cells : ndarray of shape (n_samples,), int64
        Cell of each row, numbered from 0; every number below the largest occurs.
    rows_per_cell : ndarray of shape (n_cells,), int64
        Rows each cell gives to a batch.
    """

    def __init__(self, cells: npt.NDArray[np.int64], rows_per_cell: npt.NDArray[np.int64]) -> None:
        order = torch.from_numpy(np.argsort(cells, kind="stable"))
        self._members = order.split(np.bincount(cells).tolist())
        self._rows_per_cell = rows_per_cell.tolist()
        self.n_batches = max(1, round(len(cells) / sum(self._rows_per_cell)))

    def draw(self, generator: torch.Generator, most: int | None = None) -> Tensor:
        """Return the rows of one epoch, or its first `most` batches: (n_batches, batch_size)."""
        columns = [
            _shuffled(members, self.n_batches * rows, generator).reshape(self.n_batches, rows)
            for members, rows in zip(self._members, self._rows_per_cell, strict=True)
        ]
        return torch.cat(columns, dim=1)[:most]


class ReadingSampler(CellSampler):
    """Draws batches of rows that lie in a file, and reads the rows of each epoch into `data`.

    Parameters
    ----------
    cells, rows_per_cell : ndarray
        As of `CellSampler`.
    read : callable
        Returns the rows of given numbers, shape (k, d), float32.
    device : torch.device
        Where `data` lies.
    """

    def __init__(
        self,
        cells: npt.NDArray[np.int64],
        rows_per_cell: npt.NDArray[np.int64],
        read: Callable[[Tensor], Tensor],
        device: torch.device,
    ) -> None:
        super().__init__(cells, rows_per_cell)
        self.n_batches = min(self.n_batches, MOST_BATCHES_READ)
        self._read = read
        n_rows = self.n_batches * int(rows_per_cell.sum())
        width = read(torch.zeros(1, dtype=torch.int64)).shape[1]
        self.data = torch.empty((n_rows, width), dtype=torch.float32, device=device)

    def draw(self, generator: torch.Generator, most: int | None = None) -> Tensor:
        """Read the rows of the batches, and return these as numbers of rows of `data`."""
        batches = super().draw(generator, most)
        self.data[: batches.numel()].copy_(self._read(batches.flatten()))
        return torch.arange(batches.numel()).reshape(batches.shape)


def _shuffled(members: Tensor, needed: int, generator: torch.Generator) -> Tensor:
    rounds = -(-needed // len(members))
    orders = (torch.randperm(len(members), generator=generator) for _ in range(rounds))
    return torch.cat([members[order] for order in orders])[:needed]
