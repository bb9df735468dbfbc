"""Numbers by which equal rows are found."""

__all__ = ["exact_row_hashes", "hashes_of_close_rows", "row_hashes"]

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.floating]
Hashes = npt.NDArray[np.uint64]

ROWS_AT_ONCE = 4096
# Directions along which close rows have the same place, in steps of one standard deviation: about
# two bits each, which noise of a hundredth of that changes in one case in a hundred.
_DIRECTIONS = 16


def row_hashes(rows: Rows) -> Hashes:
    """Return a number for each row, equal for rows that are equal in single precision."""
    # RandomState, whose numbers are the same in all versions of numpy: they outlive a file.
    factors = np.random.RandomState(0).randint(2**64, size=rows.shape[1], dtype=np.uint64)
    found = np.empty(len(rows), dtype=np.uint64)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        piece = slice(start, start + ROWS_AT_ONCE)
        with np.errstate(over="ignore", under="ignore"):
            values = rows[piece].astype(np.float32) + np.float32(0)  # which has one zero
        found[piece] = (values.view(np.uint32).astype(np.uint64) | np.uint64(1 << 32)) @ (
            factors | np.uint64(1)
        )
    # High bits of a product depend on all bits of its factors, low ones on few.
    found ^= found >> np.uint64(32)
    found *= np.uint64(0x9E3779B97F4A7C15)
    mixed: Hashes = found >> np.uint64(32)
    return mixed


def exact_row_hashes(rows: Rows) -> Hashes:
    """Return a number for each row, equal only for rows that are equal but for rounding.

    Values in double precision may differ by 1e-11 of themselves: sums are rounded otherwise where
    a row stands elsewhere.
    """
    factors = np.random.RandomState(0).randint(2**64, size=rows.shape[1], dtype=np.uint64)
    found = np.empty(len(rows), dtype=np.uint64)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        piece = slice(start, start + ROWS_AT_ONCE)
        values = rows[piece] + rows.dtype.type(0)  # which has one zero
        if values.dtype == np.float64:
            bits = (values.view(np.uint64) + np.uint64(1 << 15)) >> np.uint64(16)
        else:
            bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
        found[piece] = (bits + np.uint64(1)) @ (factors | np.uint64(1))
    return found


def hashes_of_close_rows(rows: Rows, scale: npt.NDArray[np.float64]) -> Hashes:
    """Return a number for each row, equal for most pairs of rows that differ by little.

    Rows that are far from one another have different numbers, those in between by chance.

    Parameters
    ----------
    rows : ndarray of shape (n, n_features)
    scale : ndarray of shape (n_features,), float64
        A standard deviation of each feature, above 0.
    """
    drawn = np.random.RandomState(0)
    directions = drawn.normal(size=(rows.shape[1], _DIRECTIONS)) / np.sqrt(rows.shape[1])
    shift = drawn.uniform(size=_DIRECTIONS)  # rows of zeros are not at the edge of a step
    with np.errstate(over="ignore", under="ignore"):
        directions = (directions / scale[:, None]).astype(rows.dtype)
    found = np.empty(len(rows), dtype=np.uint64)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        piece = slice(start, start + ROWS_AT_ONCE)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            places = rows[piece] @ directions + shift
        found[piece] = row_hashes(np.floor(places))
    return found
