"""Between numpy's arrays and a user's torch callables: conversion, and checks of what returns."""

__all__ = ["ValueRange", "as_tensor", "checked"]

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
                f"value_range={given!r} is not a valid range: pass what black and white are "
                "to the modules, as (-1.0, 1.0) or (0.0, 1.0)."
            )

    def to_tensor(self, pixels: npt.NDArray[np.uint8], place: Place) -> Tensor:
        """Turn pixels of shape (n, height, width, 3) into a tensor (n, 3, height, width)."""
        levels = as_tensor(pixels, Place(place.device, torch.uint8)).permute(0, 3, 1, 2)
        # Contiguous: networks flatten with view, which refuses a permuted tensor.
        images = levels.to(torch.float32, memory_format=torch.contiguous_format)
        return images.mul_((self.white - self.black) / 255).add_(self.black).to(place.dtype)

    def to_shares(self, images: Tensor) -> Tensor:
        """Turn (n, 3, height, width) into (n, height, width, 3), from 0 (black) to 1 (white)."""
        shares = images.sub(self.black).div_(self.white - self.black)
        return shares.permute(0, 2, 3, 1)


def as_tensor(values: npt.NDArray[Any], place: Place) -> Tensor:
    """Return a tensor; of an array that must not be written to, as of a file, a copy."""
    writable = np.require(values, requirements=["C_CONTIGUOUS", "WRITEABLE"])
    return torch.from_numpy(writable).to(place.device, place.dtype)


def checked(output: Any, n_rows: int, name: str, axes: tuple[str, ...]) -> Tensor:
    """Return in float32 what a callable returned, or say what is wrong with it."""
    expected = f"({', '.join(axes)})"
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
    return output.to(torch.float32)
