"""The forms in which images may be given, told apart and checked without decoding any."""

__all__ = ["as_images", "check_items", "describe", "name_of"]

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from skfairlatent.datasets import LazyImages
from skfairlatent.encoders._pixels import check_shape, check_type, is_path, is_picture

_FORMS = (
    "an array of shape (n, height, width, 3), a list or column of paths, arrays or PIL images, "
    "or LazyImages of skfairlatent.datasets"
)


def as_images(X: Any) -> npt.NDArray[Any] | LazyImages | list[Any]:
    """Return an array of four dimensions that can be pixels, lazy images, or a list."""
    if isinstance(X, LazyImages):
        return X
    if is_path(X) or is_picture(X):
        raise TypeError(f"X is one image: pass a list, as [{X!r}].")
    if isinstance(X, list | tuple):
        return list(X)
    ndim = getattr(X, "ndim", None)
    if ndim is None and not hasattr(X, "to_list"):
        raise TypeError(f"X of type {type(X).__name__} is no set of images: pass {_FORMS}.")
    if hasattr(X, "to_list") or (ndim == 1 and isinstance(X, np.ndarray) and X.dtype.kind in "OU"):
        return list(X)
    if ndim != 4:
        raise ValueError(
            f"X of type {type(X).__name__} and shape {tuple(X.shape)} is no set of images: pass "
            f"{_FORMS}.{_hint(X)}"
        )
    array = _as_array(X, "X")
    check_shape(array.shape, "X")
    check_type(array.dtype, "X")
    return array


def _hint(X: Any) -> str:
    """Return what else may help whoever passed an array or a table of another shape."""
    if isinstance(X, pd.DataFrame) and len(X.columns):
        return f" Of a table with paths, pass their column, as X[{X.columns[0]!r}]."
    if X.ndim == 3:
        return " Of one image, pass X[np.newaxis]; of grey ones, X[..., np.newaxis]."
    return ""


def _as_array(item: Any, name: str) -> npt.NDArray[Any]:
    try:
        return np.asarray(item)
    except (RuntimeError, TypeError) as error:  # as of a tensor on a GPU
        raise TypeError(
            f"{name} of type {type(item).__name__} cannot become an array ({error}): pass "
            f"{name}.detach().cpu().numpy(), or another array."
        ) from error


def check_items(items: list[Any]) -> None:
    """Raise an error that names the row unless each is a file, a PIL image or an array."""
    for row, item in enumerate(items):
        if is_path(item):
            _check_path(row, item)
        elif not is_picture(item):
            _check_array(row, item)


def _check_path(row: int, path: str | os.PathLike[str]) -> None:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - 100,000 paths need not become objects
    except (OSError, ValueError) as error:  # ValueError: a null byte
        raise FileNotFoundError(
            f"{name_of(row, path)} is no file that can be read ({error}): pass paths that are "
            f"absolute, or relative to {str(Path.cwd())!r}."
        ) from error
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(
            f"{name_of(row, path)} is a folder: pass the paths of the images in it, as "
            f"sorted(Path({str(path)!r}).glob('*.jpg'))."
        )
    if not stat.S_ISREG(mode):  # reading a pipe may never end
        raise ValueError(f"{name_of(row, path)} is no regular file: pass paths of image files.")


def _check_array(row: int, item: Any) -> None:
    if not hasattr(item, "shape") or not hasattr(item, "__array__"):
        is_missing = pd.api.types.is_scalar(item) and pd.isna(item)
        kind = "missing" if is_missing else f"a {type(item).__name__}, not an image"
        raise TypeError(
            f"X[{row}] is {kind}: each row must be a path (str or Path), a PIL image or an array "
            "of shape (height, width, 3); leave out rows without an image."
        )
    name = f"X[{row}]"
    shape = tuple(item.shape)
    if len(shape) not in (2, 3):
        raise ValueError(
            f"{name} is an array of shape {shape}: each row of a list must be one image of shape "
            "(height, width, 3), or (height, width) if grey."
        )
    check_shape(shape if len(shape) == 3 else (*shape, 1), name)
    check_type(_as_array(item, name).dtype, name)


def name_of(row: int, item: Any) -> str:
    """Return what to call a row in a message, with its path if it is one."""
    path = f" ({os.fspath(item)!r})" if is_path(item) else ""
    return f"X[{row}]{path}"


def describe(shape: tuple[int, ...]) -> str:
    """Return height and width in words."""
    return f"{shape[0]} high and {shape[1]} wide"
