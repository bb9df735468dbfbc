"""Rows that lie in a file, as numpy maps it into memory: read in pieces, and never held."""

__all__ = ["MappedRows", "is_large_map", "pieces_of", "sample_of"]

import mmap
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.utils import assert_all_finite
from torch import Tensor

from skfairlatent._validation.annotations import Annotations

# Maps of at most so many bytes are held in memory, like other arrays, and samples of larger ones.
HELD_BYTES = 2**27
# Bytes of a number; longer floats are rounded as a whole.
MOST_BYTES = 8
# Bytes that are read one after another before their pages are given back; they fit the cache.
PIECE_BYTES = 2**21
# Rows that are read here and there before that: each brings its neighbours along.
ROWS_APART = 512

Floats = npt.NDArray[np.floating]


class MappedRows:
    """Rows of a memory map, made into tensors when they are asked for.

    It has what fitting and mapping need of a tensor: a length, a shape, a dtype, rows by number,
    and `split`.

    Parameters
    ----------
    array : ndarray of shape (n_samples, d)
        For which `is_large_map` is true.
    prepare : callable
        Makes a tensor of rows that were read.
    """

    def __init__(self, array: Floats, prepare: Callable[[Floats], Tensor]) -> None:
        self._array, self._prepare = array, prepare
        self.shape = array.shape
        self.dtype = torch.float32 if array.dtype == np.float32 else torch.float64

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, rows: Any) -> Tensor:
        """Return the rows of these numbers, shape (k, d)."""
        numbers, places = torch.as_tensor(rows).sort()  # in the order of the file
        _advise(self._array, "MADV_RANDOM")
        parts = []
        for some in numbers.split(ROWS_APART):
            parts.append(self._prepare(_floats(self._array[some.numpy()])))
            _advise(self._array, "MADV_DONTNEED")
        _advise(self._array, "MADV_NORMAL")
        ordered = torch.cat(parts)
        return torch.empty_like(ordered).index_copy_(0, places, ordered)

    def split(self, n_rows: int) -> Iterator[Tensor]:
        """Give all rows in turn, so many at once."""
        n_pieces = max(1, PIECE_BYTES // (self._array[:1].nbytes * n_rows))
        for piece in pieces_of(self._array, n_pieces * n_rows):
            for start in range(0, len(piece), n_rows):
                yield self._prepare(piece[start : start + n_rows])

    def then(self, prepare: Callable[[Tensor], Tensor]) -> "MappedRows":
        """Return the rows with another preparation after the one that there is."""
        before = self._prepare
        return MappedRows(self._array, lambda rows: prepare(before(rows)))

    def float(self) -> "MappedRows":
        """Return the rows in single precision."""
        return self.then(Tensor.float)


def is_large_map(X: Any) -> bool:
    """Tell whether X is an array in a file, or a table of it, that is too large to be held."""
    if isinstance(X, pd.DataFrame):  # of one type, whose rows are then parts of one array
        row = X.iloc[:1].to_numpy() if X.dtypes.nunique() == 1 else None
        X = None if row is None or _map_of(row) is None else X.to_numpy()
    if not isinstance(X, np.ndarray) or X.ndim != 2 or X.dtype.kind not in "fiu":
        return False
    # In half precision and as integers it would become larger.
    held = X.size * max(X.itemsize, np.dtype(np.float32).itemsize)
    return held > HELD_BYTES and X.itemsize <= MOST_BYTES and _map_of(X) is not None


def pieces_of(X: Floats, n_rows: int | None = None) -> Iterator[Floats]:
    """Give the rows of a large map in turn, finite floats; any other array as it is."""
    if not is_large_map(X):
        yield X
        return
    n_rows = n_rows or max(1, PIECE_BYTES // X[:1].nbytes)
    for start in range(0, len(X), n_rows):
        piece = X[start : start + n_rows]
        assert_all_finite(piece, estimator_name="FairLatentTransformer", input_name="X")
        yield _floats(piece)
        _advise(X, "MADV_DONTNEED")


def sample_of(x: Tensor | MappedRows, annotations: Annotations) -> tuple[Tensor, Annotations]:
    """Return random rows of a map that can be held, and what is known of them; all of a tensor."""
    if isinstance(x, Tensor):
        return x, annotations
    generator = torch.Generator().manual_seed(0)
    n_rows = HELD_BYTES // (x.shape[1] * x.dtype.itemsize)
    rows = torch.randperm(len(x), generator=generator)[:n_rows].sort().values
    return x[rows], annotations.at(rows.numpy())


def _floats(rows: npt.NDArray[Any]) -> Floats:
    """Return numbers of any other type in double precision, as scikit-learn does."""
    return rows if rows.dtype in (np.float32, np.float64) else rows.astype(np.float64)


def _map_of(X: npt.NDArray[Any]) -> np.memmap[Any, Any] | None:
    """Return the memory map that an array is a view of, if it is one."""
    base: Any = X
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    return base if isinstance(base, np.memmap) else None


def _advise(X: npt.NDArray[Any], advice: str) -> None:
    """Tell the system how the file of a map is read, where it can be told.

    Pages that were read otherwise count as memory of this process until others need it.
    """
    mapped = _map_of(X)
    # Changes of a private map would be lost with its pages.
    if mapped is None or mapped.mode == "c" or not hasattr(mmap, advice):
        return
    base: Any = mapped
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap):
        base.madvise(getattr(mmap, advice))
