"""NumPy arrays of a fitted map as torch takes them."""

__all__ = ["like", "places"]

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def like(x: Tensor, array: npt.NDArray[np.floating]) -> Tensor:
    """Return the array as a tensor of the precision and on the device of another.

    A copy: what joblib maps from a file is read-only, which torch warns of.
    """
    return torch.tensor(array, dtype=x.dtype, device=x.device)


def places(columns: npt.NDArray[np.integer]) -> list[int]:
    """Return numbers of columns to index a tensor by; an array may be read-only."""
    return [int(column) for column in columns]
