"""One image of any form, and a whole set of them, checked without decoding any."""

__all__ = ["as_images", "check_items", "describe", "name_of"]

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from skfairlatent._image_forms import (
    as_array,
    columns_of_objects,
    first_of,
    holds_images,
    is_column,
    is_encoded,
    is_flat,
    is_path,
    is_picture,
    items_of,
    paths_in,
    shape_of,
)
from skfairlatent._validation.containers import reject_container
from skfairlatent.datasets import LazyImages
from skfairlatent.encoders._pixels import check_shape, check_type

_FORMS = (
    "an array of shape (n, height, width, 3), a list or column of paths, arrays or PIL images, "
    "or LazyImages of skfairlatent.datasets"
)
_LONGEST = 200  # what is longer is not a path, such as pixels in text


def as_images(X: Any) -> npt.NDArray[Any] | LazyImages | list[Any]:
    """Return an array of four dimensions that can be pixels, lazy images, or a list."""
    if isinstance(X, LazyImages):
        return X
    if is_column(X) and len(X) == 0:
        raise ValueError("X holds no images: pass one or more.")
    if not holds_images(X):
        shape = f" and shape {tuple(X.shape)}" if hasattr(X, "shape") else ""
        kind = TypeError if not shape else ValueError
        raise kind(
            f"X of type {type(X).__name__}{shape} is not a valid set of images: pass "
            f"{_FORMS}.{_hint(X)}"
        )
    if is_column(X):
        return [_found(item) for item in items_of(X)]
    array = as_array(X, X)
    check_shape(X, X, "X")
    check_type(array.dtype, X, "X")
    return array


def _hint(X: Any) -> str:
    """Return what else may help whoever passed a table with paths."""
    for code, column in columns_of_objects(X):
        first = first_of(column)
        if is_path(first) or is_encoded(first):
            return f" For a table with paths, pass their column, as {code}."
    return ""


def _found(item: Any) -> Any:
    """Return where an image is, of a dictionary without bytes and of a path from ``~``.

    Pixels in lists, as columns of arrays give them, become an array.
    """
    if isinstance(item, list) and len(shape_of(item)) == 3:
        return np.asarray(item)
    if isinstance(item, Mapping) and item.get("bytes") is None and is_path(item.get("path")):
        item = item["path"]
    if is_path(item) and os.fspath(item)[:1] == "~":
        return os.path.expanduser(item)  # noqa: PTH111 - 100,000 paths need not become objects
    return item


def check_items(items: list[Any], X: Any) -> None:
    """Raise an error that names the row unless each is a file, a PIL image or an array.

    Parameters
    ----------
    items : list
        The images that `as_images` made of X.
    X : sequence
        The images that the user gave.
    """
    for row, item in enumerate(items):
        if is_path(item):
            _check_path(row, item)
        elif is_picture(item):
            _check_sides(row, item.height, item.width)
        elif is_encoded(item):
            _check_encoded(row, item)
        else:
            _check_array(row, item, X)


def _check_path(row: int, path: str | os.PathLike[str]) -> None:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - 100,000 paths need not become objects
    except (OSError, ValueError) as error:  # ValueError: a null byte
        raise FileNotFoundError(
            f"{name_of(row, path)} is not a file that can be read ({_reason(error)}): pass paths "
            f"that are absolute, or relative to {str(Path.cwd())!r}."
        ) from error
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(
            f"{name_of(row, path)} is a folder: pass the paths of the images in it"
            f"{paths_in(path)}."
        )
    if not stat.S_ISREG(mode):  # reading a pipe may never end
        raise ValueError(f"{name_of(row, path)} is not a regular file: pass paths of image files.")


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _check_encoded(row: int, item: Any) -> None:
    content = item.get("bytes") if isinstance(item, Mapping) else item
    if not isinstance(content, bytes | bytearray) or not content:
        raise ValueError(
            f"X[{row}] holds neither the bytes nor the path of an image: leave it out."
        )


def _check_array(row: int, item: Any, X: Any) -> None:
    if not hasattr(item, "shape") or not hasattr(item, "__array__"):
        is_missing = pd.api.types.is_scalar(item) and pd.isna(item)
        kind = "missing" if is_missing else f"a {type(item).__name__}, not an image"
        raise TypeError(
            f"X[{row}] is {kind}: each row must be a path (str or Path), a PIL image or an array "
            "of shape (height, width, 3); leave out rows without an image."
        )
    name = f"X[{row}]"
    reject_container(name, item)  # a masked array
    shape = tuple(item.shape)
    if len(shape) not in (2, 3) or is_flat(shape):
        raise ValueError(
            f"{name} is an array of shape {shape}: each row of a list must be one image of shape "
            "(height, width, 3), or (height, width) if grey, more than one pixel high and wide."
        )
    check_shape(item, X, name)
    check_type(as_array(item, X, name).dtype, X, name)


def _check_sides(row: int, height: int, width: int) -> None:
    if 0 in (height, width):
        raise ValueError(f"X[{row}] is an image of {width} by {height} pixels: leave it out.")


def name_of(row: int, item: Any) -> str:
    """Return what to call a row in a message, with its path if it is one."""
    if not is_path(item):
        return f"X[{row}]"
    path = os.fspath(item)
    return f"X[{row}] ({path if len(path) <= _LONGEST else path[:_LONGEST] + '...'!r})"


def describe(shape: tuple[int, ...]) -> str:
    """Return height and width in words."""
    return f"{shape[0]} high and {shape[1]} wide"
