"""Rows that come in parts, as those of Dask, Zarr and HDF5, put into one temporary file."""

__all__ = ["held", "in_one_file", "is_dask", "is_stored"]

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.utils import check_array

from skfairlatent._out_of_core import mapped_rows
from skfairlatent._validation.containers import reject_container
from skfairlatent._validation.features import (
    precisions,
    reject_columns_without_numbers,
    reject_sparse,
)

Array = npt.NDArray[Any]


def is_dask(values: Any) -> bool:
    """Tell a collection of Dask, which need not be installed."""
    return type(values).__module__.partition(".")[0] == "dask"


def is_stored(X: Any) -> bool:
    """Tell a table of Zarr, HDF5 or the like, which gives rows by slices and holds none."""
    return _lies_in_chunks(X) and len(X.shape) == 2


def held(values: Any) -> Any:
    """Return labels or groups in memory, if they are of Dask, Zarr, HDF5 or the like."""
    if is_dask(values):
        return values.compute()
    return np.asarray(values) if _lies_in_chunks(values) else values


def _lies_in_chunks(values: Any) -> bool:
    if isinstance(values, np.ndarray) or is_dask(values) or not hasattr(values, "shape"):
        return False
    return isinstance(getattr(values, "chunks", False), tuple | None)  # else a column of that name


@contextmanager
def in_one_file(X: Any, sizes: list[int] | None = None) -> Iterator[Any]:
    """Give all rows of X as an array, or as a table if it is one; many rows lie in a file.

    They are read part by part. The file has no name: it goes when the context is left, or when
    the process ends.

    Parameters
    ----------
    X : collection of Dask, or array of Zarr, HDF5 or the like
        Of shape (n_samples, d).
    sizes : list of int, optional
        Takes the number of rows of each part.

    Raises
    ------
    OSError
        If there is no room for the file.
    TypeError
        If parts of X are of different types.
    ValueError
        If X holds something other than numbers, or a part has other columns.
    """
    sizes, dtype = [] if sizes is None else sizes, None
    indexes: list[Any] = []
    with tempfile.SpooledTemporaryFile(max_size=mapped_rows.HELD_BYTES) as file:
        for part in _parts_of(X):
            _reject_other_columns(X, part, len(sizes))
            values = _numbers_of(part)
            dtype = _common_dtype(dtype, values, len(sizes))
            _write(file, np.ascontiguousarray(values, dtype), _known_bytes(X, values.itemsize))
            sizes.append(len(part))
            indexes.append(getattr(part, "index", None))
        rows = _read(file, dtype, (sum(sizes), X.shape[1]))
        if hasattr(X, "columns"):
            index = indexes[0].append(indexes[1:])
            rows = pd.DataFrame(rows, index, X.columns, copy=False)
        yield rows


def _parts_of(X: Any) -> Iterator[Any]:
    """Give the partitions of Dask, or so many rows at a time as may be held."""
    if not is_dask(X):
        n_rows = max(1, mapped_rows.HELD_BYTES // (X.dtype.itemsize * max(1, X.shape[1])))
        in_chunk = (X.chunks or (1,))[0]
        n_rows = max(in_chunk, n_rows - n_rows % in_chunk)
        yield from (
            np.asarray(X[start : start + n_rows]) for start in range(0, X.shape[0], n_rows)
        )
        return
    import dask  # noqa: PLC0415 - X is of it

    if not hasattr(X, "columns"):
        X = X.rechunk({1: -1})
    start, at_once = 0, 1
    while start < X.npartitions:
        stop = min(start + at_once, X.npartitions)
        parts = dask.compute(*(X.partitions[i] for i in range(start, stop)))
        yield from parts
        n_bytes = max(_n_bytes(part) for part in parts)
        start, at_once = stop, min(2 * at_once, max(1, mapped_rows.HELD_BYTES // max(1, n_bytes)))


def _n_bytes(part: Any) -> int:
    return int(part.memory_usage().sum()) if hasattr(part, "columns") else int(part.nbytes)


def _reject_other_columns(X: Any, part: Any, number: int) -> None:
    """Raise ValueError if a part does not have the columns of X, in their order."""
    pairs = zip_longest(*(getattr(each, "columns", range(each.shape[1])) for each in (X, part)))
    for position, (expected, found) in enumerate(pairs):
        if found != expected:
            raise ValueError(
                f"Part {number} of X has {found!r} as column {position}, where X has "
                f"{expected!r}: give all parts the columns of X, in its order."
            )


def _numbers_of(part: Any) -> Array:
    """Return the rows of a part in the type that they have, finite or not."""
    reject_container("X", part)
    reject_sparse(part)
    if len(part) == 0:
        return np.empty(part.shape)
    reject_columns_without_numbers(part)
    kinds = precisions(part)
    numbers: Array = check_array(
        part,
        dtype=kinds if len(kinds) == 1 else "numeric",
        ensure_all_finite=False,
        estimator="FairLatentTransformer",
        input_name="X",
    )
    is_kept = numbers.dtype.kind in "fiu" and numbers.itemsize <= mapped_rows.MOST_BYTES
    return numbers if is_kept else numbers.astype(np.float64)


def _common_dtype(known: Any, values: Array, number: int) -> Any:
    """Return the type of the file: that of the first part with rows."""
    if known is None or len(values) == 0:
        return values.dtype if len(values) else known
    if not np.can_cast(values.dtype, known):
        raise TypeError(
            f"Part {number} of X is of {values.dtype}, but the parts before it are of {known}: "
            f"pass X.astype({str(np.result_type(known, values.dtype))!r})."
        )
    return known


def _known_bytes(X: Any, itemsize: int) -> int:
    """Return how many bytes all rows take, as far as that is known."""
    n_rows = X.shape[0]
    return n_rows * X.shape[1] * itemsize if isinstance(n_rows, int) else 0


def _write(file: Any, values: Array, n_bytes: int) -> None:
    written = file.tell()
    needed = max(n_bytes, written + values.nbytes)
    free, folder = 0, ""
    if needed > mapped_rows.HELD_BYTES:  # else no folder is needed
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
        free += written if written > mapped_rows.HELD_BYTES else 0
        if free < needed:
            _refuse(needed, free, folder)
    try:
        file.write(values)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _refuse(needed, free, folder)


def _refuse(needed: int, free: int, folder: str) -> None:
    raise OSError(
        errno.ENOSPC,
        f"X is read into a temporary file, which takes {needed / 1e9:.3g} GB or more, but there "
        f"is room for {free / 1e9:.3g} GB. Set the environment variable TMPDIR to a folder with "
        "more room before Python starts, or pass fewer rows",
        folder,
    )


def _read(file: Any, dtype: Any, shape: tuple[int, int]) -> Array:
    if file.tell() > mapped_rows.HELD_BYTES:
        file.flush()
        return np.memmap(file, dtype, "r", shape=shape)
    file.seek(0)
    return np.frombuffer(bytearray(file.read()), dtype).reshape(shape)
