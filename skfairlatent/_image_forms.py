"""Whether X is images or numbers: the one place that decides, for encoders and all others."""

__all__ = [
    "CHANNELS",
    "as_array",
    "columns_of_objects",
    "first_of",
    "holds_images",
    "is_column",
    "is_encoded",
    "is_flat",
    "is_image_path",
    "is_path",
    "is_picture",
    "items_of",
    "of_all",
    "paths_in",
    "shape_of",
]

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Set
from numbers import Number
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from skfairlatent._validation.containers import reject_container
from skfairlatent._validation.features import detach
from skfairlatent.datasets import LazyImages
from skfairlatent.datasets._store import IMAGE_SUFFIXES

Shape: TypeAlias = tuple[int, ...]

# How many rows without a value are passed over in search of one that tells what the others are.
_LOOK_AHEAD = 1000
CHANNELS = (1, 3, 4)
_ROW = (
    "each row must be numbers, or for images a path, a PIL image or an array of shape (height, "
    "width, 3)"
)


def holds_images(X: Any) -> bool:
    """Tell whether X is images, or else numbers.

    Images are an array of four dimensions, ``LazyImages``, or a column of pictures: a list, a
    tuple, a Series of pandas or polars, an array of pyarrow, or anything with a length and
    indices, of paths, PIL images, arrays of shape (height, width[, channels]), encoded bytes, or
    the dictionaries of bytes and path that stand for images in Parquet files.

    Raises
    ------
    TypeError, ValueError
        For what is neither, or was not meant so: embeddings with more dimensions, as a network's
        last pooling gives them; a column of vectors; one image; none; a generator; a sparse
        tensor.
    """
    _reject_one(X)
    if not isinstance(X, list | tuple):  # whose rows are looked at below
        reject_container("X", X)
    if is_column(X):
        return _column_holds_images(X)
    shape = shape_of(X)
    if len(shape) > 2 and is_flat(shape[1:]):
        raise ValueError(
            f"X of shape {shape} is not a valid set of images, which are more than one pixel high "
            "and wide: embeddings have 2 dimensions, pass X.reshape(len(X), -1)."
        )
    if len(shape) == 3:
        raise ValueError(
            f"Found array with dim 3, of shape {shape}: embeddings have 2 dimensions and "
            "images 4. For one image pass X[np.newaxis], for grey ones X[..., np.newaxis], for "
            "vectors for each token X.mean(1)."
        )
    if len(shape) == 2:
        _reject_table_of_objects(X)
        if hasattr(X, "column_names") and not hasattr(X, "__array__"):
            raise TypeError(f"X is of type {type(X).__name__}: pass X.to_pandas() instead.")
    if isinstance(X, Tensor) and X.layout != torch.strided:
        as_array(X, X)
    return len(shape) == 4


def is_picture(item: Any) -> bool:
    """Tell whether this is a PIL image, without importing Pillow."""
    return hasattr(item, "convert") and hasattr(item, "size")


def is_path(item: Any) -> bool:
    """Tell whether this is the path of a file; numpy's strings look like arrays otherwise."""
    return isinstance(item, str | os.PathLike)


def is_encoded(item: Any) -> bool:
    """Tell whether this is an image as a file holds it: bytes, or a dictionary of Parquet."""
    return isinstance(item, bytes | bytearray) or (
        isinstance(item, Mapping) and {"bytes", "path"} >= item.keys() > set()
    )


def is_column(X: Any) -> bool:
    """Tell whether this has a length and holds one thing after another, as a list does."""
    others = str | bytes | bytearray | Mapping | Set | Iterator | type | pd.MultiIndex
    if isinstance(X, others) or is_picture(X):
        return False
    if hasattr(X, "ndim") or hasattr(X, "shape"):
        return len(shape_of(X)) == 1
    return hasattr(X, "__len__") and hasattr(X, "__getitem__")


def items_of(column: Any) -> list[Any]:
    """Return what a column holds; of pyarrow and polars as Python's own types."""
    for method in ("to_pylist", "to_list"):  # pyarrow's; that of polars and pandas
        if hasattr(column, method):
            return list(getattr(column, method)())
    return list(column)


def first_of(column: Any) -> Any:
    """Return the first thing in a column that is not missing; None if there is none."""
    rows = range(min(len(column), _LOOK_AHEAD))
    items = (column.iloc[i] if hasattr(column, "iloc") else column[i] for i in rows)
    return next(itertools.filterfalse(_is_missing, map(_plain, items)), None)


def _plain(item: Any) -> Any:
    """Return what a column of pyarrow or polars holds as Python's own type."""
    for method in ("as_py", "to_list"):
        if hasattr(item, method):
            return getattr(item, method)()
    return item


def paths_in(folder: Any) -> str:
    """Return ", as" and the code that lists the images in a folder, or in the folders in it."""
    for method, pattern in (("glob", "*"), ("rglob", "*/*")):
        place = os.path.expanduser(folder)  # noqa: PTH111
        files = itertools.islice(Path(place).glob(pattern), _LOOK_AHEAD)
        if suffix := next((file.suffix for file in files if is_image_path(file)), None):
            return f", as sorted(Path({place!r}).{method}('*{suffix}'))"
    return ""


def is_image_path(item: Any) -> bool:
    """Tell whether this is a path with the suffix of an image."""
    return is_path(item) and os.path.splitext(item)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122


def of_all(X: Any, one: str) -> str:
    """Return the code that does to all rows what `one` does to ``{}``, an array or a tensor."""
    return f"[{one.format('x')} for x in X]" if is_column(X) else one.format("X")


def as_array(item: Any, X: Any, name: str = "X") -> npt.NDArray[Any]:
    """Return an array or a tensor as numpy's array.

    Parameters
    ----------
    item : array-like
        X, or one of its rows.
    X : array-like or sequence
        The images that the user gave.
    name : str
        Name of `item` in messages.

    Raises
    ------
    TypeError
        If numpy cannot read it, as a sparse tensor.
    """
    try:
        return np.asarray(detach(item))
    except (RuntimeError, TypeError) as error:
        is_tensor = isinstance(item, Tensor)
        remedy = of_all(X, "{}.to_dense()") if is_tensor else "an array"
        raise TypeError(
            f"{name} of type {type(item).__name__} cannot become an array "
            f"({str(error).rstrip('.')}): pass {remedy}."
        ) from error


def _reject_one(X: Any) -> None:
    if is_path(X) and os.path.isdir(os.path.expanduser(X)):  # noqa: PTH111, PTH112 - never raise
        raise ValueError(f"X is a folder: pass the paths of the images in it{paths_in(X)}.")
    if is_path(X) or is_picture(X) or is_encoded(X):
        raise ValueError(
            "Expected 2D array or images, got one image: pass a list of them, as [X]"
            f"{_reading(X)}."
        )


def _reading(X: Any) -> str:
    """Return ", or" and the code that reads numbers from a file; nothing unless it is a path."""
    if not is_path(X):
        return ""
    if os.path.splitext(X)[1].lower() == ".npy":  # noqa: PTH122
        return ", or the array in the file, as numpy.load(X, mmap_mode='r')"
    return ", or of a table what is read from it, as pandas.read_csv(X)"


def _column_holds_images(X: Any) -> bool:
    if len(X) == 0:
        raise ValueError("X is empty: pass one or more rows, or images.")
    if isinstance(X, LazyImages):
        return True
    first = first_of(X)
    if is_path(first) or is_picture(first) or is_encoded(first):
        return True
    _reject_row_with_image(X, first)
    shape = shape_of(first)
    if not shape:
        _reject_row(X, first)
        return False
    if is_flat(shape):
        _reject_vectors(X, first, shape)
    if isinstance(first, Tensor):
        as_array(first, X, "X[0]")
    if len(shape) == 4 and shape[0] == 1:
        raise ValueError(
            f"X holds arrays of shape {shape}: each must be one image, of shape {shape[1:]}. Pass "
            f"{of_all(X, '{}[0]')}."
        )
    # In nested lists, two dimensions are a row with too many, not a grey image.
    return not is_flat(shape) and (len(shape) == 3 or (len(shape) == 2 and _has_shape(first)))


def _reject_row(X: Any, first: Any) -> None:
    """Raise TypeError for a column of what is not a number, no row of numbers and no image."""
    if isinstance(first, Number | np.generic) or _has_shape(first):
        return  # one number a row, which scikit-learn tells
    if first is None:
        raise TypeError(f"X[0] is missing: {_ROW}; leave out rows without one.")
    if isinstance(first, Mapping):
        if not isinstance(X, list | tuple):
            index = ", index=X.index" if isinstance(X, pd.Series) else ""
            raise TypeError(
                f"X holds a dictionary in each row: pass pandas.DataFrame(list(X){index})."
            )
        return  # a row of a table
    remedy = f", as {of_all(X, '{}.read()')}" if hasattr(first, "read") else ""
    raise TypeError(f"X[0] is a {type(first).__name__}, and {_ROW}{remedy}.")


def _reject_row_with_image(X: Any, first: Any) -> None:
    """Raise TypeError for images with something beside each, such as its label."""
    parts: Iterable[tuple[Any, Any]] = ()
    if isinstance(first, Mapping):
        parts = first.items()
    elif isinstance(first, list | tuple):
        parts = enumerate(first)
    for key, part in parts:
        if _is_image(part) or is_image_path(part):
            remedy = of_all(X, f"{{}}[{key!r}]")
            raise TypeError(f"X[0] is a {type(first).__name__}, and {_ROW}, as {remedy}.")


def _reject_vectors(X: Any, first: Any, shape: Shape) -> None:
    """Raise ValueError for rows that numpy does not put below one another by itself."""
    of_table = hasattr(X, "dtype") or hasattr(X, "to_pylist")
    if len(shape) > 1 or (of_table and np.ndim(np.asarray(X)) < 2):
        raise ValueError(
            f"X is a column of arrays of shape {shape}: embeddings are one array of 2 dimensions, "
            f"pass {_stacked(X, first, 'X')}{'.reshape(len(X), -1)' if len(shape) > 1 else ''}."
        )


def _reject_table_of_objects(X: Any) -> None:
    """Raise ValueError for a table with a column of images or of vectors."""
    for code, column in columns_of_objects(X):
        first = first_of(column)
        if isinstance(first, bytes):
            continue  # text, as far as a table tells
        of_table = hasattr(X, "columns") or hasattr(X, "column_names")
        if _is_image(first) or (is_image_path(first) if of_table else is_path(first)):
            raise ValueError(f"X is a table, with images in a column: pass {code}.")
        if shape := shape_of(first):
            raise ValueError(
                f"X is a table, with arrays of shape {shape} in a column: pass "
                f"{_stacked(column, first, code)}."
            )


def columns_of_objects(X: Any) -> Iterator[tuple[str, Any]]:
    """Give the columns of a table that may hold more than numbers, and the code to take each."""
    if isinstance(X, np.ndarray):
        if X.dtype.kind in "OUS" and X.shape[1] == 1:
            yield "X[:, 0]", X[:, 0]
    elif isinstance(X, pd.DataFrame):
        for i, (name, dtype) in enumerate(X.dtypes.items()):
            if dtype.kind == "O":
                yield f"X[{name!r}]", X.iloc[:, i]
    else:  # polars; pyarrow and datasets
        for name in getattr(X, "columns" if hasattr(X, "get_column") else "column_names", ()):
            yield f"X[{name!r}]", X[name]


def _stacked(column: Any, first: Any, code: str) -> str:
    """Return the code that puts the vectors of a column below one another."""
    if hasattr(column, "to_pylist"):
        return f"np.stack({code}.to_pylist())"
    module = "torch" if isinstance(first, Tensor) else "np"
    return f"{module}.stack({code if isinstance(column, list | tuple) else f'list({code})'})"


def _is_image(item: Any) -> bool:
    shape = shape_of(item)
    return is_picture(item) or is_encoded(item) or (len(shape) == 3 and not is_flat(shape))


def is_flat(shape: Shape) -> bool:
    """Tell whether what has this shape is a vector, or a picture one pixel high or wide."""
    if sum(side != 1 for side in shape) <= 1:
        return True
    if len(shape) != 3:
        return False
    first, height, last = shape
    sides = (first, height) if last in CHANNELS else shape[first in CHANNELS :]
    return 1 in sides


def _has_shape(item: Any) -> bool:
    return hasattr(item, "shape")


def shape_of(item: Any) -> Shape:
    """Return the shape of an array or of a nested list; () of anything else."""
    if _has_shape(item):
        return tuple(item.shape)
    try:
        return np.shape(item) if isinstance(item, list | tuple) else ()
    except ValueError:  # lists of several lengths
        return ()


def _is_missing(item: Any) -> bool:
    return item is None or (pd.api.types.is_scalar(item) and bool(pd.isna(item)))
