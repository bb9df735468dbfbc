"""One image in any form, checked and turned into uint8 RGB of the size that is wanted."""

__all__ = [
    "Pixels",
    "as_file",
    "check_shape",
    "check_type",
    "cut_share",
    "fit_image",
    "header_size",
    "is_file",
    "is_near_black",
    "to_rgb",
]

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from skfairlatent._image_forms import (
    CHANNELS,
    first_of,
    is_column,
    is_encoded,
    is_path,
    is_picture,
    of_all,
)
from skfairlatent._validation.features import detach
from skfairlatent.datasets._one_image import Pixels, opened, orientation, pillow, upright

# Rounding that float32 may add to an image in [0, 1].
_ROUNDING = 1e-6
# What resizing may add at each end, as a share of the range.
_OVERSHOOT = 0.2
# Floats of 0 to 255 reach more than this, those of standardised images do not.
_MOST_STANDARDISED = 4
# Bits of a pixel that cameras and scanners have besides 8.
_DEPTHS = (10, 12, 14, 16)
# Images of floats that are nowhere brighter were divided by too large a number.
_NEAR_BLACK = 1 / 16


def as_file(item: Any) -> Any:
    """Return an encoded image as a file in memory; a path or a PIL image as it is."""
    if not is_encoded(item):
        return item
    return io.BytesIO(item["bytes"] if isinstance(item, Mapping) else item)


def is_file(item: Any) -> bool:
    """Tell whether this is an image that Pillow reads, rather than an array."""
    return is_path(item) or is_picture(item) or is_encoded(item)


def is_near_black(item: Any) -> bool:
    """Tell whether no integer of an array is above 1 of 255, or no float above 1/16 of 1.

    Floats of 0 alone are black on any scale, and integers of 0 may have been cast from others.
    """
    if is_file(item):
        return False
    pixels = np.asarray(detach(item))
    if pixels.dtype.kind == "f":
        return bool(0 < pixels.max() <= _NEAR_BLACK)
    return bool(pixels.max() <= 1)


def check_shape(item: Any, X: Any, name: str) -> None:
    """Raise ValueError unless the last axes of an array are height, width and channels.

    Parameters
    ----------
    item : array of two (grey), three or four dimensions
        X, or one of its rows.
    X : array-like or sequence
        The images that the user gave.
    name : str
        Name of `item` in messages.
    """
    shape = tuple(item.shape)
    *_, height, width, channels = shape if len(shape) > 2 else (*shape, 1)
    if 0 in (height, width):
        raise ValueError(f"{name} of shape {shape} has no pixels: leave it out.")
    if channels in CHANNELS:
        return
    if height in CHANNELS:
        axes = "(0, 2, 3, 1)" if len(shape) == 4 else "(1, 2, 0)"
        method = "permute" if isinstance(item, Tensor) else "transpose"
        in_lists = is_column(X) and not hasattr(first_of(X), "shape")
        row = "np.asarray({})" if in_lists else "{}"
        raise ValueError(
            f"{name} of shape {shape} has its channels first, and they must be last: pass "
            f"{of_all(X, f'{row}.{method}{axes}')}."
        )
    raise ValueError(
        f"{name} of shape {shape} has {channels} channels in its last axis: pass 3 (RGB), "
        f"4 (RGBA) or 1 (grey). Features of a network become embeddings by {_pooled(X, shape)}."
    )


def _pooled(X: Any, shape: tuple[int, ...]) -> str:
    """Return the code that takes the mean of features over height and width, the smaller axes."""
    in_list = is_column(X)
    axes = np.array([-2, -1] if shape[-1] <= shape[-3] else [-3, -2]) + len(shape)
    rows = of_all(X, f"{{}}.mean(({axes[0]}, {axes[1]}))")
    module = "torch" if in_list and isinstance(first_of(X), Tensor) else "np"
    return f"{module}.stack({rows})" if in_list else rows


def check_type(dtype: np.dtype[Any], X: Any, name: str) -> None:
    """Raise TypeError unless numbers of this type can be pixels; see `check_shape`."""
    if dtype.kind == "b":
        raise TypeError(
            f"{name} is boolean: pass pixels from 0 to 255, as "
            f"{of_all(X, 'np.asarray({}).astype(np.uint8) * 255')}."
        )
    if dtype.kind == "O":
        raise TypeError(
            f"{name} is an array of dtype object: pass numbers, as "
            f"{of_all(X, 'np.array({}.tolist())')}."
        )
    if dtype.kind not in "uif":
        raise TypeError(
            f"{name} is an array of dtype {dtype}: pass uint8 from 0 to 255, or floats from 0 "
            "to 1."
        )


def to_rgb(
    stack: npt.NDArray[Any], rows: npt.NDArray[np.intp], X: Sequence[Any] | npt.NDArray[Any]
) -> Pixels:
    """Turn images of shape (k, height, width, 1, 3 or 4) into uint8 of shape (k, ..., 3).

    Floats in [0, 1] are multiplied by 255 and rounded. Grey becomes three equal channels; the
    fourth channel, opacity, is dropped as Pillow does.

    Raises
    ------
    ValueError
        If a value is not in the range of its type; the message names the row among `rows`, and
        what to pass in place of all images, `X`.
    """
    if stack.dtype != np.uint8:
        is_float = stack.dtype.kind == "f"
        bounds = (-_ROUNDING, 1 + _ROUNDING) if is_float else (0, 255)
        _check_range(stack, rows, bounds, X)
        stack = (np.rint(stack * stack.dtype.type(255)) if is_float else stack).astype(np.uint8)
    if stack.shape[-1] == 1:
        return np.repeat(stack, 3, axis=-1)
    return np.ascontiguousarray(stack[..., :3])


def header_size(item: Any, name: str) -> tuple[int, int]:
    """Return height and width of a PIL image or a file, which is decoded only to be turned."""
    with opened(as_file(item), name) as picture:
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
    stack: npt.NDArray[Any],
    rows: npt.NDArray[np.intp],
    bounds: tuple[float, float],
    X: Any,
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
    if not np.isfinite(low) or not np.isfinite(high):
        what = "NaN" if np.isnan(low) else "infinity"
        raise ValueError(f"{name} holds {what}: leave the image out, or fill in its pixels.")
    whole = _range_of_all(stack.dtype.kind, X)
    if stack.dtype.kind != "f":
        raise ValueError(
            f"{name} holds values from {low} to {high}: pass integers from 0 to 255, or floats "
            f"from 0 to 1.{_of_more_bits(*whole, X)}"
        )
    raise ValueError(
        f"{name} holds floats from {low:.4g} to {high:.4g}; images of floats go from 0 to 1: "
        f"{_to_unit(*whole, X)}."
    )


def _range_of_all(kind: str, X: Any) -> tuple[float, float]:
    """Return the range of all images of a kind of numbers: one alone may be dark."""
    arrays = (np.asarray(detach(each)) for each in X if not is_file(each))
    finite = (each[np.isfinite(each)] for each in arrays if each.dtype.kind == kind)
    ends = [(each.min(), each.max()) for each in finite if each.size]
    return float(min(low for low, _ in ends)), float(max(high for _, high in ends))


def _of_more_bits(low: float, high: float, X: Any) -> str:
    """Say how integers of more bits than 8 become floats; nothing if these are none."""
    if low < 0 or high >= 2 ** _DEPTHS[-1]:
        return ""
    fewest = next(depth for depth in _DEPTHS if high < 2**depth)
    codes = [
        f"of {depth} bits, pass {of_all(X, f'np.asarray({{}}) / {2**depth - 1}')}"
        for depth in dict.fromkeys((fewest, _DEPTHS[-1]))
    ]
    return f" If they are {'; if '.join(codes)}."


def _to_unit(low: float, high: float, X: Any) -> str:
    """Say how floats of a range become those from 0 to 1."""
    if low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT:
        return (
            f"pass {of_all(X, 'np.clip({}, 0, 1)')}, which cuts off what resizing may have added"
        )
    if -1 - 2 * _OVERSHOOT <= low < -_OVERSHOOT and high <= 1 + 2 * _OVERSHOOT:
        how, code, within = "from -1 to 1, pass", "({} + 1) / 2", low >= -1 and high <= 1
    elif low >= -_OVERSHOOT * high and _MOST_STANDARDISED < high <= (1 + _OVERSHOOT) * 255:
        how, code, within = "divide by 255, as", "{} / 255", low >= 0 and high <= 255
    else:
        return "shift and scale them to that range"
    return f"{how} {of_all(X, code if within else f'np.clip({code}, 0, 1)')}"
