"""Applying a fitted flow to many rows, in pieces that stay in the cache."""

__all__ = ["largest_round_trip_error", "map_rows"]

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from skfairlatent._device import EXACT_MATMUL
from skfairlatent._out_of_core.mapped_rows import MappedRows
from skfairlatent.flows import Glow

# Activations of this many rows fit the second-level cache of a core at d = 512. On a GPU
# larger pieces keep it busy.
ROWS_ON_CPU = 1024
ROWS_ON_GPU = 65536
# A standardised row of smaller norm differs from the mean by rounding only.
NORM_OF_ROUNDING = 1e-6


def map_rows(
    flow: Glow,
    x: Tensor | MappedRows,
    device: torch.device,
    *,
    inverse: bool = False,
    columns: slice = slice(None),
    prepare: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Return ``flow(x)`` or its inverse, row by row, on the CPU.

    Parameters
    ----------
    flow : Glow
        On the CPU; a copy goes to `device`, in the precision of `x`.
    x : Tensor or MappedRows of shape (n, d)
        On the CPU.
    device : torch.device
        Where to compute.
    inverse : bool, default=False
        Map back instead.
    columns : slice
        Columns of the result to keep.
    prepare : callable, optional
        Applied to each piece of `x` first: cheaper while the piece is in the cache.

    Returns
    -------
    Tensor of shape (n, width of columns)
    """
    on_cpu = device.type == "cpu"
    dtype = torch.float32 if device.type == "mps" else x.dtype  # MPS has nothing wider
    in_place = on_cpu and next(flow.parameters()).dtype == dtype
    placed = flow if in_place else copy.deepcopy(flow).to(device, dtype)
    rows = ROWS_ON_CPU if on_cpu else ROWS_ON_GPU
    with torch.inference_mode(), EXACT_MATMUL:
        frozen = placed.frozen()
        # Written in place: pieces of two columns would each keep all their columns alive.
        width = len(range(*columns.indices(flow.features)))
        out = torch.empty((len(x), width), dtype=x.dtype, device="cpu")
        for piece, place in zip(x.split(rows), out.split(rows), strict=True):
            prepared = piece if prepare is None else prepare(piece)
            prepared = prepared.to(device, dtype)
            if inverse:
                place.copy_(frozen.inverse(prepared)[:, columns])
            else:
                place.copy_(frozen.transform(prepared, columns))
    return out


def largest_round_trip_error(
    flow: Glow, x: Tensor, device: torch.device, standardized: Callable[[Tensor], Tensor]
) -> float:
    """Return the largest error of the round trip of a row, relative to the row's norm.

    `standardized` makes rows of the flow's inputs. A row at the mean, as all are where every
    feature is constant, has no norm: there the error counts as it is.
    """
    back = standardized(map_rows(flow, map_rows(flow, x, device), device, inverse=True))
    rows = standardized(x)
    norm = rows.norm(dim=1)
    at_mean = norm < NORM_OF_ROUNDING
    return float(((back - rows).norm(dim=1) / norm.masked_fill(at_mean, 1.0)).max())
