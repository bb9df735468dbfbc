"""Rows that were repeated, told from equal rows of different people."""

__all__ = ["Distinct", "distinct_rows"]

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from skfairlatent._row_hashes import row_hashes

Codes = npt.NDArray[np.int64]

# Of fewer different rows, equal ones are taken for those of different people: a table of a few
# columns has no others. If a column is fine, it is of fewer rows that nothing can be said.
FEWEST_DISTINCT, FEWEST_OF_A_FINE_COLUMN = 100, 30
# A column is fine if it has more different values than this share of the different rows: different
# people are hardly equal there.
FINE = 0.5
# So are more equal rows than this share of a table, such as those without a record.
LARGEST_SHARE = 0.2
# So many equal rows are the repetitions of one only if they have all the same label, and, without
# a fine column, if such rows have clearly more often one label than another, as where a rare label
# was drawn more often: a label that depends on a code only is that of all people of the code.
MANY, CLEARLY_MORE = 20, 0.5
# Of fewer equal rows chance may give all the same label: those of a table are judged together. Two
# of different people have other labels as often as any two rows, but for what X tells of the
# label: at least so much as often.
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
    _, first_of, of_row = np.unique(row_hashes(x), return_index=True, return_inverse=True)
    fine = _has_fine_column(x[first_of])
    if len(first_of) < (FEWEST_OF_A_FINE_COLUMN if fine else FEWEST_DISTINCT):
        return Distinct(each, each)
    size = np.bincount(of_row)[of_row]
    shared, alike = size > 1, np.ones_like(size)
    alike[shared] = _sizes_of_equal(of_row[shared], label_codes[shared])
    many = size >= MANY
    repeated = many & (alike == size)
    if not fine and not _of_one_label(repeated, label_codes):
        repeated[:] = False
    shared &= (size <= LARGEST_SHARE * len(x)) & (~many | repeated)
    if not shared.any() or _labels_differ(size[shared], alike[shared], label_codes):
        return Distinct(each, each)
    first, of_row = np.unique(np.where(shared, first_of[of_row], each), return_inverse=True)
    return Distinct(first, of_row)


def _has_fine_column(different: npt.NDArray[np.floating]) -> bool:
    """Return whether a column has about as many values as there are different rows."""
    most = max(len(np.unique(column)) for column in different.T)
    return most > FINE * len(different)


def _of_one_label(repeated: npt.NDArray[np.bool_], label_codes: Codes) -> bool:
    """Return whether the share of repeated rows is clearly larger for some labels than others."""
    shares = [
        np.bincount(codes, repeated) / np.maximum(np.bincount(codes), 1) for codes in label_codes.T
    ]
    return any(np.ptp(of_each) > CLEARLY_MORE for of_each in shares)


def _sizes_of_equal(of_row: Codes, label_codes: Codes) -> Codes:
    """Return how many rows are equal to each and have its labels."""
    _, of_pair = np.unique(np.column_stack([of_row, label_codes]), axis=0, return_inverse=True)
    of_pair = of_pair.reshape(-1)  # numpy 2.0 gives the inverse along an axis another shape
    sizes: Codes = np.bincount(of_pair)[of_pair]
    return sizes


def _labels_differ(size: Codes, alike: Codes, label_codes: Codes) -> bool:
    """Return whether equal rows have other labels nearly as often as any two rows of the table."""
    differing = 1.0 - ((alike - 1) / (size - 1)).mean()
    in_all = _sizes_of_equal(np.zeros(len(label_codes), np.int64), label_codes) / len(label_codes)
    return bool(differing > SMALLEST_DIFFERENCE * (1.0 - in_all.mean()))
