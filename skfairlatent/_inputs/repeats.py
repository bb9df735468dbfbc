"""Rows that were repeated, told from equal rows of different people."""

__all__ = ["Distinct", "distinct_rows"]

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from skfairlatent._row_hashes import row_hashes

Codes = npt.NDArray[np.int64]

# Of fewer different rows, equal ones are taken for those of different people: a table of a few
# columns has no others.
FEWEST_DISTINCT = 100
# A repeated row has the label of the first. Two equal rows of different people have other labels
# as often as any two rows, but for what X tells of the label: at least so much as often.
SMALLEST_DIFFERENCE = 0.1


class Distinct(NamedTuple):
    """The first row of each that was repeated, in order, and for every row which it repeats.

    Parameters
    ----------
    first : ndarray of shape (n_distinct,), int64
        Row numbers.
    of_row : ndarray of shape (n_samples,), int64
        Positions in `first`.
    """

    first: Codes
    of_row: Codes


def distinct_rows(x: npt.NDArray[np.floating], label_codes: Codes) -> Distinct:
    """Return the rows without repetitions.

    Parameters
    ----------
    x : ndarray of shape (n_samples, d)
    label_codes : ndarray of shape (n_samples, n_label_columns), int64
        Labels of the rows, which tell repetitions from equal rows of different people: among
        the latter they differ.
    """
    each = np.arange(len(x))
    _, first, of_row = np.unique(row_hashes(x), return_index=True, return_inverse=True)
    if len(first) < FEWEST_DISTINCT or _labels_differ(of_row, label_codes):
        return Distinct(each, each)
    in_order = np.argsort(first)
    return Distinct(first[in_order], np.argsort(in_order)[of_row])


def _labels_differ(of_row: Codes, label_codes: Codes) -> bool:
    """Return whether equal rows have different labels nearly as often as any rows."""
    _, labels = np.unique(label_codes, axis=0, return_inverse=True)
    equals = np.bincount(of_row)[of_row] - 1
    shared = equals > 0
    if not shared.any():
        return False
    # numpy 2.0 gives the inverse along an axis another shape.
    labels = labels.reshape(-1)
    pairs = of_row * (labels.max() + 1) + labels
    _, of_pair = np.unique(pairs, return_inverse=True)
    agreeing = np.bincount(of_pair)[of_pair] - 1
    differing = 1.0 - (agreeing[shared] / equals[shared]).mean()
    shares = np.bincount(labels[shared]) / shared.sum()
    return bool(differing > SMALLEST_DIFFERENCE * (1.0 - (shares**2).sum()))
