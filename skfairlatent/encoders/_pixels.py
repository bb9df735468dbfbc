"""One image in any form, checked and turned into uint8 RGB of the size that is wanted."""

__all__ = [
    "Pixels",
    "check_shape",
    "check_type",
    "cut_share",
    "fit_image",
    "header_size",
    "is_near_black",
    "is_path",
    "is_picture",
    "to_rgb",
]

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from skfairlatent.datasets._pictures import Pixels, opened, orientation, pillow, upright

_CHANNELS = (1, 3, 4)
# What computing in float32 may add to an image in [0, 1].
_ROUNDING = 1e-6


def is_picture(item: Any) -> bool:
    """Tell whether this is a PIL image, without importing Pillow."""
    return hasattr(item, "convert") and hasattr(item, "size")


def is_path(item: Any) -> bool:
    """Tell whether this is the path of a file; numpy's strings look like arrays otherwise."""
    return isinstance(item, str | os.PathLike)


def is_near_black(item: Any) -> bool:
    """Tell whether this is an array of integers of which none is above 1."""
    if is_path(item) or is_picture(item):
        return False
    pixels = np.asarray(item)
    return pixels.dtype.kind in "ui" and int(pixels.max()) <= 1


def check_shape(shape: tuple[int, ...], name: str) -> None:
    """Raise ValueError unless the last three numbers of `shape` are height, width, channels."""
    *_, height, width, channels = shape
    if channels not in _CHANNELS:
        if height in _CHANNELS:
            axes = "0, 2, 3, 1" if len(shape) == 4 else "1, 2, 0"
            raise ValueError(
                f"{name} of shape {shape} has its channels first: pass "
                f"{name}.transpose({axes}), which has them last."
            )
        raise ValueError(
            f"{name} of shape {shape} has {channels} channels in its last axis: pass 3 (RGB), "
            "4 (RGBA) or 1 (grey)."
        )
    if height == 0 or width == 0:
        raise ValueError(f"{name} of shape {shape} has no pixels: leave it out.")


def check_type(dtype: np.dtype[Any], name: str) -> None:
    """Raise TypeError unless numbers of this type can be pixels."""
    if dtype.kind == "b":
        raise TypeError(
            f"{name} is boolean: pass pixels from 0 to 255, as {name}.astype(np.uint8) * 255."
        )
    if dtype.kind not in "uif":
        raise TypeError(
            f"{name} is an array of dtype {dtype}: pass uint8 from 0 to 255, or floats from 0 "
            "to 1. Arrays inside an object array become one by np.stack(list(X))."
        )


def to_rgb(stack: npt.NDArray[Any], rows: npt.NDArray[np.intp]) -> Pixels:
    """Turn images of shape (k, height, width, 1, 3 or 4) into uint8 of shape (k, ..., 3).

    Floats in [0, 1] are multiplied by 255 and rounded. Grey becomes three equal channels; the
    fourth channel, opacity, is dropped as Pillow does.

    Raises
    ------
    ValueError
        If a value is not in the range of its type; the message names the row among `rows`.
    """
    if stack.dtype != np.uint8:
        is_float = stack.dtype.kind == "f"
        _check_range(stack, rows, (-_ROUNDING, 1 + _ROUNDING) if is_float else (0, 255))
        stack = (np.rint(stack * stack.dtype.type(255)) if is_float else stack).astype(np.uint8)
    if stack.shape[-1] == 1:
        return np.repeat(stack, 3, axis=-1)
    return np.ascontiguousarray(stack[..., :3])


def header_size(item: Any, name: str) -> tuple[int, int]:
    """Return height and width of a PIL image or a file, which is decoded only to be turned."""
    with opened(item, name) as picture:
        # Some formats turn what the header says, and some only what is decoded.
        shown = picture if orientation(picture) == 1 else upright(picture)
        return int(shown.height), int(shown.width)


def fit_image(image: Pixels, size: tuple[int, int]) -> Pixels:
    """Scale to cover `size` (height, width), and cut off what sticks out at both ends alike."""
    if image.shape[:2] == size:
        return image
    pil = pillow()
    fitted = pil.ImageOps.fit(pil.Image.fromarray(image), size[::-1], pil.Image.Resampling.LANCZOS)
    return np.asarray(fitted, dtype=np.uint8)


def cut_share(given: tuple[int, int], size: tuple[int, int]) -> float:
    """Return the share of an image's pixels that fitting it cuts off.

    Less than one pixel of the result does not count: 0 is returned.
    """
    scale = max(size[0] / given[0], size[1] / given[1])
    height, width = given[0] * scale, given[1] * scale
    if height - size[0] < 1 and width - size[1] < 1:
        return 0.0
    return 1 - size[0] * size[1] / (height * width)


def _check_range(
    stack: npt.NDArray[Any], rows: npt.NDArray[np.intp], bounds: tuple[float, float]
) -> None:
    if stack.size == 0:
        return
    low, high = stack.min(), stack.max()  # NaN if there is one, and then not within bounds
    if bounds[0] <= low and high <= bounds[1]:
        return
    axes = tuple(range(1, stack.ndim))
    least, most = stack.min(axis=axes), stack.max(axis=axes)
    bad = int(np.flatnonzero(~((least >= bounds[0]) & (most <= bounds[1])))[0])
    name, low, high = f"X[{rows[bad]}]", least[bad], most[bad]
    if np.isnan(low):
        raise ValueError(f"{name} holds NaN: leave the image out, or fill in its pixels.")
    if stack.dtype.kind != "f":
        raise ValueError(
            f"{name} holds values from {low} to {high}: pass integers from 0 to 255, or floats "
            "from 0 to 1."
        )
    remedy = "shift and scale them to that range"
    if low >= 0 and high <= 255:
        remedy = "divide by 255, as X / 255"
    elif low >= -1 and high <= 1:
        remedy = "from -1 to 1, pass (X + 1) / 2"
    raise ValueError(
        f"{name} holds floats from {low:.4g} to {high:.4g}; images of floats go from 0 to 1: "
        f"{remedy}."
    )
