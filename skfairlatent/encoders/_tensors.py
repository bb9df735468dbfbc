"""Between numpy's arrays and a user's torch callables: conversion, and checks of what returns."""

__all__ = ["ValueRange", "as_embeddings", "as_tensor"]

import math
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from skfairlatent.encoders._borrowing import Place

# An example of how to bring the output of each to its shape.
_RESHAPE = {"encoder": "flatten(1)", "decoder": "permute(0, 3, 1, 2)"}


class ValueRange(NamedTuple):
    """What black (0) and white (255) are to a network."""

    black: float
    white: float

    @staticmethod
    def check(given: Any) -> None:
        """Raise ValueError unless given two finite numbers, the smaller one first."""
        numbers = len(given) == 2 and all(isinstance(value, Real) for value in given)
        if not (numbers and all(map(math.isfinite, given)) and given[0] < given[1]):
            raise ValueError(
                f"value_range={given!r} is no range: pass what black and white are to the "
                "modules, as (-1.0, 1.0) or (0.0, 1.0)."
            )

    def to_tensor(self, pixels: npt.NDArray[np.uint8], place: Place) -> Tensor:
        """Turn pixels of shape (n, height, width, 3) into a tensor (n, 3, height, width)."""
        levels = as_tensor(pixels, Place(place.device, torch.uint8)).permute(0, 3, 1, 2)
        # Contiguous: networks flatten with view, which refuses a permuted tensor.
        images = levels.to(torch.float32, memory_format=torch.contiguous_format)
        return images.mul_((self.white - self.black) / 255).add_(self.black).to(place.dtype)

    def to_pixels(self, output: Any, rows: slice) -> npt.NDArray[np.uint8]:
        """Turn what a decoder made of some rows into uint8 of shape (n, height, width, 3)."""
        images = _checked(output, rows, "decoder", ("n", "3", "height", "width"))
        levels = images.sub_(self.black).mul_(255 / (self.white - self.black))
        pixels = levels.round_().clamp_(0, 255).to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def as_tensor(values: npt.NDArray[Any], place: Place) -> Tensor:
    """Return a tensor; of an array that must not be written to, as of a file, a copy."""
    writable = np.require(values, requirements=["C_CONTIGUOUS", "WRITEABLE"])
    return torch.from_numpy(writable).to(place.device, place.dtype)


def as_embeddings(output: Any, rows: slice) -> npt.NDArray[np.float32]:
    """Turn what an encoder made of some rows into float32 of shape (n, n_features)."""
    return _checked(output, rows, "encoder", ("n", "n_features")).cpu().numpy()


def _checked(output: Any, rows: slice, name: str, axes: tuple[str, ...]) -> Tensor:
    """Return a float32 copy of what a callable returned, or say what is wrong with it."""
    n_rows, expected = rows.stop - rows.start, f"({', '.join(axes)})"
    if not isinstance(output, Tensor):
        raise TypeError(
            f"{name} returned {type(output).__name__}: expected a tensor of shape {expected}. "
            f"Pass a function that takes the part wanted, as {name}=lambda x: model(x)[0]."
        )
    fixed = [n_rows, *(int(axis) if axis.isdecimal() else None for axis in axes[1:])]
    shape = tuple(output.shape)
    fits = len(shape) == len(fixed) and all(
        want in (None, size) for want, size in zip(fixed, shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"{name} turned n = {n_rows} rows into a tensor of shape {shape}: expected "
            f"{expected}. Pass a function that brings it to this shape, as {name}=lambda x: "
            f"model(x).{_RESHAPE[name]}."
        )
    values = output.to(torch.float32, copy=True)
    finite = values.isfinite().flatten(1).all(dim=1)
    if not finite.all():
        row = rows.start + int((~finite).nonzero()[0, 0])
        raise ValueError(
            f"{name} returned NaN or infinity, first for row {row}. Check that value_range is the "
            "one it was trained with; if its weights are in half precision, try model.float()."
        )
    return values
